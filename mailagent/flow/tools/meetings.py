"""Finds times that are free in the agent's calendars: their addresses are secrets, and so is what
they hold.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from mailagent.agents.free_time import free, parse_hours
from mailagent.agents.tools import ToolResult
from mailagent.errors import Malformed, SandboxFailure, TransientFailure
from mailagent.flow import agent_secrets
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish

__all__ = ["MOST_CALENDARS", "free_times"]

MOST_CALENDARS = 5
_CALENDAR_BYTES = 5_000_000
_SECONDS = 20.0


async def free_times(services: Services, case: Case, _: str, wish: Wish) -> ToolResult:
    """Ask each calendar, and say what none of them takes; see `case.Outside` for what it raises."""
    earliest, latest = (datetime.fromisoformat(wish[name]) for name in ("earliest", "latest"))
    earliest = max(earliest, services.store.now())
    if latest <= earliest:
        raise Malformed("latest", "must be later than earliest and than now")
    sealed = await services.store.read(
        case.workspace_id, agent_secrets.read, services.secrets, case.agent_id, "calendars"
    )
    feeds: list[str] = json.loads(sealed) if sealed else []
    if not feeds:
        raise Malformed("free_times", "has no calendar yet: a person must give the agent one")
    taken: list[tuple[datetime, datetime]] = []
    for feed in feeds[:MOST_CALENDARS]:
        taken += await _busy(services, feed, earliest, latest)
    hours = parse_hours("calendar_hours", case.settings.get("calendar_hours"))
    length = timedelta(minutes=wish["minutes"])
    found = free(taken, earliest=earliest, latest=latest, length=length, hours=hours)
    if not found:
        return ToolResult("Nothing is free in that time: ask for a longer one.")
    return ToolResult("Free: " + ", ".join(one.isoformat() for one in found))


async def _busy(
    services: Services, feed: str, earliest: datetime, latest: datetime
) -> list[tuple[datetime, datetime]]:
    answer = await services.egress.call(
        "GET",
        feed,
        headers={"Accept": "text/calendar"},
        seconds=_SECONDS,
        most_bytes=_CALENDAR_BYTES,
    )
    if answer.status != 200:
        # An appointment that nobody sees is one too many: better no times than wrong ones.
        raise TransientFailure(f"a calendar answered {answer.status}")
    try:
        spans = await services.sandbox.run(
            "mailagent.reading:busy",
            answer.body,
            {"earliest": earliest.isoformat(), "latest": latest.isoformat()},
        )
    except SandboxFailure as error:
        raise Malformed("calendar", "cannot be read") from error
    return [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in json.loads(spans)]
