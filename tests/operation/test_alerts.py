"""Prometheus takes our rules, and they alert when they should and not before."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.operation.metrics import ALERTS, ALERTS_TEST


def promtool(*words: str) -> str:
    done = subprocess.run(
        ["promtool", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.service("promtool")
def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    assert "SUCCESS: 12 rules found" in promtool("check", "rules", str(ALERTS))


@pytest.mark.service("promtool")
def test_each_rule_alerts_when_it_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(ALERTS_TEST))


def test_no_two_panels_of_the_dashboard_lie_on_each_other() -> None:
    file = Path(ALERTS).parents[1] / "grafana" / "mailagent.json"
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
