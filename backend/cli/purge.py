"""`mailagent purge`: remove a person's mail, single mails or all mail of a workspace, for good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell
from backend.inboxes.story import locate
from backend.paging import EVERYTHING
from backend.purging.schemas import PurgedOut
from backend.workspaces import service as workspaces
from mailagent.errors import Malformed
from mailagent.flow import purge as purging
from mailagent.flow.purge import Named, Person, Purged, Target, Whole
from mailagent.providers.raw_store import RawStore

__all__ = ["commands"]

_ACTOR = "cli"

commands = typer.Typer(
    help="Remove mail for good: octets, text, files, names, addresses. Ids, times, states stay."
)

DryRun = Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Vacuum = Annotated[
    bool,
    typer.Option(
        "--vacuum",
        help="Also rewrite the database's free space; doors answer 'later' meanwhile.",
    ),
]


@commands.command()
def address(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="ADDRESS", help="Of the person.")],
    workspace: InWorkspace = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    vacuum: Vacuum = False,
) -> None:
    """Everything that names an e-mail address; in all workspaces unless one is named."""
    shell: Shell = context.obj
    if workspace is not None:
        where = [shell.workspace(workspace).id]
    else:
        found = shell.read(None, workspaces.list_workspaces, EVERYTHING).items
        where = [one.id for one in found]
    _purge(shell, where, Person(email.strip()), f"all that names {email}", dry_run, yes, vacuum)


@commands.command()
def mail(
    context: typer.Context,
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="Of a delivery, a sent mail or a thread.")
    ],
    dry_run: DryRun = False,
    yes: Yes = False,
    vacuum: Vacuum = False,
) -> None:
    """One mail with its copies, its answers and the notices of it; or those of one thread."""
    shell: Shell = context.obj
    named = shell.read(None, locate, id_)
    target = Named(named.delivery_ids, named.outbound_ids)
    _purge(shell, [named.workspace_id], target, f"the mail {id_}", dry_run, yes, vacuum)


@commands.command("workspace")
def workspace_(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="Slug or id.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    vacuum: Vacuum = False,
) -> None:
    """All mail of a workspace. Its people, agents, rules, documents and keys stay."""
    shell: Shell = context.obj
    found = shell.workspace(slug)
    what = f"all mail of the workspace {found.slug}"
    _purge(shell, [found.id], Whole(), what, dry_run, yes, vacuum)


def _purge(
    shell: Shell,
    workspace_ids: Sequence[str],
    target: Target,
    what: str,
    dry_run: bool,
    yes: bool,
    vacuum: bool,
) -> None:
    if not (dry_run or yes) and not typer.confirm(f"Remove {what} for good?", err=True):
        raise Malformed("purge", "nothing was removed: say yes, or give --yes")
    done = Purged(0, 0, 0)
    for workspace_id in workspace_ids:
        done += asyncio.run(_one(shell, workspace_id, target, dry_run=dry_run))
    if vacuum and not dry_run:
        purging.vacuum(shell.store)
    verb = "would be removed" if dry_run else "removed"
    text = (
        f"{verb}: {done.received} received mails, {done.sent} sent mails, "
        f"{done.other_rows} other rows"
    )
    shell.show(text, done, PurgedOut)
    if not (dry_run or vacuum):
        shell.tell("earlier forms of rows may stay in the database's free space: --vacuum")


async def _one(shell: Shell, workspace_id: str, target: Target, *, dry_run: bool) -> Purged:
    # Imported here: no other command should wait for it.
    from backend.installation import webhook_settings

    seen = 0

    def tell(mails: int) -> None:
        nonlocal seen
        if (seen + mails) // 1_000 > seen // 1_000:
            shell.tell(f"{seen + mails:,} mails so far")
        seen += mails

    raw_store = RawStore(webhook_settings(shell.settings).values)
    return await purging.purge(
        *(shell.store, workspace_id, target),
        actor=_ACTOR,
        raw_store=raw_store,
        dry_run=dry_run,
        tell=tell,
    )
