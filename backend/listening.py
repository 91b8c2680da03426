"""How does one of several HTTP servers of a process listen?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from mailagent.errors import Misconfigured

__all__ = ["Server", "listen", "taken"]


class Server(uvicorn.Server):
    """A server whose signals are ours: several of them share one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def listen(
    servers: list[tuple[Server, asyncio.Task[None]]], app: Any, host: str, port: int, setting: str
) -> int:
    """Serve `app` in a task of its own, added to `servers`; the port, which 0 leaves to the system.

    Raises Misconfigured naming `setting` when the port is taken.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise taken(setting, port, error) from error
    server = Server(config)
    servers.append((server, asyncio.create_task(server.serve([listening]))))
    while not server.started:  # noqa: ASYNC110 - uvicorn tells by this flag alone
        await asyncio.sleep(0.01)
    bound: int = listening.getsockname()[1]
    return bound


def taken(setting: str, port: int, error: OSError) -> Misconfigured:
    """A port that cannot be listened on, as a wrong setting."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return Misconfigured(setting, f"cannot listen on {port} ({why}): set another port")
