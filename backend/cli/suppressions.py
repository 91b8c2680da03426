"""`mailagent suppressions`: to whom nothing is sent."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.outbound import suppression_files, suppressions
from backend.outbound.suppression_files import Format, Imported
from backend.outbound.suppression_schemas import ImportedOut, SuppressionOut
from backend.outbound.suppressions import Filter, Origin, Reason, Suppression
from backend.paging import Window
from mailagent.errors import Malformed
from mailagent.store.transaction import Transaction

__all__ = ["commands"]

_ACTOR = "cli"

commands = typer.Typer(help="Addresses that nothing is sent to.", no_args_is_help=True)

From = Annotated[
    str | None,
    typer.Option("--from", help="The address of ours that it stops; without it, all of them."),
]


@commands.command("list")
def list_(
    context: typer.Context,
    workspace: InWorkspace = None,
    address: Annotated[str | None, typer.Option(help="Only this address.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Only those for this address of ours.")
    ] = None,
    reason: Annotated[Reason | None, typer.Option(help="Only of this reason.")] = None,
    origin: Annotated[Origin | None, typer.Option(help="Only of this origin.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 1_000,
) -> None:
    """Addresses that nothing is sent to, and why; the newest first."""
    shell: Shell = context.obj
    which = Filter(address, from_, reason, origin)
    kept = [
        one
        for id_ in shell.workspaces(workspace)
        for one in shell.read(id_, suppressions.listing, which, Window(limit)).items
    ]
    kept.sort(key=lambda one: one.id, reverse=True)
    rows = [
        (
            one.address,
            one.reason,
            f"{one.created_at:%Y-%m-%d}",
            f"until {one.expires_at:%Y-%m-%d}" if one.expires_at else "for ever",
            f"from {one.from_address}" if one.from_address else "from all of ours",
            one.detail,
        )
        for one in kept[:limit]
    ]
    shell.show(table(rows, empty="none"), kept[:limit], list[SuppressionOut])


@commands.command()
def add(
    context: typer.Context,
    address: str,
    workspace: InWorkspace = None,
    from_: From = None,
    detail: Annotated[str, typer.Option(help="Why, for whoever reads it later.")] = "",
    until: Annotated[
        str | None, typer.Option(help="A date, such as 2027-01-31; without it, for ever.")
    ] = None,
) -> None:
    """Send nothing to an address any more."""
    shell: Shell = context.obj
    made = shell.write(
        shell.workspace(workspace).id,
        suppressions.add,
        address,
        detail=detail,
        actor=_ACTOR,
        from_address=from_,
        expires_at=suppressions.moment("--until", until) if until is not None else None,
    )
    shell.show(made.address, made, SuppressionOut)


@commands.command()
def remove(
    context: typer.Context, address: str, workspace: InWorkspace = None, from_: From = None
) -> None:
    """Write to an address again."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    gone = shell.write(where, suppressions.remove, address, actor=_ACTOR, from_address=from_)
    shell.show(gone.address, gone, SuppressionOut)


@commands.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines in UTF-8; - is standard input.")],
    workspace: InWorkspace = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="Else by the file's name: .csv or .jsonl.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out the lines that cannot be taken.")
    ] = False,
) -> None:
    """Suppress every address of a file: all of them, or none and the bad lines are named."""
    shell: Shell = context.obj
    read = suppression_files.read(_content(file), form or _form(file))
    done: Imported = shell.write(
        shell.workspace(workspace).id,
        suppression_files.bring_in,
        read,
        skip_bad=skip_bad,
        actor=_ACTOR,
    )
    for bad in done.bad:
        shell.tell(f"line {bad.line} was left out: {bad.problem}")
    if done.ignored:
        shell.tell(f"not looked at: {', '.join(done.ignored)}")
    known = f", {done.known} there already" if done.known else ""
    shell.show(f"{done.added} added{known}", done, ImportedOut)


@commands.command()
def export(
    context: typer.Context,
    workspace: InWorkspace = None,
    form: Annotated[Format, typer.Option("--format")] = "csv",
) -> None:
    """Print all of a workspace as a file that `import` takes."""
    shell: Shell = context.obj
    kept = shell.read(shell.workspace(workspace).id, _all)
    shell.show("".join(suppression_files.written(kept, form)).rstrip(), kept, list[SuppressionOut])


def _all(tx: Transaction) -> list[Suppression]:
    return list(suppressions.each(tx, Filter()))


def _content(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise Malformed("FILE", f"cannot be read: {error}") from error


def _form(file: Path) -> Format:
    match file.suffix.lower():
        case ".csv":
            return "csv"
        case ".jsonl" | ".ndjson":
            return "jsonl"
    raise Malformed("--format", "is not told by the file's name: give csv or jsonl")
