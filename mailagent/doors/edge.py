"""How does a mail engine without a database hand its mail to a remote backend?

It runs the same doors; only what they are given is remote. It says yes for what the backend has
stored and for nothing else: a backend that is away, slow or does not know the key is "later".
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx
import structlog
from pydantic import TypeAdapter, ValidationError

from mailagent.errors import Malformed, TransientFailure
from mailagent.flow.values import ORIGIN
from mailagent.inbound import (
    Accepted,
    Duplicate,
    Envelope,
    Inbound,
    Known,
    Later,
    Outcome,
    Replayed,
    Unrouted,
)
from mailagent.mail import Event

__all__ = ["Backend", "decode", "encode", "outcome_from_json", "outcome_to_json"]

log = structlog.get_logger()

_EVENTS = TypeAdapter(list[Event])
_SECONDS = 10.0
"""For all tries of one mail: below the 12 seconds after which our own webhooks give up."""
_TRIES_AFTER = (0.2, 1.0, 3.0)
_REMEMBERED = 60.0
_MOST_REMEMBERED = 10_000


def encode(mail: Inbound) -> bytes:
    """One mail for the wire: a line of JSON with all but the octets, then the octets."""
    head = {
        "mail_from": mail.envelope.mail_from,
        "rcpt_to": list(mail.envelope.rcpt_to),
        "source": mail.source,
        "source_id": mail.source_id,
        "origin": ORIGIN.dump_python(mail.origin, mode="json"),
        "replay_token": mail.replay_token,
    }
    return json.dumps(head).encode() + b"\n" + mail.raw


def decode(body: bytes) -> Inbound:
    """The inverse of `encode`. Raises Malformed."""
    line, _, raw = body.partition(b"\n")
    try:
        head = json.loads(line)
        return Inbound(
            envelope=Envelope(head["mail_from"], tuple(head["rcpt_to"])),
            raw=raw,
            source=head["source"],
            source_id=head["source_id"],
            origin=ORIGIN.validate_python(head["origin"]),
            replay_token=head["replay_token"],
        )
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise Malformed("body", "is no mail of an edge: is it the same version?") from error


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """What became of a mail, for the edge."""
    match outcome:
        case Accepted(ids):
            return {"outcome": "accepted", "delivery_ids": list(ids)}
        case Duplicate(ids):
            return {"outcome": "duplicate", "delivery_ids": list(ids)}
        case Unrouted(recipients):
            return {"outcome": "unrouted", "recipients": list(recipients)}
        case Replayed():
            return {"outcome": "replayed"}
        case Later(reason):
            return {"outcome": "later", "reason": reason}


def outcome_from_json(said: dict[str, Any]) -> Outcome:
    """The inverse of `outcome_to_json`; what is not understood is `Later`."""
    match said:
        case {"outcome": "accepted", "delivery_ids": list(ids)}:
            return Accepted(tuple(ids))
        case {"outcome": "duplicate", "delivery_ids": list(ids)}:
            return Duplicate(tuple(ids))
        case {"outcome": "unrouted", "recipients": list(recipients)}:
            return Unrouted(tuple(recipients))
        case {"outcome": "replayed"}:
            return Replayed()
        case {"outcome": "later", "reason": str(reason)}:
            return Later(reason)
        case _:
            return Later("the backend's answer is not understood")


class Backend:
    """A remote backend: `Acceptor`, `Directory`, and where events go."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url.rstrip('/')}/api/v1/internal",
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(_SECONDS, connect=3.0),
            follow_redirects=False,
        )
        self._known: dict[str, tuple[Known, float]] = {}
        self.problem: str | None = "the backend was not asked yet"
        """Why the last call failed; None when it did not."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        """Hand mails over; one outcome for each, `Later` for all that was not answered for."""
        return await asyncio.gather(*(self._hand_over(mail) for mail in batch))

    async def _hand_over(self, mail: Inbound) -> Outcome:
        body = encode(mail)
        try:
            async with asyncio.timeout(_SECONDS):
                for pause in (*_TRIES_AFTER, None):
                    try:
                        return outcome_from_json(await self._call("POST", "/inbound", body))
                    except TransientFailure as error:
                        # The same mail under the same id: who has it already says so.
                        if pause is None:
                            return Later(error.reason)
                        await asyncio.sleep(pause)
        except TimeoutError:
            pass
        return Later("the backend took too long")

    async def knows(self, address: str) -> Known:
        """Whether the backend has such a recipient; remembered for a minute."""
        known, until = self._known.get(address, (Known.UNKNOWN, 0.0))
        if until > time.monotonic():
            return known
        try:
            said = await self._call("POST", "/recipients", json.dumps([address]).encode())
            known = Known(said["known"][0])
        except (TransientFailure, ValueError, LookupError, TypeError):
            return Known.UNKNOWN
        if known is not Known.UNKNOWN:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[address] = known, time.monotonic() + _REMEMBERED
        return known

    async def record(self, told: Sequence[Event]) -> None:
        """Hand events over. Raises TransientFailure."""
        body = _EVENTS.dump_json(list(told))
        await self._call("POST", "/events", body)

    async def look(self) -> None:
        """Ask whether the backend is there and knows our key; `problem` tells."""
        try:
            await self._call("POST", "/recipients", b"[]")
        except TransientFailure:
            return

    async def _call(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, content=body)
        except httpx.HTTPError as error:
            raise self._failed(f"the backend is away: {type(error).__name__}") from error
        if answer.status_code in (401, 403):
            raise self._failed("the backend refuses AEXY_API_KEY: make one with key create --edge")
        if answer.status_code != httpx.codes.OK:
            raise self._failed(f"the backend answered {answer.status_code}")
        try:
            said = answer.json()
        except ValueError as error:
            raise self._failed("the backend answered no JSON: is AEXY_API_URL right?") from error
        self.problem = None
        return said if isinstance(said, dict) else {}

    def _failed(self, reason: str) -> TransientFailure:
        if self.problem != reason:
            log.warning("edge.backend_failed", reason=reason)
        self.problem = reason
        return TransientFailure(reason)
