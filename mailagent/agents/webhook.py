"""How does a program of the workspace's people answer a mail? By a signed webhook.

The whole case is POSTed as JSON (Standard Webhooks 1.0.0, read November 2026). The program answers
in the response, or says 202 and answers later, once, at the URL that it was given. The id of the
request is the turn's and the same on every attempt: what was taken and not answered is told again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from mailagent.agents import decision
from mailagent.agents.circuit import Circuit
from mailagent.agents.deadline import now, until
from mailagent.agents.signing import signed
from mailagent.agents.turn import AnswerLater, Endpoint, JsonValue, Step, Turn
from mailagent.egress import Answered, Egress
from mailagent.errors import Malformed, Misconfigured, TransientFailure, UncertainDelivery
from mailagent.mail import Mail
from mailagent.mime.text import quoted
from mailagent.outgoing import Handoff, Reply, Silence

__all__ = ["Webhook"]

_SECONDS = 30.0
_PATIENCE = timedelta(hours=24)
"""From the first attempt; then a person answers."""
_TEXT_CHARACTERS = 100_000
_ENTRY_CHARACTERS = 20_000
_ENTRIES = 50
_BUSY = frozenset({408, 425, 429})
_SENT, _ANSWERED = "sent", "answered"


class Webhook:
    """An agent that asks a program at an address of its people."""

    kind: ClassVar[str] = "webhook"

    def __init__(self, egress: Egress, circuit: Circuit | None = None) -> None:
        self._egress = egress
        self._circuit = circuit or Circuit()

    @classmethod
    def open(cls, settings: Mapping[str, str]) -> Self:
        listed = settings.get("MAILAGENT_INTERNAL_HOSTS", "").replace(",", " ").lower().split()
        return cls(Egress(frozenset(listed)))

    @classmethod
    def unpriced(cls, settings: Mapping[str, str]) -> str | None:
        """It asks no model of ours."""
        return None

    async def close(self) -> None:
        """Nothing is held."""

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        """Ask the program, or take what it answered later.

        Raises TransientFailure (away, busy, the deadline), AnswerLater (it said 202), Misconfigured
        (no address, an address that may not be called, a status that no retry mends).
        """
        endpoint = turn.profile.endpoint
        if endpoint is None:
            raise Misconfigured("webhook_url", "is not set for this agent")
        past = {step.kind: step.content for step in turn.steps.past}
        answer = past.get(_ANSWERED)
        if answer is None and turn.callback is not None:
            answer = turn.callback.answer
        if answer is not None:
            return _outcome(answer)
        began = await _began(turn, past.get(_SENT))
        if now() > began + _PATIENCE:
            return decision.handed_over("the agent's program did not answer within a day")
        if past.get("later") is not None:
            raise AnswerLater("the agent's program answers later", retry_at=began + _PATIENCE)
        async with until(deadline):
            body = json.dumps(await _case(turn), ensure_ascii=False).encode("utf-8", "replace")
            answered = await self._post(endpoint, turn.id, body)
        if answered.status == 202:
            await turn.steps.record(Step("later", {"at": now().isoformat()}))
            raise AnswerLater("the agent's program answers later", retry_at=began + _PATIENCE)
        try:
            said = json.loads(answered.body)
        except (ValueError, RecursionError):
            return decision.handed_over("the agent's program answered with no JSON")
        outcome = _outcome(said)
        if not isinstance(outcome, Handoff):
            # What makes no sense may hold what no database does, and is not asked for again.
            await turn.steps.record(Step(_ANSWERED, said))
        return outcome

    async def _post(self, endpoint: Endpoint, turn_id: str, body: bytes) -> Answered:
        key = endpoint.url
        if (wait := self._circuit.wait(key)) > 0:
            at = now() + timedelta(seconds=wait)
            raise TransientFailure("the agent's program fails too often: a pause", retry_at=at)
        try:
            headers = signed(endpoint.secret, id_=turn_id, at=now(), body=body)
            answered = await self._egress.call(
                "POST", endpoint.url, content=body, headers=headers, seconds=_SECONDS
            )
        except Malformed as error:
            raise Misconfigured("webhook_url", str(error)) from error
        except (TransientFailure, UncertainDelivery) as error:
            self._circuit.failed(key)
            reason = f"the agent's program cannot be reached: {error.reason}"
            raise TransientFailure(reason) from error
        status = answered.status
        if status in _BUSY or status >= 500:
            self._circuit.failed(key)
            raise TransientFailure(
                f"the agent's program answered {status}",
                code=str(status),
                retry_at=_retry_at(answered.headers.get("retry-after", "")),
            )
        self._circuit.succeeded(key)
        if not 200 <= status < 300:
            raise Misconfigured("webhook_url", f"the program there answered {status}")
        return answered


async def _began(turn: Turn, sent: JsonValue) -> datetime:
    if isinstance(sent, Mapping):
        return datetime.fromisoformat(str(sent["at"]))
    at = now()
    await turn.steps.record(Step(_SENT, {"at": at.isoformat()}))
    return at


def _outcome(said: JsonValue) -> Reply | Silence | Handoff:
    try:
        # What a program has done is its own to know.
        return decision.read(said, done=("schedule_follow_up", "create_task"), required=("action",))
    except Malformed as error:
        return decision.handed_over(f"the agent's program decided something odd: {error}")


async def _case(turn: Turn) -> JsonValue:
    profile = turn.profile
    mails: list[JsonValue] = [await _mail(turn, mail) for mail in turn.mails]
    entries: list[JsonValue] = [
        {
            "from": entry.author,
            "by_us": entry.by_us,
            "at": entry.at.isoformat(),
            "subject": entry.subject,
            "text": entry.text[:_ENTRY_CHARACTERS],
        }
        for entry in turn.thread.entries[-_ENTRIES:]
    ]
    reminders: list[JsonValue] = [
        {"kind": one.kind, "at": one.at.isoformat(), "from": one.author, "text": one.text}
        for one in turn.reminders
    ]
    return {
        "type": "turn.opened",
        "timestamp": now().isoformat(),
        "data": {
            "turn_id": turn.id,
            "workspace": profile.workspace_name,
            "agent": {"name": profile.name, "address": profile.address},
            "instructions": profile.instructions,
            "languages": list(profile.languages),
            "callback_url": turn.callback.url if turn.callback else None,
            "mails": mails,
            "thread": {"id": turn.thread.id, "subject": turn.thread.subject, "entries": entries},
            "reminders": reminders,
        },
    }


async def _mail(turn: Turn, mail: Mail) -> JsonValue:
    content, left = mail.content, _TEXT_CHARACTERS
    files: list[JsonValue] = []
    for one in content.attachments:
        text = await turn.tools.attachment_text(mail.delivery_id, one.part) if left > 0 else None
        text = text[:left] if text is not None else None
        left -= len(text or "")
        files.append(
            {
                "filename": one.filename,
                "content_type": one.content_type,
                "size_bytes": one.size_bytes,
                "sha256": one.sha256,
                "text": text,
            }
        )
    quotes: list[JsonValue] = [
        {"author_as_the_sender_says": by, "text": words} for by, words in quoted(content.text)[:20]
    ]
    addresses: dict[str, Any] = {
        name: [{"name": one.name, "address": one.address} for one in getattr(content, field)]
        for name, field in (("from", "from_"), ("to", "to"), ("cc", "cc"))
    }
    return {
        "delivery_id": mail.delivery_id,
        "received_at": mail.received_at.isoformat(),
        "sender_proven": mail.authentication.aligned,
        "message_id": content.message_id,
        **addresses,
        "subject": content.subject,
        "text": content.text[:_TEXT_CHARACTERS],
        "written": content.written[:_TEXT_CHARACTERS],
        "quotes": quotes,
        "hidden_text_removed": content.hidden_text,
        "attachments": files,
    }


def _retry_at(retry_after: str) -> datetime | None:
    if not retry_after.strip().isdecimal():
        return None
    return now() + timedelta(seconds=min(int(retry_after.strip()[:9]), 3_600))
