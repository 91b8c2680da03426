"""Does sending work? One mail, the account that carries it, and what became of it in a moment.

To an address of ours it leaves by an account like any other and comes back through a door, so that
SPF, DKIM and DMARC of it can be shown as a receiver sees them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from backend.outbound import arrival
from backend.outbound.arrival import Arrival
from backend.outbound.listing import OutboundMail, get
from backend.outbound.writing import trial_mail
from mailagent import outbound
from mailagent.errors import NotFound
from mailagent.flow.directory import Place
from mailagent.flow.send import domains_here
from mailagent.flow.services import Services
from mailagent.flow.states import RecipientState
from mailagent.outgoing import Recipient
from mailagent.store.transaction import Transaction

__all__ = ["Trial", "follow", "look", "queue", "send"]

_LOOK_EVERY = timedelta(milliseconds=50)
_TAKEN = frozenset({RecipientState.SENT, RecipientState.DELIVERED, RecipientState.DELAYED})
_ON_ITS_WAY = frozenset({RecipientState.QUEUED, RecipientState.SENDING})


@dataclass(frozen=True, slots=True)
class Trial:
    """A test mail and its outcome so far."""

    id: str
    message_id: str
    from_address: str
    to: str
    account: str | None
    """Who carried or will carry it; None while no account may, and `reason` says why."""
    state: str
    reason: str
    captured: bool
    """Kept and shown, never sent: no provider account is set."""
    ours: bool = False
    """It is to an address of ours."""
    arrival: Arrival | None = None
    """How it came back, once it has."""


async def send(
    services: Services,
    workspace_id: str,
    *,
    to: str,
    subject: str,
    body: str,
    author: str,
    patience: timedelta = timedelta(seconds=5),
    everywhere: bool = False,
) -> Trial:
    """Queue a test mail and wait as `follow` does. Raises Malformed."""
    queued = await services.store.write(
        workspace_id, queue, services, to=to, subject=subject, body=body, author=author
    )
    return await follow(services, workspace_id, queued.id, patience=patience, everywhere=everywhere)


def queue(
    tx: Transaction, services: Services, *, to: str, subject: str, body: str, author: str
) -> Trial:
    """Queue a test mail. Raises Malformed."""
    queued = trial_mail(tx, services, to=to, subject=subject, body=body, author=author)
    return _trial(services, get(tx, queued.id))


async def follow(
    services: Services,
    workspace_id: str,
    outbound_id: str,
    *,
    patience: timedelta = timedelta(seconds=5),
    everywhere: bool = False,
) -> Trial:
    """Wait for the outcome of a test mail that is queued, and for its arrival where it is to one of
    our addresses: `patience` at most. `everywhere` as for `look`.
    """
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    while True:
        mail, trial = await _now(services, workspace_id, outbound_id, everywhere=everywhere)
        if not _waits(mail, trial) or asyncio.get_running_loop().time() >= deadline:
            return trial
        await asyncio.sleep(_LOOK_EVERY.total_seconds())


async def look(
    services: Services, workspace_id: str, outbound_id: str, *, everywhere: bool = False
) -> Trial:
    """What is known of a test mail now. Raises NotFound.

    What is another workspace's inbox is looked into (`everywhere`) for the operator alone.
    """
    _, trial = await _now(services, workspace_id, outbound_id, everywhere=everywhere)
    return trial


async def _now(
    services: Services, workspace_id: str, outbound_id: str, *, everywhere: bool
) -> tuple[OutboundMail, Trial]:
    mail = await services.store.read(workspace_id, get, outbound_id)
    if len(mail.summary.recipients) != 1:
        raise NotFound(f"{outbound_id} is no test mail: it has several recipients")
    trial = _trial(services, mail)
    place = services.directory.locate(trial.to)
    if not isinstance(place, Place) or place.workspace_id is None:
        return mail, trial
    if place.workspace_id != workspace_id and not everywhere:
        return mail, trial
    arrived = await services.store.read(place.workspace_id, arrival.find, mail)
    return mail, replace(trial, ours=True, arrival=arrived)


def _waits(mail: OutboundMail, trial: Trial) -> bool:
    (recipient,) = mail.summary.recipients
    if recipient.state in _ON_ITS_WAY:
        # Who was told "later" has a reason already: more patience brings nothing.
        return not recipient.reason
    taken = recipient.state in _TAKEN and not trial.captured
    return trial.ours and trial.arrival is None and taken


def _trial(services: Services, mail: OutboundMail) -> Trial:
    recipient = mail.summary.recipients[0]
    account, why = recipient.account, recipient.reason
    if account is None:
        account, skipped = _chosen(services, mail, recipient.id)
        why = why or skipped
    return Trial(
        id=mail.summary.id,
        message_id=mail.summary.message_id,
        from_address=mail.summary.from_address,
        to=recipient.address,
        account=account,
        state=recipient.state,
        reason=why,
        captured=account is not None and account == outbound.CAPTURE,
    )


def _chosen(services: Services, mail: OutboundMail, recipient_id: str) -> tuple[str | None, str]:
    choice = outbound.choose(
        mail.outgoing,
        Recipient(recipient_id, mail.outgoing.to[0].address),
        accounts=services.account_states,
        local_domains=domains_here(services, mail.summary.purpose),
        now=services.store.now(),
        default_domain=services.settings.default_domain,
    )
    skipped = "; ".join(f"{one.account} {one.reason}" for one in choice.skipped)
    return (choice.accounts[0] if choice.accounts else None), skipped
