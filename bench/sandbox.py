"""What does each hostile message cost the sandbox, and what becomes of it?

    python -m bench.sandbox [--report FILE]

Every message of `tests.sandbox.hostile` goes through a worker of its own, as the flow reads mail:
result, seconds of the slowest run, and the worker's peak of resident memory as the kernel counted
it. `--report` writes the table as Markdown. The exit code is 1 when a message did not end as it
should, within the deadline and the memory that a worker is given.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailagent.sandbox import Sandbox
from tests.sandbox.hostile import MESSAGES, READ, Hostile
from tests.sandbox.reading import read

DEADLINE = timedelta(seconds=20)
MEMORY_MIB = 1024
"""What `mailagent.sandbox` gives a worker where nothing else is said."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    message: str
    size_kib: float
    result: str
    seconds: float
    peak_mib: float | None
    """None for a worker that did not live to be asked."""
    met: bool


async def measure(message: Hostile) -> tuple[Row, tuple[str, ...]]:
    """Read one message in a fresh worker; also the means that hold it."""
    sandbox = Sandbox(
        workers=1,
        deadline=DEADLINE,
        memory_bytes=MEMORY_MIB << 20,
        allowed=("mailagent.reading", "tests.sandbox.attempts"),
    )
    try:
        await sandbox.run("mailagent.reading:rehearse", b"", {})
        pid = int(await sandbox.run("tests.sandbox.attempts:pid", b"", {}))
        outcome = await read(sandbox, message)
        peak = _peak_mib(pid)
        return (
            Row(
                message=message.name,
                size_kib=len(message.make()) / 1024,
                result="read" if outcome.result == READ else f"quarantined: {outcome.result}",
                seconds=outcome.seconds,
                peak_mib=peak,
                met=outcome.result == message.expected
                and outcome.seconds < DEADLINE.total_seconds()
                and (peak or 0) < MEMORY_MIB,
            ),
            sandbox.confinement,
        )
    finally:
        await sandbox.close()


def _peak_mib(pid: int) -> float | None:
    """The high-water mark of a process that lives; `ru_maxrss` would count its parent's too."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


async def measure_all() -> tuple[list[Row], tuple[str, ...]]:
    """Every message, one after the other, printed as they end."""
    rows: list[Row] = []
    held: tuple[str, ...] = ()
    for message in MESSAGES:
        row, held = await measure(message)
        rows.append(row)
        mark = "" if row.met else "  MISSED"
        print(f"{row.message:58}{row.result:24}{row.seconds:7.2f} s {_mib(row):>9}{mark}")
    return rows, held


def _mib(row: Row) -> str:
    return "–" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB"


def markdown(rows: Sequence[Row], held: Sequence[str]) -> str:
    """The report."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    met = sum(row.met for row in rows)
    slowest = max(rows, key=lambda row: row.seconds)
    largest = max(rows, key=lambda row: row.peak_mib or 0)
    slow = f"{slowest.seconds:.2f} s ({slowest.message})"
    cores, kernel, python = os.cpu_count(), platform.release(), platform.python_version()
    lines = [
        f"# Hostile mail in the sandbox, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"{met} of {len(rows)} messages ended as they should, within {DEADLINE.seconds} s and",
        f"{MEMORY_MIB} MiB; the slowest took {slow},",
        f"the largest {_mib(largest)} ({largest.message}).",
        "",
        f"Machine: {cores} cores, {memory_gib:.0f} GiB, Linux {kernel}, Python {python}.",
        f"Confinement: {', '.join(held)}.",
        "Repeat with `python -m bench.sandbox --report FILE`.",
        "",
        "Quarantined means: not read, kept octet by octet, shown to a person with the cap that was",
        "exceeded. Seconds are of the slowest run; a mail is read again when DNS answers were",
        "missing. Peak is the worker's largest resident set (VmHWM).",
        "",
        "| message | size | result | seconds | peak |",
        "|---|---:|---|---:|---:|",
    ]
    lines += [
        f"| {row.message} | {row.size_kib:,.0f} KiB | {row.result}{'' if row.met else ' (missed)'} "
        f"| {row.seconds:.2f} | {_mib(row)} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table as Markdown")
    chosen = parser.parse_args()
    rows, held = asyncio.run(measure_all())
    missed = [row for row in rows if not row.met]
    print(f"\n{len(rows) - len(missed)} of {len(rows)} ended as they should; {', '.join(held)}")
    if chosen.report:
        chosen.report.write_text(markdown(rows, held))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
