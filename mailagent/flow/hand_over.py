"""How does one account get a mail, once, and what is written of it?

`sending` is committed just before the first byte that can commit the far side. What happens after
that commit is answered by the far side, or it is `unknown` and no machine sends it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import bindparam, case, exists, or_, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from mailagent import outbound
from mailagent.errors import (
    LostClaim,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.flow import accounts, events, outbox, people, suppression
from mailagent.flow.accounts import Trouble
from mailagent.flow.ledger import note
from mailagent.flow.outbox import SENDING
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.states import RecipientState
from mailagent.flow.threads import anchor
from mailagent.outgoing import HandedOver, Later, Outgoing, Recipient, Refused, Sent
from mailagent.store.tables import (
    hand_overs,
    outbound_mails,
    outbound_recipients,
    suppressions,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, backoff, finish, holds

__all__ = [
    "RECIPIENT",
    "Carried",
    "Due",
    "HandOver",
    "close_hand_overs",
    "end",
    "next_try",
    "set_state",
    "state_of",
    "tell",
]

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

_FIRST_RETRY = timedelta(seconds=30)
_RECORD_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """One claimed mail, with the recipients that may be tried now."""

    row: AnyRow
    outgoing: Outgoing
    recipients: tuple[Recipient, ...]
    only: Sequence[str] | None
    """The accounts that carry this mailbox's, or this domain's, mail; None for all."""


def state_of(services: Services, name: str) -> outbound.AccountState | None:
    """What is known of the account now; None for capture and local delivery."""
    return next((one for one in services.account_states if one.name == name), None)


@dataclass(frozen=True, slots=True)
class Carried:
    """What one hand-over has left to do."""

    onward: tuple[Recipient, ...] = ()
    """They were definitely not taken, and the next account may be asked."""
    reason: str = ""
    ails: bool = False
    """The account failed, whomever the mail is to."""
    ended: bool = False
    """The claim was given back."""


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
            await self._write_surely(_record_unknown, unknown, trouble.reason)
            carried = Carried(reason=trouble.reason)
        elif last:
            carried = await self._write_surely(
                _record_last, recipients, said, self._services, self._claim
            )
        else:
            carried = await self._write_surely(_record, recipients, said)
        taken = said is not None and any(isinstance(one, Sent) for one in said.values())
        if self._state is not None and (trouble is not None or taken):
            store, settings = self._services.store, self._services.settings
            await accounts.learn(store, settings, self._state, trouble)
        return replace(carried, ails=trouble is not None)

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
            await self._write(_commit_sending, self._claim, to)
        except OperationalError:
            await self._write_surely(_take_back, to)
            raise
        self._committed = to

    async def _write(
        self,
        function: Callable[Concatenate[Transaction, _Frame, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._services.store.write(
            self._claim.workspace_id, function, self._frame, *args, **kwargs
        )

    async def _write_surely(
        self,
        function: Callable[Concatenate[Transaction, _Frame, P], T],
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
    def _frame(self) -> _Frame:
        return _Frame(
            self._id,
            self._claim.id,
            self._account,
            self._why,
            self._next,
            self._alone,
            self._due.row,
            self._services.settings,
        )


@dataclass(frozen=True, slots=True)
class _Frame:
    """What every line of one hand-over says."""

    id: str
    outbound_id: str
    account: str
    why: str
    next: str | None
    """The account that is asked after a definite no of this one."""
    alone: bool
    """No other account may carry the mail: when to come back is for this one to say."""
    row: AnyRow
    settings: FlowSettings


_LEAVING = (
    update(outbound_recipients)
    .where(
        outbound_recipients.c.id.in_(bindparam("recipients", expanding=True)),
        outbound_recipients.c.state == RecipientState.QUEUED,
        ~exists().where(
            suppressions.c.workspace_id == outbound_recipients.c.workspace_id,
            suppressions.c.address.in_(bindparam("to", expanding=True)),
            or_(suppressions.c.expires_at.is_(None), suppressions.c.expires_at > bindparam("now")),
        ),
    )
    .values(state=RecipientState.SENDING, attempts=outbound_recipients.c.attempts + 1)
)


def _commit_sending(
    tx: Transaction, frame: _Frame, claim: Claim, recipients: tuple[Recipient, ...]
) -> None:
    holds(tx, SENDING, claim)
    _open_hand_over(tx, frame, recipients)
    assert tx.workspace_id is not None
    leaving = {
        "recipients": [one.id for one in recipients],
        "to": list(suppression.forms(tx.workspace_id, [one.address for one in recipients])),
        "now": tx.now,
        "account": frame.account,
    }
    if tx.execute(_LEAVING, leaving).rowcount != len(recipients):
        # Cancelled, suppressed or taken since: the far side has seen nothing yet, and must not.
        raise LostClaim(f"send {frame.outbound_id}: a recipient may no longer be sent to")


_END_OF_COMMIT = (
    select(outbound_mails.c.id)
    .where(outbound_mails.c.id == bindparam("outbound"))
    .with_for_update()
)
_BEGUN = select(hand_overs.c.id).where(hand_overs.c.id == bindparam("hand_over"))
_TAKING_BACK = (
    update(outbound_recipients)
    .where(
        outbound_recipients.c.id.in_(bindparam("recipients", expanding=True)),
        outbound_recipients.c.state.in_([RecipientState.SENDING, RecipientState.UNKNOWN]),
    )
    .values(state=RecipientState.QUEUED)
)


def _take_back(tx: Transaction, frame: _Frame, recipients: tuple[Recipient, ...]) -> None:
    """Undo `_commit_sending`, which may be done although the database went away in its commit.

    The far side has seen nothing yet, so it is not unknown. Only where this hand-over's own row is
    there: without it, what is `sending` is another worker's.
    """
    # Its COMMIT may still be on the way: it holds the mail's row, so this waits for its end.
    tx.execute(_END_OF_COMMIT, {"outbound": frame.outbound_id})
    if tx.row(_BEGUN, {"hand_over": frame.id}) is None:
        return
    tx.execute(_TAKING_BACK, {"recipients": [one.id for one in recipients]})
    reason = "the database was away just before the content"
    _end_hand_over(tx, frame, recipients, "later", reason)
    if tx.value(_IS_SETTLED, {"outbound": frame.outbound_id}):
        outbox.resettle(tx, frame.outbound_id)
    note(tx, "send", f"{frame.account}: not begun", reason, outbound_id=frame.outbound_id)


_IS_SETTLED = select(outbound_mails.c.state != "queued").where(
    outbound_mails.c.id == bindparam("outbound")
)


def _record(
    tx: Transaction, frame: _Frame, recipients: tuple[Recipient, ...], said: HandedOver
) -> Carried:
    """Write the far side's answers. By hand-over id, without a fence: a late answer is evidence."""
    outcomes = {one.id: said.get(one) for one in recipients}
    words, onward = [], []
    for one in recipients:
        outcome = outcomes[one.id]
        word, open_ = _record_one(tx, frame, one, outcome)
        words.append(f"{one.address}: {word}")
        if open_ and frame.next:
            onward.append(one)
    if tx.value(_IS_SETTLED, {"outbound": frame.outbound_id}):
        # A late answer: whoever took the claim over has settled the mail without it.
        outbox.resettle(tx, frame.outbound_id)
    first = next((o for o in outcomes.values() if o is not None), None)
    if isinstance(first, Refused) and first.about == "account" and not onward:
        _tell_of_account(tx, frame, first.reason)
    response = _response(outcomes[onward[0].id] if onward else first)
    _end_hand_over(
        tx, frame, recipients, _outcome_word(said), response, getattr(first, "code", None)
    )
    note(
        tx,
        "send",
        f"{frame.account}: {'; '.join(words)}" + (f"; next {frame.next}" if onward else ""),
        f"{frame.why}; {response}",
        outbound_id=frame.outbound_id,
        delivery_id=frame.row.answers_delivery_id,
    )
    return Carried(tuple(onward), response)


def _record_last(
    tx: Transaction,
    frame: _Frame,
    recipients: tuple[Recipient, ...],
    said: HandedOver,
    services: Services,
    claim: Claim,
) -> Carried:
    """`_record`, and the claim given back in the same commit, unless it is ours no more or somebody
    goes on to the next account.
    """
    carried = _record(tx, frame, recipients, said)
    if carried.onward:
        return carried
    try:
        end(tx, services, claim)
    except LostClaim:
        return carried  # nothing of `end` was written, and the far side's answers stand
    return replace(carried, ended=True)


RECIPIENT = update(outbound_recipients).where(outbound_recipients.c.id == bindparam("recipient"))
_IS_UNANSWERED = outbound_recipients.c.state.in_(
    [RecipientState.QUEUED, RecipientState.SENDING, RecipientState.UNKNOWN]
)
_UNANSWERED = RECIPIENT.where(_IS_UNANSWERED)
_TAKEN = RECIPIENT.values(
    # An event may have told more already; by what name, none has.
    state=case((_IS_UNANSWERED, RecipientState.SENT), else_=outbound_recipients.c.state),
    reason=case((_IS_UNANSWERED, bindparam("response")), else_=outbound_recipients.c.reason),
    provider_id=bindparam("named"),
    account=bindparam("by"),
    sent_at=bindparam("at"),
)


def _record_one(
    tx: Transaction, frame: _Frame, recipient: Recipient, outcome: Sent | Refused | Later | None
) -> tuple[str, bool]:
    """Write one recipient's answer: the word for it, and whether the mail waits to be taken yet."""
    values: dict[str, object]
    match outcome:
        case Sent():
            taken = {
                "response": outcome.response[:500],
                "named": outcome.provider_id,
                "by": frame.account,
                "at": tx.now,
            }
            tx.execute(_TAKEN, {"recipient": recipient.id, **taken})
            ids = [*outcome.message_ids, *([outcome.provider_id] if outcome.provider_id else [])]
            if frame.row.agent_id and frame.row.thread_id and ids:
                anchor(tx, frame.row.agent_id, frame.row.thread_id, ids)
            if ids and frame.account not in (outbound.LOCAL, outbound.CAPTURE):
                events.catch_up(tx, frame.outbound_id, ids)
            return str(RecipientState.SENT), False
        case Refused(about="account") | Later():
            # A rejected login is the operator's to mend, and no reason to lose the mail.
            values = {"state": RecipientState.QUEUED, "reason": outcome.reason[:500]}
            if not frame.next:
                retry_at = None
                if isinstance(outcome, Later) and frame.alone:
                    retry_at = outcome.retry_at
                values["not_before"] = next_try(tx, recipient.id, retry_at, frame.row.expires_at)
        case Refused():
            values = {"state": RecipientState.REFUSED, "reason": outcome.reason[:500]}
        case None:
            values = {
                "state": RecipientState.UNKNOWN,
                "reason": "the provider said nothing of this recipient",
            }
    written = tx.execute(_UNANSWERED, {"recipient": recipient.id, **values}).rowcount == 1
    return str(values["state"]), written and values["state"] == RecipientState.QUEUED


def _record_unknown(
    tx: Transaction, frame: _Frame, recipients: tuple[Recipient, ...], reason: str
) -> None:
    _end_hand_over(tx, frame, recipients, "unknown", reason)
    # Evidence may have come first: a bounce of what was taken, or a rescue that gave it up.
    tx.execute(
        update(outbound_recipients)
        .where(
            outbound_recipients.c.id.in_([one.id for one in recipients]),
            outbound_recipients.c.state.in_([RecipientState.QUEUED, RecipientState.SENDING]),
        )
        .values(state=RecipientState.UNKNOWN, reason=reason[:500])
    )
    note(tx, "send", f"{frame.account}: unknown whether it was taken", f"{reason}; never repeated",
         outbound_id=frame.outbound_id, delivery_id=frame.row.answers_delivery_id)  # fmt: skip


def end(tx: Transaction, services: Services, claim: Claim) -> None:
    """Give the claim back with the state that follows from the recipients'; tell of a bad one."""
    settled = outbox.settle(tx, claim.id)
    finish(tx, SENDING, claim, **settled)
    if settled["state"] in (RecipientState.REFUSED, RecipientState.UNKNOWN):
        row = tx.row(select(outbound_mails).where(outbound_mails.c.id == claim.id))
        assert row is not None
        tell(tx, services.settings, row, f"is {settled['state']}")


def _tell_of_account(tx: Transaction, frame: _Frame, reason: str) -> None:
    """Tell a person, at a mail's first try, that an account must be mended for it to leave."""
    earlier = select(hand_overs.c.id).where(
        hand_overs.c.outbound_id == frame.outbound_id,
        hand_overs.c.account == frame.account,
        hand_overs.c.id != frame.id,
    )
    if tx.row(earlier.limit(1)) is None:
        what = f"waits: the account {frame.account} was refused ({reason})"
        tell(tx, frame.settings, frame.row, what)


def tell(tx: Transaction, settings: FlowSettings, row: AnyRow, what: str) -> None:
    """Tell a person that a mail did not leave; a notice that did not leave tells nobody."""
    if row.purpose == "notice":
        return
    text = (
        f"The mail {row.message_id} ({row.subject!r}) from {row.from_address} {what}.\n\n"
        f"What happened: mailagent trace {row.id}\n"
    )
    people.notify(tx, settings, row.agent_id, f"A mail {what}: {row.subject}", text)


def set_state(tx: Transaction, recipient_id: str, state: RecipientState, reason: str) -> None:
    """Give one recipient a state that needed no far side."""
    tx.execute(RECIPIENT, {"recipient": recipient_id, "state": state, "reason": reason[:500]})


_ATTEMPTS = select(outbound_recipients.c.attempts).where(
    outbound_recipients.c.id == bindparam("recipient")
)


def next_try(
    tx: Transaction, recipient_id: str, retry_at: datetime | None, expires_at: datetime
) -> datetime:
    """When to try a recipient again: as the far side said, else ever later, before it expires."""
    attempts = tx.value(_ATTEMPTS, {"recipient": recipient_id})
    tx.execute(RECIPIENT, {"recipient": recipient_id, "attempts": attempts + 1})
    wait = tx.now + backoff(attempts, base=_FIRST_RETRY)
    # Never past the expiry: that is when a person must hear of it.
    return min(max(wait, retry_at) if retry_at else wait, expires_at)


def _open_hand_over(tx: Transaction, frame: _Frame, recipients: tuple[Recipient, ...]) -> None:
    tx.insert_new(
        hand_overs,
        {
            "id": frame.id,
            "outbound_id": frame.outbound_id,
            "account": frame.account,
            "why_account": frame.why,
            "recipient_ids": [one.id for one in recipients],
            "outcome": "sending",
            "started_at": tx.now,
        },
        unique=["id"],
    )


_HAND_OVER = update(hand_overs).where(hand_overs.c.id == bindparam("hand_over"))


def _end_hand_over(
    tx: Transaction,
    frame: _Frame,
    recipients: tuple[Recipient, ...],
    outcome: str,
    response: str,
    code: str | None = None,
) -> None:
    ended = {
        "hand_over": frame.id,
        "outcome": outcome,
        "response": response[:2_000],
        "code": code,
        "finished_at": tx.now,
    }
    if tx.execute(_HAND_OVER, ended).rowcount == 0:
        # It failed before it came to `sending`.
        _open_hand_over(tx, frame, recipients)
        tx.execute(_HAND_OVER, ended)


def close_hand_overs(tx: Transaction, outbound_id: str) -> None:
    """End what a dead worker had begun."""
    tx.execute(
        update(hand_overs)
        .where(hand_overs.c.outbound_id == outbound_id, hand_overs.c.outcome == "sending")
        .values(outcome="unknown", response="cut off", finished_at=tx.now)
    )


def _outcome_word(said: HandedOver) -> str:
    words = {type(one).__name__.lower() for one in said.values()}
    return words.pop() if len(words) == 1 else "mixed"


def _response(outcome: Sent | Refused | Later | None) -> str:
    match outcome:
        case Sent():
            return outcome.response
        case Refused() | Later():
            return outcome.reason
        case None:
            return ""
