"""How do rules and explanations look in the API?"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backend.rules.explanation import Explanation, Match

__all__ = [
    "DecisionOut",
    "ExplainedRuleOut",
    "RuleIn",
    "RuleOut",
    "RulePatch",
    "TrialIn",
    "TrialOut",
]

_EXAMPLE = {"all": [{"domain": "example.com"}, {"not": {"automatic": True}}]}


class RuleIn(BaseModel):
    """A rule to be added, last or at `position` (1 is first)."""

    model_config = ConfigDict(extra="forbid")

    name: str
    condition: dict[str, Any] = Field(examples=[_EXAMPLE])
    action: str = "agent"
    agent: str | None = Field(None, description="Id or handle, for the action `agent`")
    overrides: bool = False
    position: int | None = None


class RulePatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str = ""
    condition: dict[str, Any] = {}
    action: str = ""
    agent: str | None = None
    overrides: bool = False
    enabled: bool = True
    position: int = 1


class RuleOut(BaseModel):
    """A rule in its place."""

    id: str
    position: int
    name: str
    condition: dict[str, Any]
    action: str
    agent_id: str | None
    overrides: bool
    enabled: bool
    created_at: datetime


class TrialIn(BaseModel):
    """A mail that is here (`delivery_id`) or a raw one (`message`), held against the rules.

    `recipient` is the envelope recipient of a raw message; without it the first mailbox of To.
    """

    model_config = ConfigDict(extra="forbid")

    condition: dict[str, Any] | None = Field(
        None, description="One more to try", examples=[_EXAMPLE]
    )
    delivery_id: str | None = None
    message: str | None = Field(None, description="RFC 5322, at most 1 MiB")
    recipient: str | None = None


class ExplainedRuleOut(BaseModel):
    """What one rule makes of the mail."""

    rule_id: str
    name: str
    matched: bool
    why: str


class DecisionOut(BaseModel):
    """Where the mail goes."""

    action: str
    agent_id: str | None
    rule_id: str | None
    why: str


class TrialOut(BaseModel):
    """What the tried condition, each rule and all together make of the mail."""

    recipient: str
    matched: bool | None = Field(description="Of the tried condition; null without one")
    why: str | None
    rules: list[ExplainedRuleOut]
    decision: DecisionOut

    @classmethod
    def of(cls, found: Explanation, match: Match | None = None) -> TrialOut:
        """An explanation, and what the tried condition made of the mail."""
        decision = found.decision
        return cls(
            recipient=found.mail.recipient,
            matched=match.matched if match else None,
            why=match.why if match else None,
            rules=[
                ExplainedRuleOut(
                    rule_id=one.rule.id, name=one.rule.name, matched=one.matched, why=one.why
                )
                for one in found.rules
            ],
            decision=DecisionOut(
                action=decision.action,
                agent_id=decision.agent_id,
                rule_id=decision.rule_id,
                why=decision.why,
            ),
        )
