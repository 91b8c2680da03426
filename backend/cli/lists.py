"""`mailagent lists`: who may write to us, and to whom we write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.paging import EVERYTHING
from backend.trust import lists
from backend.trust.lists import ListEntry
from backend.trust.schemas import BroughtOut, ListEntryOut
from mailagent.agents.lists import Listed, What
from mailagent.errors import Malformed

__all__ = ["commands"]

_ACTOR = "cli"

commands = typer.Typer(help="Who is allowed or blocked; the narrowest entry decides.")

For = Annotated[
    str | None, typer.Option("--for", help="The address of ours; without it, all of them.")
]
Verdict = Annotated[Listed, typer.Argument(help="allow or block.")]
OfWhat = Annotated[What, typer.Argument(help="send, receive or reply.")]


@commands.command("list")
def list_(
    context: typer.Context,
    workspace: InWorkspace = None,
    what: Annotated[What | None, typer.Option(help="Only entries for this.")] = None,
) -> None:
    """All entries of a workspace."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, lists.listing, EVERYTHING, what=what).items
    shell.show(table([_row(one) for one in found], empty="none"), found, list[ListEntryOut])


@commands.command()
def add(
    context: typer.Context,
    verdict: Verdict,
    what: OfWhat,
    pattern: Annotated[str, typer.Argument(help="An address, *@example.com, example.com or *.")],
    for_: For = None,
    note: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "",
    workspace: InWorkspace = None,
) -> None:
    """Allow or block somebody."""
    shell: Shell = context.obj
    made = shell.write(
        shell.workspace(workspace).id,
        lists.add,
        pattern,
        what=what,
        verdict=verdict,
        mailbox=for_,
        note_=note,
        actor=_ACTOR,
    )
    shell.show(table([_row(made)], empty=""), made, ListEntryOut)


@commands.command("import")
def import_(
    context: typer.Context,
    verdict: Verdict,
    what: OfWhat,
    file: Annotated[Path, typer.Argument(help="A pattern a line in UTF-8; - is standard input.")],
    for_: For = None,
    workspace: InWorkspace = None,
) -> None:
    """Allow or block everybody of a file: all lines, or none and the bad one is named."""
    shell: Shell = context.obj
    done = shell.write(
        shell.workspace(workspace).id,
        lists.bring_in,
        _lines(file),
        what=what,
        verdict=verdict,
        mailbox=for_,
        actor=_ACTOR,
    )
    known = f", {done.known} there already" if done.known else ""
    shell.show(f"{done.added} added{known}", done, BroughtOut)


@commands.command()
def remove(
    context: typer.Context,
    entry: Annotated[str, typer.Argument(metavar="ID", help="The entry's id.")],
    workspace: InWorkspace = None,
) -> None:
    """Take an entry away."""
    shell: Shell = context.obj
    gone = shell.write(shell.workspace(workspace).id, lists.remove, entry, actor=_ACTOR)
    shell.show(f"removed {gone.id}", gone, ListEntryOut)


def _lines(file: Path) -> list[str]:
    try:
        octets = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return octets.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise Malformed("FILE", f"cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise Malformed("FILE", "is no UTF-8") from error


def _row(one: ListEntry) -> tuple[object, ...]:
    return one.id, one.verdict, one.what, one.pattern, one.mailbox or "all", one.note
