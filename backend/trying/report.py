"""How does a comparison look? A table for the terminal, and one HTML file that asks nobody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from difflib import unified_diff
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from backend.trying.past import Compared, Comparison

__all__ = ["html", "rows", "summary", "usd"]

_SUBJECT = 40


def rows(found: Comparison) -> list[tuple[str, ...]]:
    """One line a mail."""
    return [
        (
            f"{one.was.received_at:%Y-%m-%d %H:%M}",
            one.was.delivery_id,
            one.was.subject[:_SUBJECT] or "(no subject)",
            one.was.decision or "-",
            one.decision or "-",
            one.difference,
            usd(one.now.cost_usd) if one.now is not None else "-",
        )
        for one in found.items
    ]


def summary(found: Comparison) -> str:
    """What came of it, in a line."""
    tried = sum(one.now is not None for one in found.items)
    return (
        f"{tried} of {len(found.items)} mails tried: {found.count('same')} the same,"
        f" {found.count('words')} in other words, {found.count('decision')} decided otherwise;"
        f" {usd(found.cost_now)} USD (it was {usd(found.cost_was)}) in"
        f" {found.took.total_seconds():.1f} s; nothing was sent"
    )


def usd(cost: Decimal | None) -> str:
    """US dollars; what is not known is said so."""
    return "unknown" if cost is None else f"{cost:.4f}"


def html(found: Comparison, *, made_at: datetime) -> str:
    """A page of its own: no script, no request to another place."""
    return _page().render(
        found=found,
        made_at=made_at,
        summary=summary(found),
        usd=usd,
        difference=_difference,
    )


def _difference(one: Compared) -> Sequence[str]:
    """Both answers as a unified difference, a line a sentence as it was written."""
    now = one.now.text if one.now is not None else ""
    lines = unified_diff(
        one.was.text.splitlines(), now.splitlines(), "as it was", "as it would be", lineterm="", n=3
    )
    return list(lines)


@cache
def _page() -> Template:
    environment = Environment(
        loader=PackageLoader("backend.trying", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("comparison.html")
