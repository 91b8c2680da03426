"""How does what is to be typed at a DNS host look in the API?"""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from backend.domains.placing import AtHost

__all__ = ["DifferenceOut", "FieldOut", "InstructionOut", "InstructionsOut", "SpfOut"]


class FieldOut(BaseModel):
    """One field of the host's page."""

    title: str
    value: str


class InstructionOut(BaseModel):
    """One record as it is typed in; `type` and `name` are those of `dns_records`."""

    type: str
    name: str
    fields: list[FieldOut]
    notes: list[str]


class InstructionsOut(BaseModel):
    """A domain's records as its DNS host asks for them."""

    host: str
    name_servers: list[str]
    steps: list[InstructionOut]

    @classmethod
    def of(cls, told: AtHost) -> Self:
        return cls(
            host=told.host,
            name_servers=list(told.name_servers),
            steps=[
                InstructionOut(
                    type=step.record.record.type,
                    name=step.record.name,
                    fields=[FieldOut(title=title, value=value) for title, value in step.fields],
                    notes=list(step.notes),
                )
                for step in told.steps
            ],
        )


class SpfOut(BaseModel):
    """One SPF record, and what it costs receivers; `unknown` says why a count may be too low."""

    record: str
    published: list[str]
    added: list[str]
    changed: bool
    lookups: int
    void_lookups: int
    notes: list[str]
    unknown: str


class DifferenceOut(BaseModel):
    """One record: expected and judged, or `beside` those that are."""

    status: str
    type: str
    name: str
    value: str
    found: list[str]
    message: str
