"""`mailagent inbox · trace · reply · send · replay`: what came in, and a person's part in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from sqlalchemy import select

from backend.cli.shell import Shell
from backend.cli.writing import text_given, with_services
from backend.inboxes import handling, listing
from backend.inboxes.listing import Filter, Item
from backend.inboxes.schemas import ItemOut, SentOut, StoryOut
from backend.inboxes.story import Story, locate
from backend.inboxes.story import story as tell
from backend.inboxes.words import Status
from backend.outbound import writing
from backend.outbound.schemas import QueuedOut
from backend.outbound.writing import Draft
from backend.paging import Window
from mailagent.errors import Malformed, NotFound
from mailagent.flow.answers import answer
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.outgoing import Urgency
from mailagent.store.tables import addresses
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["delivery_of", "inbox", "moment", "priority", "replay", "reply", "send", "trace"]

_ACTOR = "cli"
_AGO = re.compile(r"(\d{1,5})(min|h|d)")
_UNITS = {"min": "minutes", "h": "hours", "d": "days"}


def inbox(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="An agent's address.")],
    status: Annotated[Status | None, typer.Option(help="In the words of Aexy's inbox.")] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="In our own words.")] = None,
    priority: Annotated[Urgency | None, typer.Option(help="By hand, or the agent's.")] = None,
    since: Annotated[str, typer.Option(help="A time (ISO 8601), or an age: 30min, 2h, 7d.")] = "",
    search: Annotated[
        str | None,
        typer.Option(help="Words that subject, sender or text hold, all of them; word* begins so."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """The mails of one agent with their answers, newest first."""
    shell: Shell = context.obj
    row = _agent_at(shell, address)
    earliest = moment(since, shell.store.now()) if since else None
    which = Filter(row.agent_id, status, state, earliest, priority=priority)
    if search is None:
        items = shell.read(row.workspace_id, listing.listing, which, Window(limit)).items
    else:
        items = shell.read(row.workspace_id, listing.search, which, search, Window(limit)).items
    text = "\n".join(line for item in items for line in _item_lines(item))
    shell.show(text or "no mail", [ItemOut.of(item) for item in items], list[ItemOut])


def trace(
    context: typer.Context,
    id_: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Of a delivery, a sent mail, a thread; a Message-ID; a provider's id.",
        ),
    ],
) -> None:
    """Tell what happened to a mail, where it stands and what you can do."""
    shell: Shell = context.obj
    told = shell.read(None, tell, id_)
    shell.show("\n".join(_story_lines(told)), StoryOut.of(told), StoryOut)


def reply(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a delivery, or its Message-ID.")],
    text: Annotated[str | None, typer.Option(help="The answer; else standard input.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file that holds the answer.")] = None,
) -> None:
    """Answer a mail in its thread, from the agent's address."""
    shell: Shell = context.obj
    workspace_id, delivery_id = delivery_of(shell, id_)
    written = text_given(shell, text, file)

    async def work(services: Services) -> str:
        return await services.store.write(
            workspace_id, answer, services, delivery_id, written, author=_ACTOR
        )

    outbound_id = with_services(shell, work)
    shell.show(outbound_id, SentOut(id=outbound_id), SentOut)


def send(
    context: typer.Context,
    from_: Annotated[str, typer.Option("--from", help="An agent's address.")],
    to: Annotated[list[str], typer.Option(help="a@b.example or 'Name <a@b.example>'; repeatable.")],
    subject: Annotated[str, typer.Option()],
    text: Annotated[str | None, typer.Option(help="The text; else standard input.")] = None,
    cc: Annotated[list[str] | None, typer.Option()] = None,
    bcc: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Send a new mail from an agent's address."""
    shell: Shell = context.obj
    row = _agent_at(shell, from_)
    draft = Draft(
        to=writing.mailboxes("--to", to),
        cc=writing.mailboxes("--cc", cc or ()),
        bcc=writing.mailboxes("--bcc", bcc or ()),
        subject=subject,
        text=text_given(shell, text),
    )

    async def work(services: Services) -> writing.Queued:
        return await services.store.write(
            row.workspace_id, writing.write, services, row.agent_id, draft, author=_ACTOR
        )

    queued = QueuedOut.of(with_services(shell, work))
    shell.show(queued.id, queued, QueuedOut)


def replay(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a delivery, or its Message-ID.")],
) -> None:
    """Drive one mail again that was not answered: failed, quarantined, held, silent, looped."""
    shell: Shell = context.obj
    workspace_id, delivery_id = delivery_of(shell, id_)
    shell.write(workspace_id, handling.replay, delivery_id, actor=_ACTOR)
    driven = ItemOut.of(shell.read(workspace_id, listing.one, delivery_id))
    shell.show(delivery_id, driven, ItemOut)


def priority(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a delivery, or its Message-ID.")],
    word: Annotated[
        Literal["low", "normal", "high", "urgent", "agent"],
        typer.Argument(help="agent: as the agent reads it."),
    ],
) -> None:
    """Say how urgent a mail is, whatever its agent says."""
    shell: Shell = context.obj
    workspace_id, delivery_id = delivery_of(shell, id_)
    wanted = None if word == "agent" else word
    shell.write(workspace_id, handling.set_priority, delivery_id, wanted, actor=_ACTOR)
    changed = ItemOut.of(shell.read(workspace_id, listing.one, delivery_id))
    shell.show(f"{delivery_id} {changed.priority}", changed, ItemOut)


def delivery_of(shell: Shell, id_: str) -> tuple[str, str]:
    """(workspace, delivery) of an id. Raises NotFound; Malformed for an id of several."""
    found = shell.read(None, locate, id_)
    if len(found.delivery_ids) > 1:
        several = ", ".join(found.delivery_ids)
        raise Malformed("ID", f"names {len(found.delivery_ids)} deliveries, take one: {several}")
    if not found.delivery_ids:
        raise NotFound(f"{id_} is a mail that went out, not one that came in")
    return found.workspace_id, found.delivery_ids[0]


def _agent_at(shell: Shell, address: str) -> AnyRow:
    """Workspace and agent of an address, with or without a tag. Raises NotFound."""
    row = shell.read(None, _at, address)
    if row is None:
        raise NotFound(f"no agent has the address {address[:320]}: mailagent agent list shows them")
    return row


def _at(tx: Transaction, address: str) -> AnyRow | None:
    local, domain = normalised(address)
    return tx.row(
        select(addresses.c.workspace_id, addresses.c.agent_id).where(
            addresses.c.local_part == without_tag(local), addresses.c.domain == domain
        )
    )


def moment(text: str, now: datetime) -> datetime:
    """A time, or an age before `now`. Raises Malformed."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(
            "--since", "write a time like 2026-03-01T09:00Z, or 30min, 2h, 7d"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _item_lines(item: Item) -> Iterator[str]:
    urgency = "" if item.priority == "normal" else f"  {item.priority}"
    yield f"{item.id}  {item.received_at:%Y-%m-%d %H:%M:%S}  {item.status} ({item.state}){urgency}"
    yield f"    {item.from_address or '(no sender)'}: {item.subject or '(no subject)'}"
    for given in item.replies:
        first = given.text.strip().partition("\n")[0][:100]
        yield f"    → {given.state}, {given.author}: {first}"


def _story_lines(told: Story) -> Iterator[str]:
    yield told.title
    for line in told.lines:
        took = f"  ({_seconds(line.took)})" if line.took is not None else ""
        since = f"+{_seconds(line.since_start)}"
        yield f"{line.at:%Y-%m-%d %H:%M:%S}  {since:>9}  {line.what}{took}"
        by_somebody = line.actor == _ACTOR or ":" in line.actor
        for more in (line.why, f"by {line.actor}" if by_somebody else ""):
            if more:
                yield f"{'':32}{more}"
    for end in told.endings:
        reason = f" – {end.reason}" if end.reason else ""
        yield f"\n{end.id}  {end.state}{reason}\n    That means: {end.means}."
        yield from (f"    You can {step}" for step in end.next_steps)


def _seconds(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.3f} s" if seconds < 60 else f"{seconds:,.0f} s"
