"""Which times are free, between working hours and what calendars take? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mailagent.errors import Malformed

__all__ = ["Hours", "free", "parse_hours"]

_STEP = timedelta(minutes=30)
_MOST = 20
_LONGEST_WINDOW = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Hours:
    """When meetings may be, in a zone's own time."""

    zone: str = "UTC"
    begins: time = time(9)
    ends: time = time(17)
    days: tuple[int, ...] = (1, 2, 3, 4, 5)
    """ISO 8601: Monday is 1."""


def parse_hours(name: str, fields: object) -> Hours:
    """Hours from `{"zone": "Europe/Berlin", "from": "09:00", "to": "17:00", "days": [1, 2]}`.

    Raises Malformed, naming the field.
    """
    if fields is None:
        return Hours()
    if not isinstance(fields, Mapping):
        raise Malformed(name, "must be an object")
    unknown = set(fields) - {"zone", "from", "to", "days"}
    if unknown:
        raise Malformed(f"{name}.{min(map(str, unknown))}", "is unknown: zone, from, to, days")
    zone, days = fields.get("zone", "UTC"), fields.get("days", list(Hours().days))
    try:
        ZoneInfo(str(zone))
    except (ZoneInfoNotFoundError, ValueError):
        raise Malformed(f"{name}.zone", "is no time zone: write it like Europe/Berlin") from None
    if not isinstance(days, list) or not days or not set(days) <= set(range(1, 8)):
        raise Malformed(f"{name}.days", "must be numbers from 1 (Monday) to 7")
    begins, ends = (_time(f"{name}.{key}", fields.get(key, default)) for key, default in _USUAL)
    if begins >= ends:
        raise Malformed(f"{name}.to", "must be later than from")
    return Hours(str(zone), begins, ends, tuple(sorted(set(days))))


_USUAL = (("from", "09:00"), ("to", "17:00"))


def free(
    taken: Sequence[tuple[datetime, datetime]],
    *,
    earliest: datetime,
    latest: datetime,
    length: timedelta,
    hours: Hours,
) -> list[datetime]:
    """Starts of free times, at most 20, on the half hours of the zone, in its offset."""
    zone = ZoneInfo(hours.zone)
    latest = min(latest, earliest + _LONGEST_WINDOW)
    found: list[datetime] = []
    day = earliest.astimezone(zone).date()
    while day <= latest.astimezone(zone).date() and len(found) < _MOST:
        if day.isoweekday() in hours.days:
            # In UTC: a day on which the clocks change has another number of half hours.
            start = datetime.combine(day, hours.begins, zone).astimezone(UTC)
            end = datetime.combine(day, hours.ends, zone).astimezone(UTC)
            while start + length <= end and len(found) < _MOST:
                fits = earliest <= start and start + length <= latest
                if fits and not any(b < start + length and e > start for b, e in taken):
                    found.append(start.astimezone(zone))
                start += _STEP
        day += timedelta(days=1)
    return found


def _time(name: str, value: object) -> time:
    try:
        return time.fromisoformat(str(value)).replace(tzinfo=None)
    except ValueError:
        raise Malformed(name, "must look like 09:00") from None
