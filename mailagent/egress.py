"""May we call an address that a user gave, and how, so that it reaches nobody inside?

Agents' webhooks, tools, calendars and MCP servers live at addresses that tenants write down. Such a
name is resolved once, every address it has must be one of the public internet, and the connection
goes to the address that was looked at: a name that changes its mind in between gains nothing. No
redirect is followed, no proxy of the environment is used. Hosts that the operator lists
(`MAILAGENT_INTERNAL_HOSTS`) may be inside, and may be plain http.
Sources: IANA special-purpose address registries (RFC 6890), OWASP "SSRF prevention".
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import httpx

from mailagent.errors import Malformed, TransientFailure, UncertainDelivery

__all__ = ["Answered", "Egress", "Pinned", "refusal"]

_PORTS = frozenset({443, 8443})
_MOST_ADDRESS_CHARACTERS = 2_000
_MOST_BYTES = 1_000_000
_MOST_WAIT = 30.0
# `is_global` says yes to all of these; each leads to an address that is written inside it, or back.
_NEVER = tuple(
    map(
        ip_network,
        ("192.88.99.0/24", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "::/96"),
    )
)

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text. Raises OSError."""


def refusal(address: str) -> str | None:
    """Why an address must not be called for a user; None when it is one of the public internet."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return "is no address"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_multicast:
        return "is a multicast address"
    if any(found in network for network in _NEVER if network.version == found.version):
        return "is an address that leads to another one"
    if not found.is_global or found.is_reserved:
        return "is no address of the public internet"
    return None


@dataclass(frozen=True, slots=True)
class Pinned:
    """A URL that may be called, and the one address at which it will be."""

    url: str
    host: str
    port: int
    address: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What the far side said, whole."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


async def _look_up(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(one[4][0]) for one in found]


@dataclass(frozen=True)
class Egress:
    """The one way out to addresses of users."""

    internal: frozenset[str] = frozenset()
    """Hosts, as `name` or `name:port`, that the operator lets users call though they are inside."""
    look_up: LookUp = field(default=_look_up)

    def check(self, url: str, *, name: str = "url") -> tuple[str, int]:
        """The host and port of a URL that may be saved. Raises Malformed, naming `name`."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        if not host or len(url) > _MOST_ADDRESS_CHARACTERS or not url.isprintable() or " " in url:
            raise Malformed(name, "is no address: write it like https://hooks.example/mail")
        if parts.username is not None or parts.password is not None:
            raise Malformed(name, "holds a password: store it as a secret, not in the address")
        port = port or (443 if parts.scheme == "https" else 80)
        if self._listed(host, port):
            if parts.scheme in ("http", "https"):
                return host, port
            raise Malformed(name, "must begin with https:// or http://")
        if parts.scheme != "https":
            raise Malformed(name, "must begin with https://")
        if port not in _PORTS:
            raise Malformed(name, "may name port 443 or 8443 only")
        literal = _literal(host)
        if literal is not None and (why := refusal(literal)):
            raise Malformed(name, f"{host} {why}")
        return host, port

    async def pin(self, url: str) -> Pinned:
        """Resolve a URL once. Raises Malformed when any address of its host is refused,
        TransientFailure when it cannot be resolved.
        """
        host, port = self.check(url)
        try:
            addresses = list(dict.fromkeys(await self.look_up(host, port)))
        except OSError as error:
            raise TransientFailure(f"the name {host} cannot be resolved") from error
        if not addresses:
            raise TransientFailure(f"the name {host} has no address")
        if not self._listed(host, port):
            # One address inside is enough: which of them would be taken is the network's choice.
            for address in addresses:
                if (why := refusal(address)) is not None:
                    raise Malformed("url", f"{host} leads to {address}, which {why}")
        return Pinned(url, host, port, addresses[0])

    async def call(
        self,
        method: str,
        url: str,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = _MOST_WAIT,
        most_bytes: int = _MOST_BYTES,
    ) -> Answered:
        """One request, of at most so many seconds in all and an answer of at most so many bytes.

        Raises Malformed (the address is refused, the answer too long), TransientFailure (nothing
        was asked: no address, no connection), UncertainDelivery (it may have been done).
        """
        try:
            async with asyncio.timeout(seconds):
                pinned = await self.pin(url)
                return await _called(pinned, method, content, headers or {}, seconds, most_bytes)
        except TimeoutError as error:
            raise UncertainDelivery(f"no answer within {seconds:g} seconds") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise TransientFailure(f"no connection ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise UncertainDelivery(f"no whole answer ({type(error).__name__})") from error

    def _listed(self, host: str, port: int) -> bool:
        return host.lower() in self.internal or f"{host.lower()}:{port}" in self.internal


async def _called(
    pinned: Pinned,
    method: str,
    content: bytes,
    headers: Mapping[str, str],
    seconds: float,
    most_bytes: int,
) -> Answered:
    url = httpx.URL(pinned.url)
    request = httpx.Request(
        method,
        url.copy_with(host=pinned.address),
        content=content,
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **headers,
            "Host": url.netloc.decode("ascii"),
        },
        extensions={
            # What the certificate must name is the host, not the address that it was pinned to.
            "sni_hostname": pinned.host,
            "timeout": httpx.Timeout(seconds).as_dict(),
        },
    )
    verify = url.scheme == "https"
    async with httpx.AsyncClient(trust_env=False, verify=verify, follow_redirects=False) as client:
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            # As sent: a small answer that unpacks to a large one is not unpacked.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > most_bytes:
                    raise Malformed("answer", f"is longer than {most_bytes:,} bytes")
        finally:
            await response.aclose()
    told = {name.lower(): value for name, value in response.headers.items()}
    return Answered(response.status_code, told, bytes(body))


def _literal(host: str) -> str | None:
    """The address that a host is written as, also as a number of the C library; None for a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        return str(IPv4Address(socket.inet_aton(host)))
    except (OSError, UnicodeEncodeError, ValueError):
        return None
