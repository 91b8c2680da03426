"""The cases of mail to our own addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from mailagent.providers import Account, open_account
from tests.contract.cases import AtWork, Failure, seen
from tests.contract.far_side import Keeper, around

__all__ = ["SENDS"]


class _Sends:
    secrets = ()
    reaches: Literal["this house"] = "this house"
    names_wait = False

    @asynccontextmanager
    async def at_work(self, failure: Failure | None = None) -> AsyncIterator[AtWork]:
        keeper = Keeper()
        account = open_account(Account("main", "local"), around(keeper))
        yield AtWork(account, lambda: [seen(one.raw) for one in keeper.kept])


SENDS = _Sends()
