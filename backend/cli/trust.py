"""`mailagent policy` and `mailagent limits`: what agents may do, and how much of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.trust import settings
from backend.trust.schemas import LimitsOut, PolicyOut
from backend.trust.settings import EffectiveLimits, EffectivePolicy
from mailagent.agents.trust import EFFECTS, MAIL_ACTIONS, Standing
from mailagent.errors import Malformed

__all__ = ["limits", "policy"]

_ACTOR = "cli"

policy = typer.Typer(help="What an agent may do for whom: do, ask or refuse.")
limits = typer.Typer(help="How much agents may do, when, and how sure they must be.")

OfAgent = Annotated[
    str | None, typer.Option("--agent", help="Of this agent; without it, of the workspace.")
]


@policy.command("show")
def show_policy(
    context: typer.Context,
    workspace: InWorkspace = None,
    agent: OfAgent = None,
    version: Annotated[int | None, typer.Option(help="An earlier one, as it was set.")] = None,
) -> None:
    """The table that holds, with all that lies under what is set."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    if version is not None:
        found = shell.read(where, settings.policy_version, version, agent)
    else:
        found = shell.read(where, settings.policy, agent)
    _show_policy(shell, found)


@policy.command("set")
def set_policy(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help='JSON: {"stranger": {"link": "ask"}}; - is standard input.')
    ],
    workspace: InWorkspace = None,
    agent: OfAgent = None,
) -> None:
    """Set another policy, whole; what it leaves out is decided below it."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    _show_policy(
        shell, shell.write(where, settings.set_policy, _json(file), actor=_ACTOR, agent=agent)
    )


@limits.command("show")
def show_limits(
    context: typer.Context, workspace: InWorkspace = None, agent: OfAgent = None
) -> None:
    """The limits that hold; a star marks those that are set here."""
    shell: Shell = context.obj
    _show_limits(shell, shell.read(shell.workspace(workspace).id, settings.limits, agent))


@limits.command("set")
def set_limits(
    context: typer.Context,
    given: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE…", help="VALUE is JSON, or plain text.")
    ],
    workspace: InWorkspace = None,
    agent: OfAgent = None,
) -> None:
    """Change some; null lifts a count."""
    shell: Shell = context.obj
    changes = dict(map(_pair, given))
    where = shell.workspace(workspace).id
    _show_limits(shell, shell.write(where, settings.set_limits, changes, actor=_ACTOR, agent=agent))


@limits.command("reset")
def reset_limits(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME…")],
    workspace: InWorkspace = None,
    agent: OfAgent = None,
) -> None:
    """Take some back to what lies under them."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    _show_limits(
        shell, shell.write(where, settings.reset_limits, tuple(names), actor=_ACTOR, agent=agent)
    )


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Malformed("NAME=VALUE", f"{text[:80]!r} has no =")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _json(file: Path) -> Any:
    try:
        octets = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return json.loads(octets)
    except OSError as error:
        raise Malformed("FILE", f"cannot be read: {error}") from error
    except ValueError as error:
        raise Malformed("FILE", f"is no JSON ({error})") from error


def _show_policy(shell: Shell, found: EffectivePolicy) -> None:
    standings = [one.word for one in Standing]
    actions = dict.fromkeys((*MAIL_ACTIONS, *EFFECTS))
    for row in found.effective.values():
        actions |= dict.fromkeys(row)
    rows: list[tuple[object, ...]] = [("", *standings)]
    rows += [
        (action, *(found.effective.get(one, {}).get(action, "-") for one in standings))
        for action in actions
    ]
    set_ = f"version {found.version}" if found.version else "nothing is set: the defaults"
    shell.show(f"{set_}\n{table(rows, empty='')}", found, PolicyOut)


def _show_limits(shell: Shell, found: EffectiveLimits) -> None:
    values = found.effective.model_dump(mode="json")
    rows = [
        (f"{'*' if name in found.limits else ' '} {name}", json.dumps(value, ensure_ascii=False))
        for name, value in values.items()
    ]
    shell.show(table(rows, empty=""), found, LimitsOut)
