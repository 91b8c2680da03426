"""How is one question put to the Messages API, and what does each failure ask of us?

By the SDK, streamed, so that a long answer is no silence and a cut one is seen at once. Nothing is
tried again here: retries belong to the work queue, which is durable and knows the deadline. Source:
platform.claude.com "Streaming messages", "Errors", "Prompt caching" (read November 2026).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol

from mailagent.agents.assembly import Assembly
from mailagent.agents.deadline import now
from mailagent.agents.exchange import read_message
from mailagent.errors import Malformed, Misconfigured, TransientFailure

if TYPE_CHECKING:
    import anthropic

__all__ = [
    "Asks",
    "ClaudeService",
    "Question",
    "RefusedRequest",
    "failure",
    "of_transport",
    "status_of",
    "unanswered",
]

_RETRY_AFTER = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(hours=1)
_CACHED = {"type": "ephemeral"}
_STATUS_OF = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "overloaded_error": 529,
}
"""An error inside a stream comes after `200`: its kind says what its status would have said."""


class RefusedRequest(Exception):
    """The service will never answer this question as it was put; `status` is its reason."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the model's service refused the request ({status})")
        self.status = status


@dataclass(frozen=True, slots=True)
class Question:
    """What is put to a model; `forced` names the tool it must use."""

    model: str
    most_tokens: int
    system: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    forced: str | None = None

    def body(self, *, goes_on: bool) -> dict[str, Any]:
        """As the Messages API takes it; `goes_on`: the next question comes within minutes."""
        asked: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.most_tokens,
            # The order of the cache is tools, system, messages: each mark keeps all before it.
            "system": [{"type": "text", "text": self.system, "cache_control": _CACHED}],
            "messages": _marked(self.messages) if goes_on else list(self.messages),
        }
        if self.tools:
            asked["tools"] = [*self.tools[:-1], {**self.tools[-1], "cache_control": _CACHED}]
        if self.forced is not None:
            asked["tool_choice"] = {"type": "tool", "name": self.forced}
        return asked


class Asks(Protocol):
    """A way to put questions to a model."""

    @property
    def share(self) -> Decimal:
        """Of a model's price, what this way costs."""
        ...

    async def ask(self, question: Question, *, deadline: datetime) -> Mapping[str, Any]:
        """The model's next message, as the JSON it came as.

        Raises RefusedRequest (400, 413, 422), TransientFailure (408, 409, 429, 5xx, no connection,
        an answer that is none or breaks off; `retry_at` as the service said), Misconfigured (key,
        account, model).
        """
        ...


class ClaudeService:
    """One account at a server that speaks the Messages API. Belongs to one event loop."""

    share = Decimal(1)

    def __init__(self, api_key: str, base_url: str) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._client: anthropic.AsyncAnthropic | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(self, question: Question, *, deadline: datetime) -> Mapping[str, Any]:
        """As `Asks` has it."""
        client = await self.connected()
        import anthropic

        model = question.model
        asked = question.body(goes_on=True) | {
            "stream": True,
            "timeout": max((deadline - now()).total_seconds(), 0.001),
        }
        try:
            async with client.messages.with_streaming_response.create(**asked) as response:
                kind = response.headers.get("content-type", "")
                if kind.startswith("application/json"):
                    # A gateway that cannot stream.
                    return read_message(await response.read())
                return read_message(await _assembled(response, model))
        except anthropic.APIStatusError as error:
            status = error.status_code
            if status in {400, 413, 422}:
                raise RefusedRequest(status) from error
            raise failure(status, model, error.response.headers.get("retry-after")) from error
        except Malformed as error:
            raise _no_message() from error
        except (anthropic.APIError, OSError) as error:
            raise unanswered() from error
        except Exception as error:
            if of_transport(error):
                reason = "the model's service broke off"
                raise TransientFailure(reason, retry_at=now() + _RETRY_AFTER) from error
            raise

    async def connected(self) -> anthropic.AsyncAnthropic:
        """The SDK's client; nothing is sent yet."""
        await asyncio.to_thread(_load)
        import anthropic

        if self._client is None:
            self._client = anthropic.AsyncAnthropic(
                api_key=self._api_key,
                base_url=self._base_url,
                max_retries=0,
                open_telemetry=False,
            )
        return self._client


def _load() -> None:
    """A second of work the first time: outside the loop, and only for those who use it."""
    import anthropic  # noqa: F401


async def _assembled(response: anthropic.AsyncAPIResponse[Any], model: str) -> Mapping[str, Any]:
    """The message that a stream of events (HTML "Server-sent events" §9.2.6) makes.

    Read as it came, not as the SDK's types see it: what they do not know must go back unchanged.
    """
    assembly = Assembly()
    data: list[str] = []
    async for line in response.iter_lines():
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            event, data = _json("\n".join(data)), []
            if event.get("type") == "error":
                raise failure(status_of(event), model, None)
            assembly.add(event)
    return assembly.message()


def _json(text: str) -> Mapping[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed("answer", "holds an event that is no JSON") from error
    if not isinstance(event, Mapping):
        raise Malformed("answer", "holds an event that is no object")
    return event


def of_transport(error: Exception) -> bool:
    """Whether a stream broke: told by the transport's own error, which the SDK lets through."""
    return type(error).__module__.partition(".")[0] in ("httpx2", "httpcore2")


def _marked(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the end of the last one as the end of what is kept in the cache."""
    *before, last = map(dict, messages)
    content = last["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    blocks[-1] = {**blocks[-1], "cache_control": _CACHED}
    return [*before, {**last, "content": blocks}]


def status_of(event: Mapping[str, Any]) -> int:
    """The status that an error of the API would have come with."""
    told = event.get("error")
    kind = told.get("type") if isinstance(told, Mapping) else None
    return _STATUS_OF.get(str(kind), 500)


def failure(status: int, model: str, retry_after: str | None) -> TransientFailure | Misconfigured:
    """What a status asks of us that is no refusal of the question."""
    match status:
        case 401 | 403:
            return Misconfigured("ANTHROPIC_API_KEY", "the service refuses this key")
        case 402:
            return Misconfigured("ANTHROPIC_API_KEY", "the key's account has no credit left")
        case 404:
            return Misconfigured("ANTHROPIC_MODEL", f"the service knows no model {model!r}")
    return TransientFailure(
        f"the model's service is busy or broken ({status})",
        code=str(status),
        retry_at=_retry_at(retry_after),
    )


def unanswered() -> TransientFailure:
    """No answer came."""
    return TransientFailure("the model's service did not answer", retry_at=now() + _RETRY_AFTER)


def _no_message() -> TransientFailure:
    reason = "the model's service answered with something that is no message"
    return TransientFailure(reason, retry_at=now() + _RETRY_AFTER)


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
