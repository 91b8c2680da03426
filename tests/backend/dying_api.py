"""A process of the API that is killed at the one moment that matters.

    python -m tests.backend.dying_api URL SECRET PATH KEY BODY

sends itself one POST over a mailroom and, once the effect is committed and the first octet of the
answer would leave, kills itself as a power cut would.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
from starlette.types import Message, Receive, Scope, Send

from backend.api import PREFIX, create_api
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from tests.backend.mailroom import open_mailroom


async def main(url: str, secret: str, path: str, key: str, body: str) -> None:
    async with open_mailroom(url, Sandbox()) as mailroom:
        api = create_api(
            mailroom.services, Settings(mailagent_data=Path("unused")), mailroom.acceptor
        )

        async def dying(scope: Scope, receive: Receive, send: Send) -> None:
            async def last(message: Message) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            await api(scope, receive, last)

        headers = {
            "Authorization": f"Bearer {secret}",
            "Idempotency-Key": key,
            "Content-Type": "application/json",
        }
        async with httpx.AsyncClient(transport=httpx.ASGITransport(dying)) as client:
            await client.post(f"http://api.example{PREFIX}{path}", content=body, headers=headers)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
