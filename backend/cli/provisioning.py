"""`mailagent provider setup` and `check`: what should stand at a provider, and what does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from backend.cli.shell import Shell
from backend.cli.writing import desk_of, keyed
from backend.domains import infrastructure
from backend.installation import webhook_settings
from backend.outbound import provisioning
from backend.outbound.account_schemas import SetUpOut
from backend.outbound.accounts_environment import FromEnvironment, of_environment
from backend.outbound.provisioning import Mode, Report
from mailagent.errors import Malformed
from mailagent.providers import Account, House
from mailagent.providers.steps import Outcome, Result
from mailagent.tokens import Secrets

__all__ = ["check", "setup"]

Url = Annotated[
    str, typer.Option(help="Where providers reach our webhooks; else WEBHOOK_PUBLIC_URL.")
]


def setup(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="ses, sendgrid, mailgun or postmark.")],
    account: Annotated[str, typer.Option(help="Which one, where there are several.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done; do nothing.")] = (
        False
    ),
    url: Url = "",
) -> None:
    """Make at a provider what should stand there. Twice changes nothing; a failure is taken back.

    The exit code is 1 when something failed; what waits for a person is said.
    """
    shell: Shell = context.obj
    values = webhook_settings(shell.settings)
    found = shell.read(None, provisioning.account_of_kind, kind, account, *_known(shell), values)
    here = _house(shell, url)
    report = _report(found, here, "plan" if plan else "make")
    if report is None:
        raise Malformed("kind", f"{kind} has nothing to set up at a provider")
    if not plan:
        _keep_what_they_ask(shell, [report])
    shell.show(_text(report), report, SetUpOut)
    if report.failed:
        raise typer.Exit(1)


def check(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="None: every account.")] = "",
    url: Url = "",
) -> None:
    """Compare what stands at a provider with what should; changes nothing.

    The exit code is 1 when something is not as it should be.
    """
    shell: Shell = context.obj
    found = shell.read(None, provisioning.accounts_to_check, name, *_known(shell))
    here = _house(shell, url)
    reports = [report for one in found if (report := _report(one, here, "check"))]
    _keep_what_they_ask(shell, reports)
    text = "\n\n".join(map(_text, reports)) or "no account has anything to check at a provider"
    shell.show(text, reports, list[SetUpOut])
    if not all(report.well for report in reports):
        raise typer.Exit(1)


def _keep_what_they_ask(shell: Shell, reports: Sequence[Report]) -> None:
    """Only providers know their DKIM records of the default domain: our zone has them from here."""

    async def ask() -> None:
        await infrastructure.ask(desk_of(shell), {one.account for one in reports})

    asyncio.run(ask())


def _report(account: Account, here: House, mode: Mode) -> Report | None:
    return asyncio.run(provisioning.carry_out(account, here, mode))


def _house(shell: Shell, url: str) -> House:
    settings = shell.settings
    return shell.read(
        None,
        provisioning.house,
        settings.default_email_domain,
        url or settings.webhook_public_url or settings.public_url,
        webhook_settings(settings),
    )


def _known(shell: Shell) -> tuple[Secrets, FromEnvironment]:
    secrets = Secrets(keyed(shell.settings).secret_keys())
    return secrets, of_environment(webhook_settings(shell.settings).values)


def _text(report: Report) -> str:
    """A line a step, and below it what else is to be known or done."""
    lines = [f"{report.account} ({report.kind})"]
    for step in report.steps:
        lines += _step(step)
    if report.mode != "check" or not report.well:
        lines += _asked(report)
    return "\n".join(lines)


def _step(step: Result) -> Sequence[str]:
    said = step.says if step.says and step.says != step.wants else ""
    lines = [f"  {step.outcome:<18} {step.name}: {step.wants}"]
    if said:
        lines.append(f"    {'before' if step.outcome is Outcome.MADE else 'now'}: {said}")
    if step.outcome is Outcome.WANTED:
        lines += [f"    call: {call}" for call in step.calls]
    lines += [f"    note: {note}" for note in step.notes]
    if step.mend:
        lines.append(f"    do: {step.mend}")
    return lines


def _asked(report: Report) -> Sequence[str]:
    lines = [f"  set {name}={value}" for name, value in report.settings.items()]
    for record in report.publish:
        first = "" if record.priority is None else f"{record.priority} "
        lines.append(f"  publish {record.name} {record.type} {first}{record.value}")
    return lines
