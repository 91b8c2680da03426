"""Mails and helpers that the providers' tests share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment, Recipient

ALICE = Recipient("r1", "alice@customer.example", "b.k7f3@return.acme.example")
BOB = Recipient("r2", "bob@customer.example", "b.m2q9@return.acme.example")


def outgoing(**changes: Any) -> Outgoing:
    values: dict[str, Any] = {
        "message_id": "<reply-42@acme.example>",
        "date": datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        "from_": Address("support@acme.example", "Acme Süd"),
        "to": (Address(ALICE.address, "Alice"),),
        "subject": "Re: Grüße",
        "text": "Good morning,\n.\nthe line above is a dot.\n",
        "in_reply_to": "<question-1@customer.example>",
        "references": ("<question-1@customer.example>",),
        "auto_submitted": "auto-replied",
        "attachments": (OutgoingAttachment("übersicht.txt", "text/plain", b"one\ntwo\n"),),
    }
    return Outgoing(**{**values, **changes})


class Commits:
    """A `committing` that remembers with whom it was awaited, and may refuse."""

    def __init__(self, refuse: Exception | None = None) -> None:
        self.calls: list[tuple[Recipient, ...]] = []
        self.refuse = refuse

    async def __call__(self, recipients: Sequence[Recipient], /) -> None:
        self.calls.append(tuple(recipients))
        if self.refuse is not None:
            raise self.refuse
