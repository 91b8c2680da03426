"""What does one side of DNS say of one expected record?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.domains.misplaced import Holds, misplaced
from backend.domains.reasons import Code, say
from backend.domains.record import DomainRecord
from backend.domains.views import Look
from mailagent.dns_answers import Answer, Found, Unknown

__all__ = ["Asked", "Finding", "Status"]

Status = Literal["valid", "missing", "mismatch", "duplicate", "extra", "unknown"]
"""`extra`: right, with something beside it that should not be there; it blocks nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one record; `code` and `message` are empty when there is nothing to say."""

    status: Status
    code: Code | None = None
    message: str = ""
    found: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether the expected record is there."""
        return self.status in ("valid", "extra")


@dataclass(frozen=True, slots=True)
class Asked:
    """One expected record, and the side of DNS that is asked for it."""

    record: DomainRecord
    look: Look
    expected: tuple[DomainRecord, ...]
    """The whole set, to tell what else may stand at a name."""

    def values(self, type_: str | None = None) -> tuple[str, ...] | Unknown:
        """The values at the record's name, sorted; none when absent."""
        return values(self.look(self.record.name, type_ or self.record.record.type))

    def wrong(
        self,
        code: Code,
        status: Status = "mismatch",
        *,
        found: tuple[str, ...] = (),
        at: str = "",
        detail: str = "",
        expected: str = "",
    ) -> Finding:
        """The finding of a code, with its sentence."""
        message = say(
            code,
            name=self.record.name,
            type_=self.record.record.type,
            expected=expected or self.record.text,
            found=", ".join(found),
            at=at,
            detail=detail,
        )
        return Finding(status, code, message, found)

    def unknown(self, reason: str) -> Finding:
        """It cannot be told."""
        return self.wrong("dns_unknown", "unknown", detail=reason)

    def missing(
        self, code: Code, holds: Holds, *, found: tuple[str, ...] = (), expected: str = ""
    ) -> Finding:
        """It is not there: say so, or where it was put instead."""
        elsewhere = misplaced(self.record, self.look, holds, self.expected)
        if elsewhere is None:
            return self.wrong(code, "missing", found=found, expected=expected)
        return self.wrong(
            elsewhere.code,
            "missing",
            found=found,
            at=elsewhere.at,
            detail=elsewhere.detail,
            expected=expected,
        )


def values(answer: Answer) -> tuple[str, ...] | Unknown:
    """The records of an answer, sorted: their order means nothing (RFC 1035 §3.2)."""
    match answer:
        case Unknown():
            return answer
        case Found(records=records):
            return tuple(sorted(records))
        case _:
            return ()
