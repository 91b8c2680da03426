"""What do the fault runs show, in numbers that somebody else can repeat?

One line for each scenario on each database; the counts are those of `evidence`. `make faults`
writes them as Markdown and JSON.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from tests.faults.evidence import Counts, Verdict

__all__ = ["LONG", "Entry", "Line", "Report", "rounds"]

LONG = os.environ.get("MAILAGENT_TEST_FAULTS") == "long"
"""Whether this is `make faults`, and not the short form in `make test`."""

_PAGE = """\
# Faults, {date}

What became of every mail while the system around it broke. Lost is a mail that had its 250 and is
not in the database; doubled is a reply that left twice; handed over waits for a person; unknown is
a reply of which nobody can know whether the relay took it, and which no machine sends again.
Counted from the writers' 250s, the rows, and the log of a relay that syncs to disk before its yes.

{cores} cores, {memory_gib} GiB, {machine}, Python {python}; begun {begun}. The same dice again:
`MAILAGENT_TEST_SEED={seed} make faults`.

{table}

## Promises broken

{broken}

## Notes

{notes}
"""
_COLUMNS = ("rounds", *Counts.__dataclass_fields__, "seconds")


def rounds(long: int, short: int) -> int:
    """How many rounds a scenario has; MAILAGENT_TEST_FAULT_ROUNDS sets the long form's."""
    return int(os.environ.get("MAILAGENT_TEST_FAULT_ROUNDS", long)) if LONG else short


@dataclass(frozen=True, slots=True)
class Line:
    """One scenario on one database. Without counts it did not come to its end."""

    scenario: str
    database: str
    rounds: int = 1
    counts: Counts | None = None
    broken: tuple[str, ...] = ("it did not come to its end",)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass
class Entry:
    """What a running scenario reports."""

    random: Random
    line: Line

    def concludes(self, verdict: Verdict, *notes: str, rounds: int = 1) -> Counts:
        """Take down what the run showed. Raises AssertionError with the promises it broke."""
        self.line = replace(
            self.line, rounds=rounds, counts=verdict.counts, broken=verdict.broken, notes=notes
        )
        print(self.line)
        assert not verdict.broken, "; ".join(verdict.broken)
        return verdict.counts


@dataclass
class Report:
    """All lines of a test run, and what is needed to repeat it."""

    seed: int = field(
        default_factory=lambda: int(os.environ.get("MAILAGENT_TEST_SEED", time.time_ns()))
    )
    lines: list[Line] = field(default_factory=list)
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))

    @contextmanager
    def scenario(self, name: str, database: str) -> Iterator[Entry]:
        """Time a scenario and keep its line, however it ends; its dice depend on seed and name."""
        print(f"MAILAGENT_TEST_SEED={self.seed}")
        begin = time.monotonic()
        entry = Entry(Random(f"{self.seed} {name} {database}"), Line(name, database))
        try:
            yield entry
        finally:
            self.lines.append(replace(entry.line, seconds=round(time.monotonic() - begin, 1)))

    def write(self, path: Path) -> None:
        """Write `path`.md and `path`.json."""
        path.parent.mkdir(parents=True, exist_ok=True)
        told = {**self._about(), "lines": [asdict(line) for line in self.lines]}
        path.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
        path.with_suffix(".md").write_text(self._markdown())

    def _about(self) -> dict[str, str | int]:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return {
            "begun": f"{self.begun:%Y-%m-%d %H:%M} UTC",
            "seed": self.seed,
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30),
            "machine": platform.machine(),
            "python": platform.python_version(),
        }

    def _markdown(self) -> str:
        about = self._about()
        total = {
            name: sum(getattr(line.counts, name) for line in self.lines if line.counts)
            for name in Counts.__dataclass_fields__
        }
        named = [name.replace("_", " ") for name in _COLUMNS]
        rows = [[line.scenario, line.database, *_cells(line)] for line in self.lines]
        sums = ["**all**", "", sum(line.rounds for line in self.lines), *total.values()]
        rows.append([*sums, round(sum(line.seconds for line in self.lines))])
        broken = [f"- {one.scenario}, {one.database}: {'; '.join(one.broken)}"
                  for one in self.lines if one.broken]  # fmt: skip
        notes = [
            f"- {one.scenario}, {one.database}: {'; '.join(one.notes)}"
            for one in self.lines
            if one.notes
        ]
        table = [
            f"| scenario | database | {' | '.join(named)} |",
            f"|---|---|{'---|' * len(named)}",
            *(f"| {' | '.join(map(str, row))} |" for row in rows),
        ]
        return _PAGE.format(
            date=f"{self.begun:%Y-%m-%d}",
            seed=self.seed,
            table="\n".join(table),
            broken="\n".join(broken or ["None."]),
            notes="\n".join(notes or ["None."]),
            **{name: about[name] for name in ("cores", "memory_gib", "machine", "python", "begun")},
        )


def _cells(line: Line) -> list[object]:
    counts = line.counts
    numbers = (getattr(counts, name) if counts else "-" for name in Counts.__dataclass_fields__)
    return [line.rounds, *numbers, round(line.seconds)]
