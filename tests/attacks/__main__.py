"""Print how many attacks of each family are stopped, and which are not."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from structlog.testing import capture_logs

from mailagent.store.migrations import upgrade
from tests.attacks.attack import Attack
from tests.attacks.families import ATTACKS
from tests.attacks.runner import Seen, run
from tests.databases import SqliteDatabases
from tests.flow.house import keep_house

__all__ = ["table"]


def table(seen: Sequence[tuple[Attack, Seen]]) -> str:
    """Family × stopped; below it what each other attack did."""
    families = dict.fromkeys(attack.family for attack, _ in seen)
    wide = max(map(len, families))
    lines = [f"{'family':{wide}}  attacks  stopped"]
    for family in families:
        of = [one.stopped for attack, one in seen if attack.family == family]
        lines.append(f"{family:{wide}}  {len(of):7}  {sum(of):7}")
    stopped = sum(one.stopped for _, one in seen)
    lines.append(f"{'all':{wide}}  {len(seen):7}  {stopped:7}")
    for attack, one in seen:
        if not one.stopped:
            lines += ["", str(attack), *(f"  {words}" for words in (*one.harms, *one.surprises))]
    return "\n".join(lines)


async def _all() -> Sequence[tuple[Attack, Seen]]:
    with tempfile.TemporaryDirectory() as folder, capture_logs():
        url = SqliteDatabases(Path(folder), upgrade).create(Path(folder))
        async with keep_house(url) as house:
            return [(attack, await run(house, attack)) for attack in ATTACKS]


def main() -> int:
    seen = asyncio.run(_all())
    print(table(seen))
    return 0 if all(one.stopped for _, one in seen) else 1


if __name__ == "__main__":
    sys.exit(main())
