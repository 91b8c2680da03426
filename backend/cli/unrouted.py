"""`mailagent unrouted`: mail that webhooks brought for nobody."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from backend.cli.shell import Shell, table
from backend.paging import Window
from backend.unrouted import service
from backend.unrouted.schemas import UnroutedContentOut, UnroutedOut

__all__ = ["commands"]

commands = typer.Typer(
    help="Mail that webhooks brought for addresses that are nobody's; kept for a week.",
    no_args_is_help=True,
)

_NOT_TEXT = re.compile(r"[^\t\n\x20-\x7e\xa0-\U0010ffff]")
"""Foreign bytes that would move a terminal's cursor, or worse."""


@commands.command("list")
def list_(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50
) -> None:
    """The newest; an address that stands there often may be one that you forgot to make."""
    shell: Shell = context.obj
    found = shell.read(None, service.listing, Window(limit)).items
    rows = [
        (
            one.id,
            f"{one.received_at:%Y-%m-%d %H:%M:%S}",
            one.source,
            _printable(f"from {one.mail_from or '<>'} to {', '.join(one.recipients)}"),
            f"{one.size_bytes:,} bytes",
        )
        for one in found
    ]
    shell.show(table(rows, empty="none"), found, list[UnroutedOut])


@commands.command()
def show(context: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """One as it came: raw mail, or the provider's form with the mail in it; unread, unchecked."""
    shell: Shell = context.obj
    found = shell.read(None, service.get, id_)
    text = _printable(found.content.decode("utf-8", "replace").replace("\r\n", "\n"))
    shell.show(text, UnroutedContentOut.of(found), UnroutedContentOut)
    if not found.whole:
        shell.tell(f"of {found.mail.size_bytes:,} bytes the first {len(found.content):,} are kept")


@commands.command()
def remove(
    context: typer.Context, ids: Annotated[list[str], typer.Argument(metavar="ID…")]
) -> None:
    """Forget some before their week is over: all of them, or none where one is not there."""
    shell: Shell = context.obj
    count = shell.write(None, service.remove, ids)
    shell.show(f"removed {count}", {"removed": count})


def _printable(text: str) -> str:
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)
