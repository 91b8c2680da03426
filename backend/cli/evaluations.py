"""`mailagent eval` and `mailagent feedback`: mails with expected outcomes, and what people say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter

from backend.agents.agent_file import Decision, Expected
from backend.cli.agents import file_given
from backend.cli.inbox import delivery_of
from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.trying import AtOnce, Usd, With, bounds_given
from backend.cli.writing import with_services
from backend.evaluations import service
from backend.evaluations.schemas import CaseOut, RunOut, RunSummaryOut
from backend.evaluations.service import CaseResult, Run
from backend.paging import EVERYTHING
from backend.trying import report
from backend.trying.run import AT_ONCE, MOST_USD
from backend.trying.words import decision_of
from mailagent.errors import Malformed
from mailagent.flow.services import Services

__all__ = ["commands", "feedback"]

commands = typer.Typer(help="Mails with expected outcomes, and how an agent does on them.")

Named = Annotated[str, typer.Argument(metavar="AGENT", help="Handle or id.")]
SetName = Annotated[
    str, typer.Argument(metavar="SET", help="Name of a set; examples and feedback are kept by us.")
]


@commands.command()
def add(
    context: typer.Context,
    agent: Named,
    set_name: SetName,
    mail: Annotated[str, typer.Argument(metavar="FILE|ID", help="A raw message or a delivery.")],
    decision: Annotated[
        str | None, typer.Option(help="reply, escalate, no_action, request_approval, hold, …")
    ] = None,
    contains: Annotated[list[str] | None, typer.Option(help="What the answer must say.")] = None,
    lacks: Annotated[list[str] | None, typer.Option(help="What it must not say.")] = None,
    tool: Annotated[list[str] | None, typer.Option(help="A tool that must be used.")] = None,
    like: Annotated[str | None, typer.Option(help="An answer that a person would give.")] = None,
    name: Annotated[str, typer.Option(help="Default: the file's name or the id.")] = "",
    workspace: InWorkspace = None,
) -> None:
    """Add a mail and what should become of it."""
    shell: Shell = context.obj
    expected = Expected(
        decision=_decision(decision),
        contains=contains or [],
        lacks=lacks or [],
        tools=tool or [],
        like=like,
    )
    path = Path(mail)
    message = path.read_bytes() if path.is_file() else None
    case = shell.write(
        shell.workspace(workspace).id,
        service.add,
        agent,
        set_name,
        name or path.name,
        expected,
        author="cli",
        message=message,
        delivery_id=mail if message is None else None,
    )
    shell.show(case.id, case, CaseOut)


@commands.command("list")
def list_(
    context: typer.Context,
    agent: Named,
    set_name: Annotated[str | None, typer.Option("--set", help="Of one set.")] = None,
    workspace: InWorkspace = None,
) -> None:
    """List the cases of an agent."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    found = shell.read(where, service.list_cases, agent, set_name, EVERYTHING).items
    rows = [
        (one.set_name, one.name, one.expected.decision or "-", one.rating or "-", one.id)
        for one in found
    ]
    shell.show(table(rows, empty="no cases"), found, list[CaseOut])


@commands.command()
def remove(context: typer.Context, case: str, workspace: InWorkspace = None) -> None:
    """Remove a case."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, case)
    shell.show(f"removed {case}", {"removed": case})


@commands.command()
def runs(context: typer.Context, agent: Named, workspace: InWorkspace = None) -> None:
    """List the runs of an agent's sets, the newest first."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    found = shell.read(where, service.list_runs, agent, EVERYTHING).items
    rows = [(f"{one.started_at:%Y-%m-%d %H:%M}", *_of_run(one), one.id) for one in found]
    shell.show(table(rows, empty="no runs"), found, list[RunSummaryOut])


@commands.command()
def run(
    context: typer.Context,
    agent: Named,
    set_name: SetName,
    file: With = None,
    at_once: AtOnce = AT_ONCE,
    usd: Usd = str(MOST_USD),
    workspace: InWorkspace = None,
) -> None:
    """Try every case of a set and score it; nothing is sent."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    candidate = None if file is None else file_given("--with", file)
    bounds = bounds_given(at_once, usd)

    async def work(services: Services) -> tuple[Run, list[CaseResult]]:
        return await service.run(
            services,
            where,
            agent,
            set_name,
            author="cli",
            file=candidate,
            candidate=file.name if file else "",
            bounds=bounds,
        )

    made, results = with_services(shell, work)
    lines = [table([_row(one) for one in results], empty=""), "  ".join(_of_run(made))]
    shell.show("\n".join(lines), RunOut.of(made, results), RunOut)


def feedback(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of a delivery, or its Message-ID.")],
    rating: Annotated[int, typer.Argument(min=1, max=5, help="1 is wrong, 5 is right.")],
    correction: Annotated[str, typer.Option(help="What the answer should have said.")] = "",
    note: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """Say how good an agent's answer was; it becomes a case of its set `feedback`."""
    shell: Shell = context.obj
    workspace_id, delivery_id = delivery_of(shell, id_)
    case = shell.write(
        workspace_id,
        service.give_feedback,
        delivery_id,
        rating=rating,
        correction=correction,
        note=note,
        author="cli",
    )
    shell.show(case.id, case, CaseOut)


def _decision(text: str | None) -> Decision | None:
    if text is None:
        return None
    known: tuple[str, ...] = Decision.__args__  # type: ignore[attr-defined]
    if text not in known:
        raise Malformed("--decision", f"must be one of {', '.join(known)}")
    found: Decision = TypeAdapter(Decision).validate_python(text)
    return found


def _row(one: CaseResult) -> tuple[str, ...]:
    result, scored = one.tried.result, one.scored
    if result is None:
        return one.case.name, "not tried", "-", one.tried.skipped
    decision = decision_of(result) or result.reason
    if scored is None:
        return one.case.name, "no expectation", "-", decision
    verdict = "passed" if scored.passed else "missed"
    why = "; ".join(missed.why for missed in scored.missed) or decision
    return one.case.name, verdict, f"{scored.score:.2f}", why


def _of_run(one: Run) -> tuple[str, ...]:
    mean = "-" if one.score is None else f"{one.score:.2f}"
    what = one.candidate or "as it is"
    passed = f"{one.passed} of {one.cases} passed"
    return one.set_name, what, passed, f"score {mean}", f"{report.usd(one.cost_usd)} USD"
