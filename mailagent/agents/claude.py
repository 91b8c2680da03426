"""How does Claude answer a mail? By Anthropic's Messages API, with one tool.

Each answer of the model and each tool's result is recorded before the turn goes on, so a turn that
was interrupted pays for nothing twice. Source: platform.claude.com "Messages", "Tool use",
"Handling stop reasons", "Errors" (read November 2026).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mailagent.agents import prices
from mailagent.agents.deadline import now, until
from mailagent.agents.exchange import (
    Exchange,
    handoff,
    model_step,
    outcome,
    read_message,
    tool_step,
)
from mailagent.agents.prompt import conversation, instructions
from mailagent.agents.tools import SEARCH_DOCUMENTS, use
from mailagent.agents.turn import Turn, Usage
from mailagent.errors import Malformed, Misconfigured, TransientFailure
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
        price: prices.Price | None = None,
    ) -> None:
        """`most_tokens` bounds one answer, the model's own thinking included; `price` counts before
        the listed ones.
        """
        self._api_key = api_key
        self._model = model
        self._base_url = base_url
        self._most_tokens = most_tokens
        self._price = price
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
            price=prices.parse(settings.get("ANTHROPIC_PRICE", "")),
        )

    @classmethod
    def unpriced(cls, settings: Mapping[str, str]) -> str | None:
        if prices.parse(settings.get("ANTHROPIC_PRICE", "")) is not None:
            return None
        model = settings.get("ANTHROPIC_MODEL") or _MODEL
        return model if prices.price_of(model) is None else None

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
            exchange = Exchange.of(turn.steps.past)
            while True:
                if (wish := exchange.next_wish()) is not None:
                    result = await use(turn.tools, str(wish.get("name")), wish.get("input"))
                    step = tool_step(wish, result)
                    await turn.steps.record(step)
                    exchange.add(step)
                elif (answer := exchange.last) is not None and answer["stop_reason"] != "tool_use":
                    return outcome(answer, exchange.documents)
                elif exchange.questions == _MOST_QUESTIONS:
                    reason = f"the model wanted to search more than {_MOST_QUESTIONS - 1} times"
                    return handoff(reason)
                else:
                    said = await self._ask(turn, [*opening, *exchange.messages()], deadline)
                    if isinstance(said, Handoff):
                        return said
                    # First what it cost: a stop in between loses an answer, never an expense.
                    await turn.steps.record(self._usage(said).as_step())
                    step = model_step(said)
                    await turn.steps.record(step)
                    exchange.add(step)

    async def _ask(
        self, turn: Turn, messages: list[dict[str, Any]], deadline: datetime
    ) -> Mapping[str, Any] | Handoff:
        client = await self._connected()
        import anthropic

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
            return read_message(await response.read())
        except anthropic.APIStatusError as error:
            if error.status_code in {400, 413, 422}:
                reason = f"the model's service refused the request ({error.status_code})"
                return handoff(reason)
            raise self._failure(error) from error
        except anthropic.APIError as error:
            reason = "the model's service did not answer"
            raise TransientFailure(reason, retry_at=now() + _RETRY_AFTER) from error
        except Malformed as error:
            reason = "the model's service answered with something that is no message"
            raise TransientFailure(reason, retry_at=now() + _RETRY_AFTER) from error

    async def _connected(self) -> anthropic.AsyncAnthropic:
        await asyncio.to_thread(_load)
        import anthropic

        if self._client is None:
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
        input_tokens, output_tokens = _count(answer, "input"), _count(answer, "output")
        model = str(answer.get("model") or self._model)
        cost = None
        # A gateway that caches for us, or does not count, has prices that we do not know.
        cached = _count(answer, "cache_read_input") or _count(answer, "cache_creation_input")
        if input_tokens and output_tokens and not cached:
            cost = prices.cost_usd(
                model,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                given=self._price,
            )
        return Usage(input_tokens, output_tokens, model, cost)


def _load() -> None:
    """A second of work the first time: outside the loop, and only for those who use it."""
    import anthropic  # noqa: F401


def _count(answer: Mapping[str, Any], kind: str) -> int:
    usage = answer.get("usage")
    value = usage.get(f"{kind}_tokens") if isinstance(usage, Mapping) else None
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
