"""`mailagent retention`: for how many days does a workspace keep what its mails said?"""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell
from backend.workspaces import service
from backend.workspaces.schemas import WorkspaceOut
from backend.workspaces.service import Workspace

__all__ = ["commands"]

commands = typer.Typer(help="For how many days the content of mail is kept.")


@commands.command()
def show(context: typer.Context, workspace: InWorkspace = None) -> None:
    """Show it."""
    shell: Shell = context.obj
    _show(shell, shell.workspace(workspace))


@commands.command("set")
def set_(
    context: typer.Context,
    days: Annotated[int, typer.Argument(help="After the last thing that happened to a mail.")],
    workspace: InWorkspace = None,
) -> None:
    """Remove octets, text and files so many days after a mail was last touched."""
    _set(context.obj, workspace, days)


@commands.command()
def off(context: typer.Context, workspace: InWorkspace = None) -> None:
    """Keep everything from now on; what was removed is gone."""
    _set(context.obj, workspace, None)


def _set(shell: Shell, workspace: str | None, days: int | None) -> None:
    where = shell.workspace(workspace).id
    _show(shell, shell.write(where, service.update_settings, {"retention_days": days}))


def _show(shell: Shell, workspace: Workspace) -> None:
    days = workspace.settings.retention_days
    text = "kept for ever" if days is None else f"kept for {days} days"
    shell.show(f"{workspace.slug}: {text}", workspace, WorkspaceOut)
