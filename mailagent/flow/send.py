"""Step 7: does the mail leave, once?

For every hand-over: choose the account, write down that it begins, and commit `sending` just before
the first byte that can commit the far side. What happens after that commit is answered by the far
side, or it is `unknown` and no machine sends it again. Only whom an account has definitely not
taken, and not for the mail's or the recipient's own fault, goes on to the next account: a recipient
is never in the hands of two. Suppression is checked here, last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
from mailagent.flow import accounts, events, outbox, people, quotas, suppression
from mailagent.flow.accounts import Trouble
from mailagent.flow.ledger import note
from mailagent.flow.outbox import SENDING
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.states import RecipientState
from mailagent.flow.threads import anchor
from mailagent.outgoing import HandedOver, Later, Outgoing, Recipient, Refused, Sent
from mailagent.store.tables import (
    addresses,
    agents,
    domains,
    hand_overs,
    outbound_mails,
    outbound_recipients,
    suppressions,
    workspaces,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, backoff, finish, holds

__all__ = ["give_up", "send"]

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

_FIRST_RETRY = timedelta(seconds=30)
_RECORD_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _Due:
    """One claimed mail, with the recipients that may be tried now."""

    row: AnyRow
    outgoing: Outgoing
    recipients: tuple[Recipient, ...]
    only: Sequence[str] | None
    """The accounts that carry this mailbox's, or this domain's, mail; None for all."""


@dataclass(frozen=True, slots=True)
class _Way:
    """The accounts that may carry the mail to these recipients, in order; none, and they wait."""

    choice: outbound.Choice
    recipients: tuple[Recipient, ...]

    @property
    def passed_over(self) -> str:
        return "; ".join(f"{one.account} {one.reason}" for one in self.choice.skipped)


async def send(services: Services, claim: Claim) -> None:
    """Hand over every due recipient of one claimed mail, then give the claim back."""
    store, workspace_id = services.store, claim.workspace_id
    due = await store.write(workspace_id, _begin, services, claim)
    if due is None:
        return
    structlog.contextvars.bind_contextvars(mail_id=due.row.answers_delivery_id or claim.id)
    ended = False
    ways = _ways(services, due)
    for number, way in enumerate(ways, start=1):
        ended = await _Walk(services, claim, due, way).go(last=number == len(ways))
    if not ended:
        await store.write(workspace_id, _end, services, claim)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """Not reached: a send has no limit of starts and ends by `expired`. The lease runs out."""
    raise LostClaim(f"send {claim.id}: {reason}")


def _begin(tx: Transaction, services: Services, claim: Claim) -> _Due | None:
    """Settle what needs no far side: dead claims, expiry, the From check, suppression."""
    row, outgoing, rows = outbox.load(tx, claim.id)
    holds(tx, SENDING, claim)
    for one in rows:
        if one.state == RecipientState.SENDING:
            # Its worker died between the commit of `sending` and the answer: nobody knows.
            _set(tx, one.id, RecipientState.UNKNOWN, "the process stopped during the hand-over")
            _close_hand_overs(tx, claim.id)
            note(tx, "send", f"{one.address}: unknown", "a hand-over was cut off; never repeated",
                 outbound_id=claim.id)  # fmt: skip
    queued = [one for one in rows if one.state == RecipientState.QUEUED]
    if row.expires_at <= tx.now:
        _expire(tx, services, row, queued)
        queued = []
    own = _own(tx, row, outgoing)
    if queued and not _may_send_as(own, services, outgoing.from_.address):
        for one in queued:
            _set(tx, one.id, RecipientState.REFUSED, "From is no address of this workspace")
        note(tx, "send", "refused", f"{outgoing.from_.address} is no address of this workspace",
             outbound_id=claim.id)  # fmt: skip
        queued = []
    suppressed = _suppressed(tx, [one.address for one in queued])
    due: list[Recipient] = []
    for one in queued:
        if reason := suppressed.get(one.address.lower()):
            _set(tx, one.id, RecipientState.SUPPRESSED, reason)
            note(tx, "send", f"{one.address}: suppressed", reason, outbound_id=claim.id)
        elif one.not_before <= tx.now:
            token = services.secrets.verp_token(one.id)
            path = f"b.{token}@return.{services.settings.default_domain}"
            due.append(Recipient(one.id, one.address, path))
    if not due:
        _end(tx, services, claim)
        return None
    return _Due(row, outgoing, tuple(due), _only(own, outgoing))


def _ways(services: Services, due: _Due) -> list[_Way]:
    """Group recipients by the accounts that may carry the mail to them."""
    by_choice: dict[outbound.Choice, list[Recipient]] = {}
    for recipient in due.recipients:
        choice = outbound.choose(
            due.outgoing,
            recipient,
            accounts=services.account_states,
            local_domains=services.directory.served_domains,
            now=services.store.now(),
            default_domain=services.settings.default_domain,
            only=due.only,
        )
        by_choice.setdefault(choice, []).append(recipient)
    return [_Way(choice, tuple(recipients)) for choice, recipients in by_choice.items()]


class _Walk:
    """Some recipients of a mail on their way from account to account."""

    def __init__(self, services: Services, claim: Claim, due: _Due, way: _Way) -> None:
        self._services, self._claim, self._due, self._way = services, claim, due, way

    async def go(self, *, last: bool) -> bool:
        """Hand over to one account after the other until none of them is left without an answer.

        Says whether the claim was given back too: with the `last` way's last answer.
        """
        ended, again_at = False, self._way.choice.again_at
        left, why = self._way.recipients, f"no account may carry it: {self._way.passed_over}"
        first = f"first that may carry it ({self._way.passed_over or 'none passed over'})"
        names = self._way.choice.accounts
        for place, name in enumerate(names):
            account = self._services.accounts[name]
            onward: list[Recipient] = []
            size = account.recipients_at_once
            batches = [left[at : at + size] for at in range(0, len(left), size)]
            for number, batch in enumerate(batches, start=1):
                if (spent := await self._spent(name, batch)) is not None:
                    again_at, why = min(again_at or spent[0], spent[0]), spent[1]
                    onward += batch
                    continue
                hand_over = _HandOver(
                    self._services,
                    self._claim,
                    self._due,
                    name,
                    why if place else first,
                    next_=names[place + 1] if place + 1 < len(names) else None,
                    alone=len(names) == 1,
                )
                done = await hand_over.carry(
                    batch, last=last and number == len(batches) and not onward
                )
                ended = done.ended
                onward += done.onward
                if done.onward or done.ails:
                    why = f"after {name}: {done.reason}"
                if done.ails and place + 1 < len(names):
                    # It has seen nothing of the others, and would fail them too.
                    onward += left[number * size :]
                    break
            left = tuple(onward)
            if not left:
                return ended
        for recipient in left:
            await self._services.store.write(
                self._claim.workspace_id,
                _wait,
                self._claim,
                self._due.row.expires_at,
                recipient,
                why,
                again_at,
            )
        return False

    async def _spent(
        self, name: str, recipients: tuple[Recipient, ...]
    ) -> tuple[datetime, str] | None:
        """When to come back, and why, where a quota of the account leaves no room."""
        state = _state(self._services, name)
        if state is None or not state.quotas:
            return None
        full = await self._services.store.write_unscoped(
            quotas.take, name, state.quotas, len(recipients)
        )
        if full is None:
            return None
        until, quota = full
        return until, f"the quota of {name} is used up: {quota.most} in a {quota.period}"


def _state(services: Services, name: str) -> outbound.AccountState | None:
    return next((one for one in services.account_states if one.name == name), None)


@dataclass(frozen=True, slots=True)
class _Carried:
    """What one hand-over has left to do."""

    onward: tuple[Recipient, ...] = ()
    """They were definitely not taken, and the next account may be asked."""
    reason: str = ""
    ails: bool = False
    """The account failed, whomever the mail is to."""
    ended: bool = False
    """The claim was given back."""


class _HandOver:
    """One attempt to give some recipients of a mail to one account."""

    def __init__(
        self,
        services: Services,
        claim: Claim,
        due: _Due,
        account: str,
        why: str,
        *,
        next_: str | None,
        alone: bool,
    ) -> None:
        self._services, self._claim, self._due = services, claim, due
        self._account, self._why, self._next, self._alone = account, why, next_, alone
        self._state = _state(services, account)
        self._id = new_id("hov")
        self._committed: tuple[Recipient, ...] = ()

    async def carry(self, recipients: tuple[Recipient, ...], *, last: bool) -> _Carried:
        """Call the provider between two commits and record what it said of each recipient.

        After the `last` one the claim is given back too, when all were answered.
        """
        said, trouble = await self._said(recipients)
        if said is None:
            assert trouble is not None
            unknown = self._committed or recipients
            await self._write_surely(_record_unknown, unknown, trouble.reason)
            carried = _Carried(reason=trouble.reason)
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
) -> _Carried:
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
    return _Carried(tuple(onward), response)


def _record_last(
    tx: Transaction,
    frame: _Frame,
    recipients: tuple[Recipient, ...],
    said: HandedOver,
    services: Services,
    claim: Claim,
) -> _Carried:
    """`_record`, and the claim given back in the same commit, unless it is ours no more or somebody
    goes on to the next account.
    """
    carried = _record(tx, frame, recipients, said)
    if carried.onward:
        return carried
    try:
        _end(tx, services, claim)
    except LostClaim:
        return carried  # nothing of `_end` was written, and the far side's answers stand
    return replace(carried, ended=True)


_RECIPIENT = update(outbound_recipients).where(outbound_recipients.c.id == bindparam("recipient"))
_IS_UNANSWERED = outbound_recipients.c.state.in_(
    [RecipientState.QUEUED, RecipientState.SENDING, RecipientState.UNKNOWN]
)
_UNANSWERED = _RECIPIENT.where(_IS_UNANSWERED)
_TAKEN = _RECIPIENT.values(
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
                values["not_before"] = _again(tx, recipient.id, retry_at, frame.row.expires_at)
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


def _end(tx: Transaction, services: Services, claim: Claim) -> None:
    settled = outbox.settle(tx, claim.id)
    finish(tx, SENDING, claim, **settled)
    if settled["state"] in (RecipientState.REFUSED, RecipientState.UNKNOWN):
        row = tx.row(select(outbound_mails).where(outbound_mails.c.id == claim.id))
        assert row is not None
        _tell(tx, services.settings, row, f"is {settled['state']}")


def _wait(
    tx: Transaction,
    claim: Claim,
    expires_at: datetime,
    recipient: Recipient,
    reason: str,
    at: datetime | None,
) -> None:
    """Put a recipient off: until `at`, where that is known, else ever longer."""
    holds(tx, SENDING, claim)
    again = min(at, expires_at) if at else _again(tx, recipient.id, None, expires_at)
    tx.execute(_RECIPIENT, {"recipient": recipient.id, "not_before": again, "reason": reason[:500]})
    note(tx, "send", f"{recipient.address}: waits", reason, outbound_id=claim.id)


def _tell_of_account(tx: Transaction, frame: _Frame, reason: str) -> None:
    """Tell a person, at a mail's first try, that an account must be mended for it to leave."""
    earlier = select(hand_overs.c.id).where(
        hand_overs.c.outbound_id == frame.outbound_id,
        hand_overs.c.account == frame.account,
        hand_overs.c.id != frame.id,
    )
    if tx.row(earlier.limit(1)) is None:
        what = f"waits: the account {frame.account} was refused ({reason})"
        _tell(tx, frame.settings, frame.row, what)


def _tell(tx: Transaction, settings: FlowSettings, row: AnyRow, what: str) -> None:
    """Tell a person that a mail did not leave; a notice that did not leave tells nobody."""
    if row.purpose == "notice":
        return
    text = (
        f"The mail {row.message_id} ({row.subject!r}) from {row.from_address} {what}.\n\n"
        f"What happened: mailagent trace {row.id}\n"
    )
    people.notify(tx, settings, row.agent_id, f"A mail {what}: {row.subject}", text)


def _expire(tx: Transaction, services: Services, row: AnyRow, queued: Sequence[AnyRow]) -> None:
    for one in queued:
        _set(tx, one.id, RecipientState.EXPIRED, f"not taken by anybody in time: {one.reason}")
    if queued:
        note(tx, "send", "expired", queued[0].reason, outbound_id=row.id)
        _tell(tx, services.settings, row, "expired")


_OWN = select(
    workspaces.c.slug,
    workspaces.c.settings,
    select(agents.c.settings)
    .where(agents.c.workspace_id == workspaces.c.id, agents.c.id == bindparam("agent"))
    .scalar_subquery()
    .label("agent_settings"),
    exists()
    .where(
        addresses.c.workspace_id == workspaces.c.id,
        addresses.c.local_part == bindparam("local"),
        addresses.c.domain == bindparam("domain"),
    )
    .label("address"),
    exists()
    .where(
        domains.c.workspace_id == workspaces.c.id,
        domains.c.name == bindparam("domain"),
        domains.c.verified_at.is_not(None),
    )
    .label("domain"),
).where(workspaces.c.id == bindparam("workspace"))


def _own(tx: Transaction, row: AnyRow, outgoing: Outgoing) -> AnyRow:
    """What is this workspace's own of a mail's From, and what is set for it."""
    local, _, domain = outgoing.from_.address.lower().rpartition("@")
    asked = {"workspace": tx.workspace_id, "local": local, "domain": domain, "agent": row.agent_id}
    own = tx.row(_OWN, asked)
    assert own is not None
    return own


def _may_send_as(own: AnyRow, services: Services, address: str) -> bool:
    """Tenants are kept apart here: From must be this workspace's own, at the moment of sending."""
    local, _, domain = address.lower().rpartition("@")
    if domain == f"{own.slug}.{services.settings.default_domain}":
        return local == "postmaster" or bool(own.address)
    return bool(own.address and own.domain)


def _only(own: AnyRow, outgoing: Outgoing) -> Sequence[str] | None:
    """The accounts that an operator chose for this mailbox, else for this domain."""
    chosen = (own.agent_settings or {}).get("send_by")
    chosen = chosen or own.settings.get("send_by", {}).get(outgoing.from_.domain)
    return tuple(chosen) if chosen else None


_STOPPED = select(suppressions.c.address, suppressions.c.reason, suppressions.c.detail).where(
    suppressions.c.address.in_(bindparam("to", expanding=True)),
    or_(suppressions.c.expires_at.is_(None), suppressions.c.expires_at > bindparam("now")),
)


def _suppressed(tx: Transaction, to: Sequence[str]) -> Mapping[str, str]:
    assert tx.workspace_id is not None
    forms = suppression.forms(tx.workspace_id, to)
    rows = tx.rows(_STOPPED, {"to": list(forms), "now": tx.now})
    return {forms[row.address]: f"{row.reason}: {row.detail}" for row in rows}


def _set(tx: Transaction, recipient_id: str, state: RecipientState, reason: str) -> None:
    tx.execute(_RECIPIENT, {"recipient": recipient_id, "state": state, "reason": reason[:500]})


_ATTEMPTS = select(outbound_recipients.c.attempts).where(
    outbound_recipients.c.id == bindparam("recipient")
)


def _again(
    tx: Transaction, recipient_id: str, retry_at: datetime | None, expires_at: datetime
) -> datetime:
    attempts = tx.value(_ATTEMPTS, {"recipient": recipient_id})
    tx.execute(_RECIPIENT, {"recipient": recipient_id, "attempts": attempts + 1})
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


def _close_hand_overs(tx: Transaction, outbound_id: str) -> None:
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
