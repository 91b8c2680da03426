"""Reports about a domain come to its workspace, once, and from proven senders only."""

from __future__ import annotations

import gzip
from datetime import timedelta

import pytest
from sqlalchemy import select

from mailagent.flow import directory, reports
from mailagent.flow.states import DeliveryState
from mailagent.inbound import Known
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests import verified_domain
from tests.flow.house import DOMAIN, House, Space, mail
from tests.mime.report_files import mail_with, record, tls, tls_gzip, xml

pytestmark = pytest.mark.asyncio(loop_scope="package")

_RECORDS = (record(count=7), record("192.0.2.9", 3, dkim="fail", raw_dkim="fail"))


def dmarc(domain: str, report_id: str, **more: str) -> bytes:
    report = gzip.compress(xml(*_RECORDS, domain=domain, report_id=report_id))
    return mail_with(report, domain=domain, **more)


async def operators(house: House) -> Space:
    """The oldest workspace: the default domain's reports are its."""
    await house.workspace()

    def oldest(tx: Transaction) -> Space:
        row = tx.row(select(t.workspaces).order_by(t.workspaces.c.created_at).limit(1))
        assert row is not None
        return Space(house, row.id, row.slug, "")

    return await house.store.read_unscoped(oldest)


async def with_domain(house: House) -> tuple[Space, str]:
    """A workspace with a verified domain."""
    space = await house.workspace()
    name = f"{space.slug}.custom.example"

    def verified(tx: Transaction) -> None:
        row = {"id": new_id("dom"), "name": name, "state": "verified"}
        tx.insert(
            t.domains,
            {
                **row,
                "created_at": tx.now,
                **verified_domain.columns(tx.now),
            },
        )
        directory.changed(tx)

    await space.write(verified)
    await house.services.directory.refresh()
    return space, name


async def recorded(space: Space, raw: bytes, recipient: str) -> str:
    """How the mail ended, in words."""
    got = await space.receive(raw, recipient)
    reason: str = (await space.delivery(got, "recorded")).reason
    return reason


async def kept(space: Space, report_id: str) -> list[tuple[str, int, int]]:
    """(source, messages, good) of a report that was kept."""
    (report,) = await space.rows(t.domain_reports, t.domain_reports.c.report_id == report_id)
    rows = await space.rows(t.domain_report_rows, t.domain_report_rows.c.report_ref == report.id)
    return sorted((row.source, row.total, row.good) for row in rows)


async def test_a_report_about_the_default_domain_is_the_operators(house: House) -> None:
    space, id_ = await operators(house), new_id("r")
    reason = await recorded(space, dmarc(DOMAIN, id_), f"dmarc@{DOMAIN}")
    assert reason == f"DMARC report of receiver.example about {DOMAIN}: kept, 10 in all"
    assert await kept(space, id_) == [("192.0.2.1", 7, 7), ("192.0.2.9", 3, 0)]


async def test_a_report_about_a_custom_domain_is_its_workspaces(house: House) -> None:
    space, domain = await with_domain(house)
    id_ = new_id("r")
    assert "kept, 10 in all" in await recorded(space, dmarc(domain, id_), f"DMARC@{domain}")
    report = tls_gzip(tls(domain=domain, good=90, bad=10, report_id=id_))
    raw = mail_with(report, name="x.json.gz", domain=domain)
    assert "TLS report of Company-X" in await recorded(space, raw, f"tls@{domain}")
    found = await space.rows(t.domain_reports, t.domain_reports.c.report_id == id_)
    assert sorted((row.kind, row.domain) for row in found) == [("dmarc", domain), ("tls", domain)]


async def test_the_same_report_in_two_mails_is_kept_once(house: House) -> None:
    space, domain = await with_domain(house)
    id_ = new_id("r")
    for expected in ("kept, 10 in all", "kept before"):
        # Others' second mail has another Message-ID.
        assert expected in await recorded(space, dmarc(domain, id_), f"dmarc@{domain}")
    assert len(await kept(space, id_)) == 2


async def test_a_report_that_nobody_vouches_for_is_not_kept(house: House) -> None:
    space, domain = await with_domain(house)
    id_ = new_id("r")
    raw = dmarc(domain, id_, sender="ann@nobody.example")
    got = await space.receive(raw, f"dmarc@{domain}", mail_from="ann@nobody.example")
    assert "nothing proves who sent it" in (await space.delivery(got, "recorded")).reason
    assert await space.rows(t.domain_reports) == []


@pytest.mark.parametrize("about", [DOMAIN, "other.example", "x-{}"])
async def test_a_report_about_a_domain_of_others_is_not_kept(house: House, about: str) -> None:
    space, domain = await with_domain(house)
    raw = dmarc(about.format(domain), new_id("r"))
    assert "no domain of this workspace" in await recorded(space, raw, f"dmarc@{domain}")
    assert await space.rows(t.domain_reports) == []


async def test_a_report_about_a_sub_domain_is_kept(house: House) -> None:
    space, domain = await with_domain(house)
    id_ = new_id("r")
    raw = dmarc(f"news.{domain}", id_)
    assert "kept, 10 in all" in await recorded(space, raw, f"dmarc@{domain}")


async def test_a_bomb_is_recorded_with_the_reason(house: House) -> None:
    space, domain = await with_domain(house)
    raw = mail_with(gzip.compress(b" " * 100_000_000), domain=domain)
    assert "decompression_limit_exceeded" in await recorded(space, raw, f"dmarc@{domain}")


async def test_a_person_who_writes_there_reaches_a_person(house: House) -> None:
    space, domain = await with_domain(house)
    got = await space.receive(mail("Your DMARC record is broken.", to=domain), f"dmarc@{domain}")
    await space.delivery(got, DeliveryState.HANDED_TO_A_PERSON)


async def test_below_the_default_domain_these_names_are_agents(house: House) -> None:
    space = await house.workspace()
    found = house.services.directory.locate(f"dmarc@{space.domain}")
    assert found is Known.NO_SUCH_ADDRESS


async def test_reports_of_last_year_are_forgotten(house: House) -> None:
    space, domain = await with_domain(house)
    id_ = new_id("r")
    await recorded(space, dmarc(domain, id_), f"dmarc@{domain}")
    old = t.domain_reports.update().values(received_at=house.store.now() - timedelta(days=401))
    await space.write(lambda tx: tx.execute(old.where(t.domain_reports.c.report_id == id_)))
    await house.store.write_unscoped(reports.forget)
    assert await space.rows(t.domain_reports) == []
    assert await space.rows(t.domain_report_rows) == []
