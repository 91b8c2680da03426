"""The sink as a process of its own: what it took is on disk before it says so."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from mailagent.outgoing import Later, Sent
from mailagent.providers import SigningKey
from mailagent.providers.relay import Relay
from mailagent.providers.smtp import Smtp
from tests.providers.mails import ALICE, Commits, outgoing

ROOT = Path(__file__).parents[2]


async def unsigned(domain: str) -> SigningKey | None:
    return None


class SinkProcess:
    def __init__(self, log: Path, *options: str) -> None:
        self.log, self.options = log, options

    async def __aenter__(self) -> Smtp:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.smtp_sink", "--log", str(self.log), *self.options),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        port = int(await self.process.stdout.readline())
        relay = Relay.parse(f"smtp://127.0.0.1:{port}")
        return Smtp(relay, hostname="mail.acme.example", signing_key=unsigned)

    async def __aexit__(self, *error: object) -> None:
        self.process.kill()
        await self.process.communicate()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "taken.log"


async def test_what_was_taken_is_in_the_log_when_the_250_comes(log: Path) -> None:
    async with SinkProcess(log) as smtp:
        outcomes = await smtp.send(outgoing(), [ALICE], committing=Commits())
        assert log.read_text() == "<reply-42@acme.example> alice@customer.example\n"
    assert isinstance(outcomes[ALICE], Sent)


async def test_what_was_not_taken_is_not_in_the_log(log: Path) -> None:
    async with SinkProcess(log, "--content", "451 4.3.0 later") as smtp:
        outcomes = await smtp.send(outgoing(), [ALICE], committing=Commits())
    assert isinstance(outcomes[ALICE], Later)
    assert not log.exists()
