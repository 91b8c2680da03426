"""Agents of a group share domains, and what is set for a domain is set once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from backend.agent_groups import service as groups
from backend.agents import aliases
from backend.agents import service as agents
from backend.domain_options import service as options
from backend.domain_options.service import Options
from backend.domains.carriers import Installed
from backend.paging import EVERYTHING
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests import verified_domain
from tests.backend.conftest import DEFAULT_DOMAIN, House

SUB = "mail.acme.example"
INSTALLED = Installed(DEFAULT_DOMAIN, f"mx.{DEFAULT_DOMAIN}", (), ())


def add_domain(house: House, name: str = SUB, *, state: str = "pending") -> str:
    """A domain of acme, as adding one leaves it."""

    def add(tx: Transaction) -> str:
        row: dict[str, Any] = {"id": new_id("dom"), "name": name, "state": state}
        at = tx.now if state == "verified" else None
        tx.insert(
            domains,
            {
                **row,
                "created_at": tx.now,
                **verified_domain.columns(at),
            },
        )
        return str(row["id"])

    return house.store.write_now(house.acme.id, add)


def verify(house: House, name: str = SUB) -> None:
    def write(tx: Transaction) -> None:
        mine = update(domains).where(domains.c.name == name)
        tx.execute(
            mine.values(
                state="verified",
                verified_at=tx.now,
                sending_verified_at=tx.now,
                receiving_verified_at=tx.now,
                sending_state="active",
            )
        )

    house.store.write_now(house.acme.id, write)


def give(house: House, domain: str = SUB, **to: Any) -> Options:
    return house.store.write_now(
        house.acme.id, options.give, INSTALLED, domain, most_of_a_group=5, **to
    )


def set_(house: House, **changes: Any) -> Options:
    return house.store.write_now(house.acme.id, options.change, INSTALLED, SUB, changes)


def second(house: House, handle: str = "sales") -> agents.Agent:
    return house.store.write_now(house.acme.id, agents.create, DEFAULT_DOMAIN, handle=handle)


def test_a_group_is_made_renamed_and_removed(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    second(house)
    made = write(acme, groups.create, "Front desk", ["hello"])
    assert [one.handle for one in made.agents] == ["hello"]
    for _ in range(2):
        made = write(acme, groups.add_agent, "Front desk", "sales")
    assert [one.handle for one in made.agents] == ["hello", "sales"]
    made = write(acme, groups.change, made.id, name="Desk", agents=["sales"])
    assert (made.name, [one.handle for one in made.agents]) == ("Desk", ["sales"])
    made = write(acme, groups.remove_agent, "Desk", "sales")
    assert made.agents == ()
    write(acme, groups.remove, "Desk")
    assert house.store.read_now(acme, groups.list_groups, EVERYTHING).items == ()


def test_a_group_of_another_workspace_is_not_seen(house: House) -> None:
    made = house.store.write_now(house.acme.id, groups.create, "Desk", [])
    for reference in (made.id, "Desk"):
        with pytest.raises(NotFound):
            house.store.read_now(house.other.id, groups.get, reference)
    assert house.store.write_now(house.other.id, groups.create, "Desk", []).id != made.id
    with pytest.raises(NotFound):
        house.store.write_now(house.other.id, groups.create, "Thieves", ["hello"])


def test_two_groups_of_one_name_are_refused(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, groups.create, "Desk")
    write(acme, groups.create, "Other")
    with pytest.raises(Conflict, match="already"):
        write(acme, groups.create, "Desk")
    with pytest.raises(Conflict, match="already"):
        write(acme, groups.change, "Other", name="Desk")


def test_a_domain_gets_the_defaults_of_this_way_of_working(house: House) -> None:
    add_domain(house)
    given = give(house, agent="hello")
    assert given.owner is not None
    assert (given.owner.kind, given.owner.name) == ("agent", "hello")
    assert (given.region, given.dkim_bits, given.retention_days) == ("US", 1024, 3)
    assert given.ip == "shared"


def test_a_second_agent_of_the_group_finds_the_domain_set_up(house: House) -> None:
    add_domain(house)
    second(house)
    house.store.write_now(house.acme.id, groups.create, "Desk", ["hello", "sales"])
    first = give(house, group="Desk")
    set_(house, retention_days=7)
    again = give(house, agent="sales")
    assert (again.id, again.owner, again.retention_days) == (first.id, first.owner, 7)


def test_an_agents_domain_may_become_its_groups_and_no_others(house: House) -> None:
    add_domain(house)
    second(house)
    write, acme = house.store.write_now, house.acme.id
    write(acme, groups.create, "Desk", ["hello", "sales"])
    write(acme, groups.create, "Sales", ["sales"])
    give(house, agent="hello")
    for other in ({"agent": "sales"}, {"group": "Sales"}):
        with pytest.raises(Conflict, match="belongs to the agent hello"):
            give(house, **other)
    assert give(house, group="Desk").owner == options.Owner(
        "group", write(acme, groups.get, "Desk").id, "Desk"
    )
    with pytest.raises(Conflict, match="has domains"):
        write(acme, groups.remove, "Desk")


def test_an_agent_of_no_group_gets_no_address_on_its_domain(house: House) -> None:
    add_domain(house, state="verified")
    second(house)
    write, acme = house.store.write_now, house.acme.id
    write(acme, groups.create, "Desk", ["hello"])
    give(house, group="Desk")
    write(acme, aliases.add_alias, DEFAULT_DOMAIN, "hello", f"info@{SUB}")
    with pytest.raises(Conflict, match="belongs to the group Desk"):
        write(acme, aliases.add_alias, DEFAULT_DOMAIN, "sales", f"sales@{SUB}")
    with pytest.raises(Conflict, match=rf"hello has addresses .*info@{SUB}"):
        write(acme, groups.remove_agent, "Desk", "hello")


def test_a_domain_where_others_have_addresses_is_not_given_away(house: House) -> None:
    add_domain(house, state="verified")
    second(house)
    house.store.write_now(house.acme.id, aliases.add_alias, DEFAULT_DOMAIN, "sales", f"info@{SUB}")
    with pytest.raises(Conflict, match=f"other agents have addresses there: info@{SUB}"):
        give(house, agent="hello")


def test_a_domain_is_released_and_given_to_another(house: House) -> None:
    add_domain(house)
    second(house)
    write, acme = house.store.write_now, house.acme.id
    give(house, agent="hello")
    with pytest.raises(Conflict, match=f"the domain {SUB} belongs to hello: release it first"):
        write(acme, agents.remove, "hello")
    released = write(acme, options.release, SUB)
    assert (released.owner, released.retention_days) == (None, 3)
    write(acme, agents.remove, "hello")
    owner = give(house, agent="sales").owner
    assert owner is not None
    assert owner.name == "sales"


def test_a_group_has_five_domains_at_most(house: House) -> None:
    house.store.write_now(house.acme.id, groups.create, "Desk", ["hello"])
    for number in range(6):
        add_domain(house, f"m{number}.acme.example")
    for number in range(5):
        give(house, f"m{number}.acme.example", group="Desk")
    with pytest.raises(Conflict, match="has 5 domains, 5 are the most"):
        give(house, "m5.acme.example", group="Desk")


def test_an_apex_must_be_confirmed(house: House) -> None:
    add_domain(house, "acme.co.uk")
    with pytest.raises(Conflict, match=r"no sub-domain.*confirm_apex"):
        give(house, "acme.co.uk", agent="hello")
    assert give(house, "acme.co.uk", agent="hello", apex_confirmed=True).owner is not None


def test_the_region_is_fixed_once_it_is_set(house: House) -> None:
    add_domain(house)
    assert set_(house, region="EU").region == "EU"
    assert give(house, agent="hello").region == "EU"
    assert set_(house, region="EU", retention_days=0).retention_days == 0
    with pytest.raises(Conflict, match="is EU and fixed: add a new sub-domain for US"):
        set_(house, region="US")


def test_the_dkim_length_is_fixed_once_the_domain_sends(house: House) -> None:
    add_domain(house)
    give(house, agent="hello")
    assert set_(house, dkim_bits=2048).dkim_bits == 2048
    verify(house)
    with pytest.raises(Conflict, match="rotate the key instead"):
        set_(house, dkim_bits=1024)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"region": "us-east-1"}, "region"),
        ({"dkim_bits": 512}, "dkim_bits"),
        ({"retention_days": 2}, "retention_days"),
        ({"name": "other"}, "name"),
    ],
)
def test_what_cannot_be_set_is_refused(house: House, changes: dict[str, Any], field: str) -> None:
    add_domain(house)
    with pytest.raises(Malformed) as refused:
        set_(house, **changes)
    assert refused.value.field == field


def test_the_ip_is_shared_and_stays_so(house: House) -> None:
    add_domain(house)
    assert set_(house, ip="shared").ip == "shared"
    with pytest.raises(Conflict, match="cannot be changed"):
        set_(house, ip="dedicated")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("pending", "Unverified"),
        ("verifying", "Verification in Progress"),
        ("verified", "Verified"),
        ("failed", "Verification Failed"),
    ],
)
def test_the_statuses_are_said_in_the_words_of_this_way(
    house: House, state: str, said: str
) -> None:
    add_domain(house, state=state)
    found = house.store.read_now(house.acme.id, options.get, SUB)
    assert (found.sender_status, found.receiver_status) == (said, said)
