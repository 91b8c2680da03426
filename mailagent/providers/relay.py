"""Where and how is the SMTP relay reached? One URL says it.

`smtp[s]://[user:password@]host[:port][?tls=required|opportunistic|none]`, user and password
percent-encoded. `smtps` speaks TLS from the first byte (RFC 8314 §3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from mailagent.errors import Misconfigured

__all__ = ["Relay", "Tls"]


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
class Relay:
    """An SMTP server that takes our mail on."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str = field(default="", repr=False)

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
        if parts.path.strip("/") or parts.fragment or query.keys() - {"tls"}:
            raise wrong("has more in it than user, host, port and tls")
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
        return cls(host, port or usual, tls, username, unquote(parts.password or ""))
