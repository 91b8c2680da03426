"""How does mail go out while nothing may go out? It is kept and shown, never sent.

The default of an installation without provider accounts, so that a first try can harm nobody. The
mail is kept where every outgoing mail is: in its own row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from mailagent.outgoing import Committing, HandedOver, Outgoing, Recipient, Sent
from mailagent.providers.account import Account, Surroundings

__all__ = ["Capture"]


class Capture:
    """Takes every mail and gives it to nobody."""

    kind: ClassVar[str] = "capture"
    carries_mime: ClassVar[bool] = True

    def __init__(self, name: str = "capture") -> None:
        self._name = name

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Self:
        return cls(account.name)

    @property
    def name(self) -> str:
        return self._name

    @property
    def recipients_at_once(self) -> int:
        return 1000

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        """Sent for all, with `captured-<first 12 digits of the mail's digest>` as provider id."""
        await committing(to)
        sent = Sent(
            provider_id=f"captured-{outgoing.digest()[:12]}",
            response="captured: kept and shown, never sent",
        )
        return dict.fromkeys(to, sent)
