"""Sender identities: only where the domain may send, a bounded number, passwords kept slowly."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from backend.agent_groups import service as groups
from backend.agents import service as agents
from backend.paging import EVERYTHING
from backend.senders import passwords
from backend.senders import service as senders
from backend.senders.service import NewSender
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.store.tables import sender_identities
from tests.backend.conftest import DEFAULT_DOMAIN, House
from tests.backend.test_agent_groups import SUB, add_domain, give, second, verify


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the two tests of hashing itself take their time."""
    monkeypatch.setattr(passwords, "_COST", 4)


def make(house: House, user: str = "orders", **more: Any) -> NewSender:
    given = {"most": 10, **more}
    return house.store.write_now(
        house.acme.id, senders.create, DEFAULT_DOMAIN, SUB, user=user, **given
    )


@pytest.fixture
def domain(house: House) -> str:
    """A verified domain of the agent `hello`."""
    made = add_domain(house)
    give(house, agent="hello")
    verify(house)
    return made


def test_a_password_is_made_shown_once_and_kept_hashed(house: House, domain: str) -> None:
    made = make(house)
    assert made.sender.address == f"orders@{SUB}"
    assert made.sender.agent_id == house.agent.id
    assert 20 <= len(made.password) <= 32
    kept = house.store.read_now(house.acme.id, lambda tx: tx.row(select(sender_identities)))
    assert kept is not None
    assert made.password not in str(kept)
    assert passwords.holds(made.password, kept.password_hash)


def test_while_the_sender_records_are_missing_there_are_no_senders(house: House) -> None:
    add_domain(house)
    give(house, agent="hello")
    with pytest.raises(Conflict, match=r"sender records of .* \(DKIM and SPF\) are not verified"):
        make(house)


def test_a_domain_has_ten_senders_at_most(house: House, domain: str) -> None:
    for number in range(10):
        make(house, f"s{number}")
    with pytest.raises(Conflict, match="has 10 senders, 10 are the most"):
        make(house, "s10")
    house.store.write_now(house.acme.id, senders.remove, SUB, "s0")
    make(house, "s10")


def test_a_domain_of_nobody_has_no_senders(house: House) -> None:
    add_domain(house, state="verified")
    with pytest.raises(Conflict, match="belongs to no agent and no group yet"):
        make(house)


def test_on_a_groups_domain_the_sender_is_an_agents_of_the_group(house: House) -> None:
    add_domain(house)
    sales, other = second(house), second(house, "other")
    house.store.write_now(house.acme.id, groups.create, "Desk", ["hello", "sales"])
    give(house, group="Desk")
    verify(house)
    assert make(house, "first").sender.agent_id == house.agent.id
    assert make(house, "second", agent="sales").sender.agent_id == sales.id
    with pytest.raises(Malformed, match="is not of those"):
        make(house, "third", agent=other.handle)


def test_an_address_that_the_agent_has_already_is_taken_as_it_is(house: House, domain: str) -> None:
    make(house)
    house.store.write_now(house.acme.id, senders.remove, SUB, "orders")
    agent = house.store.read_now(house.acme.id, agents.get, "hello")
    assert f"orders@{SUB}" in [one.address for one in agent.addresses]
    make(house)
    with pytest.raises(Conflict, match="is a sender already"):
        make(house)


def test_a_password_may_be_chosen_and_changed(house: House, domain: str) -> None:
    made = make(house, password="good enough")
    assert made.password == "good enough"
    changed = house.store.write_now(house.acme.id, senders.set_password, SUB, "orders")
    assert changed.password != made.password
    kept = house.store.read_now(house.acme.id, lambda tx: tx.row(select(sender_identities)))
    assert kept is not None
    assert not passwords.holds(made.password, kept.password_hash)
    assert passwords.holds(changed.password, kept.password_hash)


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("1234", "5 to 32 characters"),
        ("x" * 33, "5 to 32 characters"),
        ("passwörd", "printable ASCII"),
        ("pass\tword", "printable ASCII"),
        ("ma_secret", "as API keys do"),
    ],
)
def test_a_bad_password_is_refused_with_the_rule(
    house: House, domain: str, password: str, said: str
) -> None:
    with pytest.raises(Malformed, match=said) as refused:
        make(house, password=password)
    assert refused.value.field == "password"
    listed = house.store.read_now(house.acme.id, senders.list_senders, SUB, EVERYTHING)
    assert listed.items == ()


def test_a_sender_of_another_workspace_is_not_seen(house: House, domain: str) -> None:
    made = make(house)
    with pytest.raises(NotFound):
        house.store.read_now(house.other.id, senders.get, SUB, made.sender.id)


def test_a_hash_holds_for_its_password_alone_and_has_its_own_salt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passwords, "_COST", 2**14)
    one, two = passwords.hashed("secret"), passwords.hashed("secret")
    assert one != two
    assert len(one) <= 255
    assert passwords.holds("secret", one)
    assert not passwords.holds("Secret", one)


def test_nobodys_password_costs_the_same_work_and_never_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    scrypt = passwords._scrypt

    def counted(password: str, salt: bytes) -> bytes:
        asked.append(len(salt))
        return scrypt(password, salt)

    monkeypatch.setattr(passwords, "_scrypt", counted)
    assert not passwords.holds("", None)
    assert len(asked) == 1
