"""How is a test kept from reaching anything but this machine?"""

from __future__ import annotations

import ipaddress
import socket

__all__ = ["ForeignConnection", "refuse_foreign_connections"]


class ForeignConnection(AssertionError):
    """A test tried to leave the machine. Not an OSError: no code may take it for a dead peer."""


def refuse_foreign_connections(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: raises ForeignConnection where a connect, sendto or lookup leads away."""
    match event, arguments:
        case (("socket.connect" | "socket.sendto"), (_, (str(host), *_))) if not _is_here(host):
            raise ForeignConnection(f"a test tried to reach {host}: only loopback is allowed")
        case "socket.getaddrinfo", (str(host), *_) if not _is_here(host):
            raise ForeignConnection(f"a test tried to look up {host}: use an address on loopback")
        case _:
            pass


def _is_here(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in {"", "localhost", socket.gethostname()}
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified
