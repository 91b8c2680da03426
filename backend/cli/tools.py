"""`mailagent tool`: what agents can do beside answering, and what they did."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.abilities import openapi, openapi_document, service
from backend.abilities.openapi import Wishes
from backend.abilities.schemas import (
    AbilitiesOut,
    CallOfToolOut,
    HttpToolOut,
    ImportedToolOut,
    OperationOut,
    SecretOut,
)
from backend.abilities.service import Abilities, Surroundings
from backend.cli.shell import InWorkspace, Shell, table
from mailagent.agents.mcp_servers import load_listing
from mailagent.egress import Egress
from mailagent.errors import Malformed
from mailagent.flow import asked_calls
from mailagent.tokens import Secrets

__all__ = ["around", "commands"]

commands = typer.Typer(help="The model, the tools and the secrets of agents.")

OfAgent = Annotated[str, typer.Argument(metavar="AGENT", help="Handle or id.")]


def around(shell: Shell) -> Surroundings:
    """What decides which addresses may be saved here."""
    settings = shell.settings
    listed = load_listing(settings.mailagent_mcp_servers)
    return Surroundings(
        Secrets(settings.secret_keys()), Egress(settings.internal_hosts), tuple(listed)
    )


@commands.command()
def show(context: typer.Context, agent: OfAgent, workspace: InWorkspace = None) -> None:
    """What an agent can do, and with what."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, service.get, agent)
    shell.show(_in_words(found), found, AbilitiesOut)


@commands.command("set")
def set_(
    context: typer.Context,
    agent: OfAgent,
    workspace: InWorkspace = None,
    model: Annotated[str | None, typer.Option(help="A model of its own.")] = None,
    price: Annotated[str | None, typer.Option(help="US dollars a million tokens, 3/15.")] = None,
    most_questions: Annotated[
        int | None, typer.Option(help="To the model in one turn; 0: as usual.")
    ] = None,
    history_tokens: Annotated[
        int | None, typer.Option(help="Of the thread that the model sees; 0: as usual.")
    ] = None,
    tools: Annotated[
        str | None, typer.Option(help="Names between commas; empty: the usual ones.")
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Where the processor webhook asks.")
    ] = None,
    task_url: Annotated[str | None, typer.Option(help="Where create_task posts.")] = None,
    calendar_hours: Annotated[
        str | None, typer.Option(help='JSON: {"zone": "Europe/Berlin", "from": "09:00"}.')
    ] = None,
    mcp_servers: Annotated[
        str | None, typer.Option(help='JSON: [{"name": "crm", "url": "https://…", "reads": []}].')
    ] = None,
) -> None:
    """Change them; an empty value takes one away."""
    given: dict[str, Any] = {
        "model": model,
        "price": price,
        "most_questions": most_questions,
        "history_tokens": history_tokens,
        "webhook_url": webhook_url,
        "task_url": task_url,
        "tools": [one for one in tools.replace(" ", "").split(",") if one] if tools else tools,
        "calendar_hours": _json("--calendar-hours", calendar_hours),
        "mcp_servers": _json("--mcp-servers", mcp_servers),
    }
    changes = {name: value or None for name, value in given.items() if value is not None}
    if not changes:
        raise Malformed("--model", "or another option must be given: there is nothing to change")
    shell: Shell = context.obj
    workspace_id = shell.workspace(workspace).id
    done = shell.write(workspace_id, service.change, around(shell), agent, changes)
    shell.show(_in_words(done), done, AbilitiesOut)


@commands.command()
def secret(
    context: typer.Context,
    agent: OfAgent,
    name: Annotated[str, typer.Argument(help="webhook, tasks, calendars or mcp:SERVER.")],
    value: Annotated[
        Path | None, typer.Option(help="A file that holds it; - is standard input.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget it.")] = False,
    workspace: InWorkspace = None,
) -> None:
    """Keep a secret for an agent's own addresses; without --value one is made and printed."""
    shell: Shell = context.obj
    workspace_id = shell.workspace(workspace).id
    if remove:
        shell.write(workspace_id, service.remove_secret, agent, name)
        shell.show(f"removed {name}", {"name": name, "value": ""}, SecretOut)
        return
    given = None if value is None else _read(value).strip()
    kept = shell.write(workspace_id, service.keep_secret, around(shell), agent, name, given)
    shell.show(kept if given is None else f"kept {name}", {"name": name, "value": kept}, SecretOut)


@commands.command()
def add(
    context: typer.Context,
    agent: OfAgent,
    file: Annotated[Path, typer.Argument(help="The description in JSON; - is standard input.")],
    workspace: InWorkspace = None,
) -> None:
    """Give an agent a tool that calls an address."""
    shell: Shell = context.obj
    described = _json("FILE", _read(file))
    if not isinstance(described, dict):
        raise Malformed("FILE", "must hold an object")
    known = set(_TOOL_FIELDS)
    if missing := [one for one in _TOOL_FIELDS[:6] if one not in described]:
        raise Malformed("FILE", f"lacks {', '.join(missing)}")
    if unknown := sorted(set(described) - known):
        raise Malformed("FILE", f"holds {unknown[0]!r}: give {', '.join(_TOOL_FIELDS)}")
    made = shell.write(
        shell.workspace(workspace).id, service.add_tool, around(shell), agent, described
    )
    shell.show(f"added {made.name}: {made.method} {made.url}", made, HttpToolOut)


_TOOL_FIELDS = (
    *("name", "description", "input_schema", "effect", "method", "url"),
    *("least", "repeatable", "headers"),
)


@commands.command("import")
def import_(
    context: typer.Context,
    agent: OfAgent,
    file: Annotated[Path, typer.Argument(help="OpenAPI 3.0 or 3.1; - is standard input.")],
    operation: Annotated[
        list[str] | None,
        typer.Option(help="Its operationId or METHOD /path; * is all; none: they are listed."),
    ] = None,
    base_url: Annotated[str, typer.Option(help="Default: the document's first server.")] = "",
    prefix: Annotated[str, typer.Option(help="Before each tool's name.")] = "",
    credentials: Annotated[
        Path | None, typer.Option(help="A JSON file: security schemes and their secrets.")
    ] = None,
    effect: Annotated[
        list[str] | None, typer.Option(metavar="OPERATION=EFFECT", help="reads, changes or sends.")
    ] = None,
    least: Annotated[str, typer.Option(help="Standing of the mail's writer.")] = "stranger",
    workspace: InWorkspace = None,
) -> None:
    """Make operations of an OpenAPI document tools of an agent."""
    shell: Shell = context.obj
    workspace_id = shell.workspace(workspace).id
    document = openapi_document.read(_read(file))
    if not operation:
        found = OperationOut.all_of(document, prefix=prefix)
        rows = [(one.id, one.method, one.path, one.problem or one.summary) for one in found]
        shell.show(table(rows, empty="none"), found, list[OperationOut])
        return
    secrets = {} if credentials is None else _json("--credentials", _read(credentials))
    if not isinstance(secrets, dict) or not all(isinstance(one, str) for one in secrets.values()):
        raise Malformed("--credentials", 'must hold an object like {"token": "…"}')
    pairs = [one.rpartition("=") for one in effect or ()]
    effects = {name: said for name, _, said in pairs}
    wishes = Wishes(operation, base_url, prefix, secrets, effects)
    described = openapi.tools_of(document, wishes)
    made = shell.write(workspace_id, service.import_tools, around(shell), agent, described, least)
    lines = [f"added {one.tool.name}: {one.tool.method} {one.tool.url}" for one in made]
    lines += [f"  left out of {one.tool.name}: {why}" for one in made for why in one.left_out]
    shell.show("\n".join(lines), made, list[ImportedToolOut])


@commands.command()
def header(
    context: typer.Context,
    agent: OfAgent,
    name: Annotated[str, typer.Argument(help="The tool's name.")],
    field: Annotated[str, typer.Argument(metavar="HEADER", help="Such as Authorization.")],
    value: Annotated[Path, typer.Option(help="A file that holds it; - is standard input.")],
    workspace: InWorkspace = None,
) -> None:
    """Give the value of a header field of such a tool: a credential that the model never sees."""
    shell: Shell = context.obj
    given = (around(shell), agent, name, field, _read(value).strip())
    changed = shell.write(shell.workspace(workspace).id, service.set_header, *given)
    shell.show(f"kept {field} of {name}", changed, HttpToolOut)


@commands.command()
def remove(
    context: typer.Context,
    agent: OfAgent,
    name: Annotated[str, typer.Argument(help="The tool's name.")],
    workspace: InWorkspace = None,
) -> None:
    """Take such a tool away."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove_tool, agent, name)
    shell.show(f"removed {name}", {"name": name}, dict[str, str])


@commands.command()
def calls(
    context: typer.Context,
    state: Annotated[
        str, typer.Option(help="asked, agreed, done, failed, refused or unknown.")
    ] = "done",
    workspace: InWorkspace = None,
) -> None:
    """The calls of tools that change or send something; those that wait are among the approvals."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, asked_calls.listing, state=state)
    rows = [(one.id, one.agent, one.tool, json.dumps(one.wish), one.why) for one in found]
    shell.show(table(rows, empty="none"), found, list[CallOfToolOut])


def _in_words(found: Abilities) -> str:
    rows: list[tuple[str, object]] = [
        ("agent", found.agent),
        ("model", found.model or "(the installation's own)"),
        ("price", found.price or "(as it is known)"),
        ("questions", found.most_questions or "(as usual)"),
        ("history", found.history_tokens or "(as usual)"),
        ("webhook", found.webhook_url or "none"),
        ("tasks", found.task_url or "none"),
        ("MCP servers", ", ".join(str(one["name"]) for one in found.mcp_servers) or "none"),
        ("secrets", ", ".join(found.secrets) or "none"),
    ]
    tools = [(f"  {one.name}", one.effect, one.least, one.touches) for one in found.tools]
    return f"{table(rows, empty='')}\ntools\n{table(tools, empty='  none')}"


def _json(name: str, text: str | None) -> Any:
    if not text:
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise Malformed(name, f"is no JSON: {error}") from error


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(str(file), f"cannot be read: {error}") from error
