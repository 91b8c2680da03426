"""What does every connection of an SMTP door share, and what stands behind either door?"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import ClassVar

from mailagent.doors import smtp_replies as replies
from mailagent.doors.login_throttle import Throttle
from mailagent.doors.smtp_blocklists import Blocklists
from mailagent.doors.smtp_census import Census
from mailagent.doors.smtp_content import BareNewlines
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.smtp_replies import Reply
from mailagent.inbound import Acceptor, Directory
from mailagent.submission import Logins, Submits

__all__ = ["MxService", "SmtpService", "SubmissionService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpService:
    """What a connection is given; the replies that hold our name or limits are made here, once."""

    offers_once_secure: ClassVar[tuple[str, ...]] = ()
    """Further extensions that EHLO names inside TLS."""

    census: Census
    limits: SmtpLimits
    hostname: str
    tls: Callable[[], ssl.SSLContext] | None
    bare_newlines: BareNewlines
    proxy_networks: Sequence[IPv4Network | IPv6Network]
    blocklists: Blocklists | None
    now: Callable[[], datetime]
    implicit_tls: bool = False
    """Whether TLS comes before the banner (RFC 8314 §3.3); then `tls` is there."""
    banner: Reply = field(init=False)
    helo_ok: Reply = field(init=False)
    too_big: Reply = field(init=False)
    ehlo_plain: bytes = field(init=False)
    ehlo_secure: bytes = field(init=False)

    def __post_init__(self) -> None:
        def prepare(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        prepare("banner", replies.BANNER.about(hostname=self.hostname))
        prepare("helo_ok", replies.HELO_OK.about(hostname=self.hostname))
        prepare("too_big", replies.TOO_BIG.about(size_bytes=self.limits.size_bytes))
        offers = ["PIPELINING", f"SIZE {self.limits.size_bytes}", "8BITMIME", "SMTPUTF8"]
        last = "ENHANCEDSTATUSCODES"
        plain = [*offers, "STARTTLS", last] if self.tls is not None else [*offers, last]
        prepare("ehlo_plain", _ehlo(self.hostname, plain))
        secure = [*offers, *self.offers_once_secure, last]
        prepare("ehlo_secure", _ehlo(self.hostname, secure))


@dataclass(frozen=True, slots=True, kw_only=True)
class MxService(SmtpService):
    """What stands behind the door of strangers."""

    acceptor: Acceptor
    directory: Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionService(SmtpService):
    """What stands behind the door of our own."""

    offers_once_secure: ClassVar[tuple[str, ...]] = ("AUTH PLAIN LOGIN",)

    logins: Logins
    submits: Submits
    throttle: Throttle


def _ehlo(hostname: str, offers: Sequence[str]) -> bytes:
    lines = [f"250-{line}" for line in (hostname, *offers[:-1])]
    return "\r\n".join([*lines, f"250 {offers[-1]}", ""]).encode()
