"""May this domain send, may it receive, and how is that called in the Mailgun way of working?

The one place that asks a row of `domains`; verification writes what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from sqlalchemy import or_, select

from mailagent.errors import Conflict, NotFound
from mailagent.store.tables import domains
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "STATUS",
    "Direction",
    "Status",
    "demand_receiving",
    "demand_sending",
    "find",
    "may_receive",
    "may_send",
    "status",
]

Direction = Literal["sending", "receiving"]
Status = Literal["Unverified", "Verification in Progress", "Verified", "Verification Failed"]

STATUS: Mapping[str, Status] = {
    "pending": "Unverified",
    "verifying": "Verification in Progress",
    "verified": "Verified",
    "warming": "Verified",
    "active": "Verified",
    # Paused by a person or for its bounces: that says nothing of its records.
    "paused": "Verified",
    "failed": "Verification Failed",
}
"""Our states in the words of the Mailgun way of working."""


def find(tx: Transaction, reference: str) -> AnyRow:
    """The workspace's domain of an id or name. Raises NotFound."""
    name = reference.rstrip(".").lower()
    row = tx.row(select(domains).where(or_(domains.c.id == reference, domains.c.name == name)))
    if row is None:
        raise NotFound(f"the workspace has no domain {reference[:253]!r}")
    return row


def may_send(row: AnyRow) -> bool:
    """Whether the records that vouch for its senders are verified."""
    return row.sending_verified_at is not None


def may_receive(row: AnyRow) -> bool:
    """Whether the records that bring its mail here are verified."""
    return row.receiving_verified_at is not None


def demand_sending(row: AnyRow) -> None:
    """Pass a domain that may send. Raises Conflict naming what is missing."""
    if not may_send(row):
        raise Conflict(
            f"the sender records of {row.name} (DKIM and SPF) are not verified: "
            "publish them and have the domain verified first"
        )


def demand_receiving(row: AnyRow) -> None:
    """Pass a domain that may receive. Raises Conflict naming what is missing."""
    if not may_receive(row):
        raise Conflict(
            f"the receiver records of {row.name} (MX) are not verified: "
            "publish them and have the domain verified first"
        )


def status(row: AnyRow, direction: Direction) -> Status:
    """How one of the two verifications of the domain stands."""
    done = may_send(row) if direction == "sending" else may_receive(row)
    word = STATUS.get(row.state, "Unverified")
    if done:
        return "Verified"
    return "Unverified" if word == "Verified" else word
