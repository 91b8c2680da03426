"""What do the owners of a workspace hear once a day? Only what waits for them, in one mail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import select

from mailagent.flow import people, waiting
from mailagent.flow.directory import Place
from mailagent.flow.services import FlowSettings, Services
from mailagent.store.tables import outbound_mails, workspaces
from mailagent.store.transaction import Transaction

__all__ = ["next_time", "tell_owners"]

_HOUR_UTC = 6
_MOST_LISTED = 20
_REASON_CHARACTERS = 200

_HEADINGS: Mapping[str, tuple[str, str]] = {
    "failed": (
        "could not be worked on, and nothing goes on by itself",
        "mailagent replay {id}",
    ),
    "quarantined": (
        "quarantined: no agent has seen it, its octets are kept",
        "mailagent trace {id}, then mailagent replay {id}",
    ),
    "unknown": (
        "perhaps sent: the far side never said, and no machine repeats it",
        "mailagent unknown sent {id}, or mailagent unknown again {id}",
    ),
    "approval": (
        "need a yes: drafts, what agents want to do, mail that is held",
        "mailagent approvals show {id}",
    ),
    "unreached": (
        "handed to a person, but nobody could be told",
        "mailagent reply {id}",
    ),
}


def next_time(now: datetime) -> datetime:
    """When the next digest is due: at 06:00 UTC."""
    today = now.replace(hour=_HOUR_UTC, minute=0, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


async def tell_owners(services: Services) -> None:
    """Queue today's digest in every workspace in which something waits."""
    for workspace_id in await services.store.read_unscoped(_workspaces):
        await services.store.write(workspace_id, tell, services)


def _workspaces(tx: Transaction) -> list[str]:
    open_ = select(workspaces.c.id).where(workspaces.c.retired_at.is_(None))
    return [row.id for row in tx.rows(open_.order_by(workspaces.c.id))]


def tell(tx: Transaction, services: Services) -> bool:
    """Queue the digest of one workspace, at most one a day; says whether one was.

    It goes to owners whose mailbox is not one of our agents': a machine would answer it.
    """
    counts = waiting.count(tx)
    to = [one for one in people.owners(tx) if not isinstance(services.directory.locate(one), Place)]
    if not to or not any(counts.values()):
        return False
    # Named by the day: whichever node comes second finds it there.
    name = f"digest.{tx.now:%Y-%m-%d}"
    tx.lock(f"digest {tx.workspace_id}")
    columns = outbound_mails.c
    today = select(columns.id).where(
        columns.purpose == "notice",
        columns.created_at > tx.now - timedelta(days=2),
        columns.message_id.startswith(f"<{name}@", autoescape=True),
    )
    if tx.value(today) is not None:
        return False
    number = sum(counts.values())
    subject = f"{number} mail{'s wait' if number > 1 else ' waits'} for you"
    text = "\n".join(_text(tx, services.settings, counts))
    people.write(tx, services.settings, to, subject, text, name=name)
    return True


def _text(tx: Transaction, settings: FlowSettings, counts: Mapping[str, int]) -> Iterator[str]:
    name = tx.value(select(workspaces.c.name).where(workspaces.c.id == tx.workspace_id))
    yield f"This waits in the workspace {name}. You hear of it once a day while there is any."
    for kind, number in counts.items():
        if not number:
            continue
        what, command = _HEADINGS[kind]
        yield f"\n{number} {what}"
        for row in waiting.newest(tx, kind, _MOST_LISTED):
            reason = " ".join(row.reason.split())[:_REASON_CHARACTERS]
            yield f"\n  {row.id}, since {row.since:%Y-%m-%d %H:%M} UTC"
            yield f"    {reason}"
            yield f"    {command.format(id=row.id)}"
            if row.id.startswith("dlv_"):
                yield f"    {settings.ui_url}/deliveries/{row.id}"
        if number > _MOST_LISTED:
            yield f"\n  … and {number - _MOST_LISTED} older ones"
    yield "\nWhat needs no more of you: put it away on its page, and it is not told again.\n"
