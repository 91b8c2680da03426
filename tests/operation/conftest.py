"""What the tests of operation start from: a command line with a secret key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operation.terminal import Terminal

KEY = "the first key of these tests, long enough".replace(" ", "-").replace(",", "")


@pytest.fixture
def mailagent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """`mailagent` in an empty folder; a test names the database by `on`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAILAGENT_SECRET_KEY", KEY)
    monkeypatch.setenv("DEFAULT_EMAIL_DOMAIN", "aexy.example")
    return Terminal(capsys, monkeypatch)
