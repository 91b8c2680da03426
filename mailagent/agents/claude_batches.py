"""How are many questions put at once, at half the price, by the Message Batches API?

A batch ends within 24 hours, mostly within one; its results are kept for 29 days and come in any
order, each under the name that its question was given. Source: platform.claude.com "Batch
processing", "Message Batches" of the API reference (read November 2026).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from mailagent.agents.claude_service import (
    ClaudeService,
    RefusedRequest,
    failure,
    of_transport,
    status_of,
    unanswered,
)
from mailagent.agents.exchange import read_message
from mailagent.errors import Malformed, Misconfigured, TransientFailure, UncertainDelivery

if TYPE_CHECKING:
    import anthropic

__all__ = ["MOST_OCTETS", "Batch", "BatchedAnswer", "ClaudeBatches", "Ended"]

MOST_OCTETS = 100_000_000
"""Of all questions of one batch as JSON. The service takes 256 MB."""
_ANSWER_OCTETS = 10_000_000
_LISTED = 100
_REFUSED = frozenset({400, 413, 422})

Ended = Literal["succeeded", "errored", "canceled", "expired"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the service tells of it."""

    id: str
    created_at: datetime
    ended: bool
    questions: int


@dataclass(frozen=True, slots=True)
class BatchedAnswer:
    """What became of one question."""

    ended: Ended
    message: Mapping[str, Any] | None = None
    """The model's, as the JSON it came as; None unless it succeeded."""
    status: int | None = None
    """What an error would have come with, asked alone."""


class ClaudeBatches:
    """The batches of one account. Belongs to the event loop of its service."""

    def __init__(self, service: ClaudeService) -> None:
        self._service = service

    async def create(self, questions: Mapping[str, Mapping[str, Any]]) -> str:
        """Put questions, as bodies of the Messages API by a name of `[a-zA-Z0-9_-]{1,64}` each.

        Returns the batch's id. Raises RefusedRequest (400, 413, 422), TransientFailure (408, 429),
        Misconfigured; UncertainDelivery when nobody knows whether it was created.
        """
        requests: list[Any] = [
            {"custom_id": name, "params": body} for name, body in questions.items()
        ]
        client = await self._service.connected()
        import anthropic

        try:
            made = await client.messages.batches.create(requests=requests)
        except anthropic.APIStatusError as error:
            if error.status_code >= 500:
                reason = (
                    f"the model's service broke when it was given a batch ({error.status_code})"
                )
                raise UncertainDelivery(reason) from error
            raise _failed(error) from error
        except (anthropic.APIError, OSError) as error:
            reason = "the model's service did not say whether it took a batch"
            raise UncertainDelivery(reason) from error
        return made.id

    async def find(self, batch_id: str) -> Batch:
        """One batch. Raises TransientFailure, Misconfigured, RefusedRequest."""
        client = await self._service.connected()
        import anthropic

        try:
            return _batch(await client.messages.batches.retrieve(batch_id))
        except anthropic.APIStatusError as error:
            raise _failed(error) from error
        except (anthropic.APIError, OSError) as error:
            raise unanswered() from error

    async def since(self, moment: datetime) -> Sequence[Batch]:
        """The account's batches that were created since then, of its newest hundred; newest first.

        Raises as `find`.
        """
        client = await self._service.connected()
        import anthropic

        try:
            page = await client.messages.batches.list(limit=_LISTED)
        except anthropic.APIStatusError as error:
            raise _failed(error) from error
        except (anthropic.APIError, OSError) as error:
            raise unanswered() from error
        return [one for one in map(_batch, page.data) if one.created_at >= moment]

    async def results(self, batch_id: str) -> Mapping[str, BatchedAnswer]:
        """What became of each question of a batch that has ended, by its name.

        Raises as `find`; a line that is no result stands for its question as errored, or for none.
        """
        client = await self._service.connected()
        import anthropic

        found: dict[str, BatchedAnswer] = {}
        try:
            results = client.messages.batches.with_streaming_response.results
            async with results(batch_id) as response:
                # Read as it came, not as the SDK's types see it: what they do not know of a
                # message must go back unchanged.
                async for line in response.iter_lines():
                    if line and (read := _result(line)) is not None:
                        found[read[0]] = read[1]
        except anthropic.APIStatusError as error:
            raise _failed(error) from error
        except (anthropic.AnthropicError, OSError) as error:
            raise unanswered() from error
        except Exception as error:
            if of_transport(error):
                raise unanswered() from error
            raise
        return found


def _batch(told: anthropic.types.messages.MessageBatch) -> Batch:
    counts = told.request_counts
    questions = (
        counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
    )
    return Batch(told.id, told.created_at, told.processing_status == "ended", questions)


def _result(line: str) -> tuple[str, BatchedAnswer] | None:
    try:
        told = json.loads(line)
        name, result = told["custom_id"], told["result"]
        ended = result["type"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    if not isinstance(name, str):
        return None
    match ended:
        case "succeeded" if len(line) <= _ANSWER_OCTETS:
            try:
                return name, BatchedAnswer("succeeded", read_message(result.get("message")))
            except Malformed:
                return name, BatchedAnswer("errored", status=500)
        case "canceled" | "expired":
            return name, BatchedAnswer(ended)
        case _:
            error = result.get("error")
            return name, BatchedAnswer(
                "errored", status=status_of(error if isinstance(error, dict) else {})
            )


def _failed(
    error: anthropic.APIStatusError,
) -> RefusedRequest | TransientFailure | Misconfigured:
    status = error.status_code
    if status == 404:
        problem = "the service there has no Message Batches API, or no longer this batch"
        return Misconfigured("ANTHROPIC_BASE_URL", problem)
    if status in _REFUSED:
        return RefusedRequest(status)
    return failure(status, "", error.response.headers.get("retry-after"))
