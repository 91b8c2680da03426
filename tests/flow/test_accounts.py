"""Accounts rest, are rejected, have quotas and domains; what one process learns, others know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select, update
from structlog.testing import capture_logs

from backend import health
from backend.outbound import accounts as wishes
from backend.outbound import listing, preferences
from backend.outbound.accounts import Limits
from backend.outbound.listing import Filter
from backend.paging import Window
from backend.workspaces import service as workspaces
from mailagent.flow import outbox, send
from mailagent.flow.accounts import Accounts, Trouble, learn
from mailagent.mail import Address
from mailagent.outgoing import Outgoing
from mailagent.providers import Account, SigningKey, Surroundings
from mailagent.sandbox import Sandbox
from mailagent.store import provider_accounts
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, claim
from tests import verified_domain
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, open_mailroom
from tests.mailgun_server import KEY, MailgunServer
from tests.smtp_sink import Behaviour, Fault, Sink


@dataclass
class Office:
    """An installation with two relays, `a` before `b`, whose accounts follow the database."""

    room: Mailroom
    accounts: Accounts
    scripts: dict[str, dict[str, Behaviour | list[Behaviour]]]
    sinks: dict[str, Sink]

    async def send(self, **changes: object) -> AnyRow:
        """Send one mail, once; its first recipient's row afterwards."""
        await self.accounts.refresh()
        made = await self.room.store.write_unscoped(_due, self.room.workspace_id, changes)
        services = replace(
            self.room.services, accounts=self.accounts, account_states=self.accounts.states
        )
        with capture_logs():
            await send.send(services, made)
        ours = t.outbound_recipients.c.outbound_id == made.id
        rows = await self.room.rows(select(t.outbound_recipients).where(ours))
        return rows[0]

    async def wish(self, work: object, *args: object) -> None:
        await self.room.store.write_unscoped(work, *args)  # type: ignore[arg-type]
        await self.accounts.refresh()

    def another_process(self) -> Accounts:
        """What a second process would make of the same environment and database."""
        return _accounts(self.room, self.sinks)


def _due(tx: Transaction, workspace_id: str, changes: dict[str, object]) -> Claim:
    values: dict[str, object] = {
        "message_id": f"<{new_id('new')}@shop.{DOMAIN}>",
        "date": tx.now,
        "from_": Address(HELLO),
        "to": (Address("ann@customer.example"),),
        "subject": "News",
        "text": "We have moved.\n",
    }
    outgoing = Outgoing(**(values | changes))  # type: ignore[arg-type]
    envelope = outbox.Envelope("new", "person:eva", "agt_hello")
    outbox.queue(tx.of(workspace_id), outgoing, envelope, expiry=timedelta(days=2))
    (made,) = claim(tx, outbox.SENDING, 2, of=workspace_id)
    return made


async def _unsigned(_: str) -> SigningKey | None:
    return None


def _accounts(room: Mailroom, sinks: dict[str, Sink]) -> Accounts:
    def relay(name: str) -> Account:
        url = f"smtp://ann:wonderland@127.0.0.1:{sinks[name].port}?tls=none&idle=0"
        return Account(name, "smtp", {"SMTP_RELAY_URL": url})

    return Accounts(
        room.store,
        room.services.secrets,
        Surroundings(f"mx.{DOMAIN}", room.acceptor, _unsigned),
        always=[Account("capture", "capture"), Account("local", "local")],
        environment=[relay("a"), relay("b")],
        default_domain=DOMAIN,
    )


@asynccontextmanager
async def open_office(url: str) -> AsyncIterator[Office]:
    scripts: dict[str, dict[str, Behaviour | list[Behaviour]]] = {"a": {}, "b": {}}
    users = {"ann": "wonderland"}
    async with (
        Sink(script=scripts["a"], users=users) as a,
        Sink(script=scripts["b"], users=users) as b,
        open_mailroom(url, Sandbox(allowed=())) as room,
    ):
        # The operator's workspace is the older one: here the mailroom's other.
        to = {"escalation_address": "operator@people.example"}
        operators = t.workspaces.c.id == "wsp_other"
        await room.store.write_unscoped(
            lambda tx: (
                tx.execute(update(t.workspaces).where(operators).values(settings=to)).rowcount
            )
        )
        sinks = {"a": a, "b": b}
        accounts = _accounts(room, sinks)
        try:
            yield Office(room, accounts, scripts, sinks)
        finally:
            await accounts.close()


@pytest_asyncio.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with open_office(database_url) as opened:
        yield opened


def states(accounts: Accounts) -> Sequence[str]:
    now = datetime.now(UTC)
    return [
        f"{one.name}: {'rests' if one.paused_until and one.paused_until > now else 'well'}"
        for one in accounts.states
    ]


pytestmark = pytest.mark.asyncio


async def test_an_account_rests_after_failures_in_a_row_and_every_process_knows(
    office: Office,
) -> None:
    other = office.another_process()
    office.scripts["a"]["MAIL"] = "451 4.3.2 closed"
    for _ in range(3):
        assert (await office.send()).account == "b"
    connections = office.sinks["a"].connections
    assert (await office.send()).account == "b"
    assert office.sinks["a"].connections == connections
    await other.refresh()
    assert states(other) == ["a: rests", "b: well"]
    await other.close()


async def test_an_account_that_fails_for_one_recipient_is_not_asked_for_the_others(
    office: Office,
) -> None:
    office.scripts["a"]["MIDWAY"] = Fault.RESET
    to = tuple(Address(f"{name}@customer.example") for name in ("ann", "bob", "cleo"))
    await office.send(to=to)
    rows = await office.room.rows(
        select(t.outbound_recipients)
        .where(t.outbound_recipients.c.address.like("%@customer.example"))
        .order_by(t.outbound_recipients.c.id)
    )
    assert [(one.state, one.account) for one in rows] == [
        ("unknown", "a"),
        ("sent", "b"),
        ("sent", "b"),
    ]
    assert office.sinks["a"].connections == 1


async def test_a_success_ends_the_row_of_failures(office: Office) -> None:
    office.scripts["a"]["MAIL"] = ["451 4.3.2 closed", "451 4.3.2 closed"]
    for expected in ("b", "b", "a"):
        assert (await office.send()).account == expected
    office.scripts["a"]["MAIL"] = ["451 4.3.2 closed", "451 4.3.2 closed"]
    for expected in ("b", "b", "a"):
        assert (await office.send()).account == expected


async def test_a_mail_for_which_every_account_rests_waits_for_the_first_of_them(
    office: Office,
) -> None:
    office.scripts["a"]["MAIL"] = office.scripts["b"]["MAIL"] = "451 4.3.2 closed"
    for _ in range(3):
        await office.send()
    row = await office.send()
    assert (row.state, row.account) == ("queued", None)
    assert row.reason.startswith("no account may carry it: a paused until ")
    assert timedelta(seconds=10) < row.not_before - datetime.now(UTC) < timedelta(seconds=40)


async def test_rejected_credentials_are_told_once_and_other_ones_are_tried_at_once(
    office: Office,
) -> None:
    office.scripts["a"]["AUTH"] = "535 5.7.8 no"
    for _ in range(2):
        assert (await office.send()).account == "b"
    told = select(t.outbound_mails.c.subject).where(t.outbound_mails.c.purpose == "notice")
    subjects = await office.room.store.read_unscoped(lambda tx: tx.rows(told))
    assert [row.subject for row in subjects] == ["The account a was rejected by its provider"]
    (standing,) = await office.room.store.read_unscoped(
        lambda tx: tx.rows(t.account_standings.select())
    )
    assert standing.status == "rejected"
    assert "wonderland" not in standing.reason

    office.scripts["a"].clear()
    url = f"smtp://ann:wonderland@127.0.0.1:{office.sinks['a'].port}?tls=none&mails=5"
    await office.wish(
        lambda tx: wishes.add(
            tx, office.room.services.secrets, "smtp", {"SMTP_RELAY_URL": url}, name="a"
        )
    )
    await office.wish(wishes.limit, "a", Limits(priority=1))
    assert (await office.send()).account == "a"


async def test_a_paused_account_carries_nothing_until_it_is_resumed(office: Office) -> None:
    await office.wish(wishes.pause, "a", "moving")
    assert (await office.send()).account == "b"
    await office.wish(wishes.pause, "b", "")
    waiting = await office.send()
    assert waiting.state == "queued"
    assert "a switched off: moving" in waiting.reason
    await office.wish(wishes.resume, "a")
    assert (await office.send()).account == "a"


async def test_an_account_carries_only_what_its_provider_has_verified(office: Office) -> None:
    await office.wish(wishes.limit, "a", Limits(sends_for=["other.example"]))
    assert (await office.send()).account == "b"
    await office.wish(wishes.limit, "b", Limits(sends_for=["other.example"]))
    waiting = await office.send()
    assert (waiting.state, waiting.account) == ("queued", None)
    assert waiting.reason == f"sender domain not verified: shop.{DOMAIN} (by a, b)"
    counted = await office.room.store.read_unscoped(health.count)
    assert counted["outbound_waiting"]["sender domain not verified"] == 1
    shown = await office.room.ask(listing.listing, Filter(state="queued"), Window())
    assert shown.items[0].recipients[0].reason == waiting.reason
    # What is verified for the default domain sends for each workspace below it.
    await office.wish(wishes.limit, "b", Limits(sends_for=[DOMAIN]))
    assert (await office.send()).account == "b"


async def test_a_quota_holds_over_all_processes_and_what_is_over_it_comes_back_in_turn(
    office: Office,
) -> None:
    await office.wish(wishes.limit, "a", Limits(quotas={"day": 2}))
    await office.wish(wishes.limit, "b", Limits(quotas={"day": 1}))
    assert [(await office.send()).account for _ in range(3)] == ["a", "a", "b"]
    first, second = await office.send(), await office.send()
    assert "the quota of b is used up: 1 in a day" in first.reason
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    tomorrow += timedelta(days=1)
    assert first.not_before == tomorrow
    assert (first.attempts, second.attempts) == (0, 0)
    assert len(office.sinks["b"].taken) == 1


async def test_a_mailbox_or_a_domain_is_bound_to_its_accounts(office: Office) -> None:
    here = HELLO.partition("@")[2]
    await office.room.do(preferences.choose_for, ["b"], agent_id="agt_hello")
    assert (await office.send()).account == "b"
    # The narrowest wins, and other settings leave it as it is.
    await office.room.do(preferences.choose_for, ["a"], domain=here)
    await office.room.do(workspaces.update_settings, {"retention_days": 30})
    assert (await office.send()).account == "b"
    await office.room.do(preferences.choose_for, [], agent_id="agt_hello")
    assert (await office.send()).account == "a"
    await office.room.do(preferences.choose_for, ["gone"], domain=here)
    waiting = await office.send()
    assert (waiting.state, waiting.account) == ("queued", None)
    assert waiting.reason == "no account may carry it: gone is not set up"


async def test_mail_of_a_domain_that_is_kept_to_a_region_waits_for_an_account_there(
    office: Office,
) -> None:
    await office.room.do(_domain_in_the_eu)
    async with MailgunServer() as mailgun:
        us = {"MAILGUN_API_KEY": KEY, "MAILGUN_BASE_URL": mailgun.url}
        secrets = office.room.services.secrets
        await office.wish(provider_accounts.keep, secrets, "mg", "mailgun", us)
        waiting = await office.send(from_=Address("sales@acme.example"))
        assert (waiting.state, mailgun.taken) == ("queued", [])
        assert "mg works in US, and mail of acme.example is kept to EU" in waiting.reason

        eu = {**us, "MAILGUN_REGION": "eu"}
        await office.wish(provider_accounts.keep, secrets, "mg", "mailgun", eu)
        sent = await office.send(from_=Address("sales@acme.example"))
        assert (sent.state, sent.account, len(mailgun.taken)) == ("sent", "mg", 1)


def _domain_in_the_eu(tx: Transaction) -> None:
    row = {"id": "dom_1", "name": "acme.example", "state": "verified", "created_at": tx.now}
    verified = verified_domain.columns(tx.now)
    tx.insert(t.domains, {**row, **verified, "region": "EU", "settings": {"carried_by": ["mg"]}})
    identity = {"domain_id": "dom_1", "account": "mg", "side": "sending", "name": "acme.example"}
    tx.insert(t.domain_identities, identity)
    address = {
        "local_part": "sales",
        "domain": "acme.example",
        "agent_id": "agt_hello",
        "alias": True,
    }
    tx.insert(t.addresses, {"id": new_id("adr"), "created_at": tx.now, **address})


async def test_no_message_chooses_its_account(office: Office) -> None:
    await office.room.do(preferences.choose_for, ["b"], agent_id="agt_hello")
    headers = (("X-Account", "a"), ("X-Mailagent-Account", "a"))
    assert (await office.send(headers=headers)).account == "b"


async def test_an_account_whose_settings_make_none_is_left_out_and_says_so(office: Office) -> None:
    def spoil(tx: Transaction) -> None:
        provider_accounts.keep(tx, office.room.services.secrets, "a", "smtp", {})

    await office.wish(spoil)
    assert (await office.send()).account == "b"
    state = next(one for one in office.accounts.states if one.name == "a")
    assert "SMTP_RELAY_URL: is empty" in state.off_reason


async def test_nothing_is_written_of_an_account_that_is_well(office: Office) -> None:
    await office.send()
    rows = await office.room.store.read_unscoped(lambda tx: tx.rows(t.account_standings.select()))
    assert rows == []


async def test_the_far_sides_own_time_is_kept(office: Office) -> None:
    await office.accounts.refresh()
    until = datetime.now(UTC) + timedelta(minutes=7)
    settings, state = office.room.services.settings, office.accounts.states[0]
    await learn(office.room.store, settings, state, Trouble("429", until))
    await office.accounts.refresh()
    assert office.accounts.states[0].paused_until == until
