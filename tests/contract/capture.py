"""The cases of what is kept and never sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from mailagent.providers import Account, open_account
from tests.contract.cases import AtWork, Failure
from tests.contract.far_side import around

__all__ = ["SENDS"]


class _Sends:
    secrets = ()
    reaches: Literal["nobody"] = "nobody"
    names_wait = False

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        yield AtWork(open_account(Account("main", "capture"), around()), list)


SENDS = _Sends()
