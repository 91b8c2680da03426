"""`mailagent domain-options`: whose a domain is, and what is set for it."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.writing import desk_of
from backend.domain_options import service as options
from backend.domain_options.schemas import OptionsOut
from backend.domain_options.service import Options

__all__ = ["commands"]

commands = typer.Typer(help="Owner, region, DKIM length and retention of a domain.")

Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="Name or id.")]


@commands.command()
def show(context: typer.Context, domain: Domain, workspace: InWorkspace = None) -> None:
    """Show what is set for a domain and how its verifications stand."""
    shell: Shell = context.obj
    _show(shell, shell.read(shell.workspace(workspace).id, options.get, domain))


@commands.command("set")
def set_(
    context: typer.Context,
    domain: Domain,
    region: Annotated[str | None, typer.Option(help="US or EU; fixed once it is set.")] = None,
    dkim_bits: Annotated[int | None, typer.Option(help="1024 or 2048.")] = None,
    retention_days: Annotated[
        int | None, typer.Option(help="0, 1, 3 or 7, from a mail's final state on.")
    ] = None,
    workspace: InWorkspace = None,
) -> None:
    """Change what is set for a domain."""
    shell: Shell = context.obj
    given = {"region": region, "dkim_bits": dkim_bits, "retention_days": retention_days}
    changes = {name: value for name, value in given.items() if value is not None}
    desk = desk_of(shell)
    changed = shell.write(
        shell.workspace(workspace).id,
        lambda tx: options.change(tx, desk.installed(tx), domain, changes),
    )
    _show(shell, changed)


@commands.command()
def give(
    context: typer.Context,
    domain: Domain,
    agent: Annotated[str | None, typer.Option(help="Handle or id of an agent.")] = None,
    group: Annotated[str | None, typer.Option(help="Name or id of an agent group.")] = None,
    confirm_apex: Annotated[
        bool, typer.Option("--confirm-apex", help="It is no sub-domain, and that is meant.")
    ] = False,
    workspace: InWorkspace = None,
) -> None:
    """Let a domain belong to an agent or to a group."""
    shell: Shell = context.obj
    desk = desk_of(shell)
    given = shell.write(
        shell.workspace(workspace).id,
        lambda tx: options.give(
            tx,
            desk.installed(tx),
            domain,
            most_of_a_group=shell.settings.mailagent_domains_per_group,
            agent=agent,
            group=group,
            apex_confirmed=confirm_apex,
        ),
    )
    _show(shell, given)


@commands.command()
def release(context: typer.Context, domain: Domain, workspace: InWorkspace = None) -> None:
    """Let a domain belong to nobody."""
    shell: Shell = context.obj
    _show(shell, shell.write(shell.workspace(workspace).id, options.release, domain))


def _show(shell: Shell, found: Options) -> None:
    owner = f"{found.owner.kind} {found.owner.name}" if found.owner else "-"
    rows = [
        ("domain", found.domain),
        ("belongs to", owner),
        ("region", found.region or "-"),
        ("DKIM", f"{found.dkim_bits} bits" if found.dkim_bits else "-"),
        ("retention", f"{found.retention_days} days" if found.retention_days is not None else "-"),
        ("IP", found.ip),
        ("sender records", found.sender_status),
        ("receiver records", found.receiver_status),
    ]
    shell.show(table(rows, empty=""), found, OptionsOut)
