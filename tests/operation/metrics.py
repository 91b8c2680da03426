"""Which metrics do our alert rules and the dashboard ask for?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

__all__ = ["ALERTS", "ALERTS_TEST", "names_in_alerts", "names_in_dashboard"]

_DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = _DEPLOY / "prometheus" / "alerts.yml"
ALERTS_TEST = _DEPLOY / "prometheus" / "alerts_test.yml"
_NAME = re.compile(r"\b(?:up|mailagent_\w+)\b")


def names_in_alerts() -> set[str]:
    """Every metric that a rule's expression names."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return _names(rule["expr"] for group in groups for rule in group["rules"])


def names_in_dashboard() -> set[str]:
    """Every metric that a panel asks for."""
    panels = json.loads((_DEPLOY / "grafana" / "mailagent.json").read_text())["panels"]
    return _names(target["expr"] for panel in panels for target in panel["targets"])


def _names(expressions: object) -> set[str]:
    return {name for one in expressions for name in _NAME.findall(one)}  # type: ignore[attr-defined]
