"""When do people work? Opening hours of a week in one time zone, and time that counts only then.

Days are those of the zone, so a change of the clocks moves the hours with it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, PlainSerializer, field_validator, model_validator

__all__ = ["Day", "WorkingHours"]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = get_args(Day)
_LONGEST_LOOK = 8
"""Days until the next opening: a week that is open on one day, and the rest of today."""
_Clock = Annotated[time, PlainSerializer(lambda at: at.strftime("%H:%M"), return_type=str)]


class WorkingHours(BaseModel):
    """The same hours on each of some days of the week."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zone: str
    """An IANA name, such as `Europe/Berlin`."""
    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
    opens: _Clock = time(9)
    closes: _Clock = time(17)

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        # A missing one is a KeyError, a path a ValueError, a folder of zones an OSError.
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("is no time zone: write one such as Europe/Berlin or UTC") from error
        return zone

    @field_validator("opens", "closes")
    @classmethod
    def _plain(cls, at: time) -> time:
        if at.tzinfo is not None or at.second or at.microsecond:
            raise ValueError("is a time of that zone in hours and minutes, such as 09:00")
        return at

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.days:
            raise ValueError("days is empty: name at least one, or leave working_hours out")
        if self.opens >= self.closes:
            raise ValueError("closes must be later than opens, on the same day")
        return self

    def is_open(self, at: datetime) -> bool:
        """Whether people work at an aware moment; at the very end they do not."""
        return any(begin <= at < end for begin, end in self._windows(at))

    def next_open(self, at: datetime) -> datetime:
        """The moment itself while it is open, else the next opening; in UTC."""
        begin = next(begin for begin, end in self._windows(at) if end > at)
        return max(begin, at.astimezone(UTC))

    def after(self, at: datetime, length: timedelta) -> datetime:
        """When so much working time has passed since a moment; in UTC."""
        begin = self.next_open(at)
        for opens, end in self._windows_for_ever(begin):
            start = max(opens, begin)
            if length <= end - start:
                return start + length
            length -= max(end - start, timedelta())
        raise AssertionError("a week without working time")

    def _windows_for_ever(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        while True:
            windows = [one for one in self._windows(at) if one[1] > at]
            yield from windows
            at = windows[-1][1]

    def _windows(self, at: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The opening times of the days from the moment's own on, in UTC."""
        zone = ZoneInfo(self.zone)
        today = at.astimezone(zone).date()
        for ahead in range(_LONGEST_LOOK):
            day = today + timedelta(days=ahead)
            if _DAYS[day.weekday()] in self.days:
                begin = datetime.combine(day, self.opens, zone).astimezone(UTC)
                yield begin, datetime.combine(day, self.closes, zone).astimezone(UTC)
