"""Would our command line take this? For commands that stand in docs, units and compose files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import typer
import typer.core
import typer.main

from backend.cli.commands import app

__all__ = ["complaint"]

# Typer shows no name for it: the error of a wrong command line, of which this one is a kind.
_WRONG: type[Exception] = typer.BadParameter.__bases__[0]


def complaint(arguments: Sequence[str]) -> str | None:
    """What is wrong with `mailagent <arguments>`: an unknown command or option, or one
    argument too many. What is missing is no error: prose names commands so.
    """
    command = _program()
    rest = [one for one in arguments if one not in ("--json", "--help")]
    context = command.make_context("mailagent", [], resilient_parsing=True)
    while isinstance(command, typer.core.TyperGroup) and rest:
        found = command.get_command(context, rest[0])
        if found is None:
            if command.invoke_without_command and rest[0].startswith("-"):
                break
            return f"no command {rest[0]!r}"
        command, rest = found, rest[1:]
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
    context.resilient_parsing = False
    try:
        left = _left(command, context, rest)
    except _WRONG as error:
        try:
            # Prose may name an option without its value: with any word after it, it must be right.
            left = _left(command, context, [*rest, "value"])
        except _WRONG:
            return str(error)
    return f"one argument too many: {left[0]!r}" if left else None


@cache
def _program() -> Any:
    return typer.main.get_command(app)


def _left(command: Any, context: Any, arguments: Sequence[str]) -> list[str]:
    """The arguments that no parameter takes."""
    _, left, _ = command.make_parser(context).parse_args(list(arguments))
    return list(left)
