"""When is somebody busy, by a calendar of theirs, and how is one invited?

A feed is foreign and as hostile as a mail: it is read in the sandbox, where deadline and memory are
bounded, and gives nothing but times. Sources: RFC 5545, RFC 5546 §3.2.2 (REQUEST).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from mailagent.errors import Malformed
from mailagent.mail import Address

__all__ = ["busy", "invitation"]

_MOST_EVENTS = 20_000
_MOST_TIMES = 2_000
_LONGEST = timedelta(days=60)

Span = tuple[datetime, datetime]


def busy(octets: bytes, earliest: datetime, latest: datetime) -> list[Span]:
    """The times within a window that a calendar's events take, in UTC, in order and joined.

    What is cancelled or transparent takes none. Raises Malformed for what is no calendar, or holds
    an event that cannot be read.
    """
    import icalendar

    try:
        calendar = icalendar.Calendar.from_ical(octets)
        events = calendar.walk("VEVENT")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise Malformed("calendar", "is no iCalendar file") from error
    if len(events) > _MOST_EVENTS:
        raise Malformed("calendar", f"has more than {_MOST_EVENTS} events")
    changed = {
        (str(one.get("UID")), start)
        for one in events
        if one.get("RECURRENCE-ID") is not None
        and (start := _moment(one.get("RECURRENCE-ID"))) is not None
    }
    found: list[Span] = []
    for event in events:
        found += _spans(event, changed, earliest, latest)
        if len(found) > _MOST_TIMES:
            raise Malformed("calendar", "has too many events in that time")
    return _joined(found)


def _spans(
    event: Any, changed: set[tuple[str, datetime]], earliest: datetime, latest: datetime
) -> Iterator[Span]:
    # A property that is broken raises when it is asked for, each with another error.
    try:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            return
        if str(event.get("TRANSP", "")).upper() == "TRANSPARENT":
            return
        start = _moment(event.get("DTSTART"))
        if start is None:
            return
        length = _length(event, start)
        for begin in _starts(event, start, earliest - length, latest):
            repeated = event.get("RRULE") is not None or event.get("RDATE") is not None
            if repeated and (str(event.get("UID")), begin) in changed:
                continue  # that one was moved: its own event says where to
            if begin < latest and begin + length > earliest:
                yield max(begin, earliest), min(begin + length, latest)
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        # An appointment that nobody can read is one that takes time all the same.
        raise Malformed("calendar", "holds an event that cannot be read") from error


def _length(event: Any, start: datetime) -> timedelta:
    end = _moment(event.get("DTEND"))
    if end is not None:
        length = end - start
    elif event.get("DURATION") is not None:
        length = event.get("DURATION").dt
    else:
        value = event.get("DTSTART").dt
        length = timedelta() if isinstance(value, datetime) else timedelta(days=1)
    return max(timedelta(), min(length, _LONGEST))


def _starts(event: Any, start: datetime, after: datetime, before: datetime) -> Iterator[datetime]:
    rule = event.get("RRULE")
    if rule is None:
        yield start
    else:
        from dateutil.rrule import rrulestr

        # In the event's own zone: nine o'clock stays nine o'clock when the clocks change.
        value = event.get("DTSTART").dt
        local = value if isinstance(value, datetime) else datetime.combine(value, time())
        naive = local.replace(tzinfo=None)
        text = (rule[0] if isinstance(rule, list) else rule).to_ical().decode()
        repeats = rrulestr(_with_naive_end(text, local), dtstart=naive)
        skipped = set(_dates(event, "EXDATE"))
        zone = local.tzinfo or UTC
        margin = timedelta(days=1)
        first, last = _naive(after, zone) - margin, _naive(before, zone) + margin
        for one in repeats.between(first, last, inc=True):
            moment = one.replace(tzinfo=zone).astimezone(UTC)
            if moment not in skipped:
                yield moment
    yield from _dates(event, "RDATE")


def _with_naive_end(rule: str, local: datetime) -> str:
    """UNTIL in the event's own time: dateutil compares it with the starts (RFC 5545 §3.3.10)."""
    parts = []
    for part in rule.split(";"):
        name, _, value = part.partition("=")
        if name.upper() == "UNTIL" and value.endswith("Z"):
            end = datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            value = _naive(end, local.tzinfo or UTC).strftime("%Y%m%dT%H%M%S")
        parts.append(f"{name}={value}")
    return ";".join(parts)


def _naive(moment: datetime, zone: Any) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)


def _dates(event: Any, name: str) -> Iterator[datetime]:
    given = event.get(name)
    for one in given if isinstance(given, list) else [given] if given is not None else []:
        for value in getattr(one, "dts", ()):
            moment = _moment(value)
            if moment is not None:
                yield moment


def _moment(value: Any) -> datetime | None:
    """A property's time in UTC; a day begins at midnight UTC, a floating time is one of UTC."""
    if value is None:
        return None
    if isinstance(value, list):
        value = value[0]
    at = value.dt
    if isinstance(at, datetime):
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    return datetime.combine(at, time(), UTC) if isinstance(at, date) else None


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((begin, end))
    return joined


def invitation(
    *,
    uid: str,
    now: datetime,
    start: datetime,
    length: timedelta,
    title: str,
    place: str,
    organiser: Address,
    invited: Address,
) -> bytes:
    """A meeting request as an iCalendar file (RFC 5546 §3.2.2)."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//mailagent//EN",
        "METHOD:REQUEST",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"DTSTAMP:{_utc(now)}",
        f"DTSTART:{_utc(start)}",
        f"DTEND:{_utc(start + length)}",
        f"SUMMARY:{_text(title)}",
        *([f"LOCATION:{_text(place)}"] if place else []),
        f"ORGANIZER;{_named(organiser)}",
        f"ATTENDEE;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;{_named(invited)}",
        "SEQUENCE:0",
        "STATUS:CONFIRMED",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "".join(_folded(line) + "\r\n" for line in lines).encode()


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _text(value: str) -> str:
    """RFC 5545 §3.3.11."""
    plain = " ".join(value.split())
    for sign in ("\\", ";", ","):
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def _named(who: Address) -> str:
    """RFC 5545 §3.2: a quoted value holds no quote and no control character."""
    plain = "".join(c for c in who.name or who.address if c.isprintable() and c != '"')
    return f'CN="{plain}":mailto:{who.address}'


def _folded(line: str) -> str:
    """RFC 5545 §3.1: at most 75 octets a line, cut between characters."""
    pieces, piece = [], ""
    for sign in line:
        if len((piece + sign).encode()) > 73:
            pieces.append(piece)
            piece = ""
        piece += sign
    return "\r\n ".join([*pieces, piece])
