"""How does a mail get from one of our addresses to another? Straight into accept, no network.

The mail is rendered like any other and enters the same door as mail from outside, so nothing behind
the door differs. A hand-over may be repeated without harm: its `source_id` names mail, recipient
and content, the second one is a `Duplicate`, and a duplicate is as good as sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Self

from mailagent.inbound import (
    Accepted,
    Acceptor,
    Duplicate,
    Envelope,
    Inbound,
    Origin,
    Replayed,
    Unrouted,
)
from mailagent.inbound import Later as NotNow
from mailagent.inbound import Outcome as Answer
from mailagent.mime import build
from mailagent.outgoing import Committing, HandedOver, Later, Outgoing, Recipient, Refused, Sent
from mailagent.providers.account import Account, Surroundings

__all__ = ["Local"]


def _now() -> datetime:
    return datetime.now(UTC)


class Local:
    """Delivery to addresses of this installation."""

    kind: ClassVar[str] = "local"
    carries_mime: ClassVar[bool] = True

    def __init__(
        self, acceptor: Acceptor, *, name: str = "local", now: Callable[[], datetime] = _now
    ) -> None:
        self._acceptor = acceptor
        self._name = name
        self._now = now

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Self:
        return cls(surroundings.acceptor, name=account.name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def recipients_at_once(self) -> int:
        return 100

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        """One `Inbound` for each recipient; never raises TransientFailure or UncertainDelivery."""
        raw = build.render(outgoing)
        digest = hashlib.sha256(raw).hexdigest()
        # We sent it: our word for the sender is the evidence, there is no peer to judge.
        origin = Origin(received_at=self._now(), authenticated_as="local")
        batch = [
            Inbound(
                envelope=Envelope(mail_from=recipient.return_path, rcpt_to=(recipient.address,)),
                raw=raw,
                source="local",
                source_id=f"{outgoing.message_id}:{recipient.id}:{digest}",
                origin=origin,
            )
            for recipient in to
        ]
        await committing(to)
        answers = await self._acceptor.accept(batch)
        return {recipient: _outcome(answer) for recipient, answer in zip(to, answers, strict=True)}


def _outcome(answer: Answer) -> Sent | Refused | Later:
    match answer:
        case Accepted(delivery_ids):
            return Sent(provider_id=delivery_ids[0], response="delivered to our own address")
        case Duplicate(delivery_ids):
            return Sent(provider_id=delivery_ids[0], response="was delivered before")
        case Unrouted() | Replayed():  # nothing local has a token that could be replayed
            return Refused("no such address here", about="recipient", code="5.1.1")
        case NotNow(reason):
            return Later(reason)
