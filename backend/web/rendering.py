"""How does a page become HTML? Templates with every value escaped, and times as people say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from mailagent.mail import Address

__all__ = ["age", "duration", "render"]


def age(at: datetime, now: datetime) -> str:
    """How long ago: `now`, `5 min`, `3 h`, `12 d`."""
    seconds = int((now - at).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "now"


def duration(length: timedelta) -> str:
    """A measured time: `12 ms`, `3.4 s`, `2 min`."""
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _mailboxes(given: Sequence[Address]) -> str:
    return ", ".join(one.address for one in given)


_TEMPLATES = Environment(
    loader=PackageLoader("backend.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "age": age,
    "duration": duration,
    "mailboxes": _mailboxes,
    "moment": _moment,
}


def render(template: str, *, code: int = 200, **values: Any) -> HTMLResponse:
    """One page. A value that a template names and nobody gave is an error, never a blank."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(**values), status_code=code)
