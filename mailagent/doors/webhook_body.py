"""How is a request's body read without its size, its slowness or its number doing harm?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from mailagent.errors import Malformed, TransientFailure

__all__ = ["MOST_BYTES", "Bodies"]

MOST_BYTES = 60 * 1024 * 1024
_MOST_BYTES_AT_ONCE = 384 * 1024 * 1024
_READ_SECONDS = 60.0


class Bodies:
    """The bodies that are held at the moment."""

    def __init__(self, *, most_at_once: int = _MOST_BYTES_AT_ONCE) -> None:
        self._most_at_once = most_at_once
        self._held = 0

    @asynccontextmanager
    async def read(self, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, for the length of the block.

        Raises Malformed when it is over `MOST_BYTES`, TransientFailure when the peer is slow or
        gone, or when too much is held already.
        """
        chunks: list[bytes] = []
        held = size = 0
        try:
            async with asyncio.timeout(_READ_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise TransientFailure("the peer hung up")
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    # What is too much is read on, unkept: some take a reset for "try again".
                    if size <= MOST_BYTES:
                        self._held += len(chunk)
                        held += len(chunk)
                        chunks.append(chunk)
                    if self._held > self._most_at_once:
                        raise TransientFailure("too many large requests at once")
                    if not message.get("more_body"):
                        break
            if size > MOST_BYTES:
                raise Malformed("body", f"has {size} bytes, {MOST_BYTES} are the most")
            yield b"".join(chunks)
        except TimeoutError as error:
            raise TransientFailure("the request came too slowly") from error
        finally:
            self._held -= held
