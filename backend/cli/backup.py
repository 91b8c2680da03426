"""`mailagent backup` and `mailagent restore`: everything in one file, and back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from backend.cli.shell import Shell
from backend.cli.writing import keyed
from backend.operation import backup as backing
from backend.operation import restore as restoring
from backend.operation.backup_file import Header
from backend.operation.restore import Restored, Wish
from mailagent.errors import Malformed
from mailagent.tokens import Secrets

__all__ = ["backup", "restore"]

_STREAM = "-"
_APART = (
    "MAILAGENT_SECRET_KEY and your other settings are not in it, nor are certificates: keep them "
    "apart from it. Without that key it cannot be restored."
)


def backup(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A path, or - for standard output.")],
) -> None:
    """Write everything to one file, as it is at this moment, while the system goes on."""
    shell: Shell = context.obj
    secrets = Secrets(keyed(shell.settings).secret_keys())
    domain = shell.settings.default_email_domain
    if file == _STREAM:
        if sys.stdout.isatty():
            raise Malformed("FILE", "standard output is a terminal: redirect it, or name a file")
        header = backing.back_up(shell.store, secrets, sys.stdout.buffer, default_domain=domain)
        sys.stdout.buffer.flush()
        shell.tell(f"{_counts(header)}\n{_APART}")
        return
    path = Path(file).absolute()
    with backing.whole_file(path) as target:
        header = backing.back_up(shell.store, secrets, target, default_domain=domain)
    made = {"file": str(path), "size_bytes": path.stat().st_size, **_header_json(header)}
    shell.show(f"{path}  {path.stat().st_size:,} bytes\n{_counts(header)}", made)
    shell.tell(_APART)


def restore(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A path, or - for standard input.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the file to its end and change nothing.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete everything that the database holds.")
    ] = False,
    send_queued: Annotated[
        bool,
        typer.Option(
            "--send-queued",
            help="Nothing ran after the backup: send what was queued, answer what was waiting.",
        ),
    ] = False,
) -> None:
    """Make the database of DATABASE_URL, of either kind, hold what a backup holds."""
    shell: Shell = context.obj
    settings = keyed(shell.settings)
    with _opened(file) as source:
        if verify:
            keys = Secrets(settings.secret_keys()) if settings.mailagent_secret_key else None
            header = restoring.verify(source, keys)
            opens = "MAILAGENT_SECRET_KEY opens it" if keys else "no MAILAGENT_SECRET_KEY to try"
            shell.show(
                f"whole: {_counts(header)}\n{opens}",
                {"whole": True, "key_opens": keys is not None, **_header_json(header)},
            )
            return
        if not settings.database_url:
            settings.mailagent_data.mkdir(parents=True, exist_ok=True)
        done = restoring.restore(
            settings.database,
            source,
            Secrets(settings.secret_keys()),
            Wish(settings.default_email_domain, replace, send_queued),
            now=datetime.now(UTC),
        )
    shell.show(_told(done), _restored_json(done))


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == _STREAM:
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as source:
            yield source
    except OSError as error:
        raise Malformed("FILE", f"{file} cannot be read: {error.strerror}") from error


def _counts(header: Header) -> str:
    made = f"made {header.made_at:%Y-%m-%d %H:%M:%S} UTC by mailagent {header.version}"
    held = ", ".join(
        f"{header.rows_of(name):,} {name.replace('_', ' ')}"
        for name in ("workspaces", "agents", "deliveries", "raw_messages", "outbound_mails")
    )
    return f"{made}, revision {header.revision}: {held}"


def _told(done: Restored) -> str:
    lines = [_counts(done.header)]
    if done.migrated:
        lines.append("brought to this version's tables")
    if done.aftermath.unknown:
        lines.append(
            f"{done.aftermath.unknown} recipients may have been sent to since: see "
            "`mailagent unknown list`; nothing goes to them by itself"
        )
    if done.aftermath.held:
        lines.append(
            f"{done.aftermath.held} mails may have been answered since and are held: "
            "`mailagent replay ID` has one answered"
        )
    lines.append("what was changed after the backup is as before: keys revoked, addresses removed")
    return "\n".join(lines)


def _header_json(header: Header) -> dict[str, Any]:
    return {
        "made_at": header.made_at,
        "version": header.version,
        "revision": header.revision,
        "default_domain": header.default_domain,
        "keys": dict(header.keys),
        "rows": {one.name: one.rows for one in header.tables},
    }


def _restored_json(done: Restored) -> dict[str, Any]:
    return {
        **_header_json(done.header),
        "migrated": done.migrated,
        "unknown": done.aftermath.unknown,
        "held": done.aftermath.held,
    }
