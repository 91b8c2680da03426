"""`mailagent secret`: a new secret key, and the end of an old one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend.cli.shell import Shell, table
from backend.cli.writing import keyed
from backend.demo import key_file
from backend.operation import key_place, rotation
from backend.operation.rotation import Key
from mailagent.errors import Malformed, Unauthentic
from mailagent.tokens import Secrets

__all__ = ["commands"]

commands = typer.Typer(help="The secret key that every token derives from.")

Write = Annotated[
    bool, typer.Option("--write", help="Write it where it stands now: a file, or the .env.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="One character, as `list` shows it.")]

_RESTART = "restart every mailagent process (a rolling restart is enough)"
_RESEAL = "then encrypt under it what is stored: mailagent secret reseal"


@commands.command("list")
def list_(context: typer.Context) -> None:
    """Every key, what it is needed for, and when it may be retired."""
    shell: Shell = context.obj
    found = shell.read(None, rotation.keys_in_use, _secrets(shell))
    rows = [
        (one.id, one.check, "makes new tokens" if one.makes else "reads", *_needs(shell, one))
        for one in found
    ]
    shell.show(table(rows, empty="none"), [_json(one) for one in found])


@commands.command()
def rotate(
    context: typer.Context,
    announce: Annotated[
        bool,
        typer.Option(
            "--announce",
            help="For several nodes: let each of them read the new key before one makes by it.",
        ),
    ] = False,
    write: Write = False,
) -> None:
    """Draw a new key and print the setting; old keys go on reading."""
    shell: Shell = context.obj
    keys = rotation.with_new(_keys(shell), announced=announce)
    made = Secrets(keys[-1:] if announce else keys[:1]).current_id
    after = f"mailagent secret use {made}" if announce else _RESEAL
    _show(shell, keys, write, f"{_RESTART}, {after}")


@commands.command()
def use(context: typer.Context, key_id: KeyId, write: Write = False) -> None:
    """Make new tokens by this key: the second step after `rotate --announce`."""
    shell: Shell = context.obj
    _show(shell, rotation.first(_keys(shell), key_id), write, f"{_RESTART}, {_RESEAL}")


@commands.command()
def reseal(context: typer.Context) -> None:
    """Encrypt under the first key what is stored under older ones; may be stopped and run again.

    Every process must know the first key by then.
    """
    shell: Shell = context.obj
    done = rotation.reseal(shell.store, _secrets(shell))
    shell.show(f"{done.done} values encrypted under the current key", asdict(done))
    if done.unreadable:
        raise Unauthentic(
            f"{done.unreadable} values were encrypted by a key that MAILAGENT_SECRET_KEY lacks: "
            "add it as the last one, or make anew what they hold"
        )


@commands.command()
def retire(
    context: typer.Context,
    key_id: KeyId,
    now: Annotated[
        bool, typer.Option("--now", help="Although mails with its reply addresses are young.")
    ] = False,
    write: Write = False,
) -> None:
    """Print the setting without an old key, once nothing needs it."""
    shell: Shell = context.obj
    in_use = {one.id: one for one in shell.read(None, rotation.keys_in_use, _secrets(shell))}
    if key_id not in in_use:
        raise Malformed("ID", f"{key_id!r} is the id of no key: there are {', '.join(in_use)}")
    keys = rotation.without(_keys(shell), in_use[key_id], now=shell.store.now(), anyway=now)
    _show(shell, keys, write, f"{_RESTART}; older backups still need {key_id}: keep it with them")


def _keys(shell: Shell) -> tuple[str, ...]:
    return keyed(shell.settings).secret_keys()


def _secrets(shell: Shell) -> Secrets:
    return Secrets(_keys(shell))


def _show(shell: Shell, keys: tuple[str, ...], write: bool, after: str) -> None:
    place = key_place.find(shell.environ, key_file(shell.settings.mailagent_data))
    value = {"key_ids": Secrets(keys).key_ids, "value": ",".join(keys), "written_to": None}
    if write:
        path = place.write(keys)
        shell.show(f"written to {path}", {**value, "value": None, "written_to": path})
    else:
        shell.show(place.text(keys), value)
        shell.tell(
            f"Set it where it stands now ({place.path or 'the environment'}), on every node."
        )
    shell.tell(f"Next: {after}.")


def _needs(shell: Shell, key: Key) -> tuple[str, str]:
    stored = f"{key.sealed} stored values" if key.sealed else "no stored value"
    until = key.needed_until()
    if key.makes:
        return stored, ""
    if key.sealed:
        return stored, "mailagent secret reseal"
    if until is not None and until > shell.store.now():
        return stored, f"mails until {key.newest_mail_at:%Y-%m-%d}: retire after {until:%Y-%m-%d}"
    return stored, f"may be retired: mailagent secret retire {key.id}"


def _json(key: Key) -> dict[str, Any]:
    return {**asdict(key), "needed_until": key.needed_until()}
