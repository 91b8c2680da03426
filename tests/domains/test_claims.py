"""Whose is a domain: the first who verifies it has it, and what is below is its owner's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from backend.domains import changing, checking, claims, stored
from mailagent.errors import Conflict, MailagentError, Malformed
from mailagent.store import tables as t
from tests.domains.town import NAME, Town, serve


async def verified(town: Town, name: str = NAME, *, workspace: str | None = None) -> None:
    serve(town.dns, name)
    await town.add(name, workspace=workspace)
    await town.publish(name, workspace=workspace)
    await town.look(name, workspace=workspace)
    assert (await town.domain(name, workspace=workspace)).life.state == "verified"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("co.uk", "public suffix"),
        ("com", "not a domain name"),
        ("agents.example", "the installation's own"),
        ("shop.agents.example", "the installation's own"),
        ("аgents.example", "looks like agents.example"),
        ("agent5.example", "looks like agents.example"),
        ("agents.example.acme.example", "looks like agents.example"),
        ("acme_example", "not a domain name"),
        ("bad name.example", "not a domain name"),
    ],
)
async def test_what_is_nobodys_is_refused_with_the_reason(town: Town, name: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        await town.add(name)
    assert await town.rows(select(t.domains)) == []


async def test_a_name_in_its_own_script_is_kept_in_a_labels_and_shown_in_its_own(
    town: Town,
) -> None:
    domain = await town.add("Bücher.example")
    assert (domain.name, domain.unicode_name) == ("xn--bcher-kva.example", "bücher.example")
    assert (await town.domain("BÜCHER.example")).id == domain.id


async def test_the_same_domain_twice_in_a_workspace_is_a_conflict(town: Town) -> None:
    await town.add()
    with pytest.raises(Conflict, match="already"):
        await town.add(NAME.upper())


async def test_a_wish_excludes_nobody_and_the_first_who_verifies_has_it(town: Town) -> None:
    await town.add(workspace=town.other)
    await verified(town)
    lost = await town.look(workspace=town.other)
    assert lost.life.state != "verified"
    assert lost.verified_at is None

    await town.publish(workspace=town.other)  # now the loser's token stands there
    lost = await town.look(workspace=town.other)
    assert (lost.life.state, lost.next_look) == ("failed", None)
    assert lost.verdict is not None
    assert lost.verdict["failure"]["code"] == "domain_taken"
    (notice,) = await town.notices(town.other)
    assert notice.subject == f"{NAME} is another workspace's"
    assert (await town.domain()).life.state == "verified"


async def test_who_comes_when_it_is_verified_is_told_at_once(town: Town) -> None:
    await verified(town)
    with pytest.raises(Conflict, match="another workspace has verified"):
        await town.add(workspace=town.other)


async def test_what_is_below_a_verified_domain_is_its_owners_to_give(town: Town) -> None:
    await verified(town)
    below = f"mail.{NAME}"
    await verified(town, below)  # its owner needs nobody's leave
    with pytest.raises(Conflict, match="mailagent domain allow"):
        await town.add(f"agents.{NAME}", workspace=town.other)

    domain = await town.domain()
    await town.store.write(town.acme, claims.allow, domain, f"agents.{NAME}", town.other)
    await verified(town, f"agents.{NAME}", workspace=town.other)
    with pytest.raises(Conflict, match="mailagent domain allow"):
        await town.add(f"sales.{NAME}", workspace=town.other)


async def test_only_a_verified_owner_gives_and_only_what_is_below(town: Town) -> None:
    domain = await town.add()
    with pytest.raises(Conflict, match="only its owner"):
        await town.store.write(town.acme, claims.allow, domain, f"agents.{NAME}", town.other)
    with pytest.raises(Malformed, match="is not below"):
        await town.store.write(town.acme, claims.allow, domain, "other.example", town.other)


async def test_a_domain_that_lost_its_proof_for_two_cycles_may_be_anothers(town: Town) -> None:
    await verified(town)
    town.without(f"_aexy-verification.{NAME}", "TXT")
    await town.cycles(2)
    assert (await town.domain()).life.state == "failed"
    await verified(town, workspace=town.other)


async def test_addresses_that_were_wanted_are_made_when_it_is_the_workspaces(town: Town) -> None:
    await town.add(f"sales@{NAME}", agent="hello")
    assert f"sales@{NAME}" not in await addresses(town)
    await town.publish()
    await town.look()
    assert f"sales@{NAME}" in await addresses(town)


async def addresses(town: Town) -> list[str]:
    rows = await town.rows(select(t.addresses))
    return [f"{row.local_part}@{row.domain}" for row in rows]


async def test_twenty_clients_of_two_workspaces_race_and_one_workspace_wins(town: Town) -> None:
    """For the domain and for one below it: no half rows, no second owner."""
    below = f"mail.{NAME}"
    for name in (NAME, below):
        for workspace in (town.acme, town.other):
            await town.add(name, workspace=workspace)
            await _publish_beside(town, name, workspace)

    async def client(number: int) -> Any:
        workspace = (town.acme, town.other)[number % 2]
        name = (NAME, below)[number // 2 % 2]
        try:
            return await town.look(name, workspace=workspace)
        except MailagentError as error:
            return error

    seen = await asyncio.gather(*map(client, range(20)))
    assert [one for one in seen if isinstance(one, Exception)] == []
    for name in (NAME, below):
        rows = await town.rows(select(t.domains).where(t.domains.c.name == name))
        won = [row for row in rows if row.verified_at is not None]
        assert len(won) == 1, name
        assert (won[0].state, won[0].sending_state) == ("verified", "active")
        (lost,) = [row for row in rows if row.verified_at is None]
        assert (lost.state, lost.receiving_verified_at, lost.sending_verified_at) == (
            "failed",
            None,
            None,
        )
        assert lost.verdict["failure"]["code"] == "domain_taken"


async def _publish_beside(town: Town, name: str, workspace: str) -> None:
    """Both tokens stand there at once, as two TXT records."""
    own = f"_aexy-verification.{name}"
    before = town.dns.zone.get(own, {}).get("TXT", [])
    await town.publish(name, workspace=workspace)
    town.dns.zone[own]["TXT"] += [one for one in before if one not in town.dns.zone[own]["TXT"]]


async def test_twenty_clients_that_add_one_name_make_one_domain(town: Town) -> None:
    async def client(_: int) -> Any:
        try:
            return await town.add()
        except Conflict as error:
            return error

    made = [one for one in await asyncio.gather(*map(client, range(20)))
            if isinstance(one, stored.Domain)]  # fmt: skip
    assert len(made) == 1
    assert len(await town.rows(select(t.domains))) == 1
    assert len(await town.rows(select(t.signing_keys).where(t.signing_keys.c.domain == NAME))) == 2


async def test_a_look_for_another_mode_says_nothing_of_the_new_one(town: Town) -> None:
    await town.add(mode="send_only")
    await town.publish()
    domain = await town.domain()
    seen = await checking.look(town.desk, domain)
    await town.store.write(
        town.acme, changing.change, town.desk, NAME, {"mode": "send_receive"}, actor="person:test"
    )
    after = await town.store.write_unscoped(
        checking._record, town.desk, town.acme, domain.id, seen, None
    )
    assert (after.life.state, after.life.sending) == ("pending", "pending")
    assert (await town.look()).life.state == "pending", "its MX is not there"
