"""How do packets reach our name server? UDP and TCP on one port, bounded in number and time.

A hidden primary: its secondaries copy the zone from here and answer the world. It has no response
rate limiting and is not meant to face the internet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import structlog

from backend.domains.dns_dialogue import Policy, replies
from backend.domains.zone import Zone

__all__ = ["DnsServer"]

_CONNECTIONS, _CONNECTIONS_A_CLIENT = 64, 8
_IDLE_SECONDS, _CONNECTION_SECONDS = 10.0, 120.0
_LONGEST_QUERY = 4_096
_PORT_TRIES = 50

log = structlog.get_logger()


class DnsServer:
    """Answers for the zone that `zone()` gives at the moment of each question."""

    def __init__(self, zone: Callable[[], Zone], policy: Policy) -> None:
        self._zone, self._policy = zone, policy
        self._clients: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._stopping = False

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which 0 leaves to the system. Raises OSError."""
        udp, tcp = _bound(host, port)
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Packets(self), sock=udp)
        self._tcp = await asyncio.start_server(self._accepted, sock=tcp)
        return int(tcp.getsockname()[1])

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """Take no more questions, and let transfers that run end within `grace`."""
        self._stopping = True
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def by_udp(
        self, packet: bytes, sender: tuple[Any, ...], transport: asyncio.DatagramTransport
    ) -> None:
        """Answer one datagram."""
        client = _client(sender)
        try:
            for reply in replies(packet, self._zone(), self._policy, client=client, over="udp"):
                transport.sendto(reply, sender)
        except Exception:
            # The top of a door: no packet may end the server, and none is worth a second look.
            log.exception("dns.failed", client=client, octets=len(packet))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _client(writer.get_extra_info("peername") or ("",))
        crowded = self._clients.total() >= _CONNECTIONS
        if crowded or self._clients[client] >= _CONNECTIONS_A_CLIENT:
            writer.transport.abort()
            return
        self._clients[client] += 1
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            async with asyncio.timeout(_CONNECTION_SECONDS):
                with contextlib.suppress(TimeoutError, EOFError):  # silent, or done
                    await self._by_tcp(reader, writer, client)
                writer.close()
                await writer.wait_closed()  # what was written goes out first
        except (TimeoutError, OSError):
            pass  # the far side is gone or slow
        except Exception:
            log.exception("dns.failed", client=client)
        finally:
            self._connections.discard(task)
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
            writer.transport.abort()

    async def _by_tcp(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        while not self._stopping:
            async with asyncio.timeout(_IDLE_SECONDS):
                length = int.from_bytes(await reader.readexactly(2), "big")
                if length > _LONGEST_QUERY:
                    return
                packet = await reader.readexactly(length)
            answered = False
            for reply in replies(packet, self._zone(), self._policy, client=client, over="tcp"):
                answered = True
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
            if not answered:
                return


class _Packets(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._server.by_udp(data, addr, self._transport)


def _client(address: tuple[Any, ...]) -> str:
    """The address of a peer, as settings write it."""
    try:
        found = ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _bound(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on the same port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_PORT_TRIES if port == 0 else 1):
        with contextlib.ExitStack() as failed:
            tcp = failed.enter_context(socket.socket(family, socket.SOCK_STREAM))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            udp = failed.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                if port:
                    raise
                continue
            failed.pop_all()
            return udp, tcp
    raise OSError("no port is free for both UDP and TCP")
