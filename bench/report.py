"""How does a benchmark's result become a page that says when and on what it was measured?"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Report", "machine"]


def machine() -> str:
    """One sentence on this machine and how busy it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, load at the start {os.getloadavg()[0]:.1f}"
    )


class Report:
    """Prints parts as they come; writes all of them to `file`, when one is named."""

    def __init__(self, title: str, module: str, file: Path | None) -> None:
        self._file = file
        asked = " ".join(word for word in sys.argv[1:] if word != "--report" and word != str(file))
        command = f"python -m {module} {asked}".strip()
        today = datetime.now(UTC)
        self._lines = [
            f"# {title}, {today.day} {today:%B %Y}",
            "",
            f"`{command}` on {machine()}.",
            "",
        ]

    def __enter__(self) -> Self:
        print("\n".join(self._lines), flush=True)
        return self

    def add(self, lines: Sequence[str]) -> None:
        """Print and keep some lines of Markdown."""
        print("\n".join(lines), flush=True)
        self._lines += lines

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None and kind is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text("\n".join(self._lines).rstrip() + "\n")
