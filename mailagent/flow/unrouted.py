"""Where does mail go that a webhook brought for addresses which are nobody's?

A webhook cannot refuse a recipient as SMTP does: the provider has already said yes to the sender.
It is kept for a week, for the operator alone, who may have forgotten an address.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete

from mailagent.inbound import Inbound
from mailagent.store.tables import replay_tokens, unrouted_mails
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["forget", "remember"]

_KEPT = timedelta(days=7)
_REPEATED = timedelta(days=2)
"""Mailgun, who has such tokens, repeats a request for eight hours."""
_MOST_BYTES = 1024 * 1024
"""Of each: enough to see what it was, and no way to fill a disk by guessing addresses."""


def remember(tx: Transaction, mail: Inbound) -> None:
    """Keep one; the same one again is kept once."""
    tx.insert_new(
        unrouted_mails,
        {
            "id": new_id("unr"),
            "source": mail.source,
            "source_id": mail.source_id,
            "mail_from": mail.envelope.mail_from,
            "recipients": list(mail.envelope.rcpt_to),
            "received_at": mail.origin.received_at,
            "size_bytes": len(mail.raw),
            "content": mail.raw[:_MOST_BYTES],
        },
        unique=["source", "source_id"],
    )


def forget(tx: Transaction) -> None:
    """Drop mails that are older than a week, and single-use tokens that no provider repeats."""
    tx.execute(delete(unrouted_mails).where(unrouted_mails.c.received_at < tx.now - _KEPT))
    tx.execute(delete(replay_tokens).where(replay_tokens.c.at < tx.now - _REPEATED))
