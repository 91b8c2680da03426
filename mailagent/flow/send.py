"""Step 7: does the mail leave, once?

For every hand-over: choose the account, write down that it begins, and commit `sending` just before
the first byte that can commit the far side. What happens after that commit is answered by the far
side, or it is `unknown` and no machine sends it again. Only whom an account has definitely not
taken, and not for the mail's or the recipient's own fault, goes on to the next account: a recipient
is never in the hands of two. Suppression is checked here, last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import bindparam, exists, or_, select

from mailagent import outbound
from mailagent.errors import (
    LostClaim,
)
from mailagent.flow import outbox, quotas, sender_domains, suppression
from mailagent.flow.hand_over import (
    RECIPIENT,
    Due,
    HandOver,
    close_hand_overs,
    end,
    next_try,
    set_state,
    state_of,
    tell,
)
from mailagent.flow.ledger import note
from mailagent.flow.outbox import SENDING
from mailagent.flow.services import Services
from mailagent.flow.states import RecipientState
from mailagent.outgoing import Outgoing, Recipient
from mailagent.store.tables import (
    addresses,
    agents,
    suppressions,
    workspaces,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim, holds

__all__ = ["give_up", "send"]

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
    own = _own(tx, row, outgoing)
    if queued and not _may_send_as(own, services, row):
        for one in queued:
            set_state(tx, one.id, RecipientState.REFUSED, "From is no address of this workspace")
        note(tx, "send", "refused", f"{outgoing.from_.address} is no address of this workspace",
             outbound_id=claim.id)  # fmt: skip
        queued = []
    if queued and own.sending not in (None, "may"):
        _wait_for_domain(tx, row, queued, outgoing.from_.domain, own.sending)
        queued = []
    suppressed = _suppressed(tx, [one.address for one in queued])
    due: list[Recipient] = []
    for one in queued:
        if reason := suppressed.get(one.address.lower()):
            set_state(tx, one.id, RecipientState.SUPPRESSED, reason)
            note(tx, "send", f"{one.address}: suppressed", reason, outbound_id=claim.id)
        elif one.not_before <= tx.now:
            token = services.secrets.verp_token(one.id)
            path = f"b.{token}@return.{services.settings.default_domain}"
            due.append(Recipient(one.id, one.address, path))
    if not due:
        end(tx, services, claim)
        return None
    return Due(row, outgoing, tuple(due), _only(own, outgoing))


def _ways(services: Services, due: Due) -> list[_Way]:
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

    def __init__(self, services: Services, claim: Claim, due: Due, way: _Way) -> None:
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
        """When to come back, and why, where a quota of the account leaves no room."""
        state = state_of(self._services, name)
        if state is None or not state.quotas:
            return None
        full = await self._services.store.write_unscoped(
            quotas.take, name, state.quotas, len(recipients)
        )
        if full is None:
            return None
        until, quota = full
        return until, f"the quota of {name} is used up: {quota.most} in a {quota.period}"


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
    sender_domains.sending(workspaces.c.id, bindparam("domain")).label("sending"),
    sender_domains.choices(workspaces.c.id, bindparam("domain")).label("domain_settings"),
).where(workspaces.c.id == bindparam("workspace"))


def _own(tx: Transaction, row: AnyRow, outgoing: Outgoing) -> AnyRow:
    """What is this workspace's own of a mail's From, and what is set for it."""
    local, _, domain = outgoing.from_.address.lower().rpartition("@")
    asked = {"workspace": tx.workspace_id, "local": local, "domain": domain, "agent": row.agent_id}
    own = tx.row(_OWN, asked)
    assert own is not None
    return own


def _may_send_as(own: AnyRow, services: Services, row: AnyRow) -> bool:
    """Tenants are kept apart here: From must be this workspace's own, at the moment of sending."""
    local, _, domain = row.from_address.lower().rpartition("@")
    default = services.settings.default_domain
    if domain == default:
        return local == "postmaster" and str(row.purpose) == "notice"
    if domain == f"{own.slug}.{default}":
        return local == "postmaster" or bool(own.address)
    return bool(own.address) and own.sending is not None


def _only(own: AnyRow, outgoing: Outgoing) -> Sequence[str] | None:
    """The accounts that an operator chose for this mailbox, else for this domain; else those that
    carry the domain: no other account's mail would be proven to be its own.
    """
    chosen = (own.agent_settings or {}).get("send_by")
    chosen = chosen or own.settings.get("send_by", {}).get(outgoing.from_.domain)
    chosen = chosen or (own.domain_settings or {}).get("carried_by")
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
