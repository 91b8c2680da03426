"""Which secrets does an agent have for its own addresses? Sealed; no model ever sees one."""

from __future__ import annotations

from sqlalchemy import delete, select

from mailagent.store.tables import agent_secrets
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["PURPOSE", "keep", "names", "read", "remove"]

PURPOSE = "agent secret"
"""What they are encrypted for."""


def keep(tx: Transaction, secrets: Secrets, agent_id: str, name: str, secret: str) -> None:
    """Keep a secret, in the place of the one of that name."""
    row = {
        "agent_id": agent_id,
        "name": name,
        "sealed": secrets.seal(secret.encode(), PURPOSE),
        "changed_at": tx.now,
    }
    tx.insert_or_update(agent_secrets, row, unique=["agent_id", "name"])


def read(tx: Transaction, secrets: Secrets, agent_id: str, name: str) -> str | None:
    """A secret, None when there is none. Raises Unauthentic under a foreign secret key."""
    sealed = tx.value(
        select(agent_secrets.c.sealed).where(
            agent_secrets.c.agent_id == agent_id, agent_secrets.c.name == name
        )
    )
    return None if sealed is None else secrets.unseal(sealed, PURPOSE).decode()


def names(tx: Transaction, agent_id: str) -> tuple[str, ...]:
    """The names of an agent's secrets."""
    rows = tx.rows(
        select(agent_secrets.c.name)
        .where(agent_secrets.c.agent_id == agent_id)
        .order_by(agent_secrets.c.name)
    )
    return tuple(row.name for row in rows)


def remove(tx: Transaction, agent_id: str, name: str) -> bool:
    """Forget a secret; whether it was there."""
    gone = tx.execute(
        delete(agent_secrets).where(
            agent_secrets.c.agent_id == agent_id, agent_secrets.c.name == name
        )
    )
    return gone.rowcount == 1
