"""Keys, sign-in links, sessions and permissions hold, and stop holding when they should."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from backend.access import keys, sign_in
from backend.access.permissions import PERMISSIONS, ROLES, checked_permissions, expanded
from backend.access.principal import Forbidden, principal_of_key, principal_of_person
from backend.paging import EVERYTHING
from backend.workspaces import members
from mailagent.errors import Malformed, NotFound, Unauthentic
from mailagent.store.tables import api_keys, sign_ins
from mailagent.store.transaction import Transaction
from tests.backend.conftest import House


def test_a_keys_secret_opens_and_is_not_kept(house: House) -> None:
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["agent.read"])

    found = house.store.read_now(None, keys.authenticate, made.secret)
    rows = house.store.read_now(None, Transaction.rows, select(api_keys))
    assert made.secret.startswith("ma_")
    assert found == made.key
    assert made.secret not in str(rows)


def test_an_unknown_key_is_refused(house: House) -> None:
    with pytest.raises(Unauthentic, match="not known"):
        house.store.read_now(None, keys.authenticate, "ma_guess")


def test_a_revoked_key_opens_no_more(house: House) -> None:
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["root:full"])
    house.store.write_now(house.acme.id, keys.revoke, made.key.id)

    with pytest.raises(Unauthentic, match="revoked"):
        house.store.read_now(None, keys.authenticate, made.secret)


def test_a_key_opens_until_it_expires(house: House) -> None:
    end = house.clock.time + timedelta(hours=1)
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["root:full"], expires_at=end)
    house.clock.move(timedelta(minutes=59))
    assert house.store.read_now(None, keys.authenticate, made.secret) == made.key

    house.clock.move(timedelta(minutes=1))
    with pytest.raises(Unauthentic, match="expired"):
        house.store.read_now(None, keys.authenticate, made.secret)


def test_a_key_cannot_be_born_expired(house: House) -> None:
    with pytest.raises(Malformed, match="past"):
        house.store.write_now(
            house.acme.id, keys.create, "CI", ["root:full"], expires_at=house.clock.time
        )


def test_a_key_of_another_workspace_cannot_be_seen_or_revoked(house: House) -> None:
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["root:full"])

    assert house.store.read_now(house.other.id, keys.list_keys, EVERYTHING).items == ()
    with pytest.raises(NotFound):
        house.store.write_now(house.other.id, keys.revoke, made.key.id)
    assert house.store.read_now(None, keys.authenticate, made.secret) == made.key


def test_the_last_use_is_worth_a_write_once_a_minute(house: House) -> None:
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["root:full"])
    house.store.write_now(None, keys.touch, made.key.id)
    used = house.store.read_now(house.acme.id, keys.get, made.key.id)

    assert keys.stale(made.key, house.clock.time)
    assert not keys.stale(used, house.clock.time + timedelta(seconds=59))
    assert keys.stale(used, house.clock.time + timedelta(seconds=60))


@pytest.mark.parametrize("wanted", [[], ["agent.fly"], ["root:all"], ["nothing.*"], [".*"]])
def test_a_permission_that_does_not_exist_is_refused(wanted: list[str]) -> None:
    with pytest.raises(Malformed, match="root:full"):
        checked_permissions(wanted)


def test_wide_permissions_hold_what_they_say() -> None:
    assert expanded(["root:full"]) == PERMISSIONS.keys()
    assert all(name.endswith(".read") for name in expanded(["root:readonly"]))
    assert expanded(["agent.*"]) == {"agent.read", "agent.manage"}
    assert expanded(["domain.flatten"]) == frozenset()


def test_roles_grow_from_viewer_to_owner() -> None:
    assert ROLES["viewer"] < ROLES["manager"] < ROLES["owner"] == PERMISSIONS.keys()


def test_a_refusal_names_the_permission_and_who_gives_it(house: House) -> None:
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["agent.read"])
    principal = house.store.read_now(None, principal_of_key, made.key)

    principal.demand(house.acme.id, "agent.read")
    with pytest.raises(Forbidden, match=r"agent\.manage.*owner of the workspace"):
        principal.demand(house.acme.id, "agent.manage")
    with pytest.raises(Forbidden):
        principal.demand(house.other.id, "agent.read")


def test_nobody_gives_what_they_do_not_have(house: House) -> None:
    made = house.store.write_now(house.acme.id, keys.create, "CI", ["key.*", "agent.read"])
    principal = house.store.read_now(None, principal_of_key, made.key)

    principal.demand_all(house.acme.id, ["agent.read", "key.manage"])
    with pytest.raises(Forbidden, match=r"agent\.manage"):
        principal.demand_all(house.acme.id, ["agent.*"])


def test_only_the_oldest_workspace_makes_others(house: House) -> None:
    operator = house.store.read_now(None, principal_of_person, house.owner)
    stranger = house.store.read_now(None, principal_of_person, house.stranger)

    assert operator.demand_operator("workspace.create") == house.acme.id
    with pytest.raises(Forbidden, match="operator"):
        stranger.demand_operator("workspace.create")


def test_a_sign_in_link_works_once(house: House) -> None:
    write = house.store.write_now
    token = write(None, sign_in.create_link, "Owner@Acme.example")
    session = write(None, sign_in.redeem, token)

    assert house.store.read_now(None, sign_in.person_of, session) == house.owner
    with pytest.raises(Unauthentic, match="used or is older"):
        write(None, sign_in.redeem, token)


def test_a_sign_in_link_dies_after_fifteen_minutes(house: House) -> None:
    token = house.store.write_now(None, sign_in.create_link, house.owner.email)
    house.clock.move(timedelta(minutes=15))

    with pytest.raises(Unauthentic, match="15 minutes"):
        house.store.write_now(None, sign_in.redeem, token)


def test_a_links_token_is_no_session_and_a_session_is_no_link(house: House) -> None:
    write, read = house.store.write_now, house.store.read_now
    token = write(None, sign_in.create_link, house.owner.email)
    with pytest.raises(Unauthentic):
        read(None, sign_in.person_of, token)

    session = write(None, sign_in.redeem, token)
    with pytest.raises(Unauthentic):
        write(None, sign_in.redeem, session)


def test_a_session_ends_by_signing_out_and_after_thirty_days(house: House) -> None:
    write, read = house.store.write_now, house.store.read_now
    left, right = (
        write(None, sign_in.redeem, write(None, sign_in.create_link, house.owner.email))
        for _ in range(2)
    )
    write(None, sign_in.sign_out, left)
    with pytest.raises(Unauthentic):
        read(None, sign_in.person_of, left)
    assert read(None, sign_in.person_of, right) == house.owner

    house.clock.move(timedelta(days=30))
    with pytest.raises(Unauthentic, match="sign in again"):
        read(None, sign_in.person_of, right)


def test_no_secret_of_a_sign_in_is_kept(house: House) -> None:
    token = house.store.write_now(None, sign_in.create_link, house.owner.email)

    assert token not in str(house.store.read_now(None, Transaction.rows, select(sign_ins)))


def test_a_link_for_nobody_says_so(house: House) -> None:
    with pytest.raises(NotFound, match="nobody here"):
        house.store.write_now(None, sign_in.create_link, "ghost@acme.example")


def test_who_leaves_a_workspace_has_no_power_there(house: House) -> None:
    house.store.write_now(house.acme.id, members.add_member, "v@acme.example", "viewer")
    viewer = house.store.read_now(None, members.find_person, "v@acme.example")
    assert viewer is not None
    before = house.store.read_now(None, principal_of_person, viewer)
    house.store.write_now(house.acme.id, members.remove_member, viewer.email)

    assert before.grants == {house.acme.id: ROLES["viewer"]}
    assert house.store.read_now(None, principal_of_person, viewer).grants == {}
