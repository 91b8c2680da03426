"""What is remembered of a rehearsal: its steps, what it cost, which tools it used?

For as long as it lasts, or longer where steps are given that survive.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from mailagent.agents import Step, Steps, Summary
from mailagent.flow.rehearsal.values import Used

__all__ = ["Chronicle", "RehearsedMemory"]

_USED = "used"
_SUMMARY = "summary"


class Chronicle:
    """The steps of one rehearsal, the agent's and our own: kinds `used` and `summary`."""

    def __init__(self, kept: Steps | None) -> None:
        self._kept = kept
        self.past = list(kept.past) if kept is not None else []
        self._all = list(self.past)

    async def record(self, *steps: Step) -> None:
        """Durable on return where the steps survive."""
        if self._kept is not None:
            await self._kept.record(*steps)
        self._all += steps

    async def use(self, call_id: str, used: Used) -> None:
        """Keep that a tool was used, or would have been."""
        told = {"name": used.name, "wish": used.wish, "state": used.state, "why": used.why}
        await self.record(Step(_USED, {"call": call_id, **told}))

    @property
    def used(self) -> tuple[Used, ...]:
        """Each call once, as it ended."""
        calls = {one.pop("call"): one for one in self._of_kind(_USED)}
        return tuple(Used(**one) for one in calls.values())

    async def summarise(self, summary: Summary) -> None:
        """Keep what older mails say."""
        await self.record(
            Step(_SUMMARY, {"until": summary.until.isoformat(), "text": summary.text})
        )

    @property
    def summary(self) -> Summary | None:
        """What the model said of older mails in this rehearsal."""
        found = self._of_kind(_SUMMARY)
        if not found:
            return None
        return Summary(datetime.fromisoformat(found[-1]["until"]), found[-1]["text"])

    def cost(self) -> dict[str, Any]:
        """As fields of `Rehearsed`."""
        usage = self._of_kind("usage")
        costs = [one["cost_usd"] for one in usage]
        known = None not in costs
        return {
            "model": str(usage[-1]["model"]) if usage else "",
            "input_tokens": sum(one["input_tokens"] for one in usage),
            "output_tokens": sum(one["output_tokens"] for one in usage),
            "cost_usd": sum((Decimal(one) for one in costs), Decimal(0)) if known else None,
        }

    def _of_kind(self, kind: str) -> list[dict[str, Any]]:
        found = []
        for step in self._all:
            if step.kind == kind:
                assert isinstance(step.content, Mapping)
                found.append(dict(step.content))
        return found


class RehearsedMemory:
    """The summary that is kept of the thread; another one lives as long as the rehearsal."""

    def __init__(self, chronicle: Chronicle, summary: Summary | None) -> None:
        self._chronicle = chronicle
        self.summary = chronicle.summary or summary

    async def keep(self, summary: Summary) -> None:
        """For this rehearsal."""
        await self._chronicle.summarise(summary)
        self.summary = summary
