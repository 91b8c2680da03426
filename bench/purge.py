"""How long does a purge take, and does mail still come in meanwhile?

    python -m bench.purge [--sizes N N] [--database sqlite|postgresql] [--report FILE]

Fills one database of each size in bulk (`bench.filling`), then removes the workspace that holds
about half of its mails, while the group commit accepts mail for another. Prints mails removed a
second, mails accepted a second meanwhile with the ratio to what the same database accepts
undisturbed, and how many messages were left of the purged ones.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, select

from bench import filling
from bench.filling import House
from bench.report import Report
from bench.scale import Filled, accepting, addresses
from mailagent.flow.purge import Whole, purge
from mailagent.providers.raw_store import RawStore
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from tests.databases import DATABASES

SIZES = (2_000, 20_000)
_SECONDS = 2.0


def _left(tx: Transaction) -> int:
    return int(tx.value(select(func.count()).select_from(t.messages)))


async def _purged(of: Filled) -> tuple[int, float, float]:
    """Mails removed, the seconds it took, and mails accepted a second meanwhile."""
    workspace_id, _ = of.large
    begin = time.monotonic()
    removing = asyncio.create_task(
        purge(of.store, workspace_id, Whole(), actor="the benchmark", raw_store=RawStore({}))
    )
    rate = await accepting(of, _SECONDS)
    removed = await removing
    return removed.received + removed.sent, time.monotonic() - begin, rate


def _measure(kind: str, sizes: Sequence[int], folder: Path) -> list[str]:
    kinds = filling.stories(folder)
    lines = [
        f"## {kind}",
        "",
        "| mails | removed | seconds | removed/s | accepted/s, meanwhile, alone | ratio | left |",
        "|---|---|---|---|---|---|---|",
    ]
    with addresses(kind, folder, sizes) as urls:
        for size, url in urls.items():
            house: House = filling.furnished(url)
            filling.fill(url, house, kinds, range(1, size + 1), size)
            with closing(Store(url)) as store:
                of = Filled(size, url, house, store, 0.0)
                alone = asyncio.run(accepting(of, _SECONDS))
                removed, seconds, meanwhile = asyncio.run(_purged(of))
                left = store.read_now(of.large[0], _left)
            lines.append(
                f"| {size:,} | {removed:,} | {seconds:.1f} | {removed / seconds:,.0f} "
                f"| {meanwhile:,.0f}, {alone:,.0f} | {meanwhile / alone:.2f} | {left} |"
            )
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="mails, the least first"
    )
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    parser.add_argument("--report", type=Path, help="write the tables there, as Markdown")
    chosen = parser.parse_args()
    with Report("A purge", "bench.purge", chosen.report) as report:
        for kind in chosen.database or DATABASES:
            with tempfile.TemporaryDirectory(prefix="bench-purge-") as name:
                report.add(_measure(kind, chosen.sizes, Path(name)))


if __name__ == "__main__":
    main()
