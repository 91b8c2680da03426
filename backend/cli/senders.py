"""`mailagent sender`: addresses of a domain that log in at the submission door."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.paging import EVERYTHING
from backend.senders import service
from backend.senders.schemas import NewSenderOut, SenderOut

__all__ = ["commands"]

commands = typer.Typer(help="Addresses of a domain that hand mail in with a password.")

Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="Name or id.")]
Named = Annotated[str, typer.Argument(metavar="SENDER", help="User, address or id.")]
Password = Annotated[
    str | None, typer.Option(help="5 to 32 characters; without it one is made, which is better.")
]


@commands.command()
def create(
    context: typer.Context,
    domain: Domain,
    user: Annotated[str, typer.Argument(help="What stands before the @.")],
    password: Password = None,
    agent: Annotated[
        str | None, typer.Option(help="Whose address it is, of a group's agents.")
    ] = None,
    workspace: InWorkspace = None,
) -> None:
    """Make an identity and print its password, this once."""
    shell: Shell = context.obj
    made = shell.write(
        shell.workspace(workspace).id,
        service.create,
        shell.settings.default_email_domain,
        domain,
        user=user,
        most=shell.settings.mailagent_senders_per_domain,
        password=password,
        agent=agent,
    )
    shell.show(made.password, made, NewSenderOut)


@commands.command("list")
def list_(context: typer.Context, domain: Domain, workspace: InWorkspace = None) -> None:
    """List the identities of a domain."""
    shell: Shell = context.obj
    here = shell.workspace(workspace).id
    found = shell.read(here, service.list_senders, domain, EVERYTHING).items
    rows = [(one.address, one.agent_id or "no agent's", one.id) for one in found]
    shell.show(table(rows, empty="no senders"), found, list[SenderOut])


@commands.command()
def password(
    context: typer.Context,
    domain: Domain,
    sender: Named,
    password: Password = None,
    workspace: InWorkspace = None,
) -> None:
    """Give an identity another password and print it, this once."""
    shell: Shell = context.obj
    here = shell.workspace(workspace).id
    made = shell.write(here, service.set_password, domain, sender, password=password)
    shell.show(made.password, made, NewSenderOut)


@commands.command()
def remove(
    context: typer.Context, domain: Domain, sender: Named, workspace: InWorkspace = None
) -> None:
    """Take an identity away."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, domain, sender)
    shell.show(f"removed {sender}", {"removed": sender})
