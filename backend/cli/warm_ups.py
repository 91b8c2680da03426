"""`mailagent provider warm-up`: domains that are new to an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from backend.cli.accounts import find
from backend.cli.shell import Shell, table
from backend.outbound import warm_ups
from backend.outbound.account_schemas import WarmUpOut
from backend.outbound.warm_ups import Progress

__all__ = ["commands", "in_words"]

commands = typer.Typer(
    help="Domains that are new to an account: ever more leaves each day.", no_args_is_help=True
)

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="As `provider list` shows it.")]
Domain = Annotated[str, typer.Argument(metavar="DOMAIN")]


@commands.command("list")
def list_(context: typer.Context) -> None:
    """Every warm-up: its day, what has left today, and what became of the last three days'."""
    shell: Shell = context.obj
    _show(shell, shell.read(None, warm_ups.overview))


@commands.command()
def start(
    context: typer.Context,
    account: Account,
    domain: Domain,
    days: Annotated[int, typer.Option(help="7, 14 or 21.")] = 14,
) -> None:
    """Begin: 50 recipients on the first day, 10,000 on the last, then no cap of its own."""
    shell: Shell = context.obj
    name, default = find(shell, account).name, shell.settings.default_email_domain
    _show(
        shell,
        [shell.write(None, warm_ups.start, name, domain, days, default_domain=default)],
    )


@commands.command()
def pause(
    context: typer.Context,
    account: Account,
    domain: Domain,
    reason: Annotated[str, typer.Option(help="For whoever looks later.")] = "paused by an operator",
) -> None:
    """Let nothing leave for the domain by the account until `resume`."""
    shell: Shell = context.obj
    _show(shell, [shell.write(None, warm_ups.pause, account, domain, reason)])


@commands.command()
def resume(context: typer.Context, account: Account, domain: Domain) -> None:
    """Go on where it stopped; what was before is judged no more."""
    shell: Shell = context.obj
    _show(shell, [shell.write(None, warm_ups.resume, account, domain)])


@commands.command()
def stop(context: typer.Context, account: Account, domain: Domain) -> None:
    """Forget it: the account's quotas alone hold from now on."""
    shell: Shell = context.obj
    shell.write(None, warm_ups.stop, account, domain)
    shell.show(f"{account} has no warm-up for {domain}", {"account": account, "domain": domain})


def in_words(one: Progress) -> str:
    """A warm-up in the line of its account."""
    if one.cap is None:
        return f"active for {one.domain}"
    return f"{one.state} for {one.domain}, day {one.day} of {one.days}: {one.used} of {one.cap}"


def _show(shell: Shell, found: Sequence[Progress]) -> None:
    rows = [
        (
            one.account,
            one.domain,
            one.state,
            f"day {min(one.day, one.days)} of {one.days}",
            f"{one.used} of {one.cap} today" if one.cap is not None else "no cap",
            one.health.word if one.health.score is None else f"{one.health.score}",
            one.reason or "; ".join(one.health.reasons),
        )
        for one in found
    ]
    shell.show(table(rows, empty="none"), found, list[WarmUpOut])
