"""`mailagent agent`: make agents, give them addresses, carry them as files, switch their e-mail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from backend.agents import agent_file, aliases, catalogue, service, transfer
from backend.agents.agent_file import AgentFile
from backend.agents.schemas import AgentOut, ImportOut, TemplateOut
from backend.agents.service import Agent
from backend.agents.transfer import Imported
from backend.caps import unpriced_by
from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.tools import around
from backend.paging import EVERYTHING
from mailagent.errors import Malformed

__all__ = ["commands", "file_given"]

commands = typer.Typer(help="Agents, their addresses and what is set for them.")

Named = Annotated[str, typer.Argument(metavar="AGENT", help="Handle or id.")]
Processor = Annotated[
    str | None, typer.Option(help="builtin or claude; empty: the installation's own.")
]
Instructions = Annotated[str | None, typer.Option(help="How it shall answer.")]


@commands.command()
def create(
    context: typer.Context,
    handle: Annotated[str, typer.Argument(help="What stands before the @ of its address.")],
    name: Annotated[str, typer.Option(help="The name on its mails; default: the handle.")] = "",
    processor: Processor = "",
    instructions: Instructions = "",
    workspace: InWorkspace = None,
) -> None:
    """Make an agent and print its address."""
    shell: Shell = context.obj
    made = shell.write(
        shell.workspace(workspace).id,
        service.create,
        shell.settings.default_email_domain,
        handle=handle,
        name=name,
        processor=processor or "",
        instructions=instructions or "",
    )
    shell.show(made.address, made, AgentOut)


Handle = Annotated[
    str | None, typer.Option(help="What stands before the @ of its address; default: the file's.")
]
Plan = Annotated[bool, typer.Option("--plan", help="Show what it would change, change nothing.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Change an agent of that handle that is there.")
]


@commands.command()
def add(
    context: typer.Context,
    template: Annotated[str, typer.Option(help="One of mailagent agent templates.")],
    handle: Handle = None,
    plan: Plan = False,
    workspace: InWorkspace = None,
) -> None:
    """Make an agent from a template that comes with mailagent."""
    file = catalogue.template(template).file
    _import(context.obj, workspace, file, handle=handle, plan=plan, overwrite=False)


@commands.command()
def templates(context: typer.Context) -> None:
    """List the agents that come with mailagent."""
    shell: Shell = context.obj
    found = list(catalogue.templates())
    shown = [TemplateOut.of(one) for one in found]
    rows = [(one.name, one.description) for one in found]
    shell.show(table(rows, empty="no templates"), shown, list[TemplateOut])


@commands.command()
def export(context: typer.Context, agent: Named, workspace: InWorkspace = None) -> None:
    """Print an agent as one YAML file, without a secret."""
    shell: Shell = context.obj
    file = shell.read(shell.workspace(workspace).id, transfer.export, around(shell), agent)
    shell.show(agent_file.render(file).rstrip(), file, AgentFile)


@commands.command("import")
def import_(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="An agent's file, as mailagent agent export has it.")
    ],
    handle: Handle = None,
    plan: Plan = False,
    overwrite: Overwrite = False,
    workspace: InWorkspace = None,
) -> None:
    """Make an agent from a file, or bring one that is there into line with it."""
    _import(
        context.obj,
        workspace,
        file_given("FILE", file),
        handle=handle,
        plan=plan,
        overwrite=overwrite,
    )


def file_given(argument: str, path: Path) -> AgentFile:
    """An agent's file from the disk. Raises Malformed."""
    try:
        if path.stat().st_size > agent_file.LONGEST_FILE:
            raise Malformed(argument, f"has more than {agent_file.LONGEST_FILE:,} octets")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(argument, f"cannot be read: {error}") from error
    return agent_file.parse(text)


def _import(
    shell: Shell,
    workspace: str | None,
    file: AgentFile,
    *,
    handle: str | None,
    plan: bool,
    overwrite: bool,
) -> None:
    where = shell.workspace(workspace)
    work = shell.read if plan else shell.write
    done = work(
        where.id,
        transfer.import_agent,
        shell.settings.default_email_domain,
        around(shell),
        file,
        author="cli",
        handle=handle,
        only_plan=plan,
        overwrite=overwrite,
        unpriced=unpriced_by(shell.settings),
    )
    shell.show(_told(done), done, ImportOut)


def _told(done: Imported) -> str:
    needs = [f"it still needs: {command}" for command in done.needs]
    if done.done:
        assert done.agent is not None
        return "\n".join([done.agent.address, *needs])
    head = "would make an agent" if done.created else "would change"
    if not done.changes:
        return "nothing would change"
    changes = [f"\n{one.field}\n{one.difference}" for one in done.changes]
    return "\n".join([head, *changes, *needs])


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """List the agents of a workspace."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, service.list_agents, EVERYTHING).items
    rows = [(one.handle, one.address, _switch(one), one.name, one.id) for one in found]
    shell.show(table(rows, empty="no agents"), found, list[AgentOut])


@commands.command()
def show(context: typer.Context, agent: Named, workspace: InWorkspace = None) -> None:
    """Show one agent."""
    shell: Shell = context.obj
    _show(shell, shell.read(shell.workspace(workspace).id, service.get, agent))


@commands.command("set")
def set_(
    context: typer.Context,
    agent: Named,
    name: Annotated[str | None, typer.Option(help="The name on its mails.")] = None,
    processor: Processor = None,
    instructions: Instructions = None,
    escalation_address: Annotated[
        str | None, typer.Option(help="Who hears of its hand-overs; empty: as the workspace says.")
    ] = None,
    usd_a_day: Annotated[
        str | None, typer.Option(help="US dollars it may spend in 24 hours; empty: no cap.")
    ] = None,
    usd_a_month: Annotated[
        str | None, typer.Option(help="US dollars it may spend in 30 days; empty: no cap.")
    ] = None,
    workspace: InWorkspace = None,
) -> None:
    """Change what is set for an agent."""
    given = {"name": name, "processor": processor, "instructions": instructions}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    cleared = {
        "escalation_address": escalation_address,
        "usd_a_day": usd_a_day,
        "usd_a_month": usd_a_month,
    }
    changes |= {key: value or None for key, value in cleared.items() if value is not None}
    _change(context.obj, workspace, agent, changes)


@commands.command()
def on(context: typer.Context, agent: Named, workspace: InWorkspace = None) -> None:
    """Take mail for an agent again."""
    _change(context.obj, workspace, agent, {"email_enabled": True})


@commands.command()
def off(context: typer.Context, agent: Named, workspace: InWorkspace = None) -> None:
    """Refuse mail for an agent at the door (550 5.2.1)."""
    _change(context.obj, workspace, agent, {"email_enabled": False})


@commands.command()
def alias(
    context: typer.Context, agent: Named, address: str, workspace: InWorkspace = None
) -> None:
    """Give an agent one more address, on the workspace's own domains."""
    shell: Shell = context.obj
    domain = shell.settings.default_email_domain
    where = shell.workspace(workspace)
    _show(shell, shell.write(where.id, aliases.add_alias, domain, agent, address))


@commands.command()
def unalias(
    context: typer.Context, agent: Named, address: str, workspace: InWorkspace = None
) -> None:
    """Take an alias away."""
    shell: Shell = context.obj
    where = shell.workspace(workspace)
    _show(shell, shell.write(where.id, aliases.remove_alias, agent, address))


@commands.command()
def remove(context: typer.Context, agent: Named, workspace: InWorkspace = None) -> None:
    """Take an agent away: its addresses are free, its mail stays."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, agent)
    shell.show(f"removed {agent}", {"removed": agent})


def _change(shell: Shell, workspace: str | None, agent: str, changes: dict[str, Any]) -> None:
    where = shell.workspace(workspace)
    unpriced = unpriced_by(shell.settings)
    _show(shell, shell.write(where.id, service.update_agent, agent, changes, unpriced=unpriced))


def _switch(agent: Agent) -> str:
    return "on" if agent.email_enabled else "off"


def _cost(shell: Shell, agent: Agent) -> str:
    model = unpriced_by(shell.settings).get(agent.processor)
    return "counted" if model is None else f"not known: set ANTHROPIC_PRICE for {model}"


def _show(shell: Shell, agent: Agent) -> None:
    rows = [
        ("handle", agent.handle),
        ("name", agent.name),
        ("id", agent.id),
        ("addresses", ", ".join(one.address for one in agent.addresses)),
        ("e-mail", _switch(agent)),
        ("processor", agent.processor or "(the installation's own)"),
        ("cost of an answer", _cost(shell, agent)),
        ("US dollars a day", agent.usd_a_day or "(no cap of its own)"),
        ("US dollars in 30 days", agent.usd_a_month or "(no cap of its own)"),
        ("escalation address", agent.escalation_address or "(as the workspace says)"),
        ("instructions", agent.instructions or "(none)"),
    ]
    shell.show(table(rows, empty=""), agent, AgentOut)
