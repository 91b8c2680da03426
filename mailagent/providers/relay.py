"""Where and how is the SMTP relay reached? One URL says it.

`smtp[s]://[user:password@]host[:port][?tls=required|opportunistic|none&connections=…]`, user and
password percent-encoded. `smtps` speaks TLS from the first byte (RFC 8314 §3.3). How connections
are kept is said by `connections=`, `mails=` (over one) and `idle=` (seconds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from mailagent.errors import Misconfigured

__all__ = ["PoolLimits", "Relay", "Tls"]

_POOL_WORDS = {"connections": (1, 100), "mails": (1, 10_000), "idle": (0, 240)}
"""What may be said of connections, with its least and its most."""


class Tls(StrEnum):
    """What a connection must be before mail or a password passes over it."""

    IMPLICIT = "implicit"
    """TLS from the first byte, certificate checked."""
    REQUIRED = "required"
    """STARTTLS (RFC 3207) or nothing, certificate checked."""
    OPPORTUNISTIC = "opportunistic"
    """STARTTLS where offered, certificate not checked (RFC 7435); never with a password."""
    NONE = "none"
    """Plain text, a password too: for a relay on this machine."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How connections to one relay are used; the first three have a word in its URL."""

    connections: int = 10
    """At a time; as many mails are handed over at once by one process."""
    mails: int = 100
    """Over one connection; many relays hang up after that number."""
    idle: timedelta = timedelta(seconds=30)
    """How long an unused connection is kept: well under the 5 minutes of RFC 5321 §4.5.3.2.7.
    Zero keeps none."""
    wait: timedelta = timedelta(minutes=1)
    """For a free connection, before the mail is put back."""
    login_pause: timedelta = timedelta(minutes=5)
    """After a rejected login: servers lock accounts, or addresses, that go on guessing."""


@dataclass(frozen=True, slots=True)
class Relay:
    """An SMTP server that takes our mail on."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str = field(default="", repr=False)
    pool: PoolLimits = field(default_factory=PoolLimits)

    @classmethod
    def parse(cls, url: str, *, setting: str = "SMTP_RELAY_URL") -> Relay:
        """Read a relay's URL.

        Without `tls=`, a relay with a password is `required`, one without is `opportunistic`. The
        port is 465 for `smtps`, 587 with a password, else 25. Raises Misconfigured, whose text
        never repeats the URL: it holds a password.
        """

        def wrong(problem: str) -> Misconfigured:
            example = "smtp://user:password@relay.example:587?tls=required"
            return Misconfigured(setting, f"{problem}; it looks like {example}")

        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")  # what cannot be looked up later raises UnicodeError now
            query = parse_qs(parts.query, strict_parsing=bool(parts.query))
        except ValueError:
            raise wrong("is no URL (is the password percent-encoded?)") from None
        if parts.scheme not in {"smtp", "smtps"}:
            raise wrong("must begin with smtp:// or smtps://")
        if not host:
            raise wrong("names no host")
        if parts.path.strip("/") or parts.fragment or query.keys() - {"tls", *_POOL_WORDS}:
            raise wrong(f"has more in it than user, host, port, tls, {', '.join(_POOL_WORDS)}")
        username = unquote(parts.username) if parts.username else None
        words = query.get("tls", [])
        if parts.scheme == "smtps":
            if words:
                raise wrong("smtps:// is TLS from the first byte and takes no tls=")
            tls = Tls.IMPLICIT
        elif not words:
            tls = Tls.REQUIRED if username else Tls.OPPORTUNISTIC
        elif words[-1] in {Tls.REQUIRED, Tls.OPPORTUNISTIC, Tls.NONE}:
            tls = Tls(words[-1])
        else:
            raise wrong("tls= is required, opportunistic or none")
        if username and tls is Tls.OPPORTUNISTIC:
            # Who strips STARTTLS from the conversation would be handed the password.
            raise wrong("tls=opportunistic does not protect a password: take tls=required")
        usual = 465 if tls is Tls.IMPLICIT else 587 if username else 25
        try:
            pool = _pool_limits(query)
        except ValueError as error:
            raise wrong(str(error)) from None
        return cls(host, port or usual, tls, username, unquote(parts.password or ""), pool)


def _pool_limits(query: Mapping[str, Sequence[str]]) -> PoolLimits:
    """What the URL says of connections. Raises ValueError with the mend."""
    given: dict[str, int] = {}
    for word, (least, most) in _POOL_WORDS.items():
        text = query[word][-1] if word in query else None
        if text is not None:
            if not text.isdecimal() or not least <= int(text[:9]) <= most:
                raise ValueError(f"{word}= is a number from {least} to {most}")
            given[word] = int(text)
    usual = PoolLimits()
    return PoolLimits(
        connections=given.get("connections", usual.connections),
        mails=given.get("mails", usual.mails),
        idle=timedelta(seconds=given["idle"]) if "idle" in given else usual.idle,
    )
