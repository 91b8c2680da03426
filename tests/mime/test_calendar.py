"""When a calendar takes time, and how an invitation is written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import icalendar
import pytest

from mailagent.errors import Malformed
from mailagent.mail import Address
from mailagent.mime.calendar import busy, invitation

DAY = datetime(2026, 12, 9, tzinfo=UTC)
WEEK = DAY + timedelta(days=7)


def feed(*events: str) -> bytes:
    inner = "".join(
        f"BEGIN:VEVENT\r\nUID:{n}\r\n{event}\r\nEND:VEVENT\r\n" for n, event in enumerate(events)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{inner}END:VCALENDAR\r\n".encode()


def at(hour: int, day: int = 0, minute: int = 0) -> datetime:
    return DAY + timedelta(days=day, hours=hour, minutes=minute)


@pytest.mark.parametrize(
    ("event", "spans"),
    [
        ("DTSTART:20261209T090000Z\r\nDTEND:20261209T100000Z", [(at(9), at(10))]),
        ("DTSTART:20261209T090000Z\r\nDURATION:PT90M", [(at(9), at(10, minute=30))]),
        ("DTSTART;VALUE=DATE:20261210", [(at(0, 1), at(0, 2))]),
        (
            "DTSTART;TZID=Europe/Berlin:20261209T090000\r\nDTEND;TZID=Europe/Berlin:20261209T100000",
            [(at(8), at(9))],
        ),
        (
            "DTSTART:20261101T090000Z\r\nDTEND:20261101T093000Z\r\nRRULE:FREQ=DAILY;UNTIL=20261210T235959Z",
            [(at(9), at(9, minute=30)), (at(9, 1), at(9, 1, 30))],
        ),
        (
            (
                "DTSTART:20261209T090000Z\r\nDTEND:20261209T093000Z\r\nRRULE:FREQ=DAILY;COUNT=2\r\n"
                "EXDATE:20261210T090000Z"
            ),
            [(at(9), at(9, minute=30))],
        ),
        ("DTSTART:20261209T090000Z\r\nDTEND:20261209T100000Z\r\nSTATUS:CANCELLED", []),
        ("DTSTART:20261209T090000Z\r\nDTEND:20261209T100000Z\r\nTRANSP:TRANSPARENT", []),
        ("DTSTART:20251209T090000Z\r\nDTEND:20251209T100000Z", []),
    ],
)
def test_what_an_event_takes(event: str, spans: list[tuple[datetime, datetime]]) -> None:
    assert busy(feed(event), DAY, WEEK) == spans


def test_a_daily_event_stays_at_its_hour_when_the_clocks_change() -> None:
    event = (
        "DTSTART;TZID=Europe/Berlin:20261020T090000\r\nDTEND;TZID=Europe/Berlin:20261020T100000\r\n"
        "RRULE:FREQ=DAILY"
    )
    begins = datetime(2026, 10, 24, tzinfo=UTC)
    found = busy(feed(event), begins, begins + timedelta(days=2))
    assert [begin.hour for begin, _ in found] == [7, 8]


def test_an_event_of_a_series_that_was_moved_takes_its_new_time_only() -> None:
    series = "DTSTART:20261209T090000Z\r\nDTEND:20261209T100000Z\r\nRRULE:FREQ=DAILY;COUNT=1"
    moved = "DTSTART:20261209T150000Z\r\nDTEND:20261209T160000Z\r\nRECURRENCE-ID:20261209T090000Z"
    octets = feed(series, moved).replace(b"UID:1", b"UID:0")
    assert busy(octets, DAY, WEEK) == [(at(15), at(16))]


def test_times_that_touch_are_one() -> None:
    events = [f"DTSTART:20261209T{hour:02}0000Z\r\nDURATION:PT1H" for hour in (9, 10, 12)]
    assert busy(feed(*events), DAY, WEEK) == [(at(9), at(11)), (at(12), at(13))]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe\x00",
        b"<html>",
        feed("DTSTART:tomorrow"),
        feed("DTSTART:20261209T090000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=SOMETIMES"),
    ],
)
def test_what_cannot_be_read_is_no_free_day(octets: bytes) -> None:
    with pytest.raises(Malformed):
        busy(octets, DAY, WEEK)


def test_an_invitation_is_read_as_it_was_meant_and_ends_no_line() -> None:
    octets = invitation(
        uid="inv_1@acme.example",
        now=DAY,
        start=at(9),
        length=timedelta(minutes=30),
        title='Call; "with"\r\nATTENDEE:mailto:eve@evil.example, ' + "ü" * 100,
        place="Room 1\\2",
        organiser=Address("hello@acme.example", 'Sam "the"\r\nX:'),
        invited=Address("ann@customer.example", "Ann"),
    )
    assert max(len(line) for line in octets.split(b"\r\n")) <= 75
    calendar = icalendar.Calendar.from_ical(octets)
    event: Any = calendar.walk("VEVENT")[0]
    assert calendar["METHOD"] == "REQUEST"
    assert event["DTSTART"].dt == at(9)
    assert event["LOCATION"] == "Room 1\\2"
    assert str(event["ATTENDEE"]) == "mailto:ann@customer.example"
    assert "eve@evil.example" in event["SUMMARY"]
