"""What uses a domain is said before it is removed, and goes with it when that is meant."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from backend.domain_options import service as options
from backend.routes import service as routes
from backend.senders import service as senders
from mailagent.errors import Conflict
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.domains.town import DEFAULT, NAME, Town


@pytest.fixture
async def used(town: Town) -> Town:
    """A verified domain of an agent's, with two senders and a route."""
    await town.add()
    await town.publish()
    await town.look()
    await town.store.write(town.acme, _use, town)
    return town


def _use(tx: Transaction, town: Town) -> None:
    installed = town.desk.installed(tx)
    options.give(tx, installed, NAME, agent="hello", most_of_a_group=5, apex_confirmed=True)
    options.change(tx, installed, NAME, {"retention_days": 1})
    for user in ("sales", "help"):
        senders.create(tx, DEFAULT, NAME, user=user, most=10)
    routes.create(
        tx, town.desk.secrets, NAME, recipient="sales", actions=["store()", "stop()"], most=10
    )


async def test_senders_and_routes_stand_in_the_list_of_what_uses_a_domain(used: Town) -> None:
    with pytest.raises(Conflict, match="2 sender identities, 1 receiver route: with force"):
        await used.remove()
    assert (await used.domain()).removing_at is None
    assert len(await used.rows(select(t.sender_identities))) == 2


async def test_with_force_they_go_with_the_domain_and_the_consequences_are_named(
    used: Town,
) -> None:
    done = await used.remove(force=True)
    assert done.gone
    assert {
        "2 sender identities can log in no more",
        "1 receiver route forwards nothing any more",
        "what is kept of its mail is kept as the workspace keeps it, and not for 1 day",
    } <= set(done.consequences)
    for table in (t.domains, t.sender_identities, t.receiver_routes):
        assert await used.rows(select(table)) == []


async def test_they_go_at_once_though_the_domain_waits_for_its_providers(used: Town) -> None:
    """Nobody logs in for a domain that is being removed, and its agent may take another."""
    await used.store.write_unscoped(_leave_something_at_a_provider, used)
    assert not (await used.remove(force=True)).gone
    (row,) = await used.rows(select(t.domains))
    assert (row.agent_id, row.retention_days) == (None, None)
    assert await used.rows(select(t.sender_identities)) == []
    with pytest.raises(Conflict, match="sender records"):
        await used.store.write(used.acme, senders.create, DEFAULT, NAME, user="late", most=10)
    assert (await used.remove()).consequences == (
        f"mail for {NAME} is refused while its MX still leads here",
    )


def _leave_something_at_a_provider(tx: Transaction, town: Town) -> None:
    domain = tx.row(select(t.domains))
    assert domain is not None
    row = {"domain_id": domain.id, "account": "gone", "side": "sending", "name": NAME}
    tx.of(town.acme).insert(t.domain_identities, row)
