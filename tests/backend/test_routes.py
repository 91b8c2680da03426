"""Receiver routes: only where the domain receives, for its senders, with actions that work."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from backend.operation.sealed import SEALED
from backend.paging import EVERYTHING
from backend.routes import service as routes
from backend.routes.service import NewRoute
from backend.senders import passwords
from backend.senders import service as senders
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.forwarding import PURPOSE
from mailagent.store.tables import receiver_routes
from mailagent.tokens import Secrets
from tests.backend.conftest import DEFAULT_DOMAIN, House
from tests.backend.test_agent_groups import SUB, add_domain, give, verify

SECRETS = Secrets(["a secret of the tests that is long enough"])
FORWARD = 'forward("https://program.example/mail")'


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_COST", 4)


@pytest.fixture
def domain(house: House) -> str:
    """A verified domain of the agent `hello` with the senders `orders` and `info`."""
    made = add_domain(house)
    give(house, agent="hello")
    verify(house)
    for user in ("orders", "info"):
        house.store.write_now(
            house.acme.id, senders.create, DEFAULT_DOMAIN, SUB, user=user, most=10
        )
    return made


def make(house: House, *actions: str, recipient: str = "orders", **more: Any) -> NewRoute:
    given = {"most": 10, **more}
    return house.store.write_now(
        house.acme.id,
        routes.create,
        SECRETS,
        SUB,
        recipient=recipient,
        actions=actions or [FORWARD],
        **given,
    )


def test_a_route_is_made_with_a_key_that_is_shown_once_and_kept_sealed(
    house: House, domain: str
) -> None:
    made = make(house, FORWARD, "store()", "stop()", description="orders to the shop")
    assert made.route.recipient == f"orders@{SUB}"
    assert made.route.actions == (FORWARD, "store()", "stop()")
    assert made.route.description == "orders to the shop"
    sealed = house.store.read_now(
        house.acme.id, lambda tx: tx.value(select(receiver_routes.c.signing_key))
    )
    assert SECRETS.unseal(sealed, PURPOSE).decode() == made.signing_key
    assert made.signing_key.encode() not in sealed
    assert (receiver_routes, PURPOSE) in [(one.table, one.purpose) for one in SEALED]


def test_while_the_receiver_records_are_missing_there_are_no_routes(house: House) -> None:
    add_domain(house)
    give(house, agent="hello")
    with pytest.raises(Conflict, match=r"receiver records of .* \(MX\) are not verified"):
        make(house)


def test_a_domain_has_ten_routes_at_most(house: House, domain: str) -> None:
    first = make(house).route
    for _ in range(9):
        make(house)
    with pytest.raises(Conflict, match="has 10 routes, 10 are the most"):
        make(house)
    house.store.write_now(house.acme.id, routes.remove, SUB, first.id)
    last = make(house).route
    assert last.position == 11
    listed = house.store.read_now(house.acme.id, routes.list_routes, SUB, EVERYTHING).items
    assert [one.position for one in listed] == [*range(2, 12)]


def test_the_recipient_is_a_sender_of_the_domain(house: House, domain: str) -> None:
    with pytest.raises(NotFound, match="no sender 'nobody'"):
        make(house, recipient="nobody")
    made = make(house, recipient=f"info@{SUB}")
    with pytest.raises(Conflict, match=f"a receiver route is for info@{SUB}"):
        house.store.write_now(house.acme.id, senders.remove, SUB, "info")
    house.store.write_now(house.acme.id, routes.change, SUB, made.route.id, recipient="orders")
    house.store.write_now(house.acme.id, senders.remove, SUB, "info")


def test_a_route_may_be_changed_given_another_key_and_removed(house: House, domain: str) -> None:
    write, acme = house.store.write_now, house.acme.id
    made = make(house)
    changed = write(acme, routes.change, SUB, made.route.id, actions=["stop()"], description="x")
    assert (changed.actions, changed.description) == (("stop()",), "x")
    assert changed.recipient == made.route.recipient
    again = write(acme, routes.new_key, SECRETS, SUB, made.route.id)
    assert again.signing_key != made.signing_key
    write(acme, routes.remove, SUB, made.route.id)
    with pytest.raises(NotFound):
        house.store.read_now(acme, routes.get, SUB, made.route.id)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        ([], "must be 1 to 10"),
        (["store()"] * 11, "must be 1 to 10"),
        (["drop()"], "is none"),
        (['forward("http://program.example/")'], "https addresses only"),
        (['forward("https://192.168.0.1/")'], "no public address"),
        ([FORWARD, FORWARD], "one of them twice"),
        (["stop()", FORWARD], "nothing can follow it"),
    ],
)
def test_actions_that_make_no_sense_are_refused(
    house: House, domain: str, actions: list[str], said: str
) -> None:
    route = make(house).route
    with pytest.raises(Malformed, match=said) as refused:
        house.store.write_now(house.acme.id, routes.change, SUB, route.id, actions=actions)
    assert refused.value.field == "actions"
    with pytest.raises(Malformed, match=said):
        house.store.write_now(
            house.acme.id, routes.create, SECRETS, SUB, recipient="orders", actions=actions, most=10
        )


def test_a_route_of_another_workspace_is_not_seen(house: House, domain: str) -> None:
    made = make(house)
    with pytest.raises(NotFound):
        house.store.read_now(house.other.id, routes.get, SUB, made.route.id)
