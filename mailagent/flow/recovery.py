"""Which mail did an outage leave at a provider, and is it all here now?

A provider that could not hand a mail over has it still. A round goes through what each took since
the round before began, part by part, its place a row; what no delivery knows is accepted as its
webhook would have brought it. So a mail that comes by both ways is one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import case, select, update

from mailagent.errors import Delivery, PermanentFailure, TransientFailure
from mailagent.flow import unrouted
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.inbound import Accepted, Inbound, Known, Later, Unrouted
from mailagent.providers.account import LeftBehind, Recovers
from mailagent.store.tables import deliveries, rounds, unrouted_mails
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Recovered", "recover", "recover_all"]

log = structlog.get_logger()

_STALE = timedelta(days=7)
"""A round that stands so long begins anew: its provider may know the place no more."""
_PARTS_AT_ONCE = 50
"""Of a thousand mails at most; the next start goes on behind them."""


@dataclass
class Recovered:
    """What one look at one provider came to."""

    provider: str
    since: datetime
    listed: int = 0
    known: int = 0
    """Of these, came by the webhook or an earlier look."""
    delivery_ids: list[str] = field(default_factory=list)
    asked_again: list[str] = field(default_factory=list)
    """Names of mails that the provider will bring by its webhook."""
    held: list[str] = field(default_factory=list)
    """Names of mails whose recipient nobody knows: kept a week for the operator."""
    failed: list[str] = field(default_factory=list)
    """Places of mails that cannot be had, each with the reason."""
    whole: bool = False
    """Whether all was gone through; else `stopped` says why not."""
    stopped: str = ""


async def recover_all(services: Services) -> None:
    """The chore: bring what every provider has of an outage. One that is away costs no other."""
    for kind, source in services.recovers.items():
        row = await services.store.write_unscoped(_begun, kind, source.late)
        told = Recovered(kind, row.since)
        await _go(services, source, told, row.after, keep=True)
        changed = told.delivery_ids or told.asked_again or told.held or told.failed
        if changed or told.stopped:
            log.warning(
                "recovery.looked",
                provider=kind,
                recovered=len(told.delivery_ids),
                asked_again=len(told.asked_again),
                held=len(told.held),
                failed=told.failed[:5],
                stopped=told.stopped,
            )


async def recover(services: Services, kind: str, since: datetime | None) -> Recovered:
    """Bring all that a provider took since then (None: since the chore's last whole round) now,
    beside the chore and its place.
    """
    if since is None:
        since = await services.store.read_unscoped(_since, kind)
    told = Recovered(kind, since)
    await _go(services, services.recovers[kind], told, "", keep=False, parts=None)
    return told


async def _go(
    services: Services,
    source: Recovers,
    told: Recovered,
    after: str,
    *,
    keep: bool,
    parts: int | None = _PARTS_AT_ONCE,
) -> None:
    done = 0
    try:
        while parts is None or done < parts:
            listing = await source.listed(told.since - source.late, after)
            await _bring(services, source, listing.mails, told)
            after, done = listing.after, done + 1
            if keep:
                await services.store.write_unscoped(_reached, told.provider, after)
            if not after:
                told.whole = True
                return
    except Delivery as error:
        told.stopped = error.reason
        return
    told.stopped = "more is there: the next look goes on"


async def _bring(
    services: Services, source: Recovers, mails: Sequence[LeftBehind], told: Recovered
) -> None:
    """Accept what is not known of a part. Raises TransientFailure: the part is gone through again,
    and what was accepted of it is known then.
    """
    known = await services.store.read_unscoped(_known, told.provider, mails)
    told.listed += len(mails)
    for mail in mails:
        if mail.source_id in known:
            told.known += 1
            continue
        if mail.recipients and _are_anothers(services, mail.recipients):
            continue
        try:
            brought = await source.bring(mail)
        except PermanentFailure as error:
            told.failed.append(f"{mail.place}: {error.reason}")
            continue
        if not brought:
            told.asked_again.append(mail.source_id)
        for one in brought:
            await _accept(services, one, told)


async def _accept(services: Services, mail: Inbound, told: Recovered) -> None:
    recipients = mail.envelope.rcpt_to
    if recipients and _are_anothers(services, recipients):
        return
    if not recipients:
        await services.store.write_unscoped(unrouted.remember, mail)
        told.held.append(mail.source_id)
        return
    (outcome,) = await services.acceptor.accept([mail])
    match outcome:
        case Accepted(delivery_ids):
            told.delivery_ids += delivery_ids
            await services.store.write_unscoped(_note, delivery_ids, told.provider)
        case Unrouted():
            await services.store.write_unscoped(unrouted.remember, mail)
            told.held.append(mail.source_id)
        case Later(reason):
            raise TransientFailure(f"it could not be kept: {reason}")
        case _:
            told.known += 1


def _are_anothers(services: Services, recipients: Collection[str]) -> bool:
    """Whether the mail is none of ours: the bucket or the account may serve another program too."""
    found = map(services.directory.locate, recipients)
    return all(one is Known.NOT_OUR_DOMAIN for one in found)


# --- rows -------------------------------------------------------------------------------------


def _since(tx: Transaction, kind: str) -> datetime:
    found: datetime | None = tx.value(select(rounds.c.since).where(rounds.c.name == kind))
    return found or tx.now


def _begun(tx: Transaction, kind: str, late: timedelta) -> AnyRow:
    """The round that is under way, or a new one."""
    # What a provider took before it knew us was another's to answer: no look goes behind the first.
    tx.insert_new(rounds, {"name": kind, "since": tx.now + late}, unique=["name"])
    of = rounds.c
    new = update(rounds).where(
        of.name == kind, of.began_at.is_(None) | (of.began_at < tx.now - _STALE)
    )
    tx.execute(new.values(began_at=tx.now, after=""))
    row = tx.row(select(rounds).where(of.name == kind))
    assert row is not None
    return row


def _reached(tx: Transaction, kind: str, after: str) -> None:
    of = rounds.c
    values: dict[str, object] = {"after": after}
    if not after:
        # What came while the round went on is the next one's.
        later = case((of.began_at > of.since, of.began_at), else_=of.since)
        values |= {"since": later, "began_at": None}
    tx.execute(update(rounds).where(of.name == kind).values(values))


def _known(tx: Transaction, kind: str, mails: Sequence[LeftBehind]) -> set[str]:
    names = {mail.source_id for mail in mails if mail.source_id}
    return {
        row.source_id
        for table in (deliveries, unrouted_mails)
        for row in tx.rows(
            select(table.c.source_id).where(table.c.source == kind, table.c.source_id.in_(names))
        )
    }


def _note(tx: Transaction, delivery_ids: Sequence[str], kind: str) -> None:
    of = select(deliveries.c.id, deliveries.c.workspace_id)
    for row in tx.rows(of.where(deliveries.c.id.in_(delivery_ids))):
        note(
            tx.of(row.workspace_id),
            "accept",
            "recovered",
            f"{kind} had it still, and its webhook had not brought it",
            delivery_id=row.id,
        )
