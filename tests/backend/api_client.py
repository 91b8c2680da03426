"""A client of the real API over a mailroom, with keys for whoever a test needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from backend.access import keys, sign_in
from backend.api import PREFIX, create_api
from mailagent.settings import Settings
from tests.backend.mailroom import Mailroom

__all__ = ["key", "open_api", "session"]


async def key(mailroom: Mailroom, *permissions: str, workspace: str | None = None) -> str:
    """The secret of a new key; of the mailroom's workspace unless another is named."""
    wanted: Sequence[str] = permissions or ["root:full"]
    made = await mailroom.store.write(
        workspace or mailroom.workspace_id, keys.create, "test", wanted
    )
    return made.secret


async def session(mailroom: Mailroom, email: str) -> str:
    """The secret of a signed-in person's session."""
    token = await mailroom.store.write_unscoped(sign_in.create_link, email)
    return await mailroom.store.write_unscoped(sign_in.redeem, token)


@asynccontextmanager
async def open_api(
    mailroom: Mailroom, secret: str | None = None, **settings: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client below `/api/v1`; `secret` is its key."""
    used = Settings.model_validate({"mailagent_data": Path("unused"), **settings})
    app = create_api(mailroom.services, used, mailroom.acceptor)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    async with httpx.AsyncClient(
        transport=transport, base_url=f"http://mailagent.example{PREFIX}", headers=headers
    ) as client:
        yield client
