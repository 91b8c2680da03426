"""How does a POST that is sent again have its effect once? By its `Idempotency-Key`.

    async def create_agent(body: AgentIn, once: Once, access: Access = require("agent.manage")):
        return await once.write(access, service.create, …)

The answer is rendered and kept in the effect's own transaction, so there is no moment at which the
one exists without the other. Whoever asks again gets the kept answer, marked, for a day. After
draft-ietf-httpapi-idempotency-key-header-07; docs/reference/idempotency.md says where we differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from fastapi import Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from sqlalchemy import bindparam, select, update

from backend.access.dependencies import Access
from mailagent.errors import Conflict, Malformed, Unauthentic
from mailagent.store.tables import idempotency_keys
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets

__all__ = ["HEADER", "PURPOSE", "REPLAYED", "Answer", "BadKey", "Once"]

P = ParamSpec("P")
T = TypeVar("T")

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_LONGEST = 255
PURPOSE = "idempotency"
"""What kept answers are encrypted for."""

Answer: TypeAlias = T | Response
"""What the endpoint made, or the answer that was kept of it: the same to who asks."""


class BadKey(Malformed):
    """The header is no usable key (HTTP 400)."""

    def __init__(self, problem: str) -> None:
        super().__init__(HEADER, problem)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer as it was given the first time. Not `complete`: more is to be said of it."""

    status: int
    body: bytes
    complete: bool
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Once:
    """One POST, and the key that it was sent with, if any."""

    key: str | None
    path: str
    fingerprint: str
    """SHA-256 (hex) of what the same request has in common with itself: query and body."""
    route: APIRoute

    async def write(
        self,
        access: Access,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answer[T]:
        """Run `work(transaction, *args)` inside the workspace, unless its answer is kept.

        Its result must be what the endpoint answers. Raises Conflict when the key was used with
        another body. What `work` raises undoes it, and nothing is kept.
        """
        if self.key is None:
            return await access.write(work, *args, **kwargs)
        kept = await access.write(self._kept_or_made, access, lambda tx: work(tx, *args, **kwargs))
        return _answer(kept)

    async def write_unscoped(
        self,
        access: Access,
        work: Callable[Concatenate[Transaction, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answer[T]:
        """As `write`, across workspaces; the answer is kept in `access`'s."""
        store = access.services.store
        if self.key is None:
            return await store.write_unscoped(work, *args, **kwargs)
        kept = await store.write_unscoped(
            self._kept_or_made, access, lambda tx: work(tx, *args, **kwargs)
        )
        return _answer(kept)

    async def write_and_follow(
        self,
        access: Access,
        work: Callable[[Transaction], T],
        follow: Callable[[T], Awaitable[T]],
    ) -> Answer[T]:
        """As `write`, and wait for what becomes of it: `follow` completes the answer.

        Who asks again before it is complete, or after the process that followed has died, follows
        the same effect; the first completed answer is everybody's.
        """
        if self.key is None:
            return await follow(await access.write(work))
        kept = await access.write(self._kept_or_made, access, work, complete=False)
        if not kept.complete:
            followed = await follow(self._shape.validate_json(kept.body))
            kept = await access.write(self._completed, access, followed, replayed=kept.replayed)
        return _answer(kept)

    async def kept(self, access: Access) -> Response | None:
        """The answer that is kept of this request, for endpoints that ask somebody outside before
        they write. Raises Conflict when the key was used with another body.
        """
        if self.key is None:
            return None
        name, secrets = self._name(access), access.services.secrets
        found = await access.read(_find, secrets, name, self.fingerprint)
        return _answer(found) if found is not None and found.complete else None

    @property
    def _shape(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.route.response_model)

    def _render(self, value: object) -> bytes:
        shape = self._shape
        return shape.dump_json(shape.validate_python(value, from_attributes=True), by_alias=True)

    def _name(self, access: Access) -> str:
        """What the row is called: all that a key is bound to."""
        bound = (access.workspace_id, access.principal.id, "POST", self.path, self.key or "")
        return hashlib.sha256("\n".join(bound).encode()).hexdigest()

    def _kept_or_made(
        self,
        tx: Transaction,
        access: Access,
        work: Callable[[Transaction], Any],
        *,
        complete: bool = True,
    ) -> _Kept:
        rows = tx.of(access.workspace_id)
        name = self._name(access)
        # Who sends it at the same time waits here for our commit, and finds the answer.
        tx.lock(f"{PURPOSE} {name}")
        kept = _find(rows, access.services.secrets, name, self.fingerprint)
        if kept is not None:
            return kept
        status, body = self.route.status_code or 200, self._render(work(tx))
        rows.insert(
            idempotency_keys,
            {
                "name": name,
                "fingerprint": self.fingerprint,
                "status": status,
                # Sealed whole: the answer to a new API key holds its secret.
                "answer": access.services.secrets.seal(body, PURPOSE),
                "complete": complete,
                "created_at": tx.now,
            },
        )
        return _Kept(status, body, complete, replayed=False)

    def _completed(
        self, tx: Transaction, access: Access, followed: object, *, replayed: bool
    ) -> _Kept:
        name, secrets = self._name(access), access.services.secrets
        body = self._render(followed)
        done = tx.execute(
            update(idempotency_keys)
            .where(idempotency_keys.c.name == name, idempotency_keys.c.complete.is_(False))
            .values(answer=secrets.seal(body, PURPOSE), complete=True)
        )
        if done.rowcount != 1 and (kept := _find(tx, secrets, name, self.fingerprint)):
            return kept
        return _Kept(self.route.status_code or 200, body, complete=True, replayed=replayed)


_NAMED = select(idempotency_keys).where(idempotency_keys.c.name == bindparam("name"))


def _find(tx: Transaction, secrets: Secrets, name: str, fingerprint: str) -> _Kept | None:
    row = tx.row(_NAMED, {"name": name})
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise Conflict(f"{HEADER}: was used with another body: make a new key for a new request")
    try:
        body = secrets.unseal(row.answer, PURPOSE)
    except Unauthentic:
        raise Conflict(
            f"{HEADER}: this was done already, but its answer was kept under a secret key that is "
            "gone: look at what is there"
        ) from None
    return _Kept(row.status, body, row.complete, replayed=True)


def _answer(kept: _Kept) -> Response:
    headers = {REPLAYED: "true"} if kept.replayed else {}
    return Response(kept.body, kept.status, headers, media_type="application/json")


async def _once(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description=f"Sent again with the same key (1 to {_LONGEST} printable ASCII characters)"
            " within a day, the same request has its effect once and gets the same answer",
        ),
    ] = None,
) -> _Once:
    fingerprint = hashlib.sha256(request.scope["query_string"] + b"\n" + await request.body())
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    return _Once(_checked_key(request), request.url.path, fingerprint.hexdigest(), route)


def _checked_key(request: Request) -> str | None:
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    if len(given) > 1:
        raise BadKey("was sent more than once: send one")
    key = given[0]
    if not key:
        raise BadKey("is empty: send something that no other request has, such as a UUID")
    if len(key) > _LONGEST:
        raise BadKey(f"has {len(key):,} characters, {_LONGEST} at most")
    if not (key.isascii() and key.isprintable()):
        raise BadKey("holds a character that is not printable ASCII")
    return key


Once = Annotated[_Once, Depends(_once)]
"""The parameter of an endpoint whose POST creates or sends something."""
