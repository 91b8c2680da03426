"""`mailagent route`: what happens to mail for a sender of a domain beside going to its agent."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.paging import EVERYTHING
from backend.routes import service
from backend.routes.schemas import NewRouteOut, RouteOut
from mailagent.tokens import Secrets

__all__ = ["commands"]

commands = typer.Typer(help="Where mail of a domain is forwarded to beside its agent.")

Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="Name or id.")]
Named = Annotated[str, typer.Argument(metavar="ROUTE", help="Id.")]
_ACTIONS = 'forward("https://…"), store() or stop(); several, in their order.'


@commands.command()
def create(
    context: typer.Context,
    domain: Domain,
    recipient: Annotated[str, typer.Argument(help="A sender of the domain.")],
    actions: Annotated[list[str], typer.Argument(help=_ACTIONS)],
    description: Annotated[str, typer.Option(help="For people.")] = "",
    workspace: InWorkspace = None,
) -> None:
    """Make a route and print its id and the key that it signs with, this once."""
    shell: Shell = context.obj
    made = shell.write(
        shell.workspace(workspace).id,
        service.create,
        Secrets(shell.settings.secret_keys()),
        domain,
        recipient=recipient,
        actions=actions,
        most=shell.settings.mailagent_routes_per_domain,
        description=description,
        loopback=shell.settings.mailagent_routes_to_loopback,
    )
    shell.show(f"{made.route.id}\n{made.signing_key}", made, NewRouteOut)


@commands.command("list")
def list_(context: typer.Context, domain: Domain, workspace: InWorkspace = None) -> None:
    """List the routes of a domain, in the order in which they are tried."""
    shell: Shell = context.obj
    here = shell.workspace(workspace).id
    found = shell.read(here, service.list_routes, domain, EVERYTHING).items
    rows = [(one.recipient, ", ".join(one.actions), one.description, one.id) for one in found]
    shell.show(table(rows, empty="no routes"), found, list[RouteOut])


@commands.command("set")
def set_(
    context: typer.Context,
    domain: Domain,
    route: Named,
    recipient: Annotated[str | None, typer.Option(help="A sender of the domain.")] = None,
    action: Annotated[list[str] | None, typer.Option(help=_ACTIONS)] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    workspace: InWorkspace = None,
) -> None:
    """Change a route."""
    shell: Shell = context.obj
    changed = shell.write(
        shell.workspace(workspace).id,
        service.change,
        domain,
        route,
        recipient=recipient,
        actions=action or None,
        description=description,
        loopback=shell.settings.mailagent_routes_to_loopback,
    )
    shell.show(f"{changed.recipient}  {', '.join(changed.actions)}", changed, RouteOut)


@commands.command("new-key")
def new_key(
    context: typer.Context, domain: Domain, route: Named, workspace: InWorkspace = None
) -> None:
    """Sign with another key from now on, and print it, this once."""
    shell: Shell = context.obj
    secrets = Secrets(shell.settings.secret_keys())
    here = shell.workspace(workspace).id
    made = shell.write(here, service.new_key, secrets, domain, route)
    shell.show(made.signing_key, made, NewRouteOut)


@commands.command()
def remove(
    context: typer.Context, domain: Domain, route: Named, workspace: InWorkspace = None
) -> None:
    """Take a route away."""
    shell: Shell = context.obj
    shell.write(shell.workspace(workspace).id, service.remove, domain, route)
    shell.show(f"removed {route}", {"removed": route})
