"""`mailagent try`: what would an agent do with a mail? Nothing is sent or changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from backend.agents.agent_file import AgentFile
from backend.cli.agents import file_given
from backend.cli.inbox import moment
from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.writing import with_services
from backend.trying import report, trial
from backend.trying.batch import Waiting
from backend.trying.past import MOST, Comparison
from backend.trying.run import AT_ONCE, MOST_USD, Bounds
from backend.trying.schemas import ComparisonOut, TryResultOut
from backend.trying.service import begin_trial, go_on, try_mail, try_past
from backend.trying.words import decision_of
from mailagent.errors import Malformed
from mailagent.flow.rehearsal import Rehearsed, Stored
from mailagent.flow.services import Services

__all__ = ["With", "bounds_given", "try_"]

With = Annotated[
    Path | None,
    typer.Option("--with", help="An agent's file: what it names is tried instead of what is set."),
]
AtOnce = Annotated[int, typer.Option(min=1, max=32, help="Mails at a time.")]
Usd = Annotated[str, typer.Option(help="US dollars that it may cost; `none`: whatever it costs.")]


def try_(
    context: typer.Context,
    agent: Annotated[str, typer.Argument(help="Handle or id.")],
    mails: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|ID]…", help="Raw messages in files, or deliveries' ids."),
    ] = None,
    since: Annotated[
        str, typer.Option(help="Past mail since a time (ISO 8601), or an age: 2h, 30d.")
    ] = "",
    file: With = None,
    to: Annotated[
        str | None, typer.Option(help="Envelope recipient of files; default: the agent.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="With --since: also write a page of its own here.")
    ] = None,
    most: Annotated[int, typer.Option(min=1, max=10_000, help="With --since: mails.")] = MOST,
    at_once: AtOnce = AT_ONCE,
    usd: Usd = str(MOST_USD),
    batch: Annotated[
        bool,
        typer.Option("--batch", help="With --since: half the price, answers within a day each."),
    ] = False,
    resume: Annotated[
        str, typer.Option(metavar="ID", help="Go on with a trial of --batch that was stopped.")
    ] = "",
    workspace: InWorkspace = None,
) -> None:
    """Have an agent decide about mail without sending or changing anything."""
    shell: Shell = context.obj
    if bool(mails) + bool(since) + bool(resume) != 1:
        raise Malformed("FILE|ID", "name mails, or past mail by --since, or a trial by --resume")
    if (batch and not since) or (resume and file is not None):
        raise Malformed("--batch", "goes with --since; --resume goes with nothing that is tried")
    where = shell.workspace(workspace).id
    candidate = None if file is None else file_given("--with", file)
    if mails:
        _mails(shell, where, agent, mails, candidate, to)
        return
    if resume:
        _in_batches(shell, where, agent, resume, html)
        return
    earliest, bounds = moment(since, shell.store.now()), bounds_given(at_once, usd)
    if batch:

        async def begin(services: Services) -> str:
            return await begin_trial(
                services,
                where,
                agent,
                earliest,
                file=candidate,
                candidate=file.name if file else "",
                most=most,
                usd=bounds.usd,
            )

        _in_batches(shell, where, agent, with_services(shell, begin), html)
        return

    async def work(services: Services) -> Comparison:
        return await try_past(
            services,
            where,
            agent,
            earliest,
            file=candidate,
            candidate=file.name if file else "",
            most=most,
            bounds=bounds,
        )

    _show(shell, with_services(shell, work), html)


def _show(shell: Shell, found: Comparison, html: Path | None) -> None:
    if html is not None:
        _write(html, report.html(found, made_at=shell.store.now()))
    text = "\n".join([table(report.rows(found), empty="no mail"), report.summary(found)])
    shell.show(text, ComparisonOut.of(found), ComparisonOut)


def _in_batches(
    shell: Shell, workspace_id: str, agent: str, trial_id: str, html: Path | None
) -> None:
    """Try in batches until all have ended; what is kept of the trial goes once it was shown."""
    shell.tell(f"trial {trial_id}: if it is stopped, mailagent try {agent} --resume {trial_id}")

    async def work(services: Services) -> Comparison:
        return await go_on(services, workspace_id, agent, trial_id, Waiting(shell.tell))

    _show(shell, with_services(shell, work), html)
    shell.write(workspace_id, trial.end, trial_id)


def _mails(
    shell: Shell,
    workspace_id: str,
    agent: str,
    mails: Sequence[str],
    candidate: AgentFile | None,
    to: str | None,
) -> None:
    subjects = [_subject(one) for one in mails]

    async def work(services: Services) -> list[Rehearsed]:
        return [
            await try_mail(services, workspace_id, agent, one, file=candidate, recipient=to)
            for one in subjects
        ]

    tried = with_services(shell, work)
    text = "\n\n".join("\n".join(_lines(name, one)) for name, one in zip(mails, tried, strict=True))
    shell.show(text, [TryResultOut.of(one) for one in tried], list[TryResultOut])


def _subject(named: str) -> Stored | bytes:
    path = Path(named)
    if not path.is_file():
        return Stored(named)
    try:
        return path.read_bytes()
    except OSError as error:
        raise Malformed("FILE", f"cannot be read: {error}") from error


def _lines(name: str, tried: Rehearsed) -> Iterator[str]:
    yield f"{name}: {decision_of(tried) or tried.state}"
    yield f"    {tried.reason}"
    if tried.route_why:
        yield f"    routed: {tried.route_why}"
    if tried.standing:
        yield f"    the writer is: {tried.standing}"
    for used in tried.tools:
        yield f"    {used.state}: {used.name} {used.wish} ({used.why})"
    if tried.assessment is not None and tried.assessment.summary:
        yield f"    summary: {tried.assessment.summary}"
    if tried.text:
        yield f"    to {', '.join(tried.to)}:" if tried.to else "    it would have said:"
        yield from (f"    | {line}" for line in tried.text.rstrip().splitlines())
    tokens = f"{tried.input_tokens} + {tried.output_tokens} tokens"
    yield f"    {tokens}, {report.usd(tried.cost_usd)} USD, {tried.took.total_seconds():.1f} s"


def bounds_given(at_once: int, usd: str) -> Bounds:
    """How many mails at a time and for how much. Raises Malformed."""
    if usd == "none":
        return Bounds(at_once, None)
    try:
        dollars = Decimal(usd)
    except InvalidOperation as error:
        raise Malformed("--usd", "must be US dollars such as 0.50, or none") from error
    if not dollars.is_finite():
        raise Malformed("--usd", "must be US dollars such as 0.50, or none")
    return Bounds(at_once, dollars)


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Malformed("--html", f"cannot be written: {error}") from error
