"""Who may hand mail in, and as whom may they send?

An agent's address with an API key of its workspace that may send as password. What a login may
send as is looked up with every mail: a key that was revoked sends nothing from then on, however
long its connection lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from backend.access import keys
from backend.access.permissions import expanded
from mailagent.errors import Unauthentic
from mailagent.flow.directory import normalised
from mailagent.inbound import Later
from mailagent.store.engine import Store
from mailagent.store.tables import addresses, agents
from mailagent.store.transaction import Transaction
from mailagent.submission import Denied, Login

__all__ = ["Standing", "StoreLogins", "standing_of"]

_PERMISSION = "message.send"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a login may do at this moment."""

    addresses: frozenset[tuple[str, str]]
    """What it may send as, in the form of `directory.normalised`."""
    agent_id: str | None
    """Whose mail it is."""


class StoreLogins:
    """The `Logins` of a process that has the database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def log_in(self, name: str, password: str) -> Login | Denied | Later:
        """See `submission.Logins`. A key is found by its hash, in the same time for any guess."""
        try:
            login, key = await self._store.read_unscoped(_by_key, name, password)
            if keys.stale(key, self._store.now()):
                await self._store.write_unscoped(keys.touch, key.id)
        except Unauthentic as error:
            return Denied(str(error))
        except SQLAlchemyError as error:
            return Later(type(error).__name__)
        return login


def _by_key(tx: Transaction, name: str, secret: str) -> tuple[Login, keys.ApiKey]:
    key = keys.authenticate(tx, secret)
    login = Login(key.workspace_id, name, f"key:{key.prefix}", "key", key.id)
    standing_of(tx.of(key.workspace_id), login)
    return login, key


def standing_of(tx: Transaction, login: Login) -> Standing:
    """What the login may do now. Raises Unauthentic where it may do nothing any more."""
    key = keys.usable(tx, login.credential_id)
    if _PERMISSION not in expanded(key.permissions):
        raise Unauthentic(f"the API key lacks the permission {_PERMISSION}")
    local, domain = normalised(login.name)
    agent_id = tx.value(_AGENT, {"local": local, "domain": domain})
    if agent_id is None:
        raise Unauthentic("no agent of the workspace has this address, or its e-mail is off")
    own = tx.rows(_OWN, {"agent": agent_id})
    return Standing(frozenset((row.local_part, row.domain) for row in own), agent_id)


_AGENT = (
    select(agents.c.id)
    .join(addresses, addresses.c.agent_id == agents.c.id)
    .where(
        addresses.c.local_part == bindparam("local"),
        addresses.c.domain == bindparam("domain"),
        agents.c.removed_at.is_(None),
        agents.c.email_enabled,
    )
)
_OWN = select(addresses.c.local_part, addresses.c.domain).where(
    addresses.c.agent_id == bindparam("agent")
)
