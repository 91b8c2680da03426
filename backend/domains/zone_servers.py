"""What do a zone's own name servers say, before any resolver has heard of it?

The zone cut is found by asking a resolver for NS upwards from the name (RFC 8499 "zone cut"). Its
servers are asked without recursion, one after the other until one answers with authority; none does
is `Unknown`, for their silence says nothing of the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from mailagent.authentication.dmarc_record import registrable_domain
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.resolver import Resolver, text_of

__all__ = ["Address", "Zone", "ZoneServers"]

Address = tuple[str, int]
"""An IP address and a port."""

_MOST_SERVERS = 4
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone and where it is served."""

    name: str
    hosts: tuple[str, ...]
    """Of its NS records."""
    addresses: tuple[Address, ...]


class ZoneServers:
    """Asks the servers of any zone. `addresses_of` finds those of a host; None asks DNS. `attempt`
    bounds the wait for one server.
    """

    def __init__(
        self,
        resolver: Resolver,
        addresses_of: Callable[[str], Awaitable[Sequence[Address]]] | None = None,
        *,
        attempt: timedelta = timedelta(seconds=2),
    ) -> None:
        self._resolver, self._attempt = resolver, attempt.total_seconds()
        self._addresses_of = addresses_of or self._resolved
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def zone_of(self, domain: str) -> Zone | None:
        """The zone that serves a domain; None when it cannot be told, or nobody has registered it.

        A registered domain without NS cannot be: whoever says so says nothing else that counts
        either, so its zone is one without servers, whose silence is an unknown answer.
        """
        top, name = registrable_domain(domain), domain
        while True:
            answer = await self._resolver.ask(Question(name, "NS"))
            if isinstance(answer, Unknown):
                return None
            if isinstance(answer, Found):
                hosts = tuple(sorted(answer.records))
                found = await asyncio.gather(*map(self._addresses_of, hosts[:_MOST_SERVERS]))
                addresses = [one for each in zip(*_padded(found), strict=True) for one in each]
                return Zone(name, hosts, tuple(one for one in addresses if one is not None))
            if name == top:
                return None if answer.nxdomain else Zone(top, (), ())
            name = name.partition(".")[2]

    async def ask(self, zone: Zone, question: Question) -> Answer:
        """What the zone's servers say of the name itself; a CNAME is not followed."""
        said: list[str] = []
        async with self._slots:
            for address in zone.addresses[:_MOST_SERVERS]:
                answer = await _asked(address, question, self._attempt)
                if not isinstance(answer, Unknown):
                    return answer
                said.append(answer.reason)
        return Unknown("; ".join(dict.fromkeys(said)) or f"no server of {zone.name} has an address")

    async def _resolved(self, host: str) -> Sequence[Address]:
        answers = await self._resolver.ask_all([Question(host, "A"), Question(host, "AAAA")])
        found = [one for one in answers.values() if isinstance(one, Found)]
        return [(address, 53) for one in found for address in one.records]


def _padded(found: Sequence[Sequence[Address]]) -> list[list[Address | None]]:
    """So that each host's first address comes before any second one."""
    longest = max(map(len, found), default=0)
    return [[*each, *[None] * (longest - len(each))] for each in found]


async def _asked(address: Address, question: Question, seconds: float) -> Answer:
    host, port = address
    query = dns.message.make_query(question.name, question.type)
    query.flags &= ~dns.flags.RD
    try:
        response, _ = await dns.asyncquery.udp_with_fallback(
            query, host, timeout=seconds, port=port
        )
    except dns.exception.Timeout:
        return Unknown(f"{host} did not answer in time")
    except (dns.exception.DNSException, OSError, EOFError) as failed:
        return Unknown(f"{host} failed: {type(failed).__name__}")
    code = response.rcode()
    if code == dns.rcode.NXDOMAIN:
        # With a CNAME in the answer it is the CNAME's target that does not exist (RFC 6604).
        return Absent(nxdomain=not response.answer)
    if code != dns.rcode.NOERROR:
        return Unknown(f"{host} answered {dns.rcode.to_text(code)}")
    if not response.flags & dns.flags.AA:
        return Unknown(f"{host} does not serve the zone")
    name = dns.name.from_text(question.name)
    for rrset in response.answer:
        if rrset.name == name and rrset.rdtype == dns.rdatatype.from_text(question.type):
            return Found(tuple(text_of(rdata) for rdata in rrset))
    return Absent(nxdomain=False)
