"""`mailagent migrate`: bring the tables to this version, or say what is to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.cli.shell import Shell
from mailagent.errors import Misconfigured
from mailagent.store import migrations
from mailagent.store.migrations import Standing

__all__ = ["migrate"]


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when there is something to do.")
    ] = False,
) -> None:
    """Bring the tables of DATABASE_URL to this version."""
    shell: Shell = context.obj
    settings = shell.settings
    if not settings.database_url and not check:
        settings.mailagent_data.mkdir(parents=True, exist_ok=True)
    before = migrations.standing(settings.database)
    if check:
        shell.show(_text(before), _json(before, changed=False))
        raise typer.Exit(0 if before.is_current else 1)
    if before.is_newer:
        raise Misconfigured("DATABASE_URL", f"{before.sentence}: {before.mend}")
    if not before.is_current:
        migrations.upgrade(settings.database)
    after = migrations.standing(settings.database)
    done = [f"{one.id}  {one.what}" for one in before.pending]
    shell.show("\n".join([*done, after.sentence]), _json(after, changed=bool(done)))


def _text(standing: Standing) -> str:
    mend = f": {standing.mend}" if standing.mend else ""
    pending = [f"{one.id}  {one.what}" for one in standing.pending]
    return "\n".join([f"{standing.sentence}{mend}", *pending])


def _json(standing: Standing, *, changed: bool) -> dict[str, Any]:
    return {
        "current": standing.is_current,
        "newer": standing.is_newer,
        "changed": changed,
        "revision": standing.at,
        "needs": standing.needs,
        "pending": [asdict(one) for one in standing.pending],
    }
