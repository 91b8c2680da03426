"""Stories that the machine has found in our code, told once each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from backend.outbound import suppressions, writing
from mailagent.mail import Address
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.databases import SqliteDatabases
from tests.properties.fate import Fate
from tests.properties.house import QuietHouse, Space
from tests.properties.letters import report

BEFORE_SENDING = 1
"""The commit point after a send has looked at suppressions and before it commits `sending`."""


async def write_to(house: QuietHouse, space: Space, *addresses: str) -> None:
    draft = writing.Draft(tuple(map(Address, addresses)), "News", "We have moved.\n")

    def write(tx: Transaction) -> None:
        agent_id = tx.value(t.agents.select().with_only_columns(t.agents.c.id))
        writing.write(tx, house.services, agent_id, draft, author="person:owner")

    await house.store.write(space.id, write)


@pytest.fixture
async def house(sqlite_databases: SqliteDatabases, tmp_path: Path) -> AsyncIterator[QuietHouse]:
    with capture_logs():
        made = await QuietHouse.found(sqlite_databases.create(tmp_path), at_once=1)
        yield made
        await made.close()


async def test_who_is_suppressed_while_a_worker_sleeps_gets_nothing_when_it_wakes(
    house: QuietHouse,
) -> None:
    here = house.spaces[0]
    await write_to(house, here, "cleo@customer.example")
    (claim,) = await house.claim("send")
    asleep = await house.work(claim, Fate(BEFORE_SENDING))
    assert asleep is not None
    await house.store.write(
        here.id, suppressions.add, "cleo@customer.example", detail="", actor="person:owner"
    )
    await house.wake(asleep)
    assert not house.far.offered
    await house.come_to_rest()
    await house.check_at_rest()
    (row,) = await house.rows(t.outbound_recipients.select())
    assert row.state == "suppressed"


async def test_a_forged_report_about_who_still_waits_keeps_no_mail_from_them(
    house: QuietHouse,
) -> None:
    """Whoever got the mail knows its Message-ID, and may say that the others got it too."""
    house.far.at_once = 2
    await write_to(house, house.spaces[0], "ann@customer.example", "ben@customer.example")
    (claim,) = await house.claim("send")
    await house.work(claim, Fate(far_side="defers the first"))
    (offered,) = house.far.offered
    (waiting,) = await house.rows(
        t.outbound_recipients.select().where(t.outbound_recipients.c.state == "queued")
    )
    about = replace(offered, recipient=replace(offered.recipient, address=waiting.address))
    forged = report(1, about, "has arrived", to=offered.outgoing.from_.address)
    await house.accept(forged.raw, forged.to, mail_from=None, source="smtp", source_id="1")
    await house.come_to_rest()
    await house.check_at_rest()
    assert house.far.taken[waiting.id] == 1
