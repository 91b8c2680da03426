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
from datetime import datetime
from typing import Literal

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError

from mailagent.inbound import Known
from mailagent.store.engine import Store
from mailagent.store.tables import (
    addresses,
    agents,
    domains,
    memberships,
    slug_reservations,
    versions,
    workspaces,
)
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = [
    "REPORT_ADDRESSES",
    "ROLES",
    "Place",
    "StoreDirectory",
    "changed",
    "forget_former_names",
    "normalised",
    "without_tag",
]

ROLES = frozenset({"postmaster", "abuse"})  # RFC 5321 §4.5.1, RFC 2142 §2: a person must get them
REPORT_ADDRESSES = frozenset({"dmarc", "tls"})
"""Where DMARC and TLS reports go, at the default domain itself and at custom domains."""
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
    until: Mapping[str, datetime] = field(default_factory=dict)
    """Of served domains that a workspace has left: the end of their time."""
    retired: frozenset[str] = frozenset()
    unwatched: frozenset[str] = frozenset()
    """Workspaces in which no person hears of mail to `postmaster@` and `abuse@`."""
    operator: str | None = None
    """The oldest workspace: it answers for the default domain itself."""

    def reported(self, domain: str) -> str | None:
        """The workspace that gets the reports about a domain; None where none are asked for."""
        if domain == self.default_domain:
            return self.operator
        # Below the default domain the one policy at its name counts: no report comes there.
        below = domain.endswith(f".{self.default_domain}")
        return None if below else self.domains.get(domain)


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


def forget_former_names(tx: Transaction) -> None:
    """Drop what is over of names that workspaces have left, in any (unscoped) transaction."""
    over = [
        tx.execute(delete(addresses).where(addresses.c.until <= tx.now)).rowcount,
        tx.execute(delete(slug_reservations).where(slug_reservations.c.free_at <= tx.now)).rowcount,
    ]
    if any(over):
        changed(tx)


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
        over = (until := now.until.get(domain)) is not None and until <= self._store.now()
        owner = None if over else now.domains.get(domain)
        if base in ROLES and (owner or domain in {"", now.default_domain}):
            watching = self._watched(owner, tagged=base != local)
            return Place("role", watching) if watching else Known.NO_SUCH_ADDRESS
        found = None if over else now.addresses.get((base, domain))
        if found is None and base in REPORT_ADDRESSES and (reported := now.reported(domain)):
            return Place("role", reported)
        workspace_id, agent_id, enabled = found or (owner, None, False)
        if workspace_id is None:
            return self._not_served(domain)
        if workspace_id in now.retired or (agent_id and not enabled):
            return Known.OFF
        if agent_id:
            return Place("agent", workspace_id, agent_id)
        if catch_all := now.catch_all.get(workspace_id):
            return Place("catch_all", workspace_id, catch_all)
        return Known.NO_SUCH_ADDRESS

    def _watched(self, owner: str | None, *, tagged: bool) -> str | None:
        """Who gets a domain's mail to its people: where there are none, whoever runs all this.

        What has a tag may answer a notice (`flow.answer_by_mail`), which is its workspace's.
        """
        now = self._snapshot
        gone = owner is None or owner in now.retired
        return now.operator if gone or (owner in now.unwatched and not tagged) else owner

    def _not_served(self, domain: str) -> Known:
        if domain == self._snapshot.default_domain:
            return Known.NO_SUCH_ADDRESS
        # The wildcard MX brings mail for any name below, at any depth (RFC 4592 §2.1.1).
        below = domain.endswith(f".{self._snapshot.default_domain}")
        return Known.NO_SUCH_DOMAIN if below else Known.NOT_OUR_DOMAIN

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
        select(
            workspaces.c.id, workspaces.c.slug, workspaces.c.settings, workspaces.c.retired_at
        ).order_by(workspaces.c.created_at, workspaces.c.id)
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
    left = tx.rows(select(slug_reservations).where(slug_reservations.c.alias_until > tx.now))
    owned = select(memberships.c.workspace_id).where(memberships.c.role == "owner").distinct()
    watched = {row.workspace_id for row in tx.rows(owned)}
    former = {f"{row.slug}.{default_domain}": row for row in left}
    return _Snapshot(
        version=version,
        default_domain=default_domain,
        addresses={(row[0], row[1]): (row[2], row[3], row[4]) for row in rows},
        domains={domain: row.workspace_id for domain, row in former.items()}
        | {f"{row.slug}.{default_domain}": row.id for row in spaces}
        | {row[0]: row[1] for row in custom},
        until={domain: row.alias_until for domain, row in former.items()},
        retired=frozenset(row.id for row in spaces if row.retired_at is not None),
        unwatched=frozenset(
            row.id
            for row in spaces
            if row.id not in watched and not row.settings.get("escalation_address")
        ),
        catch_all={
            row.id: row.settings["catch_all_agent_id"]
            for row in spaces
            if row.settings.get("catch_all_agent_id")
        },
        operator=spaces[0].id if spaces else None,
    )
