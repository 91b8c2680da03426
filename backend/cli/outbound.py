"""`mailagent outbound · unknown · send-test`: what goes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.writing import with_services
from backend.inboxes.story import locate
from backend.outbound import deciding, listing, trial
from backend.outbound.arrival import Arrival
from backend.outbound.listing import Filter, Summary
from backend.outbound.schemas import OutboundDetailOut, OutboundOut, TrialOut
from backend.paging import Window
from mailagent.errors import Malformed, Misconfigured
from mailagent.flow import lookup
from mailagent.flow.directory import Place
from mailagent.flow.services import FlowSettings, Services
from mailagent.flow.states import RecipientState
from mailagent.mail import DkimVerdict

__all__ = ["outbound", "send_test", "unknown"]

_ACTOR = "cli"

OutboundId = Annotated[str, typer.Argument(metavar="ID", help="Of a mail, or of one recipient.")]

outbound = typer.Typer(help="Mails that go out or went.", invoke_without_command=True)
unknown = typer.Typer(
    help="Mails of which nobody knows whether they were taken.", no_args_is_help=True
)


@outbound.callback()
def list_outbound(
    context: typer.Context,
    workspace: InWorkspace = None,
    state: Annotated[RecipientState | None, typer.Option(help="Only mails in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """The newest mails that go out or went; `show ID`, `cancel ID`."""
    if context.invoked_subcommand is not None:
        return
    shell: Shell = context.obj
    mails = [
        mail
        for id_ in shell.workspaces(workspace)
        for mail in shell.read(id_, listing.listing, Filter(state), Window(limit)).items
    ]
    mails.sort(key=lambda mail: mail.created_at, reverse=True)
    _show(shell, mails[:limit])


@outbound.command()
def show(context: typer.Context, id_: OutboundId) -> None:
    """One mail with its recipients, hand-overs and events, as JSON."""
    shell: Shell = context.obj
    workspace_id, outbound_id = _mail(shell, id_)
    mail = OutboundDetailOut.of(shell.read(workspace_id, listing.get, outbound_id))
    shell.show(mail.model_dump_json(indent=2), mail, OutboundDetailOut)


@outbound.command()
def cancel(context: typer.Context, id_: OutboundId) -> None:
    """Stop what has not left yet."""
    shell: Shell = context.obj
    workspace_id, outbound_id = _mail(shell, id_)
    _show(shell, [shell.write(workspace_id, deciding.cancel, outbound_id, actor=_ACTOR)])


@unknown.command("list")
def list_unknown(context: typer.Context, workspace: InWorkspace = None) -> None:
    """The mails that wait for your word, after asking the providers that can be asked."""
    shell: Shell = context.obj
    where = shell.workspaces(workspace)
    if any(shell.read(id_, deciding.unknown, limit=1) for id_ in where):
        try:
            with_services(shell, partial(_look_up, where))
        except Misconfigured as error:
            shell.tell(f"the providers were not asked: {error}")
    waiting = [mail for id_ in where for mail in shell.read(id_, deciding.unknown)]
    _show(shell, waiting)


async def _look_up(workspace_ids: Sequence[str], services: Services) -> None:
    for workspace_id in workspace_ids:
        await lookup.look_up(services, workspace_id)


@unknown.command()
def sent(context: typer.Context, id_: OutboundId) -> None:
    """You know that it arrived."""
    shell: Shell = context.obj
    workspace_id, named = _mail_or_recipient(shell, id_)
    _show(shell, [shell.write(workspace_id, deciding.declare_sent, named, actor=_ACTOR)])


@unknown.command()
def again(context: typer.Context, id_: OutboundId) -> None:
    """Send it once more: you know that it did not arrive, or accept that it may arrive twice."""
    shell: Shell = context.obj
    workspace_id, named = _mail_or_recipient(shell, id_)
    expiry = FlowSettings.send_expiry
    mail = shell.write(workspace_id, deciding.send_again, named, actor=_ACTOR, expiry=expiry)
    _show(shell, [mail])


def send_test(
    context: typer.Context,
    to: Annotated[str, typer.Argument(help="Whom to write to.")],
    workspace: InWorkspace = None,
    subject: Annotated[str, typer.Option()] = "A test mail",
    body: Annotated[str, typer.Option()] = "This mail shows that sending works.",
    wait: Annotated[
        int | None,
        typer.Option(min=0, max=600, help="Seconds; default 5, to an address of ours 60."),
    ] = None,
) -> None:
    """Send a test mail and say who carries it and what became of it.

    To an address of ours it goes out and comes back: SPF, DKIM and DMARC are shown as it arrived.
    """
    shell: Shell = context.obj
    workspace_id = shell.workspace(workspace).id

    async def work(services: Services) -> trial.Trial:
        ours = isinstance(services.directory.locate(to), Place)
        seconds = wait if wait is not None else 60 if ours else 5
        return await trial.send(
            services,
            workspace_id,
            to=to,
            subject=subject,
            body=body,
            author=_ACTOR,
            patience=timedelta(seconds=seconds),
            everywhere=True,
        )

    made = with_services(shell, work)
    carrier = made.account or "nobody"
    outcome = f"{made.state}: {made.reason}" if made.reason else made.state
    text = f"{made.id}  from {made.from_address} to {made.to}, by {carrier}\n{outcome}"
    if made.arrival is not None:
        text += f"\n{_arrival(made.arrival)}"
    shell.show(text, TrialOut.of(made), TrialOut)
    if made.state == RecipientState.QUEUED and not made.reason:
        shell.tell("no worker took it in time: is mailagent serve running on this database?")
    elif made.ours and made.arrival is None and not made.captured:
        shell.tell("it has not come back yet; whether it did: mailagent trace " + made.message_id)


def _arrival(arrival: Arrival) -> str:
    evidence = arrival.evidence
    rows = [
        ("SPF", evidence.spf.result, evidence.spf.domain or "", evidence.spf.reason),
        *(
            ("DKIM", one.result, one.domain or "", one.reason)
            for one in evidence.dkim or (DkimVerdict("none"),)
        ),
        ("DMARC", evidence.dmarc.result, evidence.dmarc.domain or "", evidence.dmarc.reason),
    ]
    came = f"came back by {arrival.came_by} as {arrival.delivery_id}"
    verdicts = "" if arrival.came_by == "local" else f"\n{table(rows, empty='')}"
    return f"{came}{verdicts}\n{arrival.sentence}"


def _mail(shell: Shell, id_: str) -> tuple[str, str]:
    """(workspace, outbound mail) of an id. Raises NotFound; Malformed for an id of several."""
    found = shell.read(None, locate, id_)
    if len(found.outbound_ids) != 1:
        raise Malformed("ID", f"names {len(found.outbound_ids)} outbound mails, not one")
    return found.workspace_id, found.outbound_ids[0]


def _mail_or_recipient(shell: Shell, id_: str) -> tuple[str, str]:
    """As `_mail`, but a recipient's id stays one: the decision is about that recipient alone."""
    workspace_id, outbound_id = _mail(shell, id_)
    return workspace_id, id_ if id_.startswith("rcp_") else outbound_id


def _show(shell: Shell, mails: Sequence[Summary]) -> None:
    text = "\n".join(line for mail in mails for line in _mail_lines(mail))
    shell.show(text or "none", mails, list[OutboundOut])


def _mail_lines(mail: Summary) -> Iterator[str]:
    yield f"{mail.id}  {mail.created_at:%Y-%m-%d %H:%M:%S}  {mail.state}  {mail.subject}"
    for one in mail.recipients:
        why = f" – {one.reason}" if one.reason else ""
        yield f"    {one.id}  {one.address}: {one.state}{why}"
