"""`mailagent`: the whole installation from a shell.

Every command prints its result on standard output and nothing else there; `--json`, which may stand
anywhere, prints it as JSON. Exit codes: 0 done, 1 it could not be done (one line on standard error
says why and what to mend), 2 the command line is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from backend.cli import (
    agent_groups,
    agents,
    approvals,
    backup,
    demo,
    dns,
    doctor,
    documents,
    domain_options,
    domains,
    evaluations,
    inbox,
    keys,
    lists,
    migrate,
    outbound,
    people,
    providers,
    purge,
    reports,
    retention,
    routes,
    rules,
    secret,
    senders,
    serve,
    suppressions,
    tools,
    trust,
    trying,
    unrouted,
    webhooks,
    workspaces,
)
from backend.cli.shell import Shell
from mailagent.errors import MailagentError

__all__ = ["app", "main"]

app = typer.Typer(
    name="mailagent",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    *(serve.serve, migrate.migrate, backup.backup, backup.restore, demo.demo, doctor.doctor),
    *(people.sign_in_link, rules.explain, reports.reports),
    *(
        inbox.inbox,
        inbox.trace,
        inbox.reply,
        inbox.send,
        inbox.replay,
        inbox.priority,
        outbound.send_test,
    ),
):
    app.command()(_command)
app.command("try")(trying.try_)
app.command()(evaluations.feedback)
for _name, _commands in (
    ("workspace", workspaces.commands),
    ("person", people.commands),
    ("agent", agents.commands),
    ("agent-group", agent_groups.commands),
    ("domain-options", domain_options.commands),
    ("sender", senders.commands),
    ("route", routes.commands),
    ("approvals", approvals.commands),
    ("rule", rules.commands),
    ("document", documents.commands),
    ("eval", evaluations.commands),
    ("domain", domains.commands),
    ("key", keys.commands),
    ("secret", secret.commands),
    ("provider", providers.commands),
    ("dns", dns.commands),
    ("unknown", outbound.unknown),
    ("purge", purge.commands),
    ("retention", retention.commands),
    ("suppressions", suppressions.commands),
    ("lists", lists.commands),
    ("tool", tools.commands),
    ("policy", trust.policy),
    ("limits", trust.limits),
    ("unrouted", unrouted.commands),
    ("webhook", webhooks.commands),
):
    app.add_typer(_commands, name=_name, no_args_is_help=True)
# Alone it lists: the one group that is a command as well.
app.add_typer(outbound.outbound, name="outbound")


@app.callback()
def options(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; may stand anywhere.")
    ] = False,
) -> None:
    """Real e-mail addresses for AI agents."""
    context.obj.json = as_json


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `mailagent`; always ends by SystemExit."""
    shell = Shell(os.environ)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        app(_json_first(given), prog_name="mailagent", obj=shell)
    except MailagentError as error:
        _fail(str(error))
    except DBAPIError as error:
        kind = type(error.orig).__name__
        _fail(f"the database cannot be used ({kind}): check DATABASE_URL, then mailagent migrate")
    finally:
        shell.close()


def _json_first(arguments: Sequence[str]) -> list[str]:
    """`--json` is one option of the whole program, wherever it stands before a `--`."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    ours, rest = arguments[:end], arguments[end:]
    given = "--json" in ours
    return [*(["--json"] if given else []), *(one for one in ours if one != "--json"), *rest]


def _fail(reason: str) -> None:
    sys.stderr.write(f"mailagent: {' '.join(reason.split())}\n")
    raise SystemExit(1)
