"""Postmark is set up, checked and taken back, and told for which domains it brings mail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from backend.outbound.provisioning import Mode, Report, carry_out
from mailagent.errors import Misconfigured, PermanentFailure
from mailagent.providers import Account, House, collector
from mailagent.providers.steps import Outcome, Result
from mailagent.webhook import WebhookSettings
from tests.postmark_control import ACCOUNT_TOKEN, PostmarkControlServer
from tests.postmark_server import TOKEN

DOMAIN = "aexy.example"
PASSWORD = "p@ss/of:the tests"
MAIL = "https://pm:p%40ss%2Fof%3Athe%20tests@mail.aexy.example/webhook/postmark"
EVENTS = "https://pm:p%40ss%2Fof%3Athe%20tests@mail.aexy.example/webhooks/email/postmark"


@asynccontextmanager
async def postmark(
    **without: str,
) -> AsyncIterator[tuple[PostmarkControlServer, Account, House]]:
    """Settings that are given as "" are not set."""
    async with PostmarkControlServer() as server:
        settings = {
            "POSTMARK_SERVER_TOKEN": TOKEN,
            "POSTMARK_ACCOUNT_TOKEN": ACCOUNT_TOKEN,
            "POSTMARK_BASE_URL": server.url,
            **without,
        }
        values = {"POSTMARK_WEBHOOK_USER": "pm", "POSTMARK_WEBHOOK_PASSWORD": PASSWORD}
        here = House(DOMAIN, "https://mail.aexy.example", WebhookSettings(values))
        server.published = {DOMAIN}
        yield server, Account("postmark", "postmark", settings), here


async def run(account: Account, here: House, mode: Mode) -> Report:
    report = await carry_out(account, here, mode)
    assert report is not None
    return report


def by_name(report: Report) -> Mapping[str, Result]:
    return {step.name: step for step in report.steps}


async def test_a_plan_makes_nothing_and_shows_no_secret() -> None:
    async with postmark() as (server, account, here):
        report = await run(account, here, "plan")
        assert server.changes == []
    assert [step.name for step in report.steps if step.outcome is Outcome.WANTED] == [
        *("sender domain", "inbound webhook", "webhook", "inbound domain")
    ]
    assert "of%3Athe" not in repr(report)
    assert TOKEN not in repr(report)
    assert by_name(report)["inbound webhook"].wants == (
        "mail goes raw to https://pm:…@mail.aexy.example/webhook/postmark"
    )


async def test_everything_of_the_guide_is_made_once() -> None:
    async with postmark() as (server, account, here):
        first = await run(account, here, "make")
        assert not first.failed, first
        asked = server.changes
        second = await run(account, here, "make")
        assert server.changes == asked
    (ours,) = server.servers.values()
    assert ours["InboundHookUrl"] == MAIL
    assert ours["RawEmailEnabled"]
    assert ours["InboundDomain"] == DOMAIN
    (hook,) = server.webhooks.values()
    assert (hook["Url"], hook["MessageStream"]) == (EVENTS, "outbound")
    enabled = {name for name, trigger in hook["Triggers"].items() if trigger["Enabled"]}
    assert enabled == {"Bounce", "Delivery", "SpamComplaint", "SubscriptionChange"}
    assert [one["Name"] for one in server.domains.values()] == [DOMAIN]
    assert {step.outcome for step in second.steps} == {Outcome.STANDS, Outcome.WAITS}
    assert "none below it" in by_name(second)["inbound domain"].notes[0]


async def test_a_server_of_ours_is_made_where_none_is_named_and_its_token_is_not_shown() -> None:
    async with postmark(POSTMARK_SERVER_TOKEN="") as (server, account, here):
        server.servers.clear()
        report = await run(account, here, "make")
        assert not report.failed, report
        again = await run(account, here, "make")
    (ours,) = server.servers.values()
    assert (ours["Name"], ours["InboundHookUrl"]) == ("mailagent", MAIL)
    assert TOKEN not in repr(report) + repr(again)
    assert "into POSTMARK_SERVER_TOKEN" in by_name(again)["server"].notes[0]


async def test_a_failure_takes_back_what_the_run_made() -> None:
    async with postmark() as (server, account, here):
        server.published.clear()
        report = by_name(await run(account, here, "make"))
    assert report["inbound domain"].outcome is Outcome.FAILED
    assert "The MX record of the inbound domain" in report["inbound domain"].says
    assert report["webhook"].outcome is Outcome.UNDONE
    (ours,) = server.servers.values()
    assert (ours["InboundHookUrl"], ours["RawEmailEnabled"]) == ("", False)
    assert server.webhooks == {}
    assert server.domains == {}


async def test_what_cannot_be_taken_back_is_said_to_stand() -> None:
    async with postmark(POSTMARK_SERVER_TOKEN="") as (server, account, here):
        server.servers.clear()
        server.published.clear()
        server.refused = {"DELETE /servers/1"}
        report = by_name(await run(account, here, "make"))
    assert report["server"].outcome is Outcome.LEFT
    assert report["server"].says.startswith("stands: a server of ours; taking it back failed")


async def test_a_server_that_works_for_another_program_is_left_alone() -> None:
    async with postmark() as (server, account, here):
        server.servers[1] |= {
            "InboundHookUrl": "https://other.example/hook",
            "InboundDomain": "other.example",
        }
        report = by_name(await run(account, here, "make"))
    assert report["inbound webhook"].outcome is Outcome.WAITS
    assert report["inbound domain"].says == "is other.example"
    assert server.servers[1]["InboundHookUrl"] == "https://other.example/hook"


async def test_what_was_switched_off_by_hand_is_told_and_mended() -> None:
    async with postmark() as (server, account, here):
        await run(account, here, "make")
        server.servers[1]["RawEmailEnabled"] = False
        server.webhooks[1]["Triggers"]["Bounce"] = {"Enabled": False}
        server.webhooks[1]["Triggers"]["Open"] = {"Enabled": True}
        checked = by_name(await run(account, here, "check"))
        assert checked["inbound webhook"].says == "mail comes without its raw content"
        assert checked["webhook"].says == "lacks Bounce"
        await run(account, here, "make")
    assert server.servers[1]["RawEmailEnabled"]
    triggers = server.webhooks[1]["Triggers"]
    assert triggers["Bounce"]["Enabled"]
    assert triggers["Open"]["Enabled"]


async def test_without_the_accounts_token_all_but_the_sender_domain_is_set_up() -> None:
    async with postmark(POSTMARK_ACCOUNT_TOKEN="") as (server, account, here):
        report = by_name(await run(account, here, "make"))
    assert report["sender domain"].outcome is Outcome.WAITS
    assert report["inbound domain"].outcome is Outcome.MADE
    assert server.domains == {}


async def test_without_a_password_nothing_is_told_to_postmark() -> None:
    async with postmark() as (server, account, _):
        here = House(DOMAIN, "https://mail.aexy.example", WebhookSettings())
        with pytest.raises(Misconfigured, match="POSTMARK_WEBHOOK_PASSWORD"):
            await run(account, here, "plan")
        assert server.requests == []


async def test_each_domain_has_a_server_that_brings_its_mail() -> None:
    async with postmark() as (server, account, here):
        opened = collector(account, here)
        assert opened is not None
        async with opened as collects:
            with pytest.raises(PermanentFailure, match="MX record"):
                await collects.collect("shop.example")
            server.published.add("shop.example")
            records = await collects.collect("shop.example")
            asked = server.changes
            assert await collects.collect("shop.example") == records
            assert server.changes == asked
            assert await collects.collects("shop.example")

            await collects.stop_collecting("shop.example")
            asked = server.changes
            await collects.stop_collecting("shop.example")
            assert server.changes == asked
            assert not await collects.collects("shop.example")
            await collects.collect("shop.example")
    assert [one["Name"] for one in server.servers.values()] == ["by hand", "mailagent shop.example"]
    assert server.servers[2]["InboundHookUrl"] == MAIL
    assert [(one.type, one.name, one.value, one.priority) for one in records] == [
        ("MX", "shop.example", "inbound.postmarkapp.com", 10)
    ]
