"""`mailagent key`: API keys of a workspace."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from backend.access import keys
from backend.access.keys import ApiKey
from backend.access.schemas import KeyOut, NewKeyOut
from backend.cli.shell import InWorkspace, Shell, table
from backend.edges import PERMISSION as EDGE
from backend.paging import EVERYTHING
from mailagent.errors import Malformed

__all__ = ["commands"]

commands = typer.Typer(help="API keys; each belongs to one workspace.")


@commands.command()
def create(
    context: typer.Context,
    workspace: InWorkspace = None,
    permission: Annotated[
        list[str] | None, typer.Option(help="May be given several times; default: root:full.")
    ] = None,
    edge: Annotated[
        bool, typer.Option("--edge", help="For a mail engine elsewhere (AEXY_API_KEY).")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(help="The agent that uses it: it sees no approval of its own.")
    ] = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "made at the command line",
    days: Annotated[
        int | None, typer.Option(min=1, max=3_650, help="Expires after so many days.")
    ] = None,
) -> None:
    """Make a key and print its secret, this once and alone."""
    shell: Shell = context.obj
    if edge and (workspace or permission):
        raise Malformed("--edge", "goes with no --workspace and no --permission")
    where = shell.operators() if edge else shell.workspace(workspace)
    wanted = [EDGE] if edge else permission or ["root:full"]
    expires_at = shell.store.now() + timedelta(days=days) if days is not None else None
    made = shell.write(where.id, keys.create, name, wanted, expires_at=expires_at, agent=agent)
    shell.show(made.secret, made, NewKeyOut)


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """List the keys of a workspace, without their secrets."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, keys.list_keys, EVERYTHING).items
    rows = [
        (one.id, f"{one.prefix}…", one.name, " ".join(one.permissions), _state(shell, one))
        for one in found
    ]
    shell.show(table(rows, empty="no keys"), found, list[KeyOut])


@commands.command()
def revoke(context: typer.Context, key: str, workspace: InWorkspace = None) -> None:
    """Make a key, named by its id, useless from now on."""
    shell: Shell = context.obj
    revoked = shell.write(shell.workspace(workspace).id, keys.revoke, key)
    shell.show(f"revoked {revoked.id}", revoked, KeyOut)


def _state(shell: Shell, key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= shell.store.now():
        return "expired"
    used = key.last_used_at
    return f"last used {used:%Y-%m-%d %H:%M} UTC" if used else "never used"
