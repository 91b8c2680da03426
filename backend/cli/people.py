"""`mailagent person` and `mailagent sign-in-link`: who may come in, and how."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.access import sign_in
from backend.cli.shell import InWorkspace, Shell, table
from backend.paging import EVERYTHING
from backend.workspaces import members
from backend.workspaces.members import Member, Person
from backend.workspaces.schemas import MemberOut, PersonOut

__all__ = ["commands", "sign_in_link"]

commands = typer.Typer(help="People, and their roles in workspaces: owner, manager, viewer.")


@commands.command()
def add(
    context: typer.Context,
    email: str,
    name: Annotated[str, typer.Option(help="Default: what stands before the @.")] = "",
    workspace: InWorkspace = None,
    role: Annotated[str | None, typer.Option(help="owner, manager or viewer.")] = None,
) -> None:
    """Make a person; with --role, in a workspace."""
    shell: Shell = context.obj
    if workspace is None and role is None:
        person = shell.write(None, members.create_person, email, name)
        shell.show(f"made {person.email} ({person.id})", person, PersonOut)
        return
    where = shell.workspace(workspace)
    member = shell.write(where.id, members.add_member, email, role or "viewer", name=name)
    text = f"{member.person.email} is {member.role} of {where.slug}"
    shell.show(text, member, MemberOut)


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """List the members of a workspace, or (without --workspace) everybody."""
    shell: Shell = context.obj
    if workspace is None:
        people: tuple[Person, ...] = shell.read(None, members.list_people, EVERYTHING).items
        names = [(one.email, one.name, one.id) for one in people]
        shell.show(table(names, empty="nobody"), people, list[PersonOut])
        return
    where = shell.workspace(workspace)
    found: tuple[Member, ...] = shell.read(where.id, members.list_members, EVERYTHING).items
    rows = [(one.person.email, one.role, one.person.name, one.person.id) for one in found]
    shell.show(table(rows, empty="nobody"), found, list[MemberOut])


@commands.command()
def role(context: typer.Context, email: str, role: str, workspace: InWorkspace = None) -> None:
    """Give a member another role."""
    shell: Shell = context.obj
    where = shell.workspace(workspace)
    member = shell.write(where.id, members.change_role, email, role)
    shell.show(f"{member.person.email} is {member.role} of {where.slug}", member, MemberOut)


@commands.command()
def remove(context: typer.Context, email: str, workspace: InWorkspace = None) -> None:
    """Take a person out of a workspace."""
    shell: Shell = context.obj
    where = shell.workspace(workspace)
    shell.write(where.id, members.remove_member, email)
    shell.show(f"{email} is no member of {where.slug} any more", {"removed": email})


def sign_in_link(context: typer.Context, email: str) -> None:
    """Print a link by which a person signs in, once, within 15 minutes."""
    shell: Shell = context.obj
    token = shell.write(None, sign_in.create_link, email)
    url = f"{shell.settings.public_url.rstrip('/')}/sign-in?token={token}"
    shell.show(url, {"url": url})
