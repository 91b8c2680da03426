"""`mailagent rule` and `mailagent explain`: which agent gets a mail, and why."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from backend.cli.shell import InWorkspace, Shell, table
from backend.paging import EVERYTHING
from backend.rules import explanation, service
from backend.rules.explanation import Explanation
from backend.rules.schemas import RuleOut, TrialOut
from backend.rules.service import StoredRule
from mailagent.errors import Malformed, NotFound
from mailagent.mail import Mail
from mailagent.sandbox import Sandbox
from mailagent.store.tables import deliveries
from mailagent.store.transaction import Transaction

__all__ = ["commands", "explain"]

commands = typer.Typer(help="Rules: which agent gets a mail that its address does not decide.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The rule's id.")]
MailArgument = Annotated[
    str, typer.Argument(metavar="FILE|ID", help="A raw message in a file, or a delivery's id.")
]
Recipient = Annotated[
    str | None, typer.Option("--to", help="Envelope recipient of a file; default: its To.")
]


@commands.command()
def add(
    context: typer.Context,
    name: str,
    condition: Annotated[str, typer.Argument(help='JSON such as {"domain": "example.com"}.')],
    agent: Annotated[str | None, typer.Option(help="Handle or id, for the action agent.")] = None,
    action: Annotated[str, typer.Option(help="agent, hold or reject.")] = "agent",
    overrides: Annotated[
        bool, typer.Option("--overrides", help="Wins over the address that was written to.")
    ] = False,
    position: Annotated[int | None, typer.Option(help="1 is first; default: last.")] = None,
    workspace: InWorkspace = None,
) -> None:
    """Add a rule."""
    shell: Shell = context.obj
    made = shell.write(
        shell.workspace(workspace).id,
        service.add,
        name=name,
        condition=_condition(condition),
        action=action,
        agent=agent,
        overrides=overrides,
        position=position,
    )
    _show(shell, made)


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """List the rules in the order in which they are asked."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, service.list_rules, EVERYTHING).items
    shell.show(table([_row(one) for one in found], empty="no rules"), found, list[RuleOut])


@commands.command()
def move(context: typer.Context, rule: Id, position: int, workspace: InWorkspace = None) -> None:
    """Put a rule at a position, 1 first."""
    shell: Shell = context.obj
    _show(shell, shell.write(shell.workspace(workspace).id, service.move, rule, position))


@commands.command()
def enable(context: typer.Context, rule: Id, workspace: InWorkspace = None) -> None:
    """Ask a rule again."""
    _change(context.obj, workspace, rule, {"enabled": True})


@commands.command()
def disable(context: typer.Context, rule: Id, workspace: InWorkspace = None) -> None:
    """Leave a rule out, and keep it."""
    _change(context.obj, workspace, rule, {"enabled": False})


@commands.command()
def remove(context: typer.Context, rule: Id, workspace: InWorkspace = None) -> None:
    """Remove a rule."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, rule)
    shell.show(f"removed {rule}", {"removed": rule})


@commands.command("test")
def try_(context: typer.Context, condition: str, mail: MailArgument, to: Recipient = None) -> None:
    """Try a condition on a mail without keeping it."""
    shell: Shell = context.obj
    wanted = _condition(condition)
    found = _explained(shell, mail, to)
    match = explanation.try_condition(wanted, found.mail)
    verdict = "matched" if match.matched else "did not match"
    shell.show(f"{verdict}: {match.why}", TrialOut.of(found, match), TrialOut)


def explain(context: typer.Context, mail: MailArgument, to: Recipient = None) -> None:
    """Tell for each rule whether it matches a mail and why, and where the mail goes."""
    shell: Shell = context.obj
    found = _explained(shell, mail, to)
    rows = [
        (number, one.rule.name, "matched" if one.matched else "no", one.why)
        for number, one in enumerate(found.rules, start=1)
    ]
    decision = found.decision
    where = f"{decision.action} {decision.agent_id}" if decision.agent_id else decision.action
    text = "\n".join(
        [
            f"A mail for {found.mail.recipient}: {found.mail.content.subject or '(no subject)'}",
            table(rows, empty="(the workspace has no rules)"),
            f"→ {where}: {decision.why}",
        ]
    )
    shell.show(text, TrialOut.of(found), TrialOut)


def _explained(shell: Shell, reference: str, to: str | None) -> Explanation:
    file = Path(reference)
    if not file.is_file():
        workspace_id = shell.read(None, _workspace_of_delivery, reference)
        return shell.read(workspace_id, explanation.explain, reference)
    mail = asyncio.run(_read(shell, file.read_bytes(), to))
    domain = shell.settings.default_email_domain
    workspace_id = shell.read(None, explanation.workspace_of, domain, mail.recipient)
    return shell.read(workspace_id, explanation.explain_mail, mail)


async def _read(shell: Shell, raw: bytes, to: str | None) -> Mail:
    sandbox = Sandbox(workers=1)
    try:
        return await explanation.mail_of_file(sandbox, raw, now=shell.store.now(), recipient=to)
    finally:
        await sandbox.close()


def _workspace_of_delivery(tx: Transaction, delivery_id: str) -> str:
    found: str | None = tx.value(
        select(deliveries.c.workspace_id).where(deliveries.c.id == delivery_id)
    )
    if found is None:
        raise NotFound(f"{delivery_id[:200]!r} is neither a file nor the id of a delivery")
    return found


def _condition(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise Malformed("condition", f"is no JSON ({error})") from error


def _change(shell: Shell, workspace: str | None, rule: str, changes: dict[str, Any]) -> None:
    where = shell.workspace(workspace)
    _show(shell, shell.write(where.id, service.update_rule, rule, changes))


def _row(rule: StoredRule) -> tuple[object, ...]:
    action = f"{rule.action} {rule.agent_id}" if rule.agent_id else rule.action
    marks = [*(["overrides"] if rule.overrides else []), *([] if rule.enabled else ["disabled"])]
    condition = json.dumps(rule.condition, ensure_ascii=False)
    return rule.position, rule.name, condition, action, ", ".join(marks) or "-", rule.id


def _show(shell: Shell, rule: StoredRule) -> None:
    shell.show(table([_row(rule)], empty=""), rule, RuleOut)
