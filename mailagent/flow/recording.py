"""What is written of a hand-over: that it begins, and what the far side said of each recipient?

`commit_sending` is the last that is written before the far side sees content; what comes after it
is an answer, or `unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import bindparam, case, exists, select, update

from mailagent import outbound
from mailagent.errors import LostClaim
from mailagent.flow import after_purge, events, outbox, suppression
from mailagent.flow.ledger import note
from mailagent.flow.outbox import SENDING
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.settling import RECIPIENT, end, next_try, tell
from mailagent.flow.states import RecipientState
from mailagent.flow.threads import anchor
from mailagent.outgoing import HandedOver, Later, Recipient, Refused, Sent
from mailagent.store.tables import hand_overs, outbound_mails, outbound_recipients, suppressions
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, holds

__all__ = [
    "Carried",
    "Frame",
    "PurgedMeanwhile",
    "close_hand_overs",
    "commit_sending",
    "record",
    "record_last",
    "record_purged",
    "record_unknown",
    "take_back",
]


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


class PurgedMeanwhile(Exception):
    """The mail was purged while it was handed over: `record_purged` writes what may be kept."""


@dataclass(frozen=True, slots=True)
class Frame:
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
    warming: str | None
    """The sending domain, where the account is warming up for it."""


_LEAVING = (
    update(outbound_recipients)
    .where(
        outbound_recipients.c.id.in_(bindparam("recipients", expanding=True)),
        outbound_recipients.c.state == RecipientState.QUEUED,
        ~exists().where(
            suppressions.c.workspace_id == outbound_recipients.c.workspace_id,
            suppression.in_force(),
        ),
    )
    .values(
        state=RecipientState.SENDING,
        account=bindparam("by"),
        attempts=outbound_recipients.c.attempts + 1,
    )
)


def commit_sending(
    tx: Transaction, frame: Frame, claim: Claim, recipients: tuple[Recipient, ...]
) -> None:
    holds(tx, SENDING, claim)
    _open_hand_over(tx, frame, recipients)
    asked = suppression.asked(tx, frame.row.from_address, [one.address for one in recipients])
    leaving = {"recipients": [one.id for one in recipients], "by": frame.account, **asked}
    # Cancelled, suppressed or taken since: the far side has seen nothing yet, and must not.
    since = LostClaim(f"send {frame.outbound_id}: a recipient may no longer be sent to")
    tx.expect(_LEAVING, leaving, met=len(recipients), otherwise=since)


_STANDING = (
    select(outbound_mails.c.state, outbound_mails.c.content_removed_by)
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


def take_back(tx: Transaction, frame: Frame, recipients: tuple[Recipient, ...]) -> None:
    """Undo `commit_sending`, which may be done although the database went away in its commit.

    The far side has seen nothing yet, so it is not unknown. Only where this hand-over's own row is
    there: without it, what is `sending` is another worker's.
    """
    # Its COMMIT may still be on the way: it holds the mail's row, so this waits for its end.
    standing = _standing(tx, frame)
    if tx.row(_BEGUN, {"hand_over": frame.id}) is None:
        return
    reason = "the database was away just before the content"
    if standing.content_removed_by == "purge":
        _after_purge(tx, frame, dict.fromkeys(recipients, Later(reason)))
        return
    tx.execute(_TAKING_BACK, {"recipients": [one.id for one in recipients]})
    _end_hand_over(tx, frame, recipients, "later", reason)
    if standing.state != "queued":
        outbox.resettle(tx, frame.outbound_id)
    note(tx, "send", f"{frame.account}: not begun", reason, outbound_id=frame.outbound_id)


def _standing(tx: Transaction, frame: Frame) -> AnyRow:
    """The mail's state, and whether it was purged meanwhile; locks it."""
    row = tx.row(_STANDING, {"outbound": frame.outbound_id})
    assert row is not None
    return row


def record(
    tx: Transaction, frame: Frame, recipients: tuple[Recipient, ...], said: HandedOver
) -> Carried:
    """Write the far side's answers. By hand-over id, without a fence: a late answer is evidence.

    Raises PurgedMeanwhile, which undoes what was written.
    """
    # Locks the mail before its recipients, as everybody does; its answer is waited for further on.
    tx.foresee(_STANDING, {"outbound": frame.outbound_id})
    outcomes = {one.id: said.get(one) for one in recipients}
    words, onward = [], []
    for one in recipients:
        outcome = outcomes[one.id]
        word, open_ = _record_one(tx, frame, one, outcome)
        words.append(f"{one.address}: {word}")
        if open_ and frame.next:
            onward.append(one)
    outbox.foresee_settling(tx, frame.outbound_id)
    standing = _standing(tx, frame)
    if standing.content_removed_by == "purge":
        raise PurgedMeanwhile
    if standing.state != "queued":
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


def record_purged(tx: Transaction, frame: Frame, said: HandedOver) -> Carried:
    """What may be written of the far side's answers where `record` raises PurgedMeanwhile."""
    _standing(tx, frame)
    return _after_purge(tx, frame, said)


def _after_purge(tx: Transaction, frame: Frame, said: HandedOver) -> Carried:
    word = _outcome_word(said) if said else "unknown"
    ids = after_purge.keep_outcomes(tx, frame.outbound_id, frame.id, frame.account, said, word)
    if ids:
        events.catch_up(tx, frame.outbound_id, ids)
    return Carried()


def record_last(
    tx: Transaction,
    frame: Frame,
    recipients: tuple[Recipient, ...],
    said: HandedOver,
    services: Services,
    claim: Claim,
) -> Carried:
    """`record`, and the claim given back in the same commit, unless somebody goes on to the next
    account. Raises LostClaim besides, and has written nothing then.
    """
    carried = record(tx, frame, recipients, said)
    if carried.onward:
        return carried
    end(tx, services, claim)
    return replace(carried, ended=True)


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
    warming=bindparam("for_domain"),
)


def _record_one(
    tx: Transaction, frame: Frame, recipient: Recipient, outcome: Sent | Refused | Later | None
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
                "for_domain": frame.warming,
            }
            tx.execute(_TAKEN, {"recipient": recipient.id, **taken})
            ids = [*outcome.message_ids, *([outcome.provider_id] if outcome.provider_id else [])]
            if frame.row.agent_id and frame.row.thread_id:
                # Its own Message-ID has named the thread since it was frozen.
                others = [one for one in ids if one != frame.row.message_id]
                anchor(tx, frame.row.agent_id, frame.row.thread_id, others)
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
            if outcome.suppressed:
                _suppress_as_they_do(tx, frame, recipient, outcome.reason)
        case None:
            values = {
                "state": RecipientState.UNKNOWN,
                "reason": "the provider said nothing of this recipient",
            }
    written = tx.execute(_UNANSWERED, {"recipient": recipient.id, **values}).rowcount == 1
    return str(values["state"]), written and values["state"] == RecipientState.QUEUED


def _suppress_as_they_do(tx: Transaction, frame: Frame, recipient: Recipient, why: str) -> None:
    """The provider writes to the address no more: nor do we, by any account."""
    if suppression.suppress(tx, recipient.address, "at_provider", "auto", why):
        what = f"nothing is sent to {recipient.address}"
        note(tx, "suppression", what, f"suppressed at {frame.account}: {why}",
             outbound_id=frame.outbound_id)  # fmt: skip


def record_unknown(
    tx: Transaction, frame: Frame, recipients: tuple[Recipient, ...], reason: str
) -> None:
    if _standing(tx, frame).content_removed_by == "purge":
        _after_purge(tx, frame, {})
        return
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


def _tell_of_account(tx: Transaction, frame: Frame, reason: str) -> None:
    """Tell a person, at a mail's first try, that an account must be mended for it to leave."""
    earlier = select(hand_overs.c.id).where(
        hand_overs.c.outbound_id == frame.outbound_id,
        hand_overs.c.account == frame.account,
        hand_overs.c.id != frame.id,
    )
    if tx.row(earlier.limit(1)) is None:
        what = f"waits: the account {frame.account} was refused ({reason})"
        tell(tx, frame.settings, frame.row, what)


def _open_hand_over(tx: Transaction, frame: Frame, recipients: tuple[Recipient, ...]) -> None:
    row = _hand_over(tx, frame, recipients) | {"outcome": "sending"}
    tx.insert_unless_there(hand_overs, row, unique=["id"])


def _hand_over(
    tx: Transaction, frame: Frame, recipients: tuple[Recipient, ...]
) -> dict[str, object]:
    return {
        "id": frame.id,
        "outbound_id": frame.outbound_id,
        "account": frame.account,
        "why_account": frame.why,
        "recipient_ids": [one.id for one in recipients],
        "started_at": tx.now,
    }


def _end_hand_over(
    tx: Transaction,
    frame: Frame,
    recipients: tuple[Recipient, ...],
    outcome: str,
    response: str,
    code: str | None = None,
) -> None:
    begun = _hand_over(tx, frame, recipients)
    ended = {
        "outcome": outcome,
        "response": response[:2_000],
        "code": code,
        "finished_at": tx.now,
    }
    # Its row is not there where it failed before it came to `sending`.
    tx.insert_or_update(hand_overs, begun | ended, unique=["id"], keep=list(begun))


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
