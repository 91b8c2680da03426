"""Rules stand in an order, are checked before they are kept, and explain themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.paging import EVERYTHING
from backend.rules import explanation, service
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.sandbox import Sandbox
from mailagent.store.engine import Store
from tests.backend.api_client import key, open_api
from tests.backend.conftest import House
from tests.backend.mailroom import HELLO, Mailroom, mail, open_mailroom

RULES = "/workspaces/shop/rules"
PERSON = {"automatic": False}


def names(store: Store, workspace_id: str) -> list[str]:
    found = store.read_now(workspace_id, service.list_rules, EVERYTHING)
    assert [one.position for one in found.items] == list(range(1, len(found.items) + 1))
    return [one.name for one in found.items]


def add(house: House, name: str, **more: Any) -> service.StoredRule:
    given = {"condition": PERSON, "agent": "hello", **more}
    return house.store.write_now(house.acme.id, service.add, name=name, **given)


# --- the service, on both databases -----------------------------------------------------------


def test_a_rule_goes_last_or_where_it_is_told(house: House) -> None:
    add(house, "a")
    add(house, "b")
    add(house, "first", position=1)
    add(house, "far", position=99)

    assert names(house.store, house.acme.id) == ["first", "a", "b", "far"]


def test_a_removed_rule_leaves_no_gap(house: House) -> None:
    made = [add(house, name) for name in "abc"]
    house.store.write_now(house.acme.id, service.remove, made[1].id)

    assert names(house.store, house.acme.id) == ["a", "c"]


def test_moving_makes_the_same_order_as_a_list_does(house: House) -> None:
    ids = {name: add(house, name).id for name in "abcd"}

    @settings(
        max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.sampled_from("abcd"), st.integers(1, 5))
    def check(name: str, position: int) -> None:
        expected = [one for one in names(house.store, house.acme.id) if one != name]
        expected.insert(position - 1, name)
        house.store.write_now(house.acme.id, service.move, ids[name], position)
        assert names(house.store, house.acme.id) == expected

    check()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"condition": {"colour": "red"}}, "condition"),
        ({"condition": {"all": []}}, "condition.all"),
        ({"action": "dance"}, "action"),
        ({"agent": None}, "agent"),
        ({"agent": "nobody"}, "agent"),
        ({"action": "hold"}, "agent"),
        ({"position": 0}, "position"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_by_its_field(
    house: House, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(Malformed) as refused:
        add(house, "bad", **given)
    assert refused.value.field == field
    assert names(house.store, house.acme.id) == []


def test_a_rule_cannot_lead_to_another_workspaces_agent(house: House) -> None:
    with pytest.raises(Malformed, match="no agent"):
        house.store.write_now(
            house.other.id, service.add, name="steal", condition=PERSON, agent=house.agent.id
        )


def test_a_rule_of_another_workspace_is_not_found(house: House) -> None:
    rule = add(house, "a")

    for work in (service.get, service.remove):
        with pytest.raises(NotFound):
            house.store.write_now(house.other.id, work, rule.id)


def test_a_rule_that_stops_leading_to_an_agent_forgets_it(house: House) -> None:
    rule = add(house, "a")
    changed = house.store.write_now(
        house.acme.id, service.update_rule, rule.id, {"action": "reject", "enabled": False}
    )

    assert (changed.action, changed.agent_id, changed.enabled) == ("reject", None, False)


# --- explaining, over the API -----------------------------------------------------------------


@pytest.fixture
async def mailroom(sqlite_url: str) -> AsyncIterator[Mailroom]:
    sandbox = Sandbox()
    try:
        async with open_mailroom(sqlite_url, sandbox) as opened:
            yield opened
    finally:
        await sandbox.close()


@pytest.fixture
async def api(mailroom: Mailroom) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(mailroom, await key(mailroom)) as client:
        yield client


async def test_a_delivery_is_explained_rule_by_rule(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    for name, condition, overrides in (
        ("shouting", {"subject_contains": "URGENT"}, True),
        ("orders", {"all": [{"keyword": "order"}, PERSON]}, False),
    ):
        body = {"name": name, "condition": condition, "agent": "hello", "overrides": overrides}
        assert (await api.post(RULES, json=body)).status_code == 201
    delivery = await mailroom.answered()

    found = (await api.post(f"{RULES}/test", json={"delivery_id": delivery})).json()

    assert [(one["name"], one["matched"]) for one in found["rules"]] == [
        ("shouting", False),
        ("orders", True),
    ]
    assert "'URGENT' does not hold" in found["rules"][0]["why"]
    assert found["decision"]["agent_id"] == "agt_hello"
    assert "this agent's address" in found["decision"]["why"]


async def test_what_was_rerouted_is_explained_by_the_address_it_came_to(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    await api.post(
        RULES, json={"name": "no", "condition": PERSON, "action": "hold", "overrides": True}
    )
    delivery = await mailroom.answered()
    ruled = (await api.post(f"{RULES}/test", json={"delivery_id": delivery})).json()
    rule = (await api.get(RULES)).json()["items"][0]["id"]
    await api.patch(f"{RULES}/{rule}", json={"enabled": False})
    free = (await api.post(f"{RULES}/test", json={"delivery_id": delivery})).json()

    assert (ruled["decision"]["action"], ruled["decision"]["rule_id"]) == ("hold", rule)
    assert free["decision"]["agent_id"] == "agt_hello"


async def test_a_raw_message_is_tried_without_being_kept(
    mailroom: Mailroom, api: httpx.AsyncClient
) -> None:
    raw = mail(subject="Rechnung").decode()
    body = {"message": raw, "condition": {"subject_contains": "rechnung"}}
    found = (await api.post(f"{RULES}/test", json=body)).json()

    assert found["matched"] is True
    assert found["recipient"] == HELLO
    assert found["rules"] == []
    unknown = {**body, "recipient": "else@shop.aexy.example"}
    held = (await api.post(f"{RULES}/test", json=unknown)).json()
    assert held["decision"]["action"] == "hold"


@pytest.mark.parametrize("body", [{}, {"delivery_id": "dlv_1", "message": "x"}])
async def test_a_trial_needs_exactly_one_mail(
    api: httpx.AsyncClient, body: dict[str, object]
) -> None:
    assert (await api.post(f"{RULES}/test", json=body)).status_code == 422


async def test_what_reads_a_mail_needs_the_permission_for_it(mailroom: Mailroom) -> None:
    delivery = await mailroom.answered()
    async with open_api(mailroom, await key(mailroom, "rule.read")) as client:
        refused = await client.post(f"{RULES}/test", json={"delivery_id": delivery})

    assert refused.status_code == 403
    assert "message.read" in refused.json()["detail"]


async def test_a_mail_that_was_not_read_cannot_be_explained(mailroom: Mailroom) -> None:
    delivery = await mailroom.deliver(mail())

    with pytest.raises(Conflict, match="not been read"):
        await mailroom.ask(explanation.explain, delivery)


async def test_a_bounce_in_a_file_stays_one(mailroom: Mailroom) -> None:
    raw = b"Return-Path: <>\r\n" + mail(subject="Undeliverable")
    read = await explanation.mail_of_file(
        mailroom.services.sandbox, raw, now=datetime(2026, 3, 1, tzinfo=UTC)
    )

    assert read.mail_from is None


async def test_a_file_without_a_recipient_says_what_is_missing(mailroom: Mailroom) -> None:
    with pytest.raises(Malformed, match="say whom it is for"):
        await explanation.mail_of_file(
            mailroom.services.sandbox,
            b"From: a@b.example\r\n\r\nHello\r\n",
            now=datetime(2026, 3, 1, tzinfo=UTC),
        )


async def test_a_rules_life_by_the_api(api: httpx.AsyncClient) -> None:
    first = (
        await api.post(RULES, json={"name": "a", "condition": PERSON, "agent": "hello"})
    ).json()
    second = (
        await api.post(RULES, json={"name": "b", "condition": PERSON, "action": "reject"})
    ).json()
    moved = await api.patch(f"{RULES}/{second['id']}", json={"position": 1, "name": "spam"})
    listed = (await api.get(RULES)).json()["items"]
    removed = await api.delete(f"{RULES}/{first['id']}")

    assert moved.json()["position"] == 1
    assert [one["name"] for one in listed] == ["spam", "a"]
    assert removed.status_code == 204
    assert (await api.get(f"{RULES}/{first['id']}")).status_code == 404
