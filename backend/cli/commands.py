"""Which commands are there?"""

from __future__ import annotations

from typing import Annotated

import typer

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

__all__ = ["app"]

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
