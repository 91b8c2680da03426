"""A command imports what it needs itself, and no other command waits for that."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main

from backend.cli.commands import app

_LIST = """
import sys
from backend.cli import main
try:
    main({arguments})
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def _imported(*arguments: str) -> set[str]:
    code = _LIST.format(arguments=list(arguments))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stderr.split())


@pytest.mark.parametrize(("command", "module"), [("key", "keys"), ("inbox", "inbox")])
def test_a_command_imports_neither_the_web_stack_nor_the_steps(command: str, module: str) -> None:
    imported = _imported(command, "--help")
    assert f"backend.cli.{module}" in imported
    assert "backend.cli.serve" not in imported
    assert not {"fastapi", "mailagent.flow.workers"} & imported


def test_every_command_of_the_help_is_there_and_says_what_it_does() -> None:
    program = typer.main.get_group(app)
    commands = dict(program.commands)
    assert len(commands) > 40
    assert [name for name, command in commands.items() if not command.help] == []
    assert [name for name, command in commands.items() if command.name != name] == []
