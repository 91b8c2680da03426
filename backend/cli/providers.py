"""`mailagent provider`: the accounts that carry mail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from backend.agents import service as agents
from backend.cli import provisioning
from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.writing import keyed
from backend.installation import make_signing_key, webhook_settings
from backend.outbound import accounts, accounts_probe
from backend.outbound.account_schemas import AccountOut, ProbeOut
from backend.outbound.accounts import Limits, Overview
from backend.outbound.accounts_environment import (
    SECRETS,
    SETTINGS,
    FromEnvironment,
    of_environment,
)
from mailagent.errors import Malformed, Misconfigured
from mailagent.tokens import Secrets

__all__ = ["commands"]

commands = typer.Typer(help="The accounts at providers that carry mail.")
commands.command()(provisioning.setup)
commands.command()(provisioning.check)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `list` shows it.")]
Setting = Annotated[list[str] | None, typer.Option("--setting", help="NAME=VALUE; nothing secret.")]
File = Annotated[
    list[str] | None, typer.Option("--file", help="NAME=PATH: the value is in that file.")
]
Stdin = Annotated[
    bool, typer.Option("--stdin", help="Read lines of NAME=VALUE from standard input.")
]


@commands.command()
def add(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help=", ".join(SETTINGS))],
    name: Annotated[str, typer.Option(help="What to call it; else as its kind.")] = "",
    setting: Setting = None,
    file: File = None,
    stdin: Stdin = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Its settings, if it is there.")
    ] = False,
    priority: Annotated[int | None, typer.Option(help="The lowest goes first; else 100.")] = None,
    sends_for: Annotated[
        list[str] | None, typer.Option(help="A domain verified there; `*` is any.")
    ] = None,
) -> None:
    """Add an account. What is not given is taken from the environment, by the same names."""
    shell: Shell = context.obj
    secrets = _secrets(shell)
    settings = _given(shell, kind, setting or [], file or [], stdin=stdin)
    made = shell.write(None, accounts.add, secrets, kind, settings, name=name, replace=replace)
    if priority is not None or sends_for:
        limits = Limits(priority, sends_for or None)
        shell.write(None, accounts.limit, made, limits)
    if kind == "smtp":
        domain = shell.settings.default_email_domain
        asyncio.run(make_signing_key(shell.store, secrets, domain))
    _show(shell, [_find(shell, made)])


@commands.command("list")
def list_(context: typer.Context) -> None:
    """Every account in the order of preference, how it stands and how well it does."""
    shell: Shell = context.obj
    _show(shell, shell.read(None, accounts.overview, *_known(shell)))
    for conflict in _environment(shell).conflicts:
        shell.tell(conflict)


@commands.command()
def test(context: typer.Context, name: Name) -> None:
    """Ask the provider whether the account's credentials are good; sends nothing."""
    shell: Shell = context.obj
    account = shell.read(None, accounts.opened, name, _secrets(shell), _environment(shell))
    told = asyncio.run(accounts_probe.probe(account))
    lines = [told.summary, *(f"  {word}: {value}" for word, value in told.facts.items())]
    shell.show("\n".join(lines), told, ProbeOut)


@commands.command()
def pause(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option(help="For whoever looks later.")] = "paused by an operator",
) -> None:
    """Let nothing leave by an account until `resume`; mail goes by the others, or waits."""
    shell: Shell = context.obj
    found = _find(shell, name)
    shell.write(None, accounts.pause, found.name, reason)
    _show(shell, [_find(shell, name)])


@commands.command()
def resume(context: typer.Context, name: Name) -> None:
    """Use an account at once, whether a person paused it, the provider rejected it, or it rests."""
    shell: Shell = context.obj
    found = _find(shell, name)
    shell.write(None, accounts.resume, found.name)
    _show(shell, [_find(shell, name)])


@commands.command("set")
def set_(
    context: typer.Context,
    name: Name,
    priority: Annotated[int | None, typer.Option(help="The lowest goes first.")] = None,
    sends_for: Annotated[
        list[str] | None,
        typer.Option(help="A domain verified there; `*` is any; an empty word: the usual ones."),
    ] = None,
    quota: Annotated[
        list[str] | None, typer.Option(help="PERIOD=RECIPIENTS, such as day=200; 0 is no quota.")
    ] = None,
) -> None:
    """Change what an account may be used for, one of the environment too."""
    shell: Shell = context.obj
    found = _find(shell, name)
    domains = None if sends_for is None else [one for one in sends_for if one.strip()]
    limits = Limits(priority, domains, _quotas(quota) if quota else None)
    shell.write(None, accounts.limit, found.name, limits)
    _show(shell, [_find(shell, name)])


@commands.command()
def remove(context: typer.Context, name: Name) -> None:
    """Forget an account and its credentials."""
    shell: Shell = context.obj
    shell.write(None, accounts.remove, name)
    shell.show(f"removed {name}", {"name": name, "removed": True})


@commands.command()
def use(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="None: the usual order again.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Id or handle: for its mail.")] = None,
    domain: Annotated[str | None, typer.Option(help="For mail from this domain.")] = None,
    workspace: InWorkspace = None,
) -> None:
    """Let one agent's mail, or one domain's, leave by these accounts alone, in this order."""
    shell: Shell = context.obj
    if (agent is None) == (domain is None):
        raise Malformed("--agent, --domain", "are for one of them each time: give one")
    for name in names or []:
        _find(shell, name)
    where = shell.workspace(workspace).id
    agent_id = shell.read(where, agents.get, agent).id if agent is not None else None
    shell.write(where, accounts.choose_for, names or [], agent_id=agent_id, domain=domain)
    shell.show(", ".join(names or []) or "the usual order", {"accounts": names or []})


def _given(
    shell: Shell, kind: str, setting: Sequence[str], file: Sequence[str], *, stdin: bool
) -> Mapping[str, str]:
    """The settings of a new account. Raises Malformed, Misconfigured."""
    known = SETTINGS.get(kind, ())
    values = {name: shell.environ[name] for name in known if shell.environ.get(name)}
    for text in setting:
        name, value = _pair("--setting", text)
        if name in SECRETS:
            raise Malformed(
                "--setting", f"{name} would stay in the shell's history: use --file or --stdin"
            )
        values[name] = value
    for text in file:
        name, path = _pair("--file", text)
        try:
            values[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(name, f"{path} cannot be read: {error}") from error
    if stdin:
        lines = (line.strip() for line in sys.stdin)
        values |= dict(_pair("--stdin", line) for line in lines if line)
    return values


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value.strip():
        raise Malformed(option, "is written NAME=VALUE")
    return name.strip(), value.strip()


def _quotas(words: Sequence[str]) -> Mapping[str, int]:
    quotas: dict[str, int] = {}
    for word in words:
        period, most = _pair("--quota", word)
        if not most.isdecimal():
            raise Malformed("--quota", "is written PERIOD=RECIPIENTS, such as day=200")
        quotas[period] = int(most)
    return quotas


def _secrets(shell: Shell) -> Secrets:
    return Secrets(keyed(shell.settings).secret_keys())


def _environment(shell: Shell) -> FromEnvironment:
    return of_environment(webhook_settings(shell.settings).values)


def _known(shell: Shell) -> tuple[Secrets, FromEnvironment, str]:
    return _secrets(shell), _environment(shell), shell.settings.default_email_domain


def _find(shell: Shell, name: str) -> Overview:
    return shell.read(None, accounts.find, name, *_known(shell))


def _show(shell: Shell, found: Sequence[Overview]) -> None:
    rows = []
    for one in found:
        health = one.health.word if one.health.score is None else f"{one.health.score}"
        why = one.reason or "; ".join(one.health.reasons)
        until = f" until {one.paused_until:%H:%M:%S}" if one.status == "resting" else ""
        rows.append((one.name, one.kind, f"{one.status}{until}", health, why))
    empty = "none: mail is captured, nothing is sent"
    shell.show(table(rows, empty=empty), found, list[AccountOut])
