"""Which commands are there, and where?

A command's module is imported once it is asked for: all of them take half a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, cast

import typer
import typer.core
import typer.main

__all__ = ["app"]

_COMMANDS: Mapping[str, str] = {
    "serve": "serve.serve",
    "migrate": "migrate.migrate",
    "backup": "backup.backup",
    "restore": "backup.restore",
    "demo": "demo.demo",
    "doctor": "doctor.doctor",
    "sign-in-link": "people.sign_in_link",
    "explain": "rules.explain",
    "reports": "reports.reports",
    "inbox": "inbox.inbox",
    "trace": "inbox.trace",
    "reply": "inbox.reply",
    "send": "inbox.send",
    "replay": "inbox.replay",
    "priority": "inbox.priority",
    "send-test": "outbound.send_test",
    "try": "trying.try_",
    "feedback": "evaluations.feedback",
    "workspace": "workspaces.commands",
    "person": "people.commands",
    "agent": "agents.commands",
    "agent-group": "agent_groups.commands",
    "domain-options": "domain_options.commands",
    "sender": "senders.commands",
    "route": "routes.commands",
    "approvals": "approvals.commands",
    "rule": "rules.commands",
    "document": "documents.commands",
    "eval": "evaluations.commands",
    "domain": "domains.commands",
    "key": "keys.commands",
    "secret": "secret.commands",
    "provider": "providers.commands",
    "dns": "dns.commands",
    "unknown": "outbound.unknown",
    "purge": "purge.commands",
    "retention": "retention.commands",
    "suppressions": "suppressions.commands",
    "lists": "lists.commands",
    "tool": "tools.commands",
    "policy": "trust.policy",
    "limits": "trust.limits",
    "unrouted": "unrouted.commands",
    "webhook": "webhooks.commands",
    "outbound": "outbound.outbound",
}
"""Each by its name: a function, or a group of them, and the module that has it."""


class _OnDemand(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


@cache
def _command(name: str) -> Any:
    module, _, attribute = _COMMANDS[name].partition(".")
    found = getattr(import_module(f"backend.cli.{module}"), attribute)
    alone = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        # Who does something without a subcommand is a command as well.
        helps = not found.info.invoke_without_command
        alone.add_typer(found, name=name, no_args_is_help=helps)
    else:
        alone.command(name)(found)
    return typer.main.get_group(alone).commands[name]


class _Program(typer.core.TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = cast("Any", _OnDemand())


app = typer.Typer(
    name="mailagent",
    cls=_Program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; may stand anywhere.")
    ] = False,
) -> None:
    """Real e-mail addresses for AI agents."""
    context.obj.json = as_json
