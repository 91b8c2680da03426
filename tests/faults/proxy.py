"""A network between a node and PostgreSQL that fails when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]

_CHUNK_BYTES = 64 * 1024
_COMMITTED, _ROLLED_BACK = b"COMMIT\0", b"ROLLBACK\0"
"""https://www.postgresql.org/docs/current/protocol-message-formats.html, "CommandComplete"."""


@dataclass(slots=True)
class _Link:
    """One connection through the proxy."""

    mentioned: bytes | None = None
    """What its transaction contains of what the one whose answer shall be lost does. Of one that
    began before that was said, nothing is known.
    """


class Proxy:
    """Listens on loopback and passes on to PostgreSQL's Unix socket.

    The doings (`cut`, `hold`, `heal`, `lose_answers`) are for other threads than the proxy's own.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is where PostgreSQL has its socket."""
        self._socket = folder / ".s.PGSQL.5432"
        self._answers_to_lose = 0
        self._mark: bytes | None = None
        self.answers_lost = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._open, self._flows = True, asyncio.Event()
        self._flows.set()
        self._links: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self._break_all()
        await asyncio.gather(*self._links, return_exceptions=True)

    def cut(self) -> None:
        """Break every connection, whatever goes on in it, and let nobody connect."""

        def now() -> None:
            self._open = False
            self._break_all()

        self._do(now)

    def hold(self) -> None:
        """Let nothing through, and break nothing: as when a route is lost, and packets wait."""
        self._do(self._flows.clear)

    def heal(self) -> None:
        """Work again. What was held back arrives."""

        def now() -> None:
            self._open = True
            self._flows.set()

        self._do(now)

    def lose_answers(self, number: int, *, mentioning: bytes) -> None:
        """Break that many connections after a COMMIT was done and before its answer is through.

        Of transactions whose statements or values contain `mentioning`. What was done is told by
        the server's answer, because a client that prepared COMMIT does not say the word again.
        """

        def now() -> None:
            self._answers_to_lose, self._mark = number, mentioning

        self._do(now)

    def _do(self, now: Callable[[], None]) -> None:
        async def doing() -> None:
            now()

        asyncio.run_coroutine_threadsafe(doing(), self._loop).result()

    def _break_all(self) -> None:
        for link in self._links:
            link.cancel()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        try:
            if self._open:
                await self._pass_on(client, to_client)
        except (OSError, asyncio.CancelledError):
            pass  # broken: by one of its ends, or by us
        finally:
            to_client.transport.abort()

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._socket)
        link = _Link()
        ways = [
            asyncio.ensure_future(self._ask(link, client, to_server)),
            asyncio.ensure_future(self._answer(link, server, to_client)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            to_server.transport.abort()

    async def _ask(
        self, link: _Link, client: asyncio.StreamReader, to_server: asyncio.StreamWriter
    ) -> None:
        while octets := await client.read(_CHUNK_BYTES):
            await self._flows.wait()
            if self._mark is not None and self._mark in octets:
                link.mentioned = self._mark
            to_server.write(octets)
            await to_server.drain()

    async def _answer(
        self, link: _Link, server: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        while octets := await server.read(_CHUNK_BYTES):
            if _COMMITTED in octets:
                if self._answers_to_lose and link.mentioned == self._mark:
                    self._answers_to_lose -= 1
                    self.answers_lost += 1
                    return
                link.mentioned = None
            elif _ROLLED_BACK in octets:
                link.mentioned = None
            await self._flows.wait()
            to_client.write(octets)
            await to_client.drain()
