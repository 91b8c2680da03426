"""Step 1: is the mail kept? Only then does a door say yes.

All mails that wait while one commit runs go into the next one together. On SQLite a commit runs in
a thread with a connection of its own; a single small mail is committed without that hand-over.
PostgreSQL is waited for in the event loop, and takes a second commit beside the first when what
waits is large: its server then works while we still send.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from mailagent.flow.directory import Place, normalised
from mailagent.inbound import Inbound, Known, Later, Origin, Outcome, Unrouted
from mailagent.store.engine import Store
from mailagent.store.group_commit import Destination, Waiting
from mailagent.store.postgres_commit import PostgresCommit
from mailagent.store.sqlite_commit import SqliteCommit
from mailagent.tokens import Secrets

__all__ = ["GroupAcceptor", "Locates"]

_BATCH_BYTES = 32 * 1024 * 1024
_INLINE_BYTES = 256 * 1024
_SINGLES_BEFORE_HERE = 3
_BESIDE_BYTES = 128 * 1024
_READ = frozenset({"read"})

_Batch = list[tuple[Waiting, asyncio.Future[Outcome]]]


class Locates(Protocol):
    """Tells where an address leads; `flow.directory.StoreDirectory` does."""

    def locate(self, address: str) -> Place | Known: ...


class _Commits(Protocol):
    """Makes many mails durable at once; what fails is `Later`."""

    async def commit(self, mails: Sequence[Waiting]) -> list[Outcome]: ...

    def close(self) -> None: ...


class _InThread:
    """SQLite's commit, in a thread that has its turn before other writers."""

    def __init__(self, store: Store) -> None:
        self._lock, self._group = store.write_lock, SqliteCommit(store.url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="accept")

    async def commit(self, mails: Sequence[Waiting]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._commit, mails)

    def close(self) -> None:
        self._thread.shutdown()
        self._group.close()

    def _commit(self, mails: Sequence[Waiting]) -> list[Outcome]:
        with self._lock.hold(first=True):
            return self._group.commit(mails)


class GroupAcceptor:
    """The `Acceptor` of a process that has the database. Never raises; what fails is `Later`."""

    def __init__(
        self,
        store: Store,
        directory: Locates,
        secrets: Secrets,
        *,
        on_accepted: Callable[[], None],
    ) -> None:
        self._store, self._directory, self._secrets = store, directory, secrets
        self._on_accepted = on_accepted
        self._free: list[_Commits] = (
            [_InThread(store)]
            if store.on_sqlite
            else [PostgresCommit(store.url), PostgresCommit(store.url)]
        )
        self._groups = tuple(self._free)
        # Runs in the event loop, so it never waits: not for another process's write either.
        self._single = SqliteCommit(store.url, busy_seconds=0) if store.on_sqlite else None
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: _Batch = []
        self._waiting_bytes = 0
        self._planned = False
        self._singles = 0

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        """Make mails durable; one outcome for each, in order."""
        prepared = [self._prepare(one) for one in batch]
        if len(prepared) == 1:
            return [await self._settle(prepared[0])]
        return await asyncio.gather(*(self._settle(one) for one in prepared))

    async def close(self) -> None:
        """Finish the commits that run and close the connections."""
        while self._running:
            await asyncio.wait(self._running)
        for group in self._groups:
            group.close()
        if self._single is not None:
            self._single.close()

    def _prepare(self, inbound: Inbound) -> Waiting | Unrouted | Later:
        destinations: list[Destination] = []
        for recipient in dict.fromkeys(inbound.envelope.rcpt_to):
            found = self._directory.locate(recipient)
            if found is Known.UNKNOWN:
                return Later("the directory is not loaded")
            if isinstance(found, Place):
                origin = _origin_json(inbound.origin, recipient)
                destinations.append(self._destination(recipient, origin, found))
        if not destinations:
            return Unrouted(inbound.envelope.rcpt_to)
        return Waiting(
            raw=inbound.raw,
            source=inbound.source,
            source_id=inbound.source_id,
            mail_from=inbound.envelope.mail_from,
            received_at=inbound.origin.received_at,
            destinations=tuple(destinations),
            may_repeat=inbound.source != "smtp" or bool(inbound.origin.handed_over_by),
            replay_token=inbound.replay_token,
        )

    def _destination(self, recipient: str, origin: str, place: Place) -> Destination:
        if place.kind != "return":
            return Destination(recipient, origin, place.kind, place.workspace_id, place.agent_id)
        token = normalised(recipient)[0].partition(".")[2]
        of = self._secrets.read_verp_token(token)
        return Destination(recipient, origin, "return", None, outbound_recipient_id=of)

    async def _settle(self, prepared: Waiting | Unrouted | Later) -> Outcome:
        if not isinstance(prepared, Waiting):
            return prepared
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((prepared, future))
        self._waiting_bytes += len(prepared.raw)
        if not self._planned and self._is_time():
            self._planned = True
            # Not at once: mails whose final dot is read in this round of the loop come along.
            loop.call_soon(self._next, loop)
        return await future

    def _is_time(self) -> bool:
        running = len(self._groups) - len(self._free)
        return not running or bool(self._free and self._waiting_bytes >= _BESIDE_BYTES)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._planned = False
        if not (self._waiting and self._is_time()):
            return
        size, count = 0, 0
        for mail, _ in self._waiting:
            if count and size + len(mail.raw) > _BATCH_BYTES:
                break
            size += len(mail.raw)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        self._waiting_bytes -= size
        here = self._commit_here(batch)
        if here is not None:
            self._done(loop, batch, here)
            return
        running = loop.create_task(self._commit(loop, self._free.pop(), batch))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    def _commit_here(self, batch: _Batch) -> list[Outcome] | None:
        """Commit a single mail without the hand-over to a thread; None when that is not wise.

        Only when mails have come one at a time lately: what commits in the event loop keeps others
        from arriving, and so from sharing its commit.
        """
        if self._single is None or len(batch) != 1 or self._singles < _SINGLES_BEFORE_HERE:
            return None
        mail = batch[0][0]
        if len(mail.raw) > _INLINE_BYTES or not self._store.write_lock.try_hold():
            return None
        try:
            outcomes = self._single.commit([mail])
        finally:
            self._store.write_lock.release()
        return None if isinstance(outcomes[0], Later) else outcomes

    async def _commit(
        self, loop: asyncio.AbstractEventLoop, group: _Commits, batch: _Batch
    ) -> None:
        try:
            outcomes = await group.commit([mail for mail, _ in batch])
        except Exception as error:  # noqa: BLE001 - a door that waits for ever says neither yes nor no
            outcomes = [Later(repr(error))] * len(batch)
        self._free.append(group)
        self._done(loop, batch, outcomes)

    def _done(
        self, loop: asyncio.AbstractEventLoop, batch: _Batch, outcomes: Sequence[Outcome]
    ) -> None:
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
        self._on_accepted()
        self._store.announce(_READ)
        self._singles = self._singles + 1 if len(batch) == 1 and not self._waiting else 0
        self._next(loop)


def _origin_json(origin: Origin, recipient: str) -> str:
    own = origin.recipient_parameters.get(recipient)
    return json.dumps(
        {
            "received_at": origin.received_at.isoformat(),
            "client_ip": origin.client_ip,
            "helo": origin.helo,
            "tls": origin.tls,
            "authenticated_as": origin.authenticated_as,
            "parameters": dict(origin.parameters),
            "recipient_parameters": {recipient: dict(own)} if own else {},
            "provider_verdicts": dict(origin.provider_verdicts),
            "body_format": origin.body_format,
            **_of_body(origin),
        }
    )


def _of_body(origin: Origin) -> dict[str, str]:
    """What only mails have that came through an edge, or without their MIME."""
    by = {"handed_over_by": origin.handed_over_by} if origin.handed_over_by else {}
    if origin.body_format == "raw":
        return by
    return {
        **by,
        "body_type": origin.body_type,
        "parsed_by": origin.parsed_by,
        "stored_at": origin.stored_at,
    }
