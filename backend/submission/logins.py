"""Who may hand mail in, and as whom may they send?

An agent's address with an API key of its workspace that may send as password; or a sender identity
of a domain, as itself alone. What a login may send as is looked up with every mail: a key that was
revoked sends nothing from then on, however long its connection lasts.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from backend.access import keys
from backend.access.permissions import expanded
from backend.domains.standing import may_send
from backend.senders import passwords
from mailagent.errors import Unauthentic
from mailagent.flow.directory import normalised
from mailagent.inbound import Later
from mailagent.store.engine import Store
from mailagent.store.tables import addresses, agents, domains, sender_identities
from mailagent.store.transaction import Transaction
from mailagent.submission import Denied, Login

__all__ = ["Standing", "StoreLogins", "standing_of"]

_PERMISSION = "message.send"
_KEY = "ma_"
"""What API keys begin with, and no password does."""
_HASHED_AT_ONCE = 2
"""Each takes 16 MiB and a core for 50 ms: guessers must not take them all."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a login may do at this moment."""

    addresses: frozenset[tuple[str, str]]
    """What it may send as, in the form of `directory.normalised`."""
    agent_id: str
    """Whose mail it is."""


class StoreLogins:
    """The `Logins` of a process that has the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._hashing = asyncio.Semaphore(_HASHED_AT_ONCE)

    async def log_in(self, name: str, password: str) -> Login | Denied | Later:
        """See `submission.Logins`. A key is found by its hash, in the same time for any guess."""
        try:
            if not password.startswith(_KEY):
                return await self._by_password(name, password)
            login, key = await self._store.read_unscoped(_by_key, name, password)
            if keys.stale(key, self._store.now()):
                await self._store.write_unscoped(keys.touch, key.id)
        except Unauthentic as error:
            return Denied(str(error))
        except SQLAlchemyError as error:
            return Later(type(error).__name__)
        return login

    async def _by_password(self, name: str, password: str) -> Login:
        login, kept = await self._store.read_unscoped(_by_address, name)
        async with self._hashing:
            right = await asyncio.to_thread(passwords.holds, password, kept)
        if login is None or not right:
            raise Unauthentic("no sender of that name has this password")
        await self._store.read(login.workspace_id, standing_of, login)
        return login


def _by_address(tx: Transaction, name: str) -> tuple[Login | None, str | None]:
    row = tx.row(select(sender_identities).where(sender_identities.c.address == name))
    if row is None:
        return None, None
    login = Login(row.workspace_id, name, f"sender:{name}", "sender", row.id)
    return login, row.password_hash


def _by_key(tx: Transaction, name: str, secret: str) -> tuple[Login, keys.ApiKey]:
    key = keys.authenticate(tx, secret)
    login = Login(key.workspace_id, name, f"key:{key.prefix}", "key", key.id)
    standing_of(tx.of(key.workspace_id), login)
    return login, key


def standing_of(tx: Transaction, login: Login) -> Standing:
    """What the login may do now. Raises Unauthentic where it may do nothing any more."""
    local, domain = normalised(login.name)
    if login.credential == "sender":
        _demand_sender(tx, login)
        return Standing(frozenset({(local, domain)}), _agent_of(tx, local, domain))
    key = keys.usable(tx, login.credential_id)
    if _PERMISSION not in expanded(key.permissions):
        raise Unauthentic(f"the API key lacks the permission {_PERMISSION}")
    if key.agent_id is not None:
        raise Unauthentic("an agent's own key writes by the API, where its policy is asked")
    agent_id = _agent_of(tx, local, domain)
    own = tx.rows(_OWN, {"agent": agent_id})
    return Standing(frozenset((row.local_part, row.domain) for row in own), agent_id)


def _demand_sender(tx: Transaction, login: Login) -> None:
    row = tx.row(
        select(domains)
        .join(sender_identities, sender_identities.c.domain_id == domains.c.id)
        .where(sender_identities.c.id == login.credential_id)
    )
    if row is None:
        raise Unauthentic("the sender was removed")
    if not may_send(row):
        raise Unauthentic(f"the sender records of {row.name} are not verified at present")


def _agent_of(tx: Transaction, local: str, domain: str) -> str:
    agent_id: str | None = tx.value(_AGENT, {"local": local, "domain": domain})
    if agent_id is None:
        raise Unauthentic("no agent of the workspace has this address, or its e-mail is off")
    return agent_id


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
