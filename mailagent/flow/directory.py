"""Whose is an address?

The answer comes from a snapshot of all addresses in memory, so that a door's RCPT costs no query
and tells no timing; it is read anew when `versions.directory` has moved. Headers have no part in
it: the envelope's recipient alone names the workspace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from mailagent.inbound import Known
from mailagent.store.engine import Store
from mailagent.store.tables import addresses, agents, domains, versions, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["ROLES", "Place", "StoreDirectory", "changed", "normalised", "without_tag"]

ROLES = frozenset({"postmaster", "abuse"})  # RFC 5321 §4.5.1, RFC 2142 §2: a person must get them
_LOOK_AGAIN = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address leads. `workspace_id` is None for a return address: its row tells."""

    kind: Literal["agent", "catch_all", "role", "return"]
    workspace_id: str | None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Snapshot:
    version: int
    default_domain: str
    addresses: Mapping[tuple[str, str], tuple[str, str, bool]] = field(default_factory=dict)
    """(local part, domain) → workspace, agent, whether its e-mail is on."""
    domains: Mapping[str, str] = field(default_factory=dict)
    """Every served domain → workspace."""
    catch_all: Mapping[str, str] = field(default_factory=dict)
    """Workspace → the agent that gets what no address matches."""
    operator: str | None = None
    """The oldest workspace: it answers for the default domain itself."""


def normalised(address: str) -> tuple[str, str]:
    """(local part, domain) in the form addresses are compared in: lower case, no quotes, A-labels.

    RFC 5321 §2.4 lets us decide about the case of our own local parts.
    """
    local, _, domain = address.rpartition("@")
    if not local and "@" not in address:
        local, domain = address, ""
    local = local.lower()
    if local.startswith('"') and local.endswith('"') and len(local) > 1:
        local = local[1:-1].replace("\\", "")
    domain = domain.rstrip(".").lower()
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode()
        except UnicodeError:
            domain = ""
    return local, domain


def without_tag(local_part: str) -> str:
    """The local part before its first plus sign."""
    return local_part.partition("+")[0]


def changed(tx: Transaction) -> None:
    """Say, in the transaction that changed addresses, that every snapshot is stale."""
    tx.execute(
        update(versions).where(versions.c.name == "directory").values(value=versions.c.value + 1)
    )
    tx.wake("directory")


class StoreDirectory:
    """The `Directory` of a process that has the database."""

    def __init__(self, store: Store, secrets: Secrets, *, default_domain: str) -> None:
        self._store, self._secrets = store, secrets
        self._return_domain = f"return.{default_domain}"
        self._snapshot = _Snapshot(-1, default_domain)
        self._looked_at = 0.0
        self._refreshing = asyncio.Lock()

    @property
    def served_domains(self) -> frozenset[str]:
        """Every domain whose mail ends here."""
        return frozenset({self._snapshot.default_domain, *self._snapshot.domains})

    async def refresh(self) -> None:
        """Read the addresses anew if they changed. Raises SQLAlchemyError."""
        async with self._refreshing:
            default_domain, version = self._snapshot.default_domain, self._snapshot.version
            found = await self._store.read_unscoped(_load, default_domain, version)
            if found is not None:
                self._snapshot = found
            self._looked_at = time.monotonic()

    async def keep_fresh(self, wake: asyncio.Event, stop: asyncio.Event) -> None:
        """Follow changes until `stop`: at once when woken, else within a second."""
        while not stop.is_set():
            try:
                await self.refresh()
            except SQLAlchemyError as error:
                log.warning("directory.stale", error=type(error).__name__)
            try:
                await asyncio.wait_for(wake.wait(), timeout=1)
            except TimeoutError:
                continue
            wake.clear()

    async def knows(self, address: str) -> Known:
        """What a door may say of a recipient. Never raises."""
        found = self.locate(address)
        if isinstance(found, Place) or self._looked_at > time.monotonic() - _LOOK_AGAIN:
            return Known.YES if isinstance(found, Place) else found
        # A "no" is final for the sender, so it must not rest on a snapshot that is a second old.
        try:
            await self.refresh()
        except SQLAlchemyError:
            return Known.UNKNOWN
        found = self.locate(address)
        return Known.YES if isinstance(found, Place) else found

    def locate(self, address: str) -> Place | Known:
        """The place an address leads to, or why it leads to none."""
        now = self._snapshot
        if now.version < 0:
            return Known.UNKNOWN
        local, domain = normalised(address)
        if domain == self._return_domain:
            return self._return_place(local)
        base = without_tag(local)
        if base in ROLES and domain in {"", now.default_domain, *now.domains}:
            owner = now.domains.get(domain, now.operator)
            return Place("role", owner) if owner else Known.NO_SUCH_ADDRESS
        if (found := now.addresses.get((base, domain))) is not None:
            workspace_id, agent_id, enabled = found
            return Place("agent", workspace_id, agent_id) if enabled else Known.OFF
        owner = now.domains.get(domain)
        if owner is not None and (catch_all := now.catch_all.get(owner)):
            return Place("catch_all", owner, catch_all)
        ours = owner is not None or f".{domain}".endswith(f".{now.default_domain}")
        return Known.NO_SUCH_ADDRESS if ours else Known.NOT_OUR_DOMAIN

    def _return_place(self, local: str) -> Place | Known:
        kind, _, token = local.partition(".")
        if kind == "b" and self._secrets.read_verp_token(token):
            return Place("return", None)
        if local in ROLES and self._snapshot.operator:
            return Place("role", self._snapshot.operator)
        return Known.NO_SUCH_ADDRESS


def _load(tx: Transaction, default_domain: str, known: int) -> _Snapshot | None:
    version = tx.value(select(versions.c.value).where(versions.c.name == "directory"))
    if version == known:
        return None
    spaces = tx.rows(
        select(workspaces.c.id, workspaces.c.slug, workspaces.c.settings).order_by(
            workspaces.c.created_at, workspaces.c.id
        )
    )
    rows = tx.rows(
        select(
            addresses.c.local_part,
            addresses.c.domain,
            addresses.c.workspace_id,
            addresses.c.agent_id,
            agents.c.email_enabled,
        )
        .join(agents, agents.c.id == addresses.c.agent_id)
        .where(agents.c.removed_at.is_(None))
    )
    custom = tx.rows(
        select(domains.c.name, domains.c.workspace_id).where(
            domains.c.verified_at.is_not(None),
            domains.c.receiving_verified_at.is_not(None),
            domains.c.removing_at.is_(None),
        )
    )
    return _Snapshot(
        version=version,
        default_domain=default_domain,
        addresses={(row[0], row[1]): (row[2], row[3], row[4]) for row in rows},
        domains={f"{row.slug}.{default_domain}": row.id for row in spaces}
        | {row[0]: row[1] for row in custom},
        catch_all={
            row.id: row.settings["catch_all_agent_id"]
            for row in spaces
            if row.settings.get("catch_all_agent_id")
        },
        operator=spaces[0].id if spaces else None,
    )
