"""What may an agent look at and do in a rehearsal? Inside it is done and undone; outside, told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailagent.agents import Passage
from mailagent.agents.tools import Tool, ToolResult, checked
from mailagent.agents.trust import Ask, Do, Refuse, decide
from mailagent.errors import Malformed, NotFound, SandboxFailure
from mailagent.flow import given
from mailagent.flow.rehearsal.memory import Chronicle
from mailagent.flow.rehearsal.stage import Opening, Stage
from mailagent.flow.rehearsal.values import Brought, Rehearsed, Stored, Used
from mailagent.flow.tools.families import INSIDE
from mailagent.store import documents
from mailagent.store.transaction import Transaction

__all__ = ["RehearsedTools"]

_ASKED = "Not done: a person must agree first. In this trial nobody is asked. Do not try it again."
_REFUSED = "Not done: this may not be done for whoever wrote this mail."
_NOT_ASKED = "In this trial nothing outside is asked, so there is no answer. Go on without it."
_WOULD = "Taken as done: this is a trial, so nothing was changed outside."
_MOST_CALLS = 60


class RehearsedTools:
    """The agent's tools, behind the same policy: inside they run and are undone."""

    def __init__(self, stage: Stage, opening: Opening, chronicle: Chronicle) -> None:
        self._stage, self._case, self._chronicle = stage, opening.case, chronicle
        self._given: dict[str, ToolResult] = {}

    @property
    def offered(self) -> Sequence[Tool]:
        """The tools that are not refused to this writer."""
        case = self._case
        return [
            tool
            for tool in case.tools.values()
            if not isinstance(decide(case.policy, case.standing, tool.action), Refuse)
        ]

    async def use(self, call_id: str, name: str, wish: object) -> ToolResult:
        """What the tool would have given; the same call again gives the same."""
        if call_id not in self._given:
            self._given[call_id] = await self._use(call_id, name, wish)
        return self._given[call_id]

    async def _use(self, call_id: str, name: str, wish: object) -> ToolResult:
        tool = self._case.tools.get(name)
        if tool is None:
            return ToolResult("There is no such tool.", is_error=True)
        if len(self._chronicle.used) >= _MOST_CALLS:
            return ToolResult(f"{_MOST_CALLS} calls in one turn are the most.", is_error=True)
        try:
            wanted: Mapping[str, Any] = checked(tool.input_schema, wish)
        except Malformed as error:
            return ToolResult(str(error), is_error=True)
        case = self._case
        match decide(case.policy, case.standing, tool.action):
            case Refuse(reason, rule):
                return await self._tell(
                    call_id, tool, wanted, "refused", f"{reason} ({rule})", _error(_REFUSED)
                )
            case Ask(reason, rule):
                return await self._tell(
                    call_id, tool, wanted, "would ask", f"{reason} ({rule})", _error(_ASKED)
                )
            case Do(rule):
                return await self._do(call_id, tool, wanted, rule)

    async def _do(self, call_id: str, tool: Tool, wish: Mapping[str, Any], rule: str) -> ToolResult:
        if tool.name not in INSIDE:
            if tool.effect == "reads":
                return await self._tell(
                    call_id, tool, wish, "not asked", rule, ToolResult(_NOT_ASKED)
                )
            return await self._tell(call_id, tool, wish, "would do", rule, ToolResult(_WOULD))
        stage = self._stage
        try:
            result = await stage.services.store.rehearse(
                stage.workspace_id, _inside, stage, tool.name, wish
            )
        except Malformed as error:
            return await self._tell(call_id, tool, wish, "failed", str(error), _error(str(error)))
        state = "done" if tool.effect == "reads" else "would do"
        return await self._tell(call_id, tool, wish, state, rule, result)

    async def _tell(
        self,
        call_id: str,
        tool: Tool,
        wish: Mapping[str, Any],
        state: str,
        why: str,
        result: ToolResult,
    ) -> ToolResult:
        await self._chronicle.use(call_id, Used(tool.name, wish, state, why))
        return result

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        """The passages that fit a query best."""
        stage = self._stage
        found = await stage.services.store.read(
            stage.workspace_id, documents.search, query, limit=limit
        )
        return [Passage(one.document_id, one.name, one.text, one.score) for one in found]

    async def attachment_text(self, delivery_id: str, part: str) -> str | None:
        """The text of an attachment; None when it has none or cannot be read."""
        found = await self._attached("attachment_text", delivery_id, part)
        return None if found is None else found.decode()[: given.ATTACHMENT_CHARACTERS] or None

    async def attachment_octets(self, delivery_id: str, part: str) -> bytes | None:
        """An attachment as it was sent; None when it cannot be read."""
        return await self._attached("attachment", delivery_id, part)

    async def _attached(self, job: str, delivery_id: str, part: str) -> bytes | None:
        stage = self._stage
        match stage.subject:
            case Stored():
                return await given.attachment(
                    stage.services, stage.workspace_id, job, delivery_id, part
                )
            case Brought(raw, _):
                try:
                    return await stage.services.sandbox.run(
                        f"mailagent.reading:{job}", raw, {"part": part}
                    )
                except (Malformed, NotFound, SandboxFailure):
                    return None


def _inside(tx: Transaction, stage: Stage, name: str, wish: Mapping[str, Any]) -> ToolResult:
    opening = stage.open(tx)
    if isinstance(opening, Rehearsed):
        return _error("The case has changed meanwhile.")
    return INSIDE[name](tx, stage.services, opening.case, wish)


def _error(text: str) -> ToolResult:
    return ToolResult(text, is_error=True)
