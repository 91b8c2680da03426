"""`mailagent approvals`: what waits for a person's yes."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from backend.approvals import service
from backend.approvals.schemas import ApprovalOut
from backend.approvals.service import Approval
from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.writing import with_services
from backend.outbound.writing import mailboxes
from backend.paging import Window
from mailagent.errors import Malformed, NotFound
from mailagent.flow.approval_edits import Changes
from mailagent.flow.approval_rows import Kind, State
from mailagent.flow.services import Services
from mailagent.outgoing import OutgoingAttachment
from mailagent.store import tables
from mailagent.store.transaction import Transaction

__all__ = ["commands"]

_ACTOR = "cli"

commands = typer.Typer(help="Drafts, calls of tools and held mail that wait for a person's yes.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of an approval, apr_….")]
Digest = Annotated[
    str | None, typer.Option(help="That of the draft you saw: another one is left alone.")
]


@commands.command("list")
def list_(
    context: typer.Context,
    workspace: InWorkspace = None,
    state: Annotated[State, typer.Option(help="Those in this state.")] = "waiting",
    kind: Annotated[Kind | None, typer.Option(help="Drafts, calls or mails alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """What waits, newest first; --state shows what was decided."""
    shell: Shell = context.obj
    found = [
        one
        for id_ in shell.workspaces(workspace)
        for one in shell.read(id_, service.listing, Window(limit), state=state, kind=kind).items
    ]
    rows = [
        (
            one.id,
            one.kind,
            one.agent or "(none)",
            _whom(one),
            f"until {one.expires_at:%Y-%m-%d %H:%M} UTC",
            "; ".join(one.reasons)[:80],
        )
        for one in found
    ]
    shown = [ApprovalOut.of(one) for one in found]
    shell.show(table(rows, empty="nothing waits"), shown, list[ApprovalOut])


@commands.command()
def show(context: typer.Context, id_: Id) -> None:
    """One of them: why it waits, the draft, the mail it answers, what was changed."""
    shell: Shell = context.obj
    _show(shell, shell.read(_workspace(shell, id_), service.get, id_))


@commands.command()
def approve(context: typer.Context, id_: Id, digest: Digest = None) -> None:
    """Send the draft as it stands, have the call done, or let the mail pass to its agent."""
    shell: Shell = context.obj
    where = _workspace(shell, id_)

    async def decide(services: Services) -> Approval:
        return await services.store.write(
            where, service.approve, services, id_, actor=_ACTOR, digest=digest
        )

    _decided(shell, with_services(shell, decide))


@commands.command()
def reject(
    context: typer.Context,
    id_: Id,
    reason: Annotated[str, typer.Option(help="Why, for the agent or who answers.")] = "",
) -> None:
    """Send nothing, do nothing, or turn the mail away that came in."""
    shell: Shell = context.obj
    where = _workspace(shell, id_)
    _decided(shell, shell.write(where, service.reject, id_, actor=_ACTOR, reason=reason))


@commands.command()
def edit(
    context: typer.Context,
    id_: Id,
    text: Annotated[str | None, typer.Option(help="The new text; - is standard input.")] = None,
    subject: Annotated[str | None, typer.Option(help="The new subject.")] = None,
    to: Annotated[list[str] | None, typer.Option(help="All who get it; repeatable.")] = None,
    cc: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    bcc: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    file: Annotated[list[Path] | None, typer.Option(help="One more; repeatable.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="A file's name; repeatable.")] = None,
    digest: Digest = None,
) -> None:
    """Change words, recipients or files of a draft; it goes on waiting."""
    shell: Shell = context.obj
    changes = Changes(
        text=sys.stdin.read() if text == "-" else text,
        subject=subject,
        to=mailboxes("--to", to) if to else None,
        cc=mailboxes("--cc", cc) if cc else None,
        bcc=mailboxes("--bcc", bcc) if bcc else None,
        add=tuple(_file(one) for one in file or ()),
        drop=tuple(drop or ()),
    )
    if changes == Changes():
        raise Malformed("--text", "is missing: give the new text, or another option")
    where = _workspace(shell, id_)

    async def change(services: Services) -> Approval:
        given = (services, id_, changes)
        return await services.store.write(
            where, service.edit, *given, actor=_ACTOR, may_send=True, digest=digest
        )

    _show(shell, with_services(shell, change))


def _file(path: Path) -> OutgoingAttachment:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Malformed("--file", f"cannot be read: {error}") from error
    content_type, _ = mimetypes.guess_type(path.name)
    return OutgoingAttachment(path.name, content_type or "application/octet-stream", content)


def _workspace(shell: Shell, approval_id: str) -> str:
    return shell.read(None, _owner, approval_id)


def _owner(tx: Transaction, approval_id: str) -> str:
    columns = tables.approvals.c
    found: str | None = tx.value(select(columns.workspace_id).where(columns.id == approval_id))
    if found is None:
        raise NotFound(f"there is no approval {approval_id[:80]!r}")
    return found


def _decided(shell: Shell, one: Approval) -> None:
    sent = f": {one.outbound_id}" if one.outbound_id else ""
    shell.show(f"{one.state} {one.id}{sent}", ApprovalOut.of(one), ApprovalOut)


def _show(shell: Shell, one: Approval) -> None:
    shell.show("\n".join(_lines(one)), ApprovalOut.of(one), ApprovalOut)


def _lines(one: Approval) -> Iterator[str]:
    yield f"{one.id}  {one.kind}  {one.state}  of {one.agent or 'no agent'}"
    for reason in one.reasons:
        yield f"  {reason}"
    if one.decided_at is not None:
        why = f": {one.decision}" if one.decision else ""
        yield f"{one.state} at {one.decided_at:%Y-%m-%d %H:%M} UTC by {one.decided_by}{why}"
    else:
        yield f"until {one.expires_at:%Y-%m-%d %H:%M} UTC, then {one.at_expiry}"
    if one.call is not None:
        yield f"\n{one.call.tool}: {one.call.state}"
        yield from (f"  {name}: {value}" for name, value in one.call.wish.items())
        if one.call.state != "asked":
            yield one.call.result
    if one.draft is not None:
        yield f"digest {one.digest}"
        yield f"\nTo: {_whom(one)}\nSubject: {one.draft.subject}"
        for file in one.draft.attachments:
            yield f"File: {file.filename} ({file.content_type}, {len(file.content):,} octets)"
        yield f"\n{one.draft.text}"
    if one.incoming is not None:
        yield f"--- {one.incoming.from_address}: {one.incoming.subject} ---"
        yield one.incoming.text
    for edit in one.edits:
        yield f"--- changed at {edit.at:%Y-%m-%d %H:%M} UTC by {edit.by} ---"
        yield edit.difference


def _whom(one: Approval) -> str:
    if one.call is not None:
        return one.call.tool
    if one.draft is None:
        return one.incoming.from_address if one.incoming is not None else "(removed)"
    mailboxes = (*one.draft.to, *one.draft.cc, *one.draft.bcc)
    return ", ".join(mailbox.address for mailbox in mailboxes)
