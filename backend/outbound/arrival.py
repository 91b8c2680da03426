"""How did a test mail to ourselves arrive? SPF, DKIM and DMARC as our own door judged them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, select

from backend.inboxes.evidence import in_words
from backend.outbound.listing import OutboundMail
from mailagent.flow.values import AUTHENTICATION
from mailagent.mail import Authentication
from mailagent.store.tables import deliveries, messages
from mailagent.store.transaction import Transaction

__all__ = ["Arrival", "find"]

_BY_HAND = (
    "It never left: no account that carries mail is set up, so nothing was proven. Add one "
    "(mailagent provider add), publish what its page says, and send again."
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A mail of ours that came back to us."""

    delivery_id: str
    came_by: str
    """The door: `smtp`, a provider's name, or `local`."""
    evidence: Authentication

    @property
    def sentence(self) -> str:
        """What was proven, for a person."""
        return _BY_HAND if self.came_by == "local" else in_words(self.evidence)


def find(tx: Transaction, mail: OutboundMail) -> Arrival | None:
    """The delivery that a test mail became, once it is read, in the workspace of its recipient."""
    (recipient,) = mail.summary.recipients
    ours = messages.c.message_id == mail.summary.message_id
    if given := recipient.provider_id:
        # Some services replace Message-ID by one that begins with their own id of the mail.
        bare = given.strip("<>")
        ours = or_(
            ours,
            messages.c.message_id == f"<{bare}>",
            messages.c.message_id.startswith(f"<{bare}@", autoescape=True),
        )
    row = tx.row(
        select(messages.c.delivery_id, messages.c.authentication, deliveries.c.source)
        .join(deliveries, deliveries.c.id == messages.c.delivery_id)
        .where(
            ours,
            messages.c.at >= mail.summary.created_at,
            deliveries.c.recipient == recipient.address,
        )
        .order_by(deliveries.c.received_at, deliveries.c.id)
        .limit(1)
    )
    if row is None:
        return None
    evidence = AUTHENTICATION.validate_python(row.authentication)
    return Arrival(row.delivery_id, row.source, evidence)
