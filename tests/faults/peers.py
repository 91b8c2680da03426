"""The two ends around a node in trouble: who writes to it, and who takes its replies."""

from __future__ import annotations

import asyncio
import smtplib
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bench.node import AGENT, QUESTION

__all__ = ["SinkProcess", "Writers", "aside", "mail", "write"]

T = TypeVar("T")

_ROOT = Path(__file__).parents[2]
_BETWEEN_MAILS = 0.06
_BETWEEN_TRIES = 0.05
_PATIENCE = 10.0


def mail(sender: str, subject: str = "opening hours") -> bytes:
    """A question that the agent answers, by a sender who writes just this one."""
    return (
        f"From: {sender}\r\nTo: {AGENT}\r\nSubject: {subject}\r\n"
        f"Message-ID: <{sender}>\r\n\r\n{QUESTION}\r\n"
    ).encode()


def write(port: int, sender: str, raw: bytes | None = None, *, to: str = AGENT) -> bool:
    """Send one mail; whether its 250 came. Raises SMTPResponseException when it was refused."""
    try:
        with smtplib.SMTP("127.0.0.1", port, "writer.example", _PATIENCE) as client:
            client.sendmail(sender, [to], raw or mail(sender))
    except smtplib.SMTPResponseException:
        raise
    except (OSError, smtplib.SMTPException):
        return False
    return True


@contextmanager
def aside(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Run an asyncio server in a thread of its own, for a test that waits for processes."""
    ready: Future[T] = Future()
    ending: Future[None] = Future()

    async def serve() -> None:
        try:
            async with server as serving:
                ready.set_result(serving)
                await asyncio.wrap_future(ending)
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield ready.result()
    finally:
        ending.set_result(None)
        thread.join()


class SinkProcess:
    """`tests.smtp_sink` as a process: what it took is on disk before it says so."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.smtp_sink", "--log", str(self.log)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


class Writers:
    """Threads that send mail after mail as a mail server does: the same one again until its 250."""

    def __init__(self, port: int, threads: int) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.refusals: Counter[int] = Counter()
        """How often which reply code was given instead of a 250."""
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=[n]) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more; what is under way is finished."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float) -> None:
        """Until so many more mails are acknowledged. Raises AssertionError."""
        end, awaited = time.monotonic() + seconds, len(self.acknowledged) + more
        while len(self.acknowledged) < awaited:
            assert time.monotonic() < end, f"no mail was taken for {seconds} s: {self.refusals}"
            time.sleep(0.02)

    def _write(self, thread: int) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self._port, "writer.example", _PATIENCE) as client:
                    while not self._stop.wait(_BETWEEN_MAILS):
                        sender = f"w{thread}-{number}@writer.example"
                        client.sendmail(sender, [AGENT], mail(sender))
                        self.acknowledged[sender] = mail(sender)
                        number += 1
            except smtplib.SMTPResponseException as error:
                self.refusals[error.smtp_code] += 1
                self._stop.wait(_BETWEEN_TRIES)
            except smtplib.SMTPRecipientsRefused as error:
                self.refusals.update(code for code, _ in error.recipients.values())
                self._stop.wait(_BETWEEN_TRIES)
            except (OSError, smtplib.SMTPException):
                self._stop.wait(_BETWEEN_TRIES)
