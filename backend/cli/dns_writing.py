"""`mailagent domain write-dns`: our records, written into the operator's zone.

The command's body, and the command for a way to find out which records a domain must publish.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.domains.dns_writers import Plan, Step, look, open_writer, write
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

__all__ = ["StepOut", "Wanted", "command", "write_dns"]

_TOKEN = "MAILAGENT_DNS_TOKEN"  # noqa: S105 - the name of a variable, not a token
_MARKS = {"leave": "=", "create": "+", "update": "~", "conflict": "!"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a domain must publish, and in which zone that is written."""

    zone: str
    records: Sequence[DnsRecord]


@dataclass(frozen=True, slots=True)
class StepOut:
    """One record set of a plan, as it is printed."""

    action: str
    name: str
    type: str
    before: list[str]
    after: list[str]
    why: str


@dataclass(frozen=True, slots=True)
class PlanOut:
    """A plan, and whether it was carried out."""

    zone: str
    written: bool
    steps: list[StepOut]


def command(records: Callable[[Shell, str, str | None], Wanted]) -> Callable[..., None]:
    """The command for a way to find out what a domain of a workspace must publish."""

    def write_dns_command(
        context: typer.Context,
        domain: Annotated[
            str, typer.Argument(help="A domain's name or id, or the default domain.")
        ],
        to: Annotated[Literal["route53", "cloudflare"], typer.Option(help="Who keeps the zone.")],
        plan: Annotated[bool, typer.Option("--plan", help="Show what would be done.")] = False,
        yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
        replace: Annotated[
            list[str] | None,
            typer.Option(help="A record set that may be replaced, as 'example.com MX'; repeats."),
        ] = None,
        workspace: InWorkspace = None,
    ) -> None:
        """Write a domain's records where its zone is, after showing the plan.

        The token is read from MAILAGENT_DNS_TOKEN or from standard input, used for this command
        and kept nowhere. All is written, or nothing.
        """
        shell: Shell = context.obj
        wanted = records(shell, domain, workspace)
        write_dns(shell, wanted, to, plan_only=plan, yes=yes, confirmed=replace or ())

    return write_dns_command


def write_dns(
    shell: Shell,
    wanted: Wanted,
    to: str,
    *,
    plan_only: bool,
    yes: bool,
    confirmed: Sequence[str] = (),
) -> None:
    """Show the plan, ask, write, and print what was done. Raises as `dns_writers.write`."""
    token = _token(shell, needed=to != "route53")
    plan = asyncio.run(_with(shell, to, token, look, wanted, confirmed))
    if plan.changes and not plan_only:
        shell.tell(_text(plan))
        if not plan.conflicts:
            _demand_yes(yes)
        # It looks again: what has changed meanwhile is planned anew, and never written over.
        plan = asyncio.run(_with(shell, to, token, write, wanted, confirmed))
    elif plan.conflicts and not plan_only:
        plan = asyncio.run(_with(shell, to, token, write, wanted, confirmed))
    written = bool(plan.changes) and not plan_only
    steps = [_shown(one) for one in plan.steps]
    shell.show(_text(plan), PlanOut(plan.zone, written, steps), PlanOut)


async def _with(
    shell: Shell, to: str, token: str, act: Any, wanted: Wanted, confirmed: Sequence[str]
) -> Plan:
    writer = open_writer(to, token, shell.settings)
    try:
        plan: Plan = await act(writer, wanted.zone, wanted.records, confirmed=confirmed)
    finally:
        await writer.close()
    return plan


def _token(shell: Shell, *, needed: bool) -> str:
    if token := shell.environ.get(_TOKEN, "").strip():
        return token
    if sys.stdin.isatty():
        return str(typer.prompt("Token", hide_input=True, err=True, default="")).strip()
    token = sys.stdin.readline().strip()
    if needed and not token:
        raise Malformed(_TOKEN, "is not set, and nothing came by standard input")
    return token


def _demand_yes(yes: bool) -> None:
    if yes:
        return
    if not (sys.stdin.isatty() and os.isatty(2)):
        raise Malformed("--yes", "is missing, and nobody can be asked: look at it with --plan")
    typer.confirm("Write this?", abort=True, err=True)


def _text(plan: Plan) -> str:
    rows: list[tuple[str, ...]] = []
    for step in plan.steps:
        shown = _shown(step)
        rows.append((_MARKS[step.action], step.action, step.name, step.type, step.why))
        values = dict.fromkeys([*shown.before, *shown.after])
        for value in values:
            mark = "" if value in shown.before else "+"
            mark = "-" if value not in shown.after else mark
            rows.append(("", mark, "", "", value))
    return f"zone {plan.zone}\n{table(rows, empty='nothing is wanted')}"


def _shown(step: Step) -> StepOut:
    before = [_value(one.record) for one in step.before]
    return StepOut(
        step.action, step.name, step.type, before, [_value(one) for one in step.after], step.why
    )


def _value(record: DnsRecord) -> str:
    return record.value if record.priority is None else f"{record.priority} {record.value}"
