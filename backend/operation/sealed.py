"""Which columns hold what `MAILAGENT_SECRET_KEY` has encrypted?

Whoever encrypts another column names it here: then a rotation of the key reaches it, and a restore
knows whether the key at hand opens it. A test compares it with what the rows hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Table

from backend import idempotency
from mailagent.flow import agent_secrets, forwarding
from mailagent.flow.tools import custom
from mailagent.store import provider_accounts, signing_keys
from mailagent.store.tables import agent_secrets as agent_secret_rows
from mailagent.store.tables import http_tools, idempotency_keys, receiver_routes
from mailagent.store.tables import provider_accounts as provider_account_rows
from mailagent.store.tables import signing_keys as signing_key_rows

__all__ = ["SEALED", "Sealed"]


@dataclass(frozen=True, slots=True)
class Sealed:
    """One column of `Secrets.seal`'s results, and the purpose that they were made for."""

    table: Table
    column: str
    purpose: str


SEALED = (
    Sealed(signing_key_rows, "private_key", signing_keys.PURPOSE),
    Sealed(idempotency_keys, "answer", idempotency.PURPOSE),
    Sealed(provider_account_rows, "credentials", provider_accounts.PURPOSE),
    Sealed(receiver_routes, "signing_key", forwarding.PURPOSE),
    Sealed(agent_secret_rows, "sealed", agent_secrets.PURPOSE),
    Sealed(http_tools, "headers", custom.PURPOSE),
)
