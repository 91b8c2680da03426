"""Limits as people set them, and time that counts only while they work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mailagent.agents.limits import counters, due_at, merged, parse_limits
from mailagent.agents.working_hours import WorkingHours
from mailagent.errors import Malformed

BERLIN = WorkingHours(zone="Europe/Berlin")


def utc(day: int, hour: int, minute: int = 0, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"replies_per_agnt_a_day": 5}, "limits.replies_per_agnt_a_day"),
        ({"replies_per_agent_a_day": "many"}, "limits.replies_per_agent_a_day"),
        ({"replies_per_agent_a_day": True}, "limits.replies_per_agent_a_day"),
        ({"approve_below": 1.5}, "limits.approve_below"),
        ({"hand_over_below": 0.9}, "limits"),
        ({"approvers": ["nobody"]}, "limits.approvers"),
        ({"languages": ["german language"]}, "limits.languages"),
        ({"at_expiry": "send"}, "limits.at_expiry"),
        ({"working_hours": {"zone": "Mars"}}, "limits.working_hours.zone"),
        ({"working_hours": {"zone": "Europe"}}, "limits.working_hours.zone"),
        ({"working_hours": {"zone": "../etc/passwd"}}, "limits.working_hours.zone"),
        ({"working_hours": {"zone": "UTC", "opens": "19:00"}}, "limits.working_hours"),
        ({"working_hours": {"zone": "UTC", "days": ["monday"]}}, "limits.working_hours.days.0"),
        ({"working_hours": {"zone": "UTC", "days": []}}, "limits.working_hours"),
        ({"amount": "a lot"}, "limits.amount"),
        ({"delay_seconds": -1}, "limits.delay_seconds"),
        (["x"], "limits"),
    ],
)
def test_a_bad_value_names_its_field(fields: Any, field: str) -> None:
    with pytest.raises(Malformed) as error:
        parse_limits(fields)
    assert error.value.field == field


def test_only_what_was_set_is_kept_and_comes_back() -> None:
    kept = parse_limits({"amount": "5.50", "working_hours": {"zone": "UTC"}})
    assert set(kept) == {"amount", "working_hours"}
    assert merged(kept).amount == Decimal("5.50")
    assert parse_limits(kept) == kept


def test_an_agents_limits_lie_over_its_workspaces() -> None:
    limits = merged({"approve_below": 0.9, "amount": 5}, {"approve_below": 0.95})
    assert (limits.approve_below, limits.amount) == (0.95, Decimal(5))


def test_without_any_a_hundred_answers_a_day_is_the_limit_and_it_can_be_lifted() -> None:
    assert [(one.counted, one.per, one.most) for one in counters(merged())] == [
        ("replies", "agent", Decimal(100))
    ]
    assert counters(merged({"replies_per_agent_a_day": None})) == ()


# 2 March 2026 is a Monday; Berlin is one hour ahead of UTC until 29 March.


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        (utc(2, 7, 59), utc(2, 8)),
        (utc(2, 8), utc(2, 8)),
        (utc(2, 15, 59), utc(2, 15, 59)),
        (utc(2, 16), utc(3, 8)),
        (utc(6, 16), utc(9, 8)),
        (utc(28, 12), utc(30, 7)),
    ],
)
def test_the_next_opening_is_that_of_the_zones_own_clock(at: datetime, opens: datetime) -> None:
    assert BERLIN.next_open(at) == opens
    assert BERLIN.is_open(opens)
    assert BERLIN.is_open(at) is (at == opens)


def test_working_time_stands_still_while_it_is_closed() -> None:
    assert BERLIN.after(utc(6, 14), timedelta(hours=4)) == utc(9, 10)
    assert BERLIN.after(utc(7, 3), timedelta(hours=1)) == utc(9, 9)
    assert BERLIN.after(utc(2, 8), timedelta(hours=8)) == utc(2, 16)
    assert BERLIN.after(utc(2, 8), timedelta(hours=80)) == utc(13, 16)


def test_an_hour_that_the_clocks_leave_out_is_none() -> None:
    night = WorkingHours.model_validate(
        {"zone": "Europe/Berlin", "days": ["sun"], "opens": "01:00", "closes": "04:00"}
    )
    assert night.after(utc(29, 0), timedelta(hours=2)) == utc(29, 2)
    assert not night.is_open(utc(29, 2))


def test_an_answer_waits_its_delay_and_then_for_the_next_opening() -> None:
    limits = merged({"delay_seconds": 600, "working_hours": {"zone": "Europe/Berlin"}})
    assert due_at(limits, utc(2, 9)) == utc(2, 9, 10)
    assert due_at(limits, utc(2, 15, 55)) == utc(3, 8)
    assert due_at(merged(), utc(1, 3)) == utc(1, 3)
