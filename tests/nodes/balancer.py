"""A TCP balancer in front of several SMTP doors, as HAProxy is: it passes a connection on to the
next node that takes it and says for whom by PROXY protocol version 1."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

__all__ = ["Balancer"]

_CHUNK_BYTES = 1 << 16


class Balancer:
    """Serves `port` on loopback while the block runs. A node that refuses is asked again for the
    next connection; a client that no node takes is cut off, which `turned_away` counts.
    """

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = nodes
        self._next = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.turned_away = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._pass_on(reader, writer)
        except OSError:
            self.turned_away += 1
        finally:
            self._connections.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_node, to_node = await self._connect()
        host, port = writer.get_extra_info("peername")[:2]
        here, on = writer.get_extra_info("sockname")[:2]
        to_node.write(f"PROXY TCP4 {host} {here} {port} {on}\r\n".encode())
        try:
            await asyncio.gather(_copy(reader, to_node), _copy(from_node, writer))
        finally:
            to_node.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the next node that takes one. Raises OSError when none does."""
        for _ in self._nodes:
            self._next += 1
            with contextlib.suppress(OSError):
                node = self._nodes[self._next % len(self._nodes)]
                return await asyncio.open_connection("127.0.0.1", node)
        raise ConnectionRefusedError("no node takes a connection")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while octets := await reader.read(_CHUNK_BYTES):
            writer.write(octets)
            await writer.drain()
    writer.close()
