"""Within step 2: does the operator's spam filter object to a mail that a person seems to have sent?

Asked between the two transactions of reading. What no machine would answer anyway is not asked
about, nor what goes to the owners: a complaint about spam quotes the spam.
"""

from __future__ import annotations

from datetime import timedelta

from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.inbound import Origin
from mailagent.mail import Kind
from mailagent.screening import NotScreened, Screened, Stranger
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["AGAIN", "may_wait", "screen", "tell"]

AGAIN = timedelta(minutes=5)
_WAIT = timedelta(hours=1)
"""For a filter that is away, where the operator wants to wait: then the mail goes on without."""


async def screen(
    services: Services, row: AnyRow, origin: Origin, raw: bytes, kind: Kind
) -> Screened | NotScreened | None:
    """The filter's opinion of a delivery; None when nobody is to be asked."""
    if services.screener is None or kind is not Kind.PERSON or row.place == "role":
        return None
    if origin.authenticated_as is not None or services.settings.trusts(origin.client_ip):
        return None
    stranger = Stranger(
        client_ip=origin.client_ip,
        helo=origin.helo,
        mail_from=row.mail_from,
        rcpt_to=row.recipient,
        queue_id=row.id,
    )
    return await services.screener.screen(raw, stranger)


def may_wait(services: Services, row: AnyRow, screened: Screened | NotScreened | None) -> bool:
    """Whether the mail is to be screened again later rather than go on now."""
    if not isinstance(screened, NotScreened) or not screened.away:
        return False
    young = services.store.now() - row.received_at < _WAIT
    return services.settings.screening_waits and young


def tell(tx: Transaction, screened: Screened | NotScreened, delivery_id: str) -> str | None:
    """Write the evidence into the story; the reason when the mail is spam."""
    match screened:
        case NotScreened():
            what, why = "not screened", f"{screened.by}: {screened.reason}; the mail goes on"
        case Screened(verdict="spam"):
            what, why = f"{screened.by} says {screened.action}", str(screened)
        case Screened(action="no action"):
            what, why = f"{screened.by} has no objection", str(screened)
        case Screened():
            # To greylist is to say "later": too late, the sender was told yes.
            what = f"{screened.by} says {screened.action}, which is too late"
            why = f"{screened}; the mail was acknowledged, so it goes on"
    note(tx, "screen", what, why, delivery_id=delivery_id)
    if isinstance(screened, Screened) and screened.verdict == "spam":
        return f"{what} ({why})"
    return None
