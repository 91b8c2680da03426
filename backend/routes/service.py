"""What happens to the mail of a domain's recipient beside going to its agent?

A route is for one sender identity of the domain and has actions: `forward("https://…")` posts the
raw mail there, `store()` says that it is kept, which it is anyway, and `stop()` ends the routes
that follow. `flow.forwarding` carries them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update

from backend.domains.standing import demand_receiving, find
from backend.naming import checked_text
from backend.paging import Page, Window, page
from backend.senders import service as senders
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.forwarding import PURPOSE, checked_url, parse_action
from mailagent.store.tables import domains, receiver_routes
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id, new_secret

__all__ = ["NewRoute", "Route", "change", "create", "get", "list_routes", "new_key", "remove"]

_DESCRIPTION_CHARACTERS = 500
_MOST_ACTIONS = 10
_KEY_PREFIX = "rk"


@dataclass(frozen=True, slots=True)
class Route:
    """One route, without its key."""

    id: str
    domain: str
    position: int
    recipient: str
    actions: tuple[str, ...]
    description: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class NewRoute:
    """A route and, this once, the key that what it forwards is signed with."""

    route: Route
    signing_key: str


def create(
    tx: Transaction,
    secrets: Secrets,
    domain: str,
    *,
    recipient: str,
    actions: Sequence[str],
    most: int,
    description: str = "",
    loopback: bool = False,
) -> NewRoute:
    """Make a route after the domain's others.

    `recipient` is a sender identity by user, address or id. Raises NotFound, Malformed; Conflict
    while the receiver records are not verified, and for one more than a domain may have.
    """
    tx.lock(f"domain {find(tx, domain).id}")
    row = find(tx, domain)  # again: it may have been removed meanwhile
    demand_receiving(row)
    mine = receiver_routes.c.domain_id == row.id
    has, last = tx.rows(select(func.count(), func.max(receiver_routes.c.position)).where(mine))[0]
    if has >= most:
        raise Conflict(f"{row.name} has {has} routes, {most} are the most: remove one first")
    key, route_id = new_secret(_KEY_PREFIX), new_id("rte")
    tx.insert(
        receiver_routes,
        {
            "id": route_id,
            "domain_id": row.id,
            "position": (last or 0) + 1,
            "recipient": senders.get(tx, domain, recipient).address,
            "actions": _actions(actions, loopback=loopback),
            "description": _description(description),
            "signing_key": secrets.seal(key.encode(), PURPOSE),
            "created_at": tx.now,
            "changed_at": tx.now,
        },
    )
    return NewRoute(get(tx, domain, route_id), key)


def get(tx: Transaction, domain: str, route_id: str) -> Route:
    """One route of the domain. Raises NotFound."""
    row = find(tx, domain)
    found = tx.row(
        _ROUTES.where(receiver_routes.c.domain_id == row.id, receiver_routes.c.id == route_id)
    )
    if found is None:
        raise NotFound(f"{row.name} has no route {route_id[:80]!r}")
    return _made(found)


def list_routes(tx: Transaction, domain: str, window: Window) -> Page[Route]:
    """The domain's routes by age, which is the order they are tried in. Raises NotFound."""
    mine = _ROUTES.where(receiver_routes.c.domain_id == find(tx, domain).id)
    return page(tx, mine, window, by=receiver_routes.c.id).map(_made)


def change(
    tx: Transaction,
    domain: str,
    route_id: str,
    *,
    recipient: str | None = None,
    actions: Sequence[str] | None = None,
    description: str | None = None,
    loopback: bool = False,
) -> Route:
    """Change what is given. Raises NotFound, Malformed."""
    route = get(tx, domain, route_id)
    values: dict[str, object] = {"changed_at": tx.now}
    if recipient is not None:
        values["recipient"] = senders.get(tx, domain, recipient).address
    if actions is not None:
        values["actions"] = _actions(actions, loopback=loopback)
    if description is not None:
        values["description"] = _description(description)
    tx.execute(update(receiver_routes).where(receiver_routes.c.id == route.id).values(**values))
    return get(tx, domain, route.id)


def new_key(tx: Transaction, secrets: Secrets, domain: str, route_id: str) -> NewRoute:
    """Sign with another key from now on. Raises NotFound."""
    route, key = get(tx, domain, route_id), new_secret(_KEY_PREFIX)
    tx.execute(
        update(receiver_routes)
        .where(receiver_routes.c.id == route.id)
        .values(signing_key=secrets.seal(key.encode(), PURPOSE), changed_at=tx.now)
    )
    return NewRoute(get(tx, domain, route.id), key)


def remove(tx: Transaction, domain: str, route_id: str) -> None:
    """Take a route away; what it still had to forward is not. Raises NotFound."""
    route = get(tx, domain, route_id)
    tx.execute(delete(receiver_routes).where(receiver_routes.c.id == route.id))


_ROUTES = select(receiver_routes, domains.c.name.label("domain")).join(
    domains, domains.c.id == receiver_routes.c.domain_id
)


def _actions(actions: Sequence[str], *, loopback: bool) -> list[str]:
    """The actions as they are kept. Raises Malformed."""
    if not 0 < len(actions) <= _MOST_ACTIONS:
        raise Malformed("actions", f"must be 1 to {_MOST_ACTIONS} of forward, store and stop")
    parsed = [parse_action(one) for one in actions]
    for one in parsed:
        if one.kind == "forward":
            checked_url(one.url, loopback=loopback)
    words = [str(one) for one in parsed]
    if len(set(words)) != len(words):
        raise Malformed("actions", "holds one of them twice")
    if "stop()" in words[:-1]:
        raise Malformed("actions", "stop() ends the routes: nothing can follow it")
    return words


def _description(text: str) -> str:
    return checked_text("description", text, at_most=_DESCRIPTION_CHARACTERS)


def _made(row: AnyRow) -> Route:
    return Route(
        id=row.id,
        domain=row.domain,
        position=row.position,
        recipient=row.recipient,
        actions=tuple(row.actions),
        description=row.description,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
