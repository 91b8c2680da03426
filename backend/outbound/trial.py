"""Does sending work? One mail, the account that carries it, and what became of it in a moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from backend.outbound.listing import OutboundMail, get
from backend.outbound.writing import trial_mail
from mailagent import outbound
from mailagent.flow.services import Services
from mailagent.flow.states import RecipientState
from mailagent.outgoing import Outgoing, Recipient
from mailagent.store.transaction import Transaction

__all__ = ["Trial", "follow", "queue", "send"]

_LOOK_EVERY = timedelta(milliseconds=50)
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


async def send(
    services: Services,
    workspace_id: str,
    *,
    to: str,
    subject: str,
    body: str,
    author: str,
    patience: timedelta = timedelta(seconds=5),
) -> Trial:
    """Queue a test mail and wait for its outcome, `patience` at most. Raises Malformed."""
    queued = await services.store.write(
        workspace_id, queue, services, to=to, subject=subject, body=body, author=author
    )
    return await follow(services, workspace_id, queued.id, patience=patience)


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
) -> Trial:
    """Wait for the outcome of a test mail that is queued, `patience` at most."""
    mail = await services.store.read(workspace_id, get, outbound_id)
    deadline = asyncio.get_running_loop().time() + patience.total_seconds()
    while _waits(mail) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(_LOOK_EVERY.total_seconds())
        mail = await services.store.read(workspace_id, get, outbound_id)
    return _trial(services, mail)


def _waits(mail: OutboundMail) -> bool:
    # A recipient that was told "later" has a reason already: more patience brings nothing.
    return any(one.state in _ON_ITS_WAY and not one.reason for one in mail.summary.recipients)


def _trial(services: Services, mail: OutboundMail) -> Trial:
    recipient = mail.summary.recipients[0]
    account, why = recipient.account, recipient.reason
    if account is None:
        account, skipped = _chosen(services, mail.outgoing, recipient.id)
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


def _chosen(services: Services, outgoing: Outgoing, recipient_id: str) -> tuple[str | None, str]:
    choice = outbound.choose(
        outgoing,
        Recipient(recipient_id, outgoing.to[0].address),
        accounts=services.account_states,
        local_domains=services.directory.served_domains,
        now=services.store.now(),
        default_domain=services.settings.default_domain,
    )
    skipped = "; ".join(f"{one.account} {one.reason}" for one in choice.skipped)
    return (choice.accounts[0] if choice.accounts else None), skipped
