"""Does a public list say that this client sends spam? DNSBL (RFC 5782)

Asked when a client connects, beside the banner, and used at RCPT. Only a clear yes refuses: what a
list does not tell in time, or tells in the range it keeps for its own trouble, lets the mail in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Protocol

import structlog

from mailagent.dns_answers import Answer, Found, Question
from mailagent.doors import smtp_replies as replies
from mailagent.doors.smtp_replies import Reply

__all__ = ["Blocklists", "Looks", "is_listing", "is_role", "question"]

_log = structlog.get_logger(__name__)

_LISTED = ip_network("127.0.0.0/8")  # RFC 5782 §2.1
_TROUBLE = ip_network("127.255.255.0/24")
"""Large lists answer from here to who asks too much or through an open resolver: no listing."""
_ROLES = frozenset({"postmaster", "abuse"})


class Looks(Protocol):
    """Answers DNS questions and remembers the answers; never raises for DNS trouble."""

    def ask(self, question: Question, /) -> Awaitable[Answer]: ...


class Blocklists:
    """The lists of this installation, asked all at once; the first in their order is named."""

    def __init__(
        self,
        zones: Sequence[str],
        dns: Looks,
        *,
        spared: Sequence[IPv4Network | IPv6Network] = (),
        patience: timedelta = timedelta(seconds=2),
    ) -> None:
        """`patience` is what one client's answers may take, from the moment it connects; clients
        in `spared` are not asked about.
        """
        self._dns = dns
        self._spared = spared
        self._patience = patience.total_seconds()
        # Made once: the door counts its replies, and there are not more of these than lists.
        self._replies = {zone: replies.LISTED.about(zone=zone) for zone in zones}

    def look_up(self, client_ip: str) -> asyncio.Task[Reply | None] | None:
        """Begin to ask; the task gives the refusal, or None. No task for who is on no public list
        (this machine, private networks) and for who is spared.
        """
        address = ip_address(client_ip)
        if not address.is_global or any(address in network for network in self._spared):
            return None
        return asyncio.create_task(self._asked(address))

    async def _asked(self, address: IPv4Address | IPv6Address) -> Reply | None:
        said = await asyncio.gather(*(self._lists(zone, address) for zone in self._replies))
        for zone, listed in zip(self._replies, said, strict=True):
            if listed:
                _log.info("smtp_client_listed", client_ip=str(address), list=zone)
                return self._replies[zone]
        return None

    async def _lists(self, zone: str, address: IPv4Address | IPv6Address) -> bool:
        try:
            async with asyncio.timeout(self._patience):
                answer = await self._dns.ask(question(address, zone))
        except TimeoutError:
            return False
        return isinstance(answer, Found) and any(map(is_listing, answer.records))


def question(address: IPv4Address | IPv6Address, zone: str) -> Question:
    """What a list is asked: octets (RFC 5782 §2.1) or nibbles (§2.4) in reverse, then its zone."""
    tree = ".ip6.arpa" if isinstance(address, IPv6Address) else ".in-addr.arpa"
    reverse = address.reverse_pointer.removesuffix(tree)
    return Question(f"{reverse}.{zone}", "A")


def is_role(address: str) -> bool:
    """Whether a recipient must be reachable for everybody (RFC 5321 §4.5.1, RFC 2142): who is
    listed by mistake has to be able to say so.
    """
    return address.rpartition("@")[0].lower() in _ROLES or address.lower() == "postmaster"


def is_listing(record: str) -> bool:
    """Whether an A record of a list says yes."""
    try:
        answered = IPv4Address(record)
    except ValueError:
        return False
    return answered in _LISTED and answered not in _TROUBLE
