"""How fast is mail accepted, durably, against Postfix and aiosmtpd as it comes?

Ours is the whole system with its workers stopped (CPU without PostgreSQL's); `door alone` is our
door over a stand-in store, so that what the store costs shows; `busy` answers a backlog meanwhile.

    python -m bench.accept [--quick] [--workers N] [--only sqlite|postgresql]
        [--target NAME=127.0.0.1:PORT@PID --to ADDRESS]

Prints, for each size and number of sessions, mails a second (median of interleaved repetitions),
their range, the ratio to the base, and CPU a mail; then the time from the final dot to its 250, and
what the disk gave in the same run. Client and server share the machine: compare ratios of one run
only, and take less than 10 % for equal. Loopback only; ends soon after --budget seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.node import AGENT
from bench.our_target import Ours
from bench.smtp_load import disk, drive, latency, warm_memory
from bench.smtp_targets import Given, PostfixHold, Served, Target, cpu_seconds, free_port


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load."""

    size: int
    sessions: int
    many: bool = False

    def __str__(self) -> str:
        mails = "many mails" if self.many else "one mail"
        return f"{self.size // 1000} kB, {self.sessions} sessions, {mails} a connection"


@dataclass(frozen=True, slots=True)
class Run:
    """One repetition: mails a second, CPU milliseconds a mail."""

    rate: float
    cpu_ms: float


DATABASES: tuple[Literal["sqlite", "postgresql"], ...] = ("sqlite", "postgresql")
QUICK = (Cell(2_000, 20), Cell(100_000, 20))
FULL = (
    *(Cell(size, sessions) for size in (2_000, 100_000) for sessions in (1, 20, 100)),
    Cell(2_000, 20, many=True),
)


_TIMES_WRITTEN = 3
"""A mail's octets at the most: a file that is made for the log, the log itself, and the table."""


def measure(target: Target, cell: Cell, mails: int, to: str, folder: Path) -> Run:
    """One repetition on one target."""
    warm_memory(folder, mails * cell.size * _TIMES_WRITTEN)
    before = cpu_seconds(target.pid)
    seconds = drive(
        target.port, sessions=cell.sessions, mails=mails, size=cell.size, to=to, many=cell.many
    )
    return Run(mails / seconds, (cpu_seconds(target.pid) - before) * 1000 / mails)


def compare(
    targets: list[Target],
    cell: Cell,
    folder: Path,
    *,
    repetitions: int,
    seconds: float,
    to: str,
    end: float,
) -> dict[str, list[Run]]:
    """All repetitions of a cell, interleaved so that a disturbance meets every target."""
    runs: dict[str, list[Run]] = {target.name: [] for target in targets}
    if time.monotonic() > end:
        return runs
    mails: dict[str, int] = {}
    for target in targets:
        warm = measure(target, cell, max(4 * cell.sessions, 100), to, folder)
        mails[target.name] = max(4 * cell.sessions, int(warm.rate * seconds))
    for repetition in range(repetitions):
        for target in targets if repetition % 2 == 0 else reversed(targets):
            if time.monotonic() > end:
                return runs
            runs[target.name].append(measure(target, cell, mails[target.name], to, folder))
            target.empty()
    return runs


def show(cell: Cell, runs: dict[str, list[Run]], base: str) -> None:
    """Print one table."""
    print(f"\n{cell}\n  {'':22}{'mails/s':>9}{'range':>15}{'ratio':>8}{'CPU ms/mail':>13}")
    reference = statistics.median(r.rate for r in runs[base]) if runs[base] else 0.0
    for name, found in runs.items():
        if not found:
            print(f"  {name:22}{'out of time':>24}")
            continue
        rates = [r.rate for r in found]
        rate, spread = statistics.median(rates), f"{min(rates):.0f}-{max(rates):.0f}"
        ratio = f"{rate / reference:.2f}" if reference else "-"
        cpu = statistics.median(r.cpu_ms for r in found)
        print(f"  {name:22}{rate:9.0f}{spread:>15}{ratio:>8}{cpu:13.2f}", flush=True)


def show_latency(targets: list[Target], size: int, *, mails: int, to: str) -> None:
    """Print the time from the final dot to its 250."""
    print(
        f"\n{size // 1000} kB, final dot to 250, one at a time\n  {'':22}{'p50 ms':>9}{'p99 ms':>9}"
    )
    for target in targets:
        found = [latency(target.port, size=size, mails=mails, to=to) for _ in range(3)]
        p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"  {target.name:22}{p50:9.2f}{p99:9.2f}", flush=True)
        target.empty()


def show_disk(folder: Path) -> None:
    """Print the bound that no server on this disk can pass without group commit."""
    for size in (2_000, 100_000):
        rate, p50 = disk(folder, size=size, seconds=1)
        print(f"disk, {size // 1000} kB append + fdatasync: {rate:.0f} /s, p50 {p50:.2f} ms")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two cells, a second each")
    parser.add_argument("--workers", type=int, default=1, help="ours with N acceptors as well")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="ours on one database")
    parser.add_argument("--target", action="append", default=[], metavar="NAME=127.0.0.1:PORT@PID")
    parser.add_argument("--to", default=AGENT, help="a recipient that all targets take")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="aimed length of a repetition")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for all cells")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    seconds = min(chosen.seconds, 1.0) if chosen.quick else chosen.seconds
    end = time.monotonic() + chosen.budget
    with tempfile.TemporaryDirectory(prefix="bench-accept-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix works as a user of its own
        targets: list[Target] = [Given(spec) for spec in chosen.target]
        databases = [name for name in DATABASES if chosen.only in {None, name}]
        counts = sorted({1, chosen.workers})
        targets += [Ours(name, folder, acceptors=n) for name in databases for n in counts]
        targets += [Served("door alone", "door", folder), Served("stock aiosmtpd", "stock", folder)]
        missing = PostfixHold.missing()
        if missing is None:
            targets.append(PostfixHold(folder, free_port()))
        else:
            print(f"{PostfixHold.name}: skipped. {missing}")
        base = targets[-1].name
        print(f"ratios to {base}")
        show_disk(folder)
        started: list[Target] = []
        try:
            for target in targets:
                target.start()
                started.append(target)
            for cell in QUICK if chosen.quick else FULL:
                runs = compare(
                    targets,
                    cell,
                    folder,
                    repetitions=chosen.repetitions,
                    seconds=seconds,
                    to=chosen.to,
                    end=end,
                )
                show(cell, runs, base)
            # Only now: while it answers its backlog, the others would be measured beside it.
            busy, mails = Ours("sqlite", folder, busy=True), 100 if chosen.quick else 400
            for size in (2_000, 100_000):
                show_latency(targets, size, mails=mails, to=chosen.to)
            busy.start()
            started.append(busy)
            for size in (2_000, 100_000):
                busy.make_busy()
                show_latency([busy], size, mails=mails, to=chosen.to)
        finally:
            for target in started:
                target.stop()


if __name__ == "__main__":
    main()
