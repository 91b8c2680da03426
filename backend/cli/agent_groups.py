"""`mailagent agent-group`: sets of agents that share domains."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.agent_groups import service
from backend.agent_groups.schemas import GroupOut
from backend.agent_groups.service import Group
from backend.cli.shell import InWorkspace, Shell, table
from backend.paging import EVERYTHING

__all__ = ["commands"]

commands = typer.Typer(help="Groups of agents that share domains.")

Named = Annotated[str, typer.Argument(metavar="GROUP", help="Name or id.")]
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Handle or id.")]


@commands.command()
def create(
    context: typer.Context,
    name: str,
    agents: Annotated[list[str] | None, typer.Argument(help="Handles or ids.")] = None,
    workspace: InWorkspace = None,
) -> None:
    """Make a group of these agents and print its id."""
    shell: Shell = context.obj
    made = shell.write(shell.workspace(workspace).id, service.create, name, agents or [])
    shell.show(made.id, made, GroupOut)


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """List the groups of a workspace."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, service.list_groups, EVERYTHING).items
    rows = [(one.name, _handles(one), ", ".join(one.domains) or "-", one.id) for one in found]
    shell.show(table(rows, empty="no groups"), found, list[GroupOut])


@commands.command()
def show(context: typer.Context, group: Named, workspace: InWorkspace = None) -> None:
    """Show one group."""
    shell: Shell = context.obj
    _show(shell, shell.read(shell.workspace(workspace).id, service.get, group))


@commands.command()
def rename(context: typer.Context, group: Named, name: str, workspace: InWorkspace = None) -> None:
    """Give a group another name."""
    shell: Shell = context.obj
    _show(shell, shell.write(shell.workspace(workspace).id, service.change, group, name=name))


@commands.command()
def add(context: typer.Context, group: Named, agent: Agent, workspace: InWorkspace = None) -> None:
    """Put an agent into a group."""
    shell: Shell = context.obj
    _show(shell, shell.write(shell.workspace(workspace).id, service.add_agent, group, agent))


@commands.command("take-out")
def take_out(
    context: typer.Context, group: Named, agent: Agent, workspace: InWorkspace = None
) -> None:
    """Take an agent out of a group."""
    shell: Shell = context.obj
    _show(shell, shell.write(shell.workspace(workspace).id, service.remove_agent, group, agent))


@commands.command()
def remove(context: typer.Context, group: Named, workspace: InWorkspace = None) -> None:
    """Take a group away; its agents stay."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, group)
    shell.show(f"removed {group}", {"removed": group})


def _show(shell: Shell, group: Group) -> None:
    rows = [
        ("name", group.name),
        ("agents", _handles(group)),
        ("domains", ", ".join(group.domains) or "-"),
        ("id", group.id),
    ]
    shell.show(table(rows, empty=""), group, GroupOut)


def _handles(group: Group) -> str:
    return ", ".join(one.handle for one in group.agents) or "-"
