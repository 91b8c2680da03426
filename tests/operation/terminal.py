"""The command line, run in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from backend.cli import main

__all__ = ["Done", "Terminal"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Runs `mailagent …` on the environment of the test."""

    def __init__(
        self, captured: pytest.CaptureFixture[str], environment: pytest.MonkeyPatch
    ) -> None:
        self._captured, self._environment = captured, environment

    def on(self, url: str) -> Terminal:
        """The same with another database."""
        self._environment.setenv("DATABASE_URL", url)
        return self

    def set(self, **environment: str) -> Terminal:
        """The same with these settings."""
        for name, value in environment.items():
            self._environment.setenv(name, value)
        return self

    def holding(self, *keys: str) -> Terminal:
        """The same with other secret keys."""
        self._environment.setenv("MAILAGENT_SECRET_KEY", ",".join(keys))
        return self

    def __call__(self, *arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = self._captured.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    def ok(self, *arguments: str) -> str:
        """What a command printed that must succeed."""
        done = self(*arguments)
        assert done.code == 0, done.err
        return done.out.rstrip("\n")
