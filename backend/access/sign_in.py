"""How does a person get into the web pages? By a one-time link, without a password.

A link lives 15 minutes and works once; redeemed it becomes a session of 30 days. Only hashes are
kept. All functions take an unscoped transaction: a person belongs to no single workspace.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update

from backend.workspaces.members import Person, find_person
from mailagent.errors import NotFound, Unauthentic
from mailagent.store.tables import people, sign_ins
from mailagent.store.transaction import Transaction
from mailagent.tokens import hash_secret, new_id, new_secret

__all__ = [
    "LINK_LIFE",
    "SESSION_COOKIE",
    "SESSION_LIFE",
    "create_link",
    "person_of",
    "redeem",
    "sign_out",
]

LINK_LIFE = timedelta(minutes=15)
SESSION_LIFE = timedelta(days=30)
SESSION_COOKIE = "mailagent_session"


def create_link(tx: Transaction, email: str) -> str:
    """The token of a new link, `/sign-in?token=…`. Raises NotFound for an unknown e-mail."""
    person = find_person(tx, email)
    if person is None:
        raise NotFound(f"nobody here has the e-mail {email[:320]!r}: add the person first")
    # The one moment that comes by for every person: what has expired is of no use to anybody.
    tx.execute(
        delete(sign_ins).where(sign_ins.c.person_id == person.id, sign_ins.c.expires_at <= tx.now)
    )
    return _issue(tx, person.id, "link", LINK_LIFE)


def redeem(tx: Transaction, token: str) -> str:
    """Trade a link's token for a session's secret. Raises Unauthentic: unknown, used or expired."""
    row = tx.row(
        update(sign_ins)
        .where(
            sign_ins.c.secret_hash == hash_secret(token),
            sign_ins.c.kind == "link",
            sign_ins.c.used_at.is_(None),
            sign_ins.c.expires_at > tx.now,
        )
        .values(used_at=tx.now)
        .returning(sign_ins.c.person_id)
    )
    if row is None:
        minutes = int(LINK_LIFE.total_seconds() // 60)
        raise Unauthentic(
            f"this sign-in link was used or is older than {minutes} minutes: ask for a new one"
        )
    return _issue(tx, row.person_id, "session", SESSION_LIFE)


def person_of(tx: Transaction, session: str) -> Person:
    """Who is signed in. Raises Unauthentic when the session is over."""
    row = tx.row(
        select(people)
        .join(sign_ins, sign_ins.c.person_id == people.c.id)
        .where(
            sign_ins.c.secret_hash == hash_secret(session),
            sign_ins.c.kind == "session",
            sign_ins.c.used_at.is_(None),
            sign_ins.c.expires_at > tx.now,
        )
    )
    if row is None:
        raise Unauthentic("the session is over: sign in again")
    return Person(row.id, row.email, row.name, row.created_at)


def sign_out(tx: Transaction, session: str) -> None:
    """End a session; an unknown one is over already."""
    tx.execute(
        delete(sign_ins).where(
            sign_ins.c.secret_hash == hash_secret(session), sign_ins.c.kind == "session"
        )
    )


def _issue(tx: Transaction, person_id: str, kind: str, life: timedelta) -> str:
    secret = new_secret(kind)
    tx.insert(
        sign_ins,
        {
            "id": new_id("sgn"),
            "person_id": person_id,
            "kind": kind,
            "secret_hash": hash_secret(secret),
            "created_at": tx.now,
            "expires_at": tx.now + life,
        },
    )
    return secret
