"""A door's yes: who is known, what is kept for whom, and what becomes of it without storage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import Place, StoreDirectory, normalised
from mailagent.inbound import (
    Accepted,
    Duplicate,
    Envelope,
    Inbound,
    Known,
    Later,
    Origin,
    Outcome,
    Unrouted,
)
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.group_commit import Waiting
from mailagent.store.postgres_commit import PostgresCommit
from mailagent.tokens import Secrets, new_id
from tests.databases import SqliteDatabases
from tests.flow.house import ANN, DOMAIN, House, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_an_address_is_known_in_every_way_it_may_be_written(house: House) -> None:
    space = await house.workspace()
    for address in (
        space.address,
        space.address.upper(),
        f"hello+anything@{space.domain}",
        f'"hello"@{space.domain}.',
        f"postmaster@{space.domain}",
        f"abuse@{DOMAIN}",
        "Postmaster",
    ):
        assert await house.services.directory.knows(address) is Known.YES, address


async def test_what_is_not_ours_is_told_apart(house: House) -> None:
    space = await house.workspace()
    await space.another_agent("off", email_enabled=False)
    directory = house.services.directory
    assert await directory.knows(f"off@{space.domain}") is Known.OFF
    assert await directory.knows(f"nobody@{space.domain}") is Known.NO_SUCH_ADDRESS
    assert await directory.knows(f"hello@none.{DOMAIN}") is Known.NO_SUCH_DOMAIN
    assert await directory.knows("hello@elsewhere.example") is Known.NOT_OUR_DOMAIN
    assert await directory.knows(f"b.forged@return.{DOMAIN}") is Known.NO_SUCH_ADDRESS
    for odd in ("", "@", "a@", "\ud800@x", "x@\ud800", "a@" + "é" * 300, "@".join("abc")):
        assert await directory.knows(odd) is Known.NOT_OUR_DOMAIN


async def test_a_new_address_is_known_at_once(house: House) -> None:
    space = await house.workspace()
    address = f"new@{space.domain}"
    assert await house.services.directory.knows(address) is Known.NO_SUCH_ADDRESS
    await space.write(lambda tx: space.add_address(tx, space.agent_id, "new", space.domain))
    async with asyncio.timeout(5):
        while await house.services.directory.knows(address) is not Known.YES:
            await asyncio.sleep(0.01)


async def test_a_domain_counts_for_the_workspace_that_verified_it(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    domain = f"{space.slug}.example"
    for claimant, verified in ((other, None), (space, house.store.now())):
        row = {
            "id": new_id("dom"),
            "name": domain,
            "state": "x",
            "verified_at": verified,
            "receiving_verified_at": verified,
            "created_at": house.store.now(),
        }
        await claimant.write(lambda tx, row=row: tx.insert(t.domains, row))  # type: ignore[misc]
    await space.write(lambda tx: space.add_address(tx, space.agent_id, "hi", domain))
    await house.services.directory.refresh()
    got = await space.receive(mail(), f"hi@{domain}")
    await space.delivery(got, "answered")


async def test_a_mail_for_two_workspaces_shows_neither_what_the_other_has(house: House) -> None:
    one, two = await house.workspace(), await house.workspace()
    await house.accept(
        mail(),
        one.address,
        two.address,
        recipient_parameters={
            one.address: {"ORCPT": "rfc822;one@old.example"},
            two.address: {"ORCPT": "rfc822;two@old.example"},
        },
    )
    for space, foreign in ((one, "two"), (two, "one")):
        (row,) = await space.rows(t.deliveries)
        assert row.recipient == space.address
        assert list(row.origin["recipient_parameters"]) == [space.address]
        assert f"{foreign}@old" not in str(row.origin)
        assert len(await space.rows(t.raw_messages)) == 1
        await space.delivery(row.id, "answered")


async def test_recipients_that_are_gone_by_now_are_left_out(house: House) -> None:
    space = await house.workspace()
    outcome = await house.accept(mail(), f"gone@{space.domain}", space.address)
    assert isinstance(outcome, Accepted)
    assert len(outcome.delivery_ids) == 1
    gone = await house.accept(mail(), f"gone@{space.domain}")
    assert gone == Unrouted((f"gone@{space.domain}",))


async def test_a_hand_over_repeated_by_its_source_is_one_mail(house: House) -> None:
    space = await house.workspace()
    raw = mail()
    first = await house.accept(raw, space.address, source="ses", source_id=space.slug)
    second = await house.accept(raw, space.address, source="ses", source_id=space.slug)
    assert isinstance(first, Accepted)
    assert second == Duplicate(first.delivery_ids)
    assert len(await space.rows(t.deliveries)) == 1


async def test_mails_that_arrive_together_are_all_kept(house: House) -> None:
    space = await house.workspace(turns_per_sender_a_day=0, owner=False)
    outcomes = await asyncio.gather(
        *(house.accept(mail(f"number {n}"), space.address) for n in range(60))
    )
    assert all(isinstance(one, Accepted) for one in outcomes)
    assert len(await space.rows(t.deliveries)) == 60


@pytest.mark.parametrize(("size", "at_once"), [(200_000, 2), (2_000, 1)])
async def test_on_postgresql_what_is_large_is_kept_beside_what_is_being_kept(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, size: int, at_once: int
) -> None:
    running, most, go_on, as_meant = [0], [0], asyncio.Event(), asyncio.Event()

    async def commit(_: PostgresCommit, mails: Sequence[Waiting]) -> list[Outcome]:
        running[0] += 1
        most[0] = max(most[0], running[0])
        if most[0] == at_once:
            as_meant.set()
        await go_on.wait()
        running[0] -= 1
        return [Accepted(("dlv",))] * len(mails)

    monkeypatch.setattr(PostgresCommit, "commit", commit)
    store = Store(postgres_url)
    acceptor = GroupAcceptor(store, _Anywhere(), Secrets(["k" * 40]), on_accepted=lambda: None)
    sent = []
    for n in range(4):
        envelope = Envelope(ANN, (f"a@{DOMAIN}",))
        one = Inbound(envelope, b"x" * size, "smtp", str(n), Origin(store.now()))
        sent.append(asyncio.create_task(acceptor.accept([one])))
        await asyncio.sleep(0.01)  # each could begin a commit of its own
    await asyncio.wait_for(as_meant.wait(), 20)
    go_on.set()
    assert await asyncio.gather(*sent) == [[Accepted(("dlv",))]] * 4
    assert most == [at_once]
    await acceptor.close()
    store.close()


class _Anywhere:
    def locate(self, address: str) -> Place | Known:
        return Place("agent", "wsp", "agt")


async def test_nothing_is_said_no_to_before_the_addresses_are_loaded(
    sqlite_databases: SqliteDatabases, tmp_path: Path
) -> None:
    store, secrets = Store(sqlite_databases.create(tmp_path)), Secrets(["k" * 40])
    directory = StoreDirectory(store, secrets, default_domain=DOMAIN)
    acceptor = GroupAcceptor(store, directory, secrets, on_accepted=lambda: None)
    inbound = Inbound(Envelope(ANN, (f"a@{DOMAIN}",)), b"x", "smtp", "1", Origin(store.now()))
    assert [type(one) for one in await acceptor.accept([inbound])] == [Later]
    await acceptor.close()
    store.close()


async def test_a_directory_without_its_database_says_unknown(
    sqlite_databases: SqliteDatabases, tmp_path: Path
) -> None:
    store = Store(sqlite_databases.create_empty(tmp_path))
    directory = StoreDirectory(store, Secrets(["k" * 40]), default_domain=DOMAIN)
    assert await directory.knows(f"a@{DOMAIN}") is Known.UNKNOWN
    store.close()


async def test_addresses_are_compared_without_case_quotes_and_final_dot() -> None:
    assert normalised('"Hello"@Müller.Example.') == ("hello", "xn--mller-kva.example")
    assert normalised("Postmaster") == ("postmaster", "")
    assert normalised("a@b@c.example") == ("a@b", "c.example")
