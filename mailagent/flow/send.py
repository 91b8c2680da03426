"""Step 7: does the mail leave, once?

For every hand-over: choose the account, write down that it begins, and commit `sending` just before
the first byte that can commit the far side. What happens after that commit is answered by the far
side, or it is `unknown` and no machine sends it again. Only whom an account has definitely not
taken, and not for the mail's or the recipient's own fault, goes on to the next account: a recipient
is never in the hands of two. Suppression is checked here, last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import bindparam, select

from mailagent import outbound
from mailagent.errors import LostClaim
from mailagent.flow import outbox, quotas, sender_domains, separation, suppression
from mailagent.flow.hand_over import Due, HandOver, state_of
from mailagent.flow.ledger import note
from mailagent.flow.outbox import SENDING
from mailagent.flow.recording import close_hand_overs
from mailagent.flow.services import Services
from mailagent.flow.settling import RECIPIENT, end, next_try, set_state, tell
from mailagent.flow.standing import foresee_stopped, stopped_recipients
from mailagent.flow.states import RecipientState
from mailagent.outgoing import Recipient
from mailagent.store.tables import outbound_mails, turns
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, holds

__all__ = ["domains_here", "give_up", "send"]

_ASK_OF_DOMAIN_AGAIN = timedelta(hours=1)


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
        await store.write(workspace_id, end, services, claim)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """Not reached: a send has no limit of starts and ends by `expired`. The lease runs out."""
    raise LostClaim(f"send {claim.id}: {reason}")


def _begin(tx: Transaction, services: Services, claim: Claim) -> Due | None:
    """Settle what needs no far side: dead claims, expiry, the From check, suppression."""
    row, outgoing, rows = outbox.load(tx, claim.id)
    holds(tx, SENDING, claim)
    for one in rows:
        if one.state == RecipientState.SENDING:
            # Its worker died between the commit of `sending` and the answer: nobody knows.
            set_state(
                tx, one.id, RecipientState.UNKNOWN, "the process stopped during the hand-over"
            )
            close_hand_overs(tx, claim.id)
            note(tx, "send", f"{one.address}: unknown", "a hand-over was cut off; never repeated",
                 outbound_id=claim.id)  # fmt: skip
    queued = [one for one in rows if one.state == RecipientState.QUEUED]
    if row.expires_at <= tx.now:
        _expire(tx, services, row, queued)
        queued = []
    suppression.foresee(tx, outgoing.from_.address, [one.address for one in queued])
    foresee_stopped(tx, outgoing.from_.address, [one.address for one in queued])
    own = separation.own(tx, row, outgoing)
    default_domain = services.settings.default_domain
    asked = [
        Recipient(
            one.id, one.address, separation.return_path(services.secrets, default_domain, one.id)
        )
        for one in queued
    ]
    refused = separation.refusal(
        own,
        outgoing,
        asked,
        purpose=row.purpose,
        secrets=services.secrets,
        default_domain=default_domain,
    )
    if queued and refused is not None:
        for one in queued:
            set_state(tx, one.id, RecipientState.REFUSED, refused)
        note(tx, "send", "refused", f"from {outgoing.from_.address}: {refused}",
             outbound_id=claim.id, delivery_id=row.answers_delivery_id)  # fmt: skip
        queued, asked = [], []
    if queued and own.sending not in (None, "may"):
        _wait_for_domain(tx, row, queued, outgoing.from_.domain, own.sending)
        queued, asked = [], []
    to = [one.address for one in queued]
    from_ = outgoing.from_.address
    stopped = suppression.stopped(tx, from_, to)
    suppressed = {**stopped_recipients(tx, from_, to), **stopped}
    due: list[Recipient] = []
    for one, recipient in zip(queued, asked, strict=True):
        if reason := suppressed.get(one.address.lower()):
            set_state(tx, one.id, RecipientState.SUPPRESSED, reason)
            note(tx, "send", f"{one.address}: suppressed", reason, outbound_id=claim.id)
        elif one.not_before <= tx.now:
            due.append(recipient)
    if stopped and row.purpose == "reply":
        _tell_unanswered(tx, services, row, stopped)
    if not due:
        end(tx, services, claim)
        return None
    return Due(row, outgoing, tuple(due), _only(own), own.domain_region)


_WRITER = select(turns.c.sender).where(turns.c.id == bindparam("turn"))
_UNANSWERED = (
    select(outbound_mails.c.id)
    .join(turns, turns.c.id == outbound_mails.c.turn_id)
    .where(
        turns.c.sender == bindparam("writer"),
        turns.c.started_at >= bindparam("since"),
        outbound_mails.c.purpose == "reply",
        outbound_mails.c.state == RecipientState.SUPPRESSED,
    )
    .limit(1)
)


def _tell_unanswered(
    tx: Transaction, services: Services, row: AnyRow, stopped: Mapping[str, str]
) -> None:
    """Tell a person, once a day for each writer, that an answer is waited for in vain."""
    writer = tx.value(_WRITER, {"turn": row.turn_id})
    if tx.value(_UNANSWERED, {"writer": writer, "since": tx.now - timedelta(days=1)}) is not None:
        return
    for address, why in stopped.items():
        mend = f"Why: {why}\nTo write to them again: {suppression.removing(address)}\n"
        tell(tx, services.settings, row, f"is not sent: {address} is suppressed", mend=mend)


def _ways(services: Services, due: Due) -> list[_Way]:
    """Group recipients by the accounts that may carry the mail to them."""
    by_choice: dict[outbound.Choice, list[Recipient]] = {}
    for recipient in due.recipients:
        choice = outbound.choose(
            due.outgoing,
            recipient,
            accounts=services.account_states,
            local_domains=domains_here(services, due.row.purpose),
            now=services.store.now(),
            default_domain=services.settings.default_domain,
            only=due.only,
            region=due.region,
        )
        by_choice.setdefault(choice, []).append(recipient)
    return [_Way(choice, tuple(recipients)) for choice, recipients in by_choice.items()]


def domains_here(services: Services, purpose: str) -> Collection[str]:
    """Domains whose mail needs no account. A trial is to go out and come back, where it can."""
    if purpose == "trial" and services.account_states:
        return ()
    return services.directory.served_domains


class _Walk:
    """Some recipients of a mail on their way from account to account."""

    def __init__(self, services: Services, claim: Claim, due: Due, way: _Way) -> None:
        self._services, self._claim, self._due, self._way = services, claim, due, way

    async def go(self, *, last: bool) -> bool:
        """Hand over to one account after the other until none of them is left without an answer.

        Says whether the claim was given back too: with the `last` way's last answer.
        """
        ended, again_at = False, self._way.choice.again_at
        left, why = self._way.recipients, self._way.choice.waits_for
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
                hand_over = HandOver(
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
        """When to come back, and why, where a quota of the account, or a warm-up, has no room."""
        state = state_of(self._services, name)
        if state is None:
            return None
        domain = self._due.outgoing.from_.domain
        warm_up = state.warming(domain, self._services.settings.default_domain)
        if not state.quotas and warm_up is None:
            return None
        return await self._services.store.write_unscoped(
            quotas.take,
            name,
            state.quotas,
            len(recipients),
            warming=warm_up.domain if warm_up is not None else None,
        )


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
    again = min(at, expires_at) if at else next_try(tx, recipient.id, None, expires_at)
    tx.execute(RECIPIENT, {"recipient": recipient.id, "not_before": again, "reason": reason[:500]})
    note(tx, "send", f"{recipient.address}: waits", reason, outbound_id=claim.id)


def _wait_for_domain(
    tx: Transaction, row: AnyRow, queued: Sequence[AnyRow], domain: str, sending: str
) -> None:
    """Put recipients off until the domain of From may send; whoever verifies it makes them due."""
    reason = sender_domains.why_it_waits(domain, sending)
    for one in queued:
        again = min(tx.now + _ASK_OF_DOMAIN_AGAIN, row.expires_at)
        tx.execute(RECIPIENT, {"recipient": one.id, "not_before": again, "reason": reason})
    if any(one.reason != reason for one in queued):
        note(tx, "send", "waits", reason, outbound_id=row.id)


def _expire(tx: Transaction, services: Services, row: AnyRow, queued: Sequence[AnyRow]) -> None:
    for one in queued:
        set_state(tx, one.id, RecipientState.EXPIRED, f"not taken by anybody in time: {one.reason}")
    if queued:
        note(tx, "send", "expired", queued[0].reason, outbound_id=row.id)
        tell(tx, services.settings, row, "expired")


def _only(own: AnyRow) -> Sequence[str] | None:
    """The accounts that an operator chose for this mailbox, else for this domain; else those that
    carry the domain: no other account's mail would be proven to be its own.
    """
    chosen = own.of_agent or own.of_domain or (own.domain_settings or {}).get("carried_by")
    return tuple(chosen) if chosen else None
