"""How fast are real mails read, and how many cannot be, against the standard library?

    python -m bench.read [--rounds N] [--report FILE]

Reads every `.eml` of `MAILAGENT_CORPORA` (default ../shared/corpora), in turns, by
`email` (policy.default: parse, text body, addresses), by our parser (`mime.parse.read`: also
attachments with their hashes, HTML as text, what the writer wrote), by all of `reading.read` (also
its class, and what a bounce reports) in this process, and by the same in the sandbox, as mail is
read. Messages a second are medians of rounds; ratios are to `email` in the same run. A mail that a
reader raises on, or does not get through, could not be read.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import email.message
import email.policy
import os
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.corpora import CORPORA
from bench.report import Report
from bench.smtp_targets import cpu_seconds
from mailagent import reading
from mailagent.errors import MailagentError
from mailagent.mime import parse
from mailagent.sandbox import Sandbox

AT_ONCE = 8
"""Mails in the sandbox's hands at a time, as many as the reading worker has."""

Read = Callable[[Sequence[bytes]], Counter[str]]


@dataclass
class Reader:
    """One way to read, and what it took."""

    name: str
    read: Read
    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)


def standard(raw: bytes) -> None:
    """What a program must do at least to answer a mail."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    if isinstance(body, email.message.EmailMessage):
        body.get_content()
    for name in ("from", "to", "cc", "reply-to"):
        for header in message.get_all(name, ()):
            tuple(str(one) for one in header.addresses)
    str(message["subject"])


def each(read: Callable[[bytes], object]) -> Read:
    """Read one after the other; by class of error, how many could not be read."""

    def read_all(mails: Sequence[bytes]) -> Counter[str]:
        failed: Counter[str] = Counter()
        for raw in mails:
            try:
                read(raw)
            except Exception as error:
                # Whatever `email` raises on a strange mail is what is counted here.
                failed[type(error).__name__] += 1
        return failed

    return read_all


def arguments() -> dict[str, Any]:
    """Of a mail that came by SMTP; who sent it is not judged, which would need DNS."""
    return {
        "mail_from": "writer@corpus.example",
        "client_ip": "127.0.0.1",
        "helo": "corpus.example",
        "hostname": "mx.bench.test",
        "now": datetime.now(UTC).isoformat(),
        "judged_by": "nobody",
        "verdicts": {},
        "answers": [],
        "arc_sealers": [],
    }


class InSandbox:
    """Reads as the system does, several mails at a time."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._sandbox = self._runner.run(self._open())

    async def _open(self) -> Sandbox:
        made = Sandbox(allowed=("mailagent.reading",))
        await made.warm()
        return made

    def __call__(self, mails: Sequence[bytes]) -> Counter[str]:
        return self._runner.run(self._read(mails))

    async def _read(self, mails: Sequence[bytes]) -> Counter[str]:
        failed: Counter[str] = Counter()
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(raw: bytes) -> None:
            async with slots:
                try:
                    await self._sandbox.run("mailagent.reading:read", raw, arguments())
                except MailagentError as error:
                    failed[type(error).__name__] += 1

        await asyncio.gather(*(one(raw) for raw in mails))
        return failed

    def close(self) -> None:
        """End its processes."""
        self._runner.run(self._sandbox.close())
        self._runner.close()


def compare(readers: Sequence[Reader], mails: Sequence[bytes], rounds: int) -> None:
    """All rounds, the readers in turn, so that a disturbance meets each of them."""
    for reader in readers:
        reader.failed = reader.read(mails)
    for _ in range(rounds):
        for reader in readers:
            begin, cpu = time.perf_counter(), cpu_seconds(os.getpid())
            reader.read(mails)
            reader.rates.append(len(mails) / (time.perf_counter() - begin))
            reader.cpu_ms.append((cpu_seconds(os.getpid()) - cpu) * 1000 / len(mails))


def table(readers: Sequence[Reader], mails: Sequence[bytes]) -> list[str]:
    """The results as Markdown."""
    base = statistics.median(readers[0].rates)
    base_cpu = statistics.median(readers[0].cpu_ms)
    size = sum(map(len, mails)) / len(mails) / 1000
    lines = [
        f"{len(mails)} mails of {size:.1f} kB in the mean.",
        "",
        "| | messages/s | ratio | CPU ms a message | ratio | could not be read |",
        "|---|---|---|---|---|---|",
    ]
    for one in readers:
        rate, cpu = statistics.median(one.rates), statistics.median(one.cpu_ms)
        failed = ", ".join(f"{number} {name}" for name, number in one.failed.most_common())
        lines.append(
            f"| {one.name} | {rate:,.0f} | {rate / base:.2f} | {cpu:.2f} | {cpu / base_cpu:.2f} "
            f"| {failed or 'none'} |"
        )
    return [*lines, ""]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--report", type=Path, help="write the table there, as Markdown")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    mails = [file.read_bytes() for file in sorted(CORPORA.rglob("*.eml"))]
    if not mails:
        sys.exit(f"there is no .eml in {CORPORA}: set MAILAGENT_CORPORA to a folder with mails")
    warnings.simplefilter("ignore")  # `email` warns of odd mails: not what is measured
    sandboxed = InSandbox()
    readers = [
        Reader("`email`", each(standard)),
        Reader("our parser", each(parse.read)),
        Reader("our reading, in process", each(lambda raw: reading.read(raw, arguments()))),
        Reader(f"our reading, sandbox, {AT_ONCE} at a time", sandboxed),
    ]
    try:
        with Report("Reading", "bench.read", chosen.report) as report:
            compare(readers, mails, chosen.rounds)
            report.add(table(readers, mails))
    finally:
        sandboxed.close()


if __name__ == "__main__":
    main()
