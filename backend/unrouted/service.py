"""Which mails did a webhook bring for addresses that are nobody's? For the operator alone.

They are kept for a week (`mailagent.flow.unrouted`), in no workspace: all transactions here are
unscoped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, select

from backend.paging import Page, Window, newest
from mailagent.errors import NotFound
from mailagent.store.tables import unrouted_mails
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["Unrouted", "UnroutedContent", "get", "listing", "remove"]


@dataclass(frozen=True, slots=True)
class Unrouted:
    """One mail for nobody. Times are aware."""

    id: str
    source: str
    """The provider whose webhook brought it."""
    mail_from: str | None
    recipients: tuple[str, ...]
    received_at: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UnroutedContent:
    """One with what was kept of it: raw MIME, or the provider's form or JSON with the mail in it.

    At most the first MiB of `mail.size_bytes`. Nothing of it was read.
    """

    mail: Unrouted
    content: bytes

    @property
    def whole(self) -> bool:
        """Whether all of it was kept."""
        return len(self.content) == self.mail.size_bytes


def listing(tx: Transaction, window: Window) -> Page[Unrouted]:
    """The mails of a window, newest first. Raises Malformed for a cursor that is not ours."""
    columns = unrouted_mails.c
    found = newest(tx, [_shown()], window, at=columns.received_at, id_=columns.id)
    return found.map(_made)


def get(tx: Transaction, unrouted_id: str) -> UnroutedContent:
    """One mail with its content. Raises NotFound."""
    row = tx.row(select(unrouted_mails).where(unrouted_mails.c.id == unrouted_id))
    if row is None:
        raise _none(unrouted_id)
    return UnroutedContent(_made(row), row.content)


def remove(tx: Transaction, unrouted_ids: Sequence[str]) -> int:
    """Forget these mails, all or none; how many there were. Raises NotFound for one not there."""
    wanted = set(unrouted_ids)
    gone = delete(unrouted_mails).where(unrouted_mails.c.id.in_(sorted(wanted)))
    found = {row.id for row in tx.rows(gone.returning(unrouted_mails.c.id))}
    if missing := sorted(wanted - found):
        raise _none(missing[0])
    return len(found)


def _none(unrouted_id: str) -> NotFound:
    return NotFound(f"there is no mail for nobody {unrouted_id[:80]!r}: they are kept for a week")


def _shown() -> Select[Any]:
    """Without the content."""
    return select(*(column for column in unrouted_mails.c if column.name != "content"))


def _made(row: AnyRow) -> Unrouted:
    return Unrouted(
        row.id, row.source, row.mail_from, tuple(row.recipients), row.received_at, row.size_bytes
    )
