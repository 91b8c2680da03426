"""Workspaces and their people keep to the names, the roles and the last owner."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.naming import RESERVED_SLUGS, checked_slug
from backend.paging import EVERYTHING, Window
from backend.workspaces import members, service
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.directory import StoreDirectory
from mailagent.inbound import Known
from mailagent.store.engine import Store
from mailagent.tokens import Secrets
from tests.backend.conftest import DEFAULT_DOMAIN, House


def test_a_workspace_is_found_by_id_and_by_slug(house: House) -> None:
    by_slug = house.store.read_now(None, service.find, "acme")
    by_id = house.store.read_now(None, service.find, house.acme.id)

    assert by_slug == by_id == house.acme


def test_an_unknown_workspace_is_not_found_by_name(house: House) -> None:
    with pytest.raises(NotFound, match="no workspace 'nowhere'"):
        house.store.read_now(None, service.find, "nowhere")


def test_a_taken_slug_is_a_conflict(house: House) -> None:
    with pytest.raises(Conflict, match="'acme' is taken"):
        house.store.write_now(None, service.create, "acme", "Another")


@pytest.mark.parametrize("slug", sorted(RESERVED_SLUGS))
def test_a_slug_that_the_mail_system_needs_is_reserved(slug: str) -> None:
    with pytest.raises(Malformed, match="reserved"):
        checked_slug(slug)


@pytest.mark.parametrize(
    ("slug", "rule"),
    [
        ("", "DNS label"),
        ("Acme", "lower-case"),
        ("1acme", "a letter first"),
        ("acme-", "no hyphen last"),
        ("a" * 64, "1 to 63"),
        ("a.b", "DNS label"),
        ("_dmarc", "underscore"),
        ("xn--acme", "A-labels"),
        ("acme\n", "DNS label"),
    ],
)
def test_a_bad_slug_is_refused_with_its_rule(slug: str, rule: str) -> None:
    with pytest.raises(Malformed, match=rule) as refused:
        checked_slug(slug)
    assert refused.value.field == "slug"


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=70))
def test_whatever_passes_as_a_slug_is_a_dns_label(text: str) -> None:
    try:
        slug = checked_slug(text)
    except Malformed:
        return
    assert 1 <= len(slug) <= 63
    assert slug.isascii()
    assert slug[0].isalpha()
    assert slug[-1].isalnum()
    assert slug.replace("-", "").isalnum()


def test_a_new_name_leaves_the_slug(house: House) -> None:
    renamed = house.store.write_now(house.acme.id, service.rename, "Acme & Söhne")

    assert (renamed.slug, renamed.name) == ("acme", "Acme & Söhne")
    assert house.store.read_now(None, service.find, "other").name == "Other"


def test_settings_change_one_by_one_and_none_takes_one_back(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, service.update_settings, {"turns_per_sender_a_day": 5})
    write(acme, service.update_settings, {"escalation_address": "Help@Acme.example"})
    changed = write(acme, service.update_settings, {"turns_per_sender_a_day": None})

    assert changed.settings == service.WorkspaceSettings(escalation_address="help@acme.example")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"escalation_address": "nobody"}, "escalation_address"),
        ({"escalation_address": 7}, "escalation_address"),
        ({"turns_per_sender_a_day": -1}, "turns_per_sender_a_day"),
        ({"turns_per_workspace_a_day": True}, "turns_per_workspace_a_day"),
        ({"catch_all_agent_id": "nobody"}, "catch_all_agent_id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(
    house: House, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(Malformed) as refused:
        house.store.write_now(house.acme.id, service.update_settings, changes)
    assert refused.value.field == field


async def test_the_catch_all_opens_the_door_for_unknown_addresses(house: House) -> None:
    directory = StoreDirectory(house.store, Secrets(["s" * 40]), default_domain=DEFAULT_DOMAIN)
    await directory.refresh()
    before = directory.locate("whoever@acme.agents.example")
    await house.store.write(house.acme.id, service.update_settings, {"catch_all_agent_id": "hello"})
    await directory.refresh()

    assert before is Known.NO_SUCH_ADDRESS
    assert await directory.knows("whoever@acme.agents.example") is Known.YES


def test_another_workspaces_agent_cannot_be_the_catch_all(house: House) -> None:
    with pytest.raises(Malformed, match="no agent"):
        house.store.write_now(
            house.other.id, service.update_settings, {"catch_all_agent_id": house.agent.id}
        )


def test_the_last_owner_stays(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id

    with pytest.raises(Conflict, match="last owner"):
        write(acme, members.remove_member, house.owner.email)
    with pytest.raises(Conflict, match="last owner"):
        write(acme, members.change_role, house.owner.id, "viewer")


def test_an_owner_may_go_when_another_one_stays(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, members.add_member, "second@acme.example", "owner")
    write(acme, members.change_role, house.owner.email, "manager")
    write(acme, members.remove_member, house.owner.email)

    left = house.store.read_now(acme, members.list_members, EVERYTHING)
    assert [(one.person.email, one.role) for one in left.items] == [
        ("second@acme.example", "owner")
    ]


def test_a_person_is_one_in_all_workspaces_however_the_email_is_written(house: House) -> None:
    added = house.store.write_now(
        house.acme.id, members.add_member, "Stranger@Other.example", "viewer"
    )

    assert added.person == house.stranger


def test_a_member_cannot_be_added_twice(house: House) -> None:
    with pytest.raises(Conflict, match="already"):
        house.store.write_now(house.acme.id, members.add_member, house.owner.email, "viewer")


def test_a_role_that_does_not_exist_is_refused(house: House) -> None:
    with pytest.raises(Malformed, match="owner, manager, viewer"):
        house.store.write_now(house.acme.id, members.add_member, "a@b.example", "god")


def test_members_of_another_workspace_are_not_seen(house: House) -> None:
    with pytest.raises(NotFound):
        house.store.read_now(house.acme.id, members.get_member, house.stranger.email)


def test_pages_join_to_the_whole_list(store: Store) -> None:
    made = [
        store.write_now(None, service.create, f"space{number}", "S").slug for number in range(5)
    ]

    seen: list[str] = []
    window = Window(limit=2)
    while True:
        found = store.read_now(None, service.list_workspaces, window)
        seen += [one.slug for one in found.items]
        if found.next_cursor is None:
            break
        window = Window(limit=2, cursor=found.next_cursor)

    assert seen == made


def test_a_made_up_cursor_is_malformed(store: Store) -> None:
    with pytest.raises(Malformed, match="next_cursor"):
        store.read_now(None, service.list_workspaces, Window(cursor="ünknown"))
