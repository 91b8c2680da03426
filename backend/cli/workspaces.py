"""`mailagent workspace`: make, show and set workspaces."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from backend.caps import unpriced_by
from backend.cli.shell import Shell, table
from backend.paging import EVERYTHING
from backend.spending import service as spending
from backend.spending.schemas import SpendingOut
from backend.spending.service import Spending
from backend.workspaces import lifecycle, members, service
from backend.workspaces.lifecycle import KeptFor
from backend.workspaces.schemas import WorkspaceOut
from backend.workspaces.service import Workspace
from mailagent.store.transaction import Transaction

__all__ = ["commands"]

commands = typer.Typer(help="Workspaces: tenants with people, agents and mail of their own.")

Named = Annotated[str, typer.Argument(help="Slug or id.")]
_CLEARS = "an empty value takes it back to the default"


@commands.command()
def create(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="Its name in addresses.")],
    name: Annotated[str, typer.Option(help="Its name for people; default: the slug.")] = "",
    owner: Annotated[str | None, typer.Option(help="E-mail of its first owner.")] = None,
) -> None:
    """Make a workspace. The first one is the operator's."""
    shell: Shell = context.obj
    made = shell.write(None, _create, slug, name or slug, owner)
    shell.show(f"made {made.slug} ({made.id})", made, WorkspaceOut)


def _create(tx: Transaction, slug: str, name: str, owner: str | None) -> Workspace:
    owner_id = members.ensure_person(tx, owner).id if owner else None
    return service.create(tx, slug, name, owner_id=owner_id)


@commands.command("list")
def list_(context: typer.Context) -> None:
    """List all workspaces, the operator's first."""
    shell: Shell = context.obj
    found = shell.read(None, service.list_workspaces, EVERYTHING).items
    rows = [
        (one.slug, one.name, one.id, "retired" if one.retired_at is not None else "")
        for one in found
    ]
    shell.show(table(rows, empty="no workspaces"), found, list[WorkspaceOut])


@commands.command()
def show(context: typer.Context, workspace: Named) -> None:
    """Show one workspace and its settings."""
    shell: Shell = context.obj
    _show(shell, shell.workspace(workspace))


@commands.command()
def rename(context: typer.Context, workspace: Named, name: str) -> None:
    """Change the name for people; `change-slug` changes the one in addresses."""
    shell: Shell = context.obj
    _show(shell, shell.write(shell.workspace(workspace).id, service.rename, name))


@commands.command()
def change_slug(
    context: typer.Context,
    workspace: Named,
    slug: Annotated[str, typer.Argument(help="Its new name in addresses.")],
) -> None:
    """Change the name in addresses. Mail to the old one is taken for a time, and answered."""
    shell: Shell = context.obj
    settings = shell.settings
    _show(
        shell,
        shell.write(
            None,
            lifecycle.change_slug,
            settings.default_email_domain,
            workspace,
            slug,
            KeptFor.of(settings),
        ),
    )


@commands.command()
def retire(context: typer.Context, workspace: Named) -> None:
    """Take and send no mail for it any more. Rows stay (see `purge`), the name is kept a time."""
    shell: Shell = context.obj
    _show(shell, shell.write(None, lifecycle.retire, workspace, KeptFor.of(shell.settings)))


@commands.command()
def reopen(context: typer.Context, workspace: Named) -> None:
    """Take a retirement back."""
    shell: Shell = context.obj
    _show(shell, shell.write(None, lifecycle.reopen, workspace))


@commands.command("set")
def set_(
    context: typer.Context,
    workspace: Named,
    escalation_address: Annotated[
        str | None, typer.Option(help=f"Who hears of hand-overs; {_CLEARS}.")
    ] = None,
    turns_per_sender: Annotated[
        str | None, typer.Option(help=f"Turns a day for one sender; {_CLEARS}.")
    ] = None,
    turns_per_workspace: Annotated[
        str | None, typer.Option(help=f"Turns a day in all; {_CLEARS}.")
    ] = None,
    usd_a_day: Annotated[
        str | None, typer.Option(help=f"US dollars its agents may spend in 24 hours; {_CLEARS}.")
    ] = None,
    usd_a_month: Annotated[
        str | None, typer.Option(help=f"US dollars its agents may spend in 30 days; {_CLEARS}.")
    ] = None,
    catch_all: Annotated[
        str | None, typer.Option(help=f"Agent for mail that no address matches; {_CLEARS}.")
    ] = None,
    bounce_suppression_days: Annotated[
        str | None, typer.Option(help=f"Days that a permanent bounce stops mail; {_CLEARS}.")
    ] = None,
) -> None:
    """Change settings of a workspace."""
    shell: Shell = context.obj
    given = {
        "escalation_address": escalation_address,
        "turns_per_sender_a_day": _number(turns_per_sender),
        "turns_per_workspace_a_day": _number(turns_per_workspace),
        "usd_a_day": usd_a_day,
        "usd_a_month": usd_a_month,
        "catch_all_agent_id": catch_all,
        "bounce_suppression_days": _number(bounce_suppression_days),
    }
    changes = {name: value or None for name, value in given.items() if value is not None}
    changes |= {name: 0 for name, value in given.items() if value == 0}
    unpriced = unpriced_by(shell.settings)
    where = shell.workspace(workspace).id
    _show(shell, shell.write(where, service.update_settings, changes, unpriced=unpriced))


@commands.command("spending")
def show_spending(context: typer.Context, workspace: Named) -> None:
    """Show what agents have spent on their models, beside their caps."""
    shell: Shell = context.obj
    found = shell.read(shell.workspace(workspace).id, spending.of_workspace)
    rows = _spent("the workspace", found.workspace)
    for agent in found.agents:
        rows += _spent(agent.handle, agent)
    shell.show(table(rows, empty=""), found, SpendingOut)


def _spent(whose: str, spent: Spending) -> list[tuple[str, ...]]:
    return [
        (
            whose,
            words,
            f"{window.spent_usd:.2f}",
            "no cap" if window.cap_usd is None else f"of {window.cap_usd:f}",
            f"{window.unpriced_turns} turns of unknown cost" if window.unpriced_turns else "",
        )
        for words, window in (("in 24 hours", spent.day), ("in 30 days", spent.month))
    ]


def _number(text: str | None) -> Any:
    # What is no number goes on as it is: the service says what is wrong with it.
    return int(text) if text is not None and text.isdecimal() else text


def _show(shell: Shell, workspace: Workspace) -> None:
    settings = workspace.settings
    rows = [
        ("slug", workspace.slug),
        ("name", workspace.name),
        ("id", workspace.id),
        ("escalation address", settings.escalation_address or "(the owners)"),
        ("turns per sender a day", _or_default(settings.turns_per_sender_a_day)),
        ("turns per workspace a day", _or_default(settings.turns_per_workspace_a_day)),
        ("US dollars a day", settings.usd_a_day or "(no cap)"),
        ("US dollars in 30 days", settings.usd_a_month or "(no cap)"),
        ("catch-all", settings.catch_all_agent_id or "(none)"),
        ("days that a bounce suppresses", settings.bounce_suppression_days or "(for ever)"),
    ]
    if workspace.retired_at is not None:
        rows.append(("retired", f"{workspace.retired_at:%Y-%m-%d %H:%M} UTC"))
    for one in workspace.former_slugs:
        until = f"mail is taken until {one.alias_until:%Y-%m-%d}, kept until {one.free_at:%Y-%m-%d}"
        rows.append((f"formerly {one.slug}", until))
    shell.show(table(rows, empty=""), workspace, WorkspaceOut)


def _or_default(number: int | None) -> object:
    return "(default)" if number is None else number
