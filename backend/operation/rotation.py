"""How does an installation come to a new secret key, and when may the old one go?

`MAILAGENT_SECRET_KEY` holds the keys, the newest first: the first makes tokens and encrypts, all
read (docs/decisions/0011). These functions count what each key is still needed for and bring what
is encrypted under the first; they change no setting.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import LargeBinary, and_, func, select, update

from backend.operation.sealed import SEALED, Sealed
from mailagent.errors import Conflict, Malformed, Unauthentic
from mailagent.store.engine import Store
from mailagent.store.tables import outbound_mails
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_key

__all__ = ["HELD_FOR", "Key", "Resealed", "first", "keys_in_use", "reseal", "with_new", "without"]

HELD_FOR = timedelta(days=90)
"""How long a mail that we sent is likely to be answered by its reply address."""
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Key:
    """One secret key, and what it is needed for."""

    id: str
    check: str
    """Tells two keys apart, and is the same wherever the key is: nobody can go back from it."""
    makes: bool
    """Whether new tokens are made by it."""
    sealed: int
    """How many stored values only it can read."""
    newest_mail_at: datetime | None
    """When a mail last left with a reply address that it made."""

    def needed_until(self) -> datetime | None:
        """When few people are left who would answer such a mail; None when there is none."""
        return self.newest_mail_at + HELD_FOR if self.newest_mail_at else None


@dataclass(frozen=True, slots=True)
class Resealed:
    """What `reseal` did."""

    done: int
    unreadable: int
    """Values that no key of ours opens: their key has been lost."""


# --- the setting ------------------------------------------------------------------------------


def with_new(keys: tuple[str, ...], *, announced: bool = False) -> tuple[str, ...]:
    """The keys with a new one: first, or (`announced`) last, where it only reads.

    Raises Misconfigured when there are as many as can be told apart.
    """
    made = new_key(keys)
    return (*keys, made) if announced else (made, *keys)


def first(keys: tuple[str, ...], key_id: str) -> tuple[str, ...]:
    """The keys with one of them first. Raises Malformed for an id of none."""
    key = _named(keys, key_id)
    return (key, *(one for one in keys if one != key))


def without(keys: tuple[str, ...], key: Key, *, now: datetime, anyway: bool) -> tuple[str, ...]:
    """The keys without one of them.

    Raises Malformed for an id of none; Conflict while it makes tokens, is needed to read what is
    stored, or (unless `anyway`) while mails with its reply addresses are likely to be answered.
    """
    gone = _named(keys, key.id)
    if key.makes:
        raise Conflict(f"{key.id} makes the new tokens: mailagent secret rotate first")
    if key.sealed:
        raise Conflict(f"{key.id} still encrypts {key.sealed} values: mailagent secret reseal")
    until = key.needed_until()
    if until is not None and until > now and not anyway:
        raise Conflict(
            f"{key.id} made reply addresses of mails until {key.newest_mail_at:%Y-%m-%d}: keep it "
            f"until {until:%Y-%m-%d}, or let answers to them begin new threads by --now"
        )
    return tuple(one for one in keys if one != gone)


def _named(keys: tuple[str, ...], key_id: str) -> str:
    for key in keys:
        if Secrets([key]).current_id == key_id:
            return key
    known = ", ".join(Secrets(keys).key_ids)
    raise Malformed("ID", f"{key_id!r} is the id of no key: there are {known}")


# --- what is stored ---------------------------------------------------------------------------


def keys_in_use(tx: Transaction, secrets: Secrets) -> tuple[Key, ...]:
    """Every key of the setting with what it is needed for, the one that makes tokens first."""
    sealed = Counter[str]()
    for one in SEALED:
        maker = func.substr(one.table.c[one.column], 1, 1, type_=LargeBinary)
        for row in tx.rows(select(maker, func.count()).group_by(maker)):
            sealed[bytes(row[0]).decode("ascii", "replace")] += row[1]
    return tuple(
        Key(
            key_id,
            secrets.check_value(key_id),
            key_id == secrets.current_id,
            sealed[key_id],
            _newest_mail(tx, key_id),
        )
        for key_id in secrets.key_ids
    )


def _newest_mail(tx: Transaction, key_id: str) -> datetime | None:
    reply_to = outbound_mails.c.outgoing["reply_to"][0]["address"].as_string()
    newest = select(func.max(outbound_mails.c.created_at)).where(reply_to.like(f"%+t.{key_id}%"))
    found: datetime | None = tx.value(newest)
    return found


def reseal(store: Store, secrets: Secrets) -> Resealed:
    """Encrypt under the current key what is stored under older ones.

    A commit for every hundred values: killed, it goes on where it stopped. Every value is readable
    at every moment by whoever has both keys.
    """
    done = unreadable = 0
    for sealed in SEALED:
        last: tuple[Any, ...] | None = None
        while rows := store.read_now(None, _stale, sealed, secrets.current_id, last):
            counted = store.write_now(None, _renew, sealed, secrets, rows)
            done, unreadable = done + counted.done, unreadable + counted.unreadable
            last = tuple(rows[-1][:-1])
    return Resealed(done, unreadable)


def _stale(
    tx: Transaction, sealed: Sealed, current_id: str, last: tuple[Any, ...] | None
) -> list[AnyRow]:
    """(primary key …, value) of the next values that another key made."""
    table, value = sealed.table, sealed.table.c[sealed.column]
    keys = list(table.primary_key.columns)
    maker = func.substr(value, 1, 1, type_=LargeBinary)
    statement = (
        select(*keys, value).where(maker != current_id.encode()).order_by(*keys).limit(_AT_ONCE)
    )
    if last is not None:
        statement = statement.where(_after(keys, last))
    return list(tx.rows(statement))


def _after(keys: list[Any], last: tuple[Any, ...]) -> Any:
    """The rows behind one, in the order of their keys."""
    condition = keys[-1] > last[-1]
    for key, value in reversed(list(zip(keys[:-1], last[:-1], strict=True))):
        condition = (key > value) | and_(key == value, condition)
    return condition


def _renew(tx: Transaction, sealed: Sealed, secrets: Secrets, rows: list[AnyRow]) -> Resealed:
    table, value = sealed.table, sealed.table.c[sealed.column]
    done = unreadable = 0
    for *key, was in rows:
        try:
            becomes = secrets.reseal(was, sealed.purpose)
        except Unauthentic:
            unreadable += 1
            continue
        same = (one == part for one, part in zip(table.primary_key.columns, key, strict=True))
        # Only what was read: somebody may have stored another value meanwhile.
        changed = tx.execute(update(table).where(*same, value == was).values({value: becomes}))
        done += changed.rowcount
    return Resealed(done, unreadable)
