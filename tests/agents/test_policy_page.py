"""The page of policies and limits says what the code has, cell by cell."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mailagent.agents.limits import Limits
from mailagent.agents.trust import DEFAULT, Standing

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "policy.md").read_text()


def table(first: str) -> dict[str, list[str]]:
    """A table of the page by its first cells, without its heading."""
    rows = re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].splitlines()]
    return {name.strip("`"): rest for name, *rest in cells}


def test_the_default_policy_is_that_of_the_page() -> None:
    shown = table("action")
    assert list(shown) == list(DEFAULT.table[Standing.STRANGER])
    for action, choices in shown.items():
        assert choices == [DEFAULT.table[standing][action] for standing in Standing], action


def test_the_standings_are_those_of_the_page() -> None:
    assert list(table("word")) == [one.word for one in Standing]


def test_the_limits_and_their_defaults_are_those_of_the_page() -> None:
    shown = {name: json.loads(default) for name, (default, *_) in table("limit").items()}
    assert shown == Limits().model_dump(mode="json")
