"""How does Claude answer a mail? By Anthropic's Messages API, with one tool.

Each answer of the model and each tool's result is recorded before the turn goes on, so a turn that
was interrupted pays for nothing twice. Source: platform.claude.com "Messages", "Tool use",
"Handling stop reasons", "Errors" (read November 2026).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mailagent.agents import prices
from mailagent.agents.deadline import now, until
from mailagent.agents.prompt import HAND_OVER, NO_REPLY, conversation, instructions
from mailagent.agents.tools import SEARCH_DOCUMENTS, ToolResult, use
from mailagent.agents.turn import Step, Turn, Usage
from mailagent.errors import Misconfigured, TransientFailure
from mailagent.outgoing import Handoff, Reply, Silence

if TYPE_CHECKING:
    import anthropic

__all__ = ["Claude"]

_BASE_URL = "https://api.anthropic.com"
_MODEL = "claude-sonnet-5-5"
_MOST_QUESTIONS = 8
"""To the model in one turn; the last one must be an answer."""
_RETRY_AFTER = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(hours=1)
_HANDED_OVER = (
    "Thank you for your message. I cannot answer it myself; a person will read it and reply to you."
)


class Claude:
    """An agent that asks a Claude model."""

    kind: ClassVar[str] = "claude"

    def __init__(
        self,
        api_key: str,
        *,
        model: str = _MODEL,
        base_url: str = _BASE_URL,
        most_tokens: int = 16_000,
    ) -> None:
        """`most_tokens` bounds one answer, the model's own thinking included."""
        self._api_key = api_key
        self._model = model
        self._base_url = base_url
        self._most_tokens = most_tokens
        self._client: anthropic.AsyncAnthropic | None = None

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
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        """Ask until the model has answered.

        Raises TransientFailure (deadline, 408, 409, 429, 5xx, no connection, an answer that is
        none; `retry_at` as the service said) and Misconfigured (key, model or address is wrong).
        """
        async with until(deadline):
            opening = await conversation(turn)
            exchange = _Exchange.of(turn.steps.past)
            while True:
                if (wish := exchange.next_wish()) is not None:
                    result = await use(turn.tools, str(wish.get("name")), wish.get("input"))
                    step = _tool_step(wish, result)
                    await turn.steps.record(step)
                    exchange.add(step)
                elif (answer := exchange.last) is not None and answer["stop_reason"] != "tool_use":
                    return _outcome(answer, exchange.documents)
                elif exchange.questions == _MOST_QUESTIONS:
                    reason = f"the model wanted to search more than {_MOST_QUESTIONS - 1} times"
                    return Handoff(reason, notice=_HANDED_OVER)
                else:
                    said = await self._ask(turn, [*opening, *exchange.messages()], deadline)
                    if isinstance(said, Handoff):
                        return said
                    # First what it cost: a stop in between loses an answer, never an expense.
                    await turn.steps.record(self._usage(said).as_step())
                    step = Step("model", _kept(said))
                    await turn.steps.record(step)
                    exchange.add(step)

    async def _ask(
        self, turn: Turn, messages: list[dict[str, Any]], deadline: datetime
    ) -> Mapping[str, Any] | Handoff:
        client = await self._connected()
        import anthropic  # loaded by now: a second of work, and only for those who use it

        try:
            response = await client.messages.with_raw_response.create(
                model=self._model,
                max_tokens=self._most_tokens,
                system=instructions(turn.profile),
                messages=messages,  # type: ignore[arg-type]
                tools=[SEARCH_DOCUMENTS],  # type: ignore[list-item]
                timeout=max((deadline - now()).total_seconds(), 0.001),
            )
            # As it came, not as the SDK's types see it: unknown blocks must go back unchanged.
            return _read(await response.read())
        except anthropic.APIStatusError as error:
            if error.status_code in {400, 413, 422}:
                reason = f"the model's service refused the request ({error.status_code})"
                return Handoff(reason, notice=_HANDED_OVER)
            raise self._failure(error) from error
        except anthropic.APIError as error:
            raise TransientFailure(
                "the model's service did not answer", retry_at=now() + _RETRY_AFTER
            ) from error

    async def _connected(self) -> anthropic.AsyncAnthropic:
        if self._client is None:
            await asyncio.to_thread(_load)
            import anthropic

            # Retries belong to the work queue, which is durable and knows the deadline.
            self._client = anthropic.AsyncAnthropic(
                api_key=self._api_key,
                base_url=self._base_url,
                max_retries=0,
                open_telemetry=False,
            )
        return self._client

    def _failure(self, error: anthropic.APIStatusError) -> TransientFailure | Misconfigured:
        match error.status_code:
            case 401 | 403:
                return Misconfigured("ANTHROPIC_API_KEY", "the service refuses this key")
            case 402:
                return Misconfigured("ANTHROPIC_API_KEY", "the key's account has no credit left")
            case 404:
                problem = f"the service knows no model {self._model!r}"
                return Misconfigured("ANTHROPIC_MODEL", problem)
        status = error.status_code
        retry_at = _retry_at(error.response.headers.get("retry-after"))
        return TransientFailure(
            f"the model's service is busy or broken ({status})",
            code=str(status),
            retry_at=retry_at,
        )

    def _usage(self, answer: Mapping[str, Any]) -> Usage:
        usage = answer.get("usage") or {}
        input_tokens = _count(usage, "input_tokens")
        output_tokens = _count(usage, "output_tokens")
        model = str(answer.get("model") or self._model)
        cached = _count(usage, "cache_read_input_tokens") or _count(
            usage, "cache_creation_input_tokens"
        )
        return Usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            model=model,
            # A gateway that caches for us has prices that we do not know.
            cost_usd=None
            if cached
            else prices.cost_usd(model, input_tokens=input_tokens, output_tokens=output_tokens),
        )


class _Exchange:
    """What was said since the mails: the model's answers and the tools' results, in order."""

    def __init__(self) -> None:
        self._rounds: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []

    @classmethod
    def of(cls, past: Sequence[Step]) -> _Exchange:
        exchange = cls()
        for step in past:
            exchange.add(step)
        return exchange

    def add(self, step: Step) -> None:
        assert isinstance(step.content, Mapping)
        if step.kind == "model":
            self._rounds.append((step.content, []))
        elif step.kind == "tool":
            self._rounds[-1][1].append(step.content)

    @property
    def questions(self) -> int:
        return len(self._rounds)

    @property
    def last(self) -> Mapping[str, Any] | None:
        return self._rounds[-1][0] if self._rounds else None

    @property
    def documents(self) -> tuple[str, ...]:
        """Names of all documents that the model was shown."""
        shown = (name for _, results in self._rounds for r in results for name in r["documents"])
        return tuple(dict.fromkeys(shown))

    def next_wish(self) -> Mapping[str, Any] | None:
        """The first tool use of the last answer that has no result yet."""
        if not self._rounds:
            return None
        answer, results = self._rounds[-1]
        done = {result["tool_use_id"] for result in results}
        if answer["stop_reason"] != "tool_use":
            return None
        return next((wish for wish in _wishes(answer) if wish.get("id") not in done), None)

    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for answer, results in self._rounds:
            messages.append({"role": "assistant", "content": answer["content"]})
            blocks = [
                {
                    "type": "tool_result",
                    "tool_use_id": result["tool_use_id"],
                    "content": result["text"],
                    "is_error": result["is_error"],
                }
                for result in results
            ]
            messages.append({"role": "user", "content": blocks})
        return messages


def _load() -> None:
    import anthropic  # noqa: F401


def _read(body: bytes) -> Mapping[str, Any]:
    """The service's answer as JSON. Raises TransientFailure when it is no message."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, Mapping) and isinstance(answer.get("content"), list):
        blocks = answer["content"]
        if all(isinstance(block, Mapping) for block in blocks):
            wants_tool = answer.get("stop_reason") == "tool_use"
            if not wants_tool or _wishes(answer):
                return answer
    reason = "the model's service answered with something that is no message"
    raise TransientFailure(reason, retry_at=now() + _RETRY_AFTER)


def _wishes(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [block for block in answer["content"] if block.get("type") == "tool_use"]


def _kept(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: answer.get(name) for name in ("id", "model", "stop_reason", "content")}


def _tool_step(wish: Mapping[str, Any], result: ToolResult) -> Step:
    return Step(
        "tool",
        {
            "tool_use_id": wish.get("id"),
            "name": wish.get("name"),
            "text": result.text,
            "documents": list(result.documents),
            "is_error": result.is_error,
        },
    )


def _outcome(answer: Mapping[str, Any], documents: tuple[str, ...]) -> Reply | Silence | Handoff:
    text = "\n\n".join(
        block["text"].strip()
        for block in answer["content"]
        if block.get("type") == "text" and isinstance(block.get("text"), str)
    ).strip()
    match answer["stop_reason"]:
        case "end_turn" | "stop_sequence" if text.startswith(HAND_OVER):
            return Handoff(_reason(text, HAND_OVER), notice=_HANDED_OVER)
        case "end_turn" | "stop_sequence" if text.startswith(NO_REPLY):
            return Silence(_reason(text, NO_REPLY))
        case "end_turn" | "stop_sequence" if text:
            return Reply(text, sources=documents)
        case "end_turn" | "stop_sequence":
            return Handoff("the model gave an empty answer", notice=_HANDED_OVER)
        case "refusal":
            return Handoff("the model refused to answer", notice=_HANDED_OVER)
        case "max_tokens":
            return Handoff("the model's answer was cut off at its limit", notice=_HANDED_OVER)
        case "model_context_window_exceeded":
            return Handoff("the thread is too long for the model", notice=_HANDED_OVER)
        case other:
            return Handoff(f"the model stopped for {other!r}", notice=_HANDED_OVER)


def _reason(text: str, marker: str) -> str:
    return text.removeprefix(marker).strip()[:500] or "the model gave no reason"


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def _retry_at(retry_after: str | None) -> datetime:
    """When to come back (RFC 9110 §10.2.3: seconds or a date), within an hour."""
    moment = now()
    wait = _RETRY_AFTER
    try:
        if retry_after is not None and retry_after.strip().isdecimal():
            wait = timedelta(seconds=min(int(retry_after), _LONGEST_RETRY.total_seconds()))
        elif retry_after is not None:
            wait = parsedate_to_datetime(retry_after) - moment
    except (ValueError, TypeError, OverflowError):
        wait = _RETRY_AFTER
    return moment + max(timedelta(), min(wait, _LONGEST_RETRY))
