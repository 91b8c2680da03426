"""A domain that is kept to a region meets the accounts of that region, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import select

from backend.agent_groups import service as groups
from backend.domain_options import service as options
from backend.outbound import accounts
from mailagent.errors import Conflict
from mailagent.providers import Account, region_of
from mailagent.store.tables import domain_steps
from mailagent.store.transaction import Transaction
from tests.dns_server import DnsServer
from tests.domains.test_steps import Mailgun
from tests.domains.town import NAME, Town, open_town
from tests.mailgun_server import KEY

SUB = f"mail.{NAME}"


@pytest.fixture
async def us() -> AsyncIterator[Mailgun]:
    async with Mailgun() as server:
        yield server


@pytest.fixture
async def eu() -> AsyncIterator[Mailgun]:
    async with Mailgun() as server:
        yield server


@pytest.fixture
def town(database_url: str, dns: DnsServer, us: Mailgun) -> Iterator[Town]:
    """With an account in the United States, from the environment."""
    with open_town(
        database_url,
        dns,
        mailgun_api_key=KEY,
        mailgun_base_url=us.url,
        public_url="https://mail.agents.example",
    ) as opened:
        yield opened


async def set_up_in_the_eu(town: Town, eu: Mailgun) -> None:
    settings = {"MAILGUN_API_KEY": KEY, "MAILGUN_REGION": "eu", "MAILGUN_BASE_URL": eu.url}
    await town.store.write_unscoped(
        accounts.add, town.desk.secrets, "mailgun", settings, name="mailgun-eu"
    )


async def test_a_domain_is_told_only_to_the_account_of_its_region(
    town: Town, us: Mailgun, eu: Mailgun
) -> None:
    await set_up_in_the_eu(town, eu)
    added = await town.add(SUB, region="EU")
    await town.work()
    assert (list(us.known), us.routes) == ([], {})
    assert (list(eu.known), len(eu.routes)) == ([SUB], 1)
    assert (added.region, added.choices.carried_by, added.choices.receive_by) == (
        "EU",
        ("mailgun-eu",),
        "mailgun-eu",
    )

    await town.add(f"us.{NAME}", region="US")
    await town.work()
    assert (list(us.known), list(eu.known)) == ([f"us.{NAME}"], [SUB])


async def test_without_an_account_there_a_domain_is_refused_with_the_mend(
    town: Town, us: Mailgun
) -> None:
    with pytest.raises(Conflict, match=r"no account works in EU.*mailagent provider add.*--by own"):
        await town.add(SUB, region="EU")
    with pytest.raises(
        Conflict, match=r"Mailgun works in US, and mail\.acme\.example is to be kept"
    ):
        await town.add(SUB, region="EU", carried_by=["mailgun"])
    with pytest.raises(Conflict, match="Mailgun works in US"):
        await town.add(SUB, region="EU", carried_by=["own"], receive_by="mailgun")
    assert await town.work() == 0
    assert us.known == {}
    added = await town.add(SUB, region="EU", carried_by=["own"])
    assert (added.region, added.choices.carried_by) == ("EU", ())


async def test_a_groups_domain_is_kept_to_the_united_states_unless_no_account_is_there(
    town: Town, us: Mailgun, eu: Mailgun
) -> None:
    await town.store.write(town.acme, groups.create, "Desk", ["hello"])
    await set_up_in_the_eu(town, eu)
    theirs = await town.add(SUB, group="Desk")
    assert (theirs.region, theirs.choices.carried_by) == ("US", ("mailgun",))
    european = await town.add(f"eu.{NAME}", group="Desk", carried_by=["mailgun-eu"])
    assert european.region == "EU"


async def test_a_region_is_set_only_where_the_domain_is_already(town: Town) -> None:
    await town.add(SUB)

    def set_(tx: Transaction, region: str) -> options.Options:
        return options.change(tx, town.desk.installed(tx), SUB, {"region": region})

    with pytest.raises(Conflict, match=r"carried by Mailgun.* in US: add a new sub-domain for EU"):
        await town.store.write(town.acme, set_, "EU")
    assert (await town.store.write(town.acme, set_, "US")).region == "US"
    with pytest.raises(Conflict, match="is US and fixed: add a new sub-domain for EU"):
        await town.store.write(town.acme, set_, "EU")


async def test_an_account_that_has_moved_is_told_nothing_of_the_domain(
    town: Town, eu: Mailgun
) -> None:
    await set_up_in_the_eu(town, eu)
    await town.add(SUB, region="EU")
    moved = {"MAILGUN_API_KEY": KEY, "MAILGUN_REGION": "us", "MAILGUN_BASE_URL": eu.url}
    await town.store.write_unscoped(
        accounts.add, town.desk.secrets, "mailgun", moved, name="mailgun-eu", replace=True
    )
    await town.work()
    assert eu.known == {}
    reasons = {row.reason for row in await town.rows(select(domain_steps))}
    assert reasons == {f"mailgun-eu works in US, and {SUB} is kept to EU"}


@pytest.mark.parametrize(
    ("kind", "settings", "region"),
    [
        ("mailgun", {}, "US"),
        ("mailgun", {"MAILGUN_REGION": "eu"}, "EU"),
        ("sendgrid", {}, "US"),
        ("sendgrid", {"SENDGRID_REGION": "eu"}, "EU"),
        ("postmark", {}, "US"),
        ("ses", {"AWS_REGION": "us-east-1"}, "US"),
        ("ses", {"AWS_REGION": "us-east-1", "AWS_SES_REGION": "eu-central-1"}, "EU"),
        ("ses", {"AWS_SES_REGION": "eu-west-2"}, "eu-west-2"),  # London
        ("ses", {"AWS_SES_REGION": "ap-south-1"}, "ap-south-1"),
        ("smtp", {}, ""),
    ],
)
def test_every_account_works_somewhere(kind: str, settings: dict[str, str], region: str) -> None:
    assert region_of(Account("one", kind, settings)) == region
