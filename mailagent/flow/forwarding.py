"""Where else does a mail go that came for a route's recipient? To the https addresses it names.

A route acts beside the mail's own way, never in its place: the mail is durable before the route is
looked at, and the agent gets it whatever becomes of the forward. Each forward is a row and its own
order: claimed, posted, posted again until the far side says 2xx, for eight hours. The far side may
see one twice, and knows it by `X-Mailagent-Id`.

The request is the one that `/webhook/inbound` takes (`providers.generic`), signed with the route's
own key. No redirect is followed, and the connection goes to the address that was looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal
from urllib.parse import urlsplit

import httpx
from sqlalchemy import bindparam, select

from mailagent.dns_answers import Found, Question
from mailagent.errors import LostClaim, Malformed, PermanentFailure, TransientFailure, Unauthentic
from mailagent.flow import after_purge, people
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.values import ORIGIN
from mailagent.providers.generic import SIGNATURE, SIGNED_HEADERS, signature
from mailagent.store.tables import deliveries, raw_messages, receiver_routes, route_forwards
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, Queue, backoff, finish, holds

__all__ = [
    "FORWARDING",
    "PURPOSE",
    "Action",
    "checked_url",
    "forbidden",
    "forward",
    "give_up",
    "order",
    "parse_action",
]

FORWARDING = Queue("forward", route_forwards, route_forwards.c.state == "queued")
PURPOSE = "route signing key"
"""What a route's key is sealed for."""
_EXPIRY = timedelta(hours=8)
"""As long as Mailgun posts to a route."""
_FIRST_RETRY = timedelta(seconds=10)
_SECONDS = 30.0
_NEVER_AGAIN = frozenset({406, 410})
"""406 is how a route's program says no at Mailgun; 410 says it in HTTP's own words."""
_ACTION = re.compile(
    r"""\s*(?:(forward)\(\s*(["'])([^"'\s]{1,2000})\2\s*\)|(store|stop)\(\s*\))\s*"""
)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a route does."""

    kind: Literal["forward", "store", "stop"]
    url: str = ""

    def __str__(self) -> str:
        return f'{self.kind}("{self.url}")' if self.url else f"{self.kind}()"


def parse_action(text: str) -> Action:
    """Read `forward("https://…")`, `store()` or `stop()`. Raises Malformed."""
    found = _ACTION.fullmatch(text)
    if found is None:
        raise Malformed(
            "actions", f'{text[:80]!r} is none: write forward("https://…"), store() or stop()'
        )
    if found[1]:
        return Action("forward", found[3])
    return Action("store" if found[4] == "store" else "stop")


def checked_url(url: str, *, loopback: bool) -> str:
    """An address that a route may name; with `loopback`, also http on this machine.

    Raises Malformed. Where its host leads to is looked at with every forward.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        literal = _address(host)
    except ValueError:
        raise Malformed("actions", f"{url[:200]!a} is no address") from None
    here = loopback and literal is not None and literal.is_loopback
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise Malformed("actions", "forward goes to https addresses only")
    if not host or not url.isascii() or not url.isprintable() or port == 0:
        raise Malformed("actions", f"{url[:200]!a} is no address of a server")
    if parts.username is not None or parts.password is not None:
        raise Malformed("actions", "the address holds a user or a password: take it out")
    if literal is not None and (problem := forbidden([literal], loopback=loopback)):
        raise Malformed("actions", problem)
    return url


def forbidden(
    addresses: Sequence[IPv4Address | IPv6Address], *, loopback: bool = False
) -> str | None:
    """Why nothing may be posted to a host with these addresses; None when it may.

    One that is not public forbids them all: who answers with both may mean the other one next time.
    """
    for one in addresses:
        seen = _plain(one)
        if loopback and seen.is_loopback:
            continue
        if not seen.is_global or seen.is_multicast:
            return f"{one} is no public address: a route may not reach into this network"
    return None if addresses else "its host has no address"


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one: mapped, 6to4 (RFC 3056) or NAT64 (RFC 6052)."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.packed[:12] == _NAT64:
        return IPv4Address(address.packed[12:])
    return address


_NAT64 = bytes.fromhex("0064ff9b") + bytes(8)


# --- what a mail orders -------------------------------------------------------------------------

_ROUTES = (
    select(receiver_routes)
    .where(receiver_routes.c.recipient == bindparam("recipient"))
    .order_by(receiver_routes.c.position, receiver_routes.c.id)
)


def order(tx: Transaction, delivery: AnyRow) -> None:
    """Write the forwards of a mail's routes, in the transaction that ends its reading.

    Again for the same delivery writes nothing new.
    """
    rows = tx.rows(_ROUTES, _routes_of(delivery))
    for route, action in _steps(rows):
        why = f"the route {route.id} for {route.recipient}"
        if action.kind != "forward":
            note(tx, "forward", str(action), why, delivery_id=delivery.id)
            continue
        row = {
            "id": new_id("fwd"),
            "delivery_id": delivery.id,
            "route_id": route.id,
            "url": action.url,
            "state": "queued",
            "created_at": tx.now,
            "expires_at": tx.now + _EXPIRY,
            "not_before": tx.now,
        }
        if tx.insert_new(route_forwards, row, unique=["delivery_id", "route_id", "url"]):
            note(tx, "forward", str(action), why, delivery_id=delivery.id)
            tx.wake(FORWARDING.name)


def foresee(tx: Transaction, delivery: AnyRow) -> None:
    """Foresee what `order` asks."""
    tx.foresee(_ROUTES, _routes_of(delivery))


def _routes_of(delivery: AnyRow) -> Mapping[str, str]:
    local, domain = normalised(delivery.recipient)
    return {"recipient": f"{without_tag(local)}@{domain}"}


def _steps(rows: Sequence[AnyRow]) -> Iterator[tuple[AnyRow, Action]]:
    """What the routes do in turn, up to the first `stop()`."""
    for row in rows:
        for action in map(parse_action, row.actions):
            yield row, action
            if action.kind == "stop":
                return


# --- one forward --------------------------------------------------------------------------------


async def forward(services: Services, claim: Claim) -> None:
    """Post one mail to one address, and write what was said."""
    store, workspace_id = services.store, claim.workspace_id
    found = await store.read(workspace_id, _load, claim.id)
    if found is None:
        reason = "its route or its content was removed"
        await store.write(workspace_id, _end, claim, "failed", reason)
        return
    try:
        answered = await _post(services, found, claim.id)
    except PermanentFailure as error:
        await store.write(workspace_id, _fail, services, claim, found, error.reason)
    except TransientFailure as error:
        await store.write(workspace_id, _later, services, claim, found, error.reason)
    else:
        await store.write(workspace_id, _end, claim, "sent", answered)


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """Not reached: a forward has no limit of starts and ends by its expiry. The lease runs out."""
    raise LostClaim(f"forward {claim.id}: {reason}")


_LOAD = (
    select(
        route_forwards.c.url,
        route_forwards.c.delivery_id,
        route_forwards.c.expires_at,
        receiver_routes.c.signing_key,
        deliveries.c.mail_from,
        deliveries.c.recipient,
        deliveries.c.origin,
        raw_messages.c.content,
    )
    .join(receiver_routes, receiver_routes.c.id == route_forwards.c.route_id)
    .join(deliveries, deliveries.c.id == route_forwards.c.delivery_id)
    .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
    .where(route_forwards.c.id == bindparam("forward"), raw_messages.c.content.is_not(None))
)


def _load(tx: Transaction, forward_id: str) -> AnyRow | None:
    return tx.row(_LOAD, {"forward": forward_id})


async def _post(services: Services, row: AnyRow, forward_id: str) -> str:
    """What the far side answered, when it took the mail. Raises TransientFailure (also for a host
    that DNS says nothing of), PermanentFailure.
    """
    parts = urlsplit(row.url)
    host = parts.hostname or ""
    address = await _reachable(services, host)
    try:
        key = services.secrets.unseal(row.signing_key, PURPOSE).decode()
    except Unauthentic as error:
        raise TransientFailure(str(error)) from error
    shown = f"[{address}]" if address.version == 6 else str(address)
    netloc = f"{shown}:{parts.port}" if parts.port else shown
    headers = {**_signed(services, row, forward_id, key), "Host": parts.netloc}
    try:
        async with (
            httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False, trust_env=False) as client,
            client.stream(
                "POST",
                parts._replace(netloc=netloc, fragment="").geturl(),
                content=row.content,
                headers=headers,
                extensions={"sni_hostname": host},
            ) as response,
        ):
            status = response.status_code
    except httpx.HTTPError as error:
        raise TransientFailure(f"{host} did not answer: {type(error).__name__}") from error
    if 200 <= status < 300:
        return f"{host} answered {status}"
    if status in _NEVER_AGAIN:
        reason = f"{host} answered {status}: it does not want it"
        raise PermanentFailure(reason, about="message")
    raise TransientFailure(f"{host} answered {status}")


async def _reachable(services: Services, host: str) -> IPv4Address | IPv6Address:
    literal = _address(host)
    found = [literal] if literal is not None else []
    if literal is None:
        asked = [Question(host, "A"), Question(host, "AAAA")]
        answers = (await services.resolver.ask_all(asked)).values()
        records = [text for one in answers if isinstance(one, Found) for text in one.records]
        found = [ip_address(text) for text in records]
    if not found:
        raise TransientFailure(f"{host} has no address at present")
    if problem := forbidden(found, loopback=services.settings.routes_to_loopback):
        raise PermanentFailure(problem, about="message")
    return found[0]


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _signed(services: Services, row: AnyRow, forward_id: str, key: str) -> dict[str, str]:
    timestamp, id_, mail_from, rcpt_to, client_ip = SIGNED_HEADERS
    values = {
        timestamp: str(int(services.store.now().timestamp())),
        id_: forward_id,
        mail_from: row.mail_from or "",
        rcpt_to: row.recipient,
        client_ip: ORIGIN.validate_python(row.origin).client_ip or "",
    }
    octets = [values[name].encode() for name in SIGNED_HEADERS]
    return {
        **values,
        SIGNATURE: signature(key, octets, row.content),
        "Content-Type": "message/rfc822",
        "User-Agent": "mailagent",
    }


def _end(tx: Transaction, claim: Claim, state: str, reason: str) -> None:
    finish(tx, FORWARDING, claim, state=state, reason=reason[:500])
    delivery_id = tx.value(_DELIVERY, {"forward": claim.id})
    note(tx, "forward", state, reason, delivery_id=delivery_id)


_DELIVERY = select(route_forwards.c.delivery_id).where(route_forwards.c.id == bindparam("forward"))


def _later(tx: Transaction, services: Services, claim: Claim, row: AnyRow, reason: str) -> None:
    if tx.now >= row.expires_at:
        _fail(tx, services, claim, row, f"not taken within eight hours: {reason}")
        return
    again = min(tx.now + backoff(claim.attempts, base=_FIRST_RETRY), row.expires_at)
    holds(tx, FORWARDING, claim)
    finish(
        tx,
        FORWARDING,
        claim,
        attempts=claim.attempts + 1,
        not_before=again,
        reason=reason[:500],
    )
    if claim.attempts == 0:
        note(tx, "forward", "waits", reason, delivery_id=row.delivery_id)


def _fail(tx: Transaction, services: Services, claim: Claim, row: AnyRow, reason: str) -> None:
    _end(tx, claim, "failed", reason)
    if after_purge.is_gone(tx, row.delivery_id):
        return  # a notice would say to whom it was
    text = (
        f"A mail to {row.recipient} was not taken by {row.url}.\n\n{reason}\n\n"
        f"The mail itself is kept: mailagent trace {row.delivery_id}\n"
    )
    people.notify(tx, services.settings, None, f"A forward of {row.recipient} failed", text)
