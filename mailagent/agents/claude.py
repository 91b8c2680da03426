"""How does Claude answer a mail? By Anthropic's Messages API, with the tools that the agent has.

Each answer of the model and each tool's result is recorded before the turn goes on, so a turn that
was interrupted pays for nothing twice. It ends with the tool `decide`; a model that only writes is
asked for that once more, and where it still does not use tools its words are the answer. Source:
platform.claude.com "Messages", "Tool use", "Handling stop reasons" (read November 2026).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self

from mailagent.agents import decision, history, prices
from mailagent.agents.claude_batches import ClaudeBatches
from mailagent.agents.claude_service import Asks, ClaudeService, Question, RefusedRequest
from mailagent.agents.deadline import until
from mailagent.agents.exchange import Exchange, model_step, text_of, tool_step, unfinished
from mailagent.agents.prompt import conversation, instructions
from mailagent.agents.tools import Tool, ToolResult
from mailagent.agents.turn import Summary, Turn, Usage
from mailagent.errors import Malformed, Misconfigured
from mailagent.outgoing import Handoff, Reply, Silence

__all__ = ["Claude"]

_BASE_URL = "https://api.anthropic.com"
_MODEL = "claude-sonnet-5-5"
_MOST_QUESTIONS = 12
"""To the model in one turn; the last one must be its decision."""
_HISTORY_TOKENS = 30_000
_SUMMARY_TOKENS = 2_000
_DECIDE = str(decision.DECIDE["name"])


class Claude:
    """An agent that asks a Claude model, or another one behind the same API."""

    kind: ClassVar[str] = "claude"

    def __init__(
        self,
        api_key: str,
        *,
        model: str = _MODEL,
        base_url: str = _BASE_URL,
        most_tokens: int = 16_000,
        price: prices.Price | None = None,
    ) -> None:
        """`most_tokens` bounds one answer, the model's own thinking included; `price` counts before
        the listed ones. An agent's profile may name another model and price.
        """
        self._service = ClaudeService(api_key, base_url)
        self._asks: Asks = self._service
        self._model = model
        self._most_tokens = most_tokens
        self._price = price

    @classmethod
    def open(cls, settings: Mapping[str, str]) -> Self:
        key = settings.get("ANTHROPIC_API_KEY", "").strip()
        if not key:
            problem = "is empty: set a key, or LLM_PROVIDER=builtin"
            raise Misconfigured("ANTHROPIC_API_KEY", problem)
        return cls(
            key,
            model=settings.get("ANTHROPIC_MODEL") or _MODEL,
            base_url=settings.get("ANTHROPIC_BASE_URL") or _BASE_URL,
            price=prices.parse(settings.get("ANTHROPIC_PRICE", "")),
        )

    @classmethod
    def unpriced(cls, settings: Mapping[str, str]) -> str | None:
        if prices.parse(settings.get("ANTHROPIC_PRICE", "")) is not None:
            return None
        model = settings.get("ANTHROPIC_MODEL") or _MODEL
        return model if prices.price_of(model) is None else None

    async def close(self) -> None:
        await self._service.close()

    @property
    def batches(self) -> ClaudeBatches:
        """The same account's batches."""
        return ClaudeBatches(self._service)

    def asking(self, way: Asks) -> Claude:
        """The same agent whose questions go another way; `close` is this one's."""
        other = copy.copy(self)
        other._asks = way
        return other

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        """Ask until the model has decided.

        Raises TransientFailure (deadline, 408, 409, 429, 5xx, no connection, an answer that is
        none; `retry_at` as the service said) and Misconfigured (key, model or address is wrong).
        """
        async with until(deadline):
            try:
                return await self._think(turn, deadline)
            except RefusedRequest as refused:
                return decision.handed_over(str(refused))

    async def _think(self, turn: Turn, deadline: datetime) -> Reply | Silence | Handoff:
        opening: list[dict[str, Any]] | None = None
        exchange = Exchange.of(turn.steps.past)
        most = turn.profile.most_questions or _MOST_QUESTIONS
        while True:
            if (wish := exchange.next_wish()) is not None:
                outcome = await self._grant(turn, exchange, wish)
                if outcome is not None:
                    return outcome
                continue
            if exchange.hand_over is not None:
                return decision.handed_over(exchange.hand_over)
            if (ended := _ended(exchange)) is not None:
                return ended
            if exchange.questions >= most:
                return decision.handed_over(f"the model did not decide within {most} questions")
            if opening is None:
                opening = await conversation(turn, await self._history(turn, deadline))
            said = await self._ask(
                turn,
                [*opening, *exchange.messages()],
                forced=bool(exchange.words) or exchange.questions == most - 1,
                deadline=deadline,
            )
            step = model_step(said)
            await turn.steps.record(self._usage(turn, said).as_step(), step)
            exchange.add(step)

    async def _grant(
        self, turn: Turn, exchange: Exchange, wish: Mapping[str, Any]
    ) -> Reply | Silence | Handoff | None:
        """Do what the model asks for and record it; the outcome when it has decided."""
        name = str(wish.get("name"))
        if name != _DECIDE:
            result = await turn.tools.use(str(wish["id"]), name, wish.get("input"))
        elif exchange.wishes > 1:
            result = ToolResult("Decide alone, when you have the other results.", is_error=True)
        else:
            try:
                return decision.read(
                    wish.get("input"), documents=exchange.documents, done=exchange.done
                )
            except Malformed as error:
                result = ToolResult(str(error), is_error=True)
        step = tool_step(wish, result)
        await turn.steps.record(step)
        exchange.add(step)
        return None

    async def _ask(
        self,
        turn: Turn,
        messages: Sequence[Mapping[str, Any]],
        *,
        forced: bool,
        deadline: datetime,
    ) -> Mapping[str, Any]:
        question = Question(
            model=turn.profile.model or self._model,
            most_tokens=self._most_tokens,
            system=instructions(turn.profile),
            messages=messages,
            tools=[*map(_described, turn.tools.offered), decision.DECIDE],
            forced=_DECIDE if forced else None,
        )
        return await self._asks.ask(question, deadline=deadline)

    async def _history(self, turn: Turn, deadline: datetime) -> history.History:
        """What is shown of the thread; what is too old for it is summed up, once, and kept."""
        memory = turn.memory
        known = memory.summary if memory is not None else None
        tokens = turn.profile.history_tokens
        tokens = _HISTORY_TOKENS if tokens is None else tokens
        seen = history.view(turn.thread.entries, known, tokens=tokens)
        if not seen.older or memory is None:
            return seen
        question = Question(
            model=turn.profile.model or self._model,
            most_tokens=_SUMMARY_TOKENS,
            system=history.SUMMARISE,
            messages=[{"role": "user", "content": history.wish_for_summary(seen)}],
        )
        said = await self._asks.ask(question, deadline=deadline)
        await turn.steps.record(self._usage(turn, said).as_step())
        text = text_of(said)
        if not text:
            return seen  # a model that will not: the newest mails are shown without it
        summary = Summary(seen.older[-1].at, text)
        await memory.keep(summary)
        return history.History(summary, seen.entries)

    def _usage(self, turn: Turn, answer: Mapping[str, Any]) -> Usage:
        model = str(answer.get("model") or turn.profile.model or self._model)
        asked, said = _count(answer, "input"), _count(answer, "output")
        written, read = _count(answer, "cache_creation_input"), _count(answer, "cache_read_input")
        given = prices.parse(turn.profile.price) or (None if turn.profile.model else self._price)
        cost = None
        # A gateway that does not count has prices that we do not know.
        if asked + written + read and said:
            cost = prices.cost_usd(
                model,
                input_tokens=asked,
                output_tokens=said,
                cache_written=written,
                cache_read=read,
                given=given,
                share=self._asks.share,
            )
        return Usage(asked + written + read, said, model, cost)


def _ended(exchange: Exchange) -> Reply | Handoff | None:
    """What a turn ends with whose model has written and asked for nothing; None: it goes on."""
    answer = exchange.last
    if answer is None or answer["stop_reason"] == "tool_use":
        return None
    if (failed := unfinished(answer)) is not None:
        return failed
    if len(exchange.words) < 2:
        return None
    # It does not use tools: what it wrote first is the answer, and nobody knows how sure it is.
    return Reply(text_of(exchange.words[0]), sources=exchange.documents)


def _described(tool: Tool) -> Mapping[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.input_schema,
    }


def _count(answer: Mapping[str, Any], kind: str) -> int:
    usage = answer.get("usage")
    value = usage.get(f"{kind}_tokens") if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) else 0
