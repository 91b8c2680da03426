"""How does one account get a mail, once?

`sending` is committed just before the first byte that can commit the far side. What happens after
that commit is answered by the far side, or it is `unknown` and no machine sends it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from mailagent import outbound
from mailagent.errors import LostClaim, PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.flow import accounts
from mailagent.flow.accounts import Trouble
from mailagent.flow.recording import (
    Carried,
    Frame,
    PurgedMeanwhile,
    commit_sending,
    record,
    record_last,
    record_purged,
    record_unknown,
    take_back,
)
from mailagent.flow.services import Services
from mailagent.outgoing import HandedOver, Later, Outgoing, Recipient, Refused, Sent
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim

__all__ = ["Due", "HandOver", "state_of"]

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

_RECORD_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """One claimed mail, with the recipients that may be tried now."""

    row: AnyRow
    outgoing: Outgoing
    recipients: tuple[Recipient, ...]
    only: Sequence[str] | None
    """The accounts that carry this mailbox's, or this domain's, mail; None for all."""
    region: str | None = None
    """The region to which mail of this domain is kept."""


def state_of(services: Services, name: str) -> outbound.AccountState | None:
    """What is known of the account now; None for capture and local delivery."""
    return next((one for one in services.account_states if one.name == name), None)


class HandOver:
    """One attempt to give some recipients of a mail to one account."""

    def __init__(
        self,
        services: Services,
        claim: Claim,
        due: Due,
        account: str,
        why: str,
        *,
        next_: str | None,
        alone: bool,
    ) -> None:
        self._services, self._claim, self._due = services, claim, due
        self._account, self._why, self._next, self._alone = account, why, next_, alone
        self._state = state_of(services, account)
        self._id = new_id("hov")
        self._committed: tuple[Recipient, ...] = ()

    async def carry(self, recipients: tuple[Recipient, ...], *, last: bool) -> Carried:
        """Call the provider between two commits and record what it said of each recipient.

        After the `last` one the claim is given back too, when all were answered.
        """
        said, trouble = await self._said(recipients)
        if said is None:
            assert trouble is not None
            unknown = self._committed or recipients
            await self._write_surely(record_unknown, unknown, trouble.reason)
            carried = Carried(reason=trouble.reason)
        else:
            carried = await self._record(recipients, said, last=last)
        taken = said is not None and any(isinstance(one, Sent) for one in said.values())
        if self._state is not None and (trouble is not None or taken):
            store, settings = self._services.store, self._services.settings
            await accounts.learn(store, settings, self._state, trouble)
        return replace(carried, ails=trouble is not None)

    async def _record(
        self, recipients: tuple[Recipient, ...], said: HandedOver, *, last: bool
    ) -> Carried:
        # The rare cases undo the transaction and begin another: to ask beforehand costs each mail
        # a wait for the database.
        try:
            if last:
                with suppress(LostClaim):  # the far side's answers stand all the same
                    return await self._write_surely(
                        record_last, recipients, said, self._services, self._claim
                    )
            return await self._write_surely(record, recipients, said)
        except PurgedMeanwhile:
            return await self._write_surely(record_purged, said)

    async def _said(
        self, recipients: tuple[Recipient, ...]
    ) -> tuple[HandedOver | None, Trouble | None]:
        """What the account said of each recipient, None when nobody knows; and what ails it."""
        account = self._services.accounts[self._account]
        try:
            said = await account.send(self._due.outgoing, recipients, committing=self._committing)
        except TransientFailure as error:
            later = Later(error.reason, error.code, error.retry_at)
            return dict.fromkeys(recipients, later), Trouble(error.reason, error.retry_at)
        except PermanentFailure as error:
            refused = Refused(error.reason, error.about, error.code)
            trouble = Trouble(error.reason, credentials=error.credentials)
            about_account = error.about == "account"
            return dict.fromkeys(recipients, refused), trouble if about_account else None
        except UncertainDelivery as error:
            return None, Trouble(error.reason)
        except (LostClaim, SQLAlchemyError):
            raise
        except Exception as error:
            # The top of a hand-over: after `committing` anything unforeseen is an unknown outcome.
            log.exception("send.failed", outbound_id=self._claim.id, account=self._account)
            reason = f"{type(error).__name__}: {error}"
            if self._committed:
                return None, Trouble(reason)
            return dict.fromkeys(recipients, Later(reason)), Trouble(reason)
        return said, None

    async def _committing(self, recipients: Sequence[Recipient]) -> None:
        to = tuple(recipients)
        try:
            await self._write(commit_sending, self._claim, to)
        except OperationalError:
            await self._write_surely(take_back, to)
            raise
        self._committed = to

    async def _write(
        self,
        function: Callable[Concatenate[Transaction, Frame, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._services.store.write(
            self._claim.workspace_id, function, self._frame, *args, **kwargs
        )

    async def _write_surely(
        self,
        function: Callable[Concatenate[Transaction, Frame, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write what only this process knows, however long the database is away.

        Given up, it would be `unknown`: a mail that a person must look into.
        """
        while True:
            try:
                return await self._write(function, *args, **kwargs)
            except OperationalError:
                log.exception("send.not_recorded_yet", outbound_id=self._claim.id)
                await asyncio.sleep(_RECORD_AGAIN.total_seconds())

    @property
    def _frame(self) -> Frame:
        return Frame(
            self._id,
            self._claim.id,
            self._account,
            self._why,
            self._next,
            self._alone,
            self._due.row,
            self._services.settings,
            self._warming,
        )

    @property
    def _warming(self) -> str | None:
        domain, default = self._due.outgoing.from_.domain, self._services.settings.default_domain
        warm_up = self._state.warming(domain, default) if self._state is not None else None
        return warm_up.domain if warm_up is not None else None
