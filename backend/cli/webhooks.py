"""`mailagent webhook`: the addresses at which providers call us."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel

from backend.cli.shell import Shell
from mailagent.errors import Malformed, Misconfigured

if TYPE_CHECKING:
    from mailagent.flow.recovery import Recovered

__all__ = ["commands"]

commands = typer.Typer()

_SENDER = "ann@customer.example"


class AnswerOut(BaseModel):
    """What the server said to one request."""

    status: int
    said: str
    means: str


class SimulatedOut(BaseModel):
    """What became of a simulated mail."""

    answers: list[AnswerOut]
    delivery_ids: list[str]


@commands.callback()
def webhook() -> None:
    """The addresses at which providers call us."""


@commands.command()
def simulate(
    context: typer.Context,
    provider: Annotated[str, typer.Argument(help="ses, sendgrid, mailgun, postmark, inbound.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.eml]", help="The mail; else a short one.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option(help="An agent's address; repeatable.")] = None,
    from_: Annotated[
        str, typer.Option("--from", help="The envelope's sender; '' is <>.")
    ] = _SENDER,
    url: Annotated[str, typer.Option(help="Of the server; else this one on the loopback.")] = "",
) -> None:
    """Bring a mail to a running server by the request that a provider would make.

    It is authenticated by this installation's own settings: Mailgun's key, Postmark's password,
    INBOUND_WEBHOOK_SECRET. Only SES and SendGrid have the keys that sign their requests, so theirs
    come to the address that has INBOUND_WEBHOOK_SECRET in it.
    """
    # Imported here: no other command should wait for them.
    from backend import simulating
    from backend.installation import webhook_settings
    from backend.simulating import run

    shell: Shell = context.obj
    if provider not in simulating.MAKERS:
        raise Malformed("PROVIDER", f"is one of {', '.join(simulating.MAKERS)}")
    if not to:
        raise Malformed("--to", "is missing: name an agent's address")
    mail = simulating.Mail(from_ or None, tuple(to), _octets(file, from_, to))
    settings = webhook_settings(shell.settings)
    posts = simulating.MAKERS[provider](mail, settings, datetime.now(UTC))
    answers = run.send(posts, url or f"http://127.0.0.1:{shell.settings.mailagent_port}")
    ids: list[str] = []
    try:
        ids = shell.read(None, run.arrived, provider, mail)
    except Misconfigured as error:
        shell.tell(f"whether it arrived cannot be seen here: {error}")
    told = SimulatedOut(
        answers=[AnswerOut(status=one.status, said=one.said, means=one.means) for one in answers],
        delivery_ids=ids,
    )
    lines = [f"{one.status} {one.said}: {one.means}" for one in answers]
    shell.show("\n".join([*lines, *ids]), told, SimulatedOut)
    if any(one.status != 200 for one in answers):
        raise typer.Exit(1)


class RecoveredOut(BaseModel):
    """What one provider had of mail that had not come here."""

    provider: str
    since: datetime
    listed: int
    known: int
    delivery_ids: list[str]
    asked_again: list[str]
    held: list[str]
    failed: list[str]
    whole: bool
    stopped: str


@commands.command()
def recover(
    context: typer.Context,
    provider: Annotated[
        str | None, typer.Argument(help="ses, mailgun or postmark; else all that are set up.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(help="Taken by the provider since then, UTC; else since the last round."),
    ] = None,
) -> None:
    """Bring mail that an outage left at a provider: the schedule does so every half an hour.

    S3 objects that no notification told of, mail that Mailgun keeps, and mail that Postmark gave up
    to hand over. What came by the webhook already, or comes later, is the same mail.
    """
    from backend.installation import installation
    from mailagent.flow import recovery

    shell: Shell = context.obj
    at = since.replace(tzinfo=since.tzinfo or UTC) if since else None

    async def run() -> list[recovery.Recovered]:
        async with installation(shell.settings) as shared:
            services = shared.services
            kinds = [provider] if provider else list(services.recovers)
            for kind in kinds:
                if kind not in services.recovers:
                    able = ", ".join(services.recovers) or "none"
                    raise Malformed("PROVIDER", f"is none that can be asked here, which are {able}")
            return [await recovery.recover(services, kind, at) for kind in kinds]

    told = asyncio.run(run())
    lines = [line for one in told for line in _of_recovery(one)]
    shell.show("\n".join(lines) or "no provider is set up", told, list[RecoveredOut])
    if any(one.stopped or one.failed for one in told):
        raise typer.Exit(1)


def _of_recovery(one: Recovered) -> list[str]:
    summary = (
        f"{one.provider}, since {one.since:%Y-%m-%d %H:%M} UTC: {one.listed} listed, {one.known} "
        f"known, {len(one.delivery_ids)} recovered, {len(one.asked_again)} asked for again, "
        f"{len(one.held)} for nobody that is known"
    )
    lines = [summary, *one.delivery_ids]
    lines += [f"cannot be had: {reason}" for reason in one.failed]
    return [*lines, f"not all was gone through: {one.stopped}"] if one.stopped else lines


def _octets(file: Path | None, sender: str, to: list[str]) -> bytes:
    """The mail of a file with CRLF, as SMTP would have carried it. Raises Malformed."""
    if file is None:
        return _short(sender, to)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Malformed("FILE", f"cannot be read: {error.strerror}") from error
    return raw if b"\r\n" in raw else raw.replace(b"\n", b"\r\n")


def _short(sender: str, to: list[str]) -> bytes:
    mail = EmailMessage()
    mail["From"] = sender or "mailer-daemon@customer.example"
    mail["To"] = ", ".join(to)
    mail["Subject"] = "A simulated mail"
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = make_msgid(domain="customer.example")
    mail.set_content("This came by mailagent webhook simulate.\n")
    return mail.as_bytes().replace(b"\n", b"\r\n")
