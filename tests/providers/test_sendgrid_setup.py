"""SendGrid is set up in two runs, checked and taken back; only mail that is believed is brought."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from backend.outbound.provisioning import Mode, Report, carry_out
from mailagent.errors import PermanentFailure
from mailagent.identity import CollectsEachHost
from mailagent.providers import Account, House, collector
from mailagent.providers.steps import Outcome, Result
from mailagent.webhook import WebhookSettings
from tests.sendgrid_control import EVENTS_KEY, POLICY_KEY, SendGridControlServer
from tests.sendgrid_server import KEY

DOMAIN = "aexy.example"
WORKSPACE = "acme.aexy.example"
BOTH = f"-----BEGIN PUBLIC KEY-----\n{POLICY_KEY}\n-----END PUBLIC KEY-----, {EVENTS_KEY}"
MAIL = "https://mail.aexy.example/webhook/sendgrid"


@asynccontextmanager
async def sendgrid(
    **values: str,
) -> AsyncIterator[tuple[SendGridControlServer, Account, House]]:
    async with SendGridControlServer() as server:
        settings = {"SENDGRID_API_KEY": KEY, "SENDGRID_BASE_URL": server.url}
        here = House(DOMAIN, "https://mail.aexy.example", WebhookSettings(values), (WORKSPACE,))
        yield server, Account("sendgrid", "sendgrid", settings), here


def trusting(here: House, keys: str = BOTH) -> House:
    values = {**here.settings.values, "SENDGRID_WEBHOOK_PUBLIC_KEY": keys}
    return replace(here, settings=WebhookSettings(values))


async def run(account: Account, here: House, mode: Mode) -> Report:
    report = await carry_out(account, here, mode)
    assert report is not None
    return report


def by_name(report: Report) -> Mapping[str, Result]:
    return {step.name: step for step in report.steps}


async def test_a_plan_makes_nothing() -> None:
    async with sendgrid() as (server, account, here):
        report = await run(account, here, "plan")
        assert server.changes == []
    assert [step.name for step in report.steps if step.outcome is Outcome.WANTED] == [
        *("sender domain", "security policy", "event webhook")
    ]


async def test_the_first_run_brings_no_mail_that_would_be_refused_and_the_second_does() -> None:
    async with sendgrid() as (server, account, here):
        first = by_name(await run(account, here, "make"))
        assert server.parse == {}
        (hook,) = server.events.values()
        assert (hook["enabled"], hook["public_key"]) == (False, EVENTS_KEY)
        mend = first["setting SENDGRID_WEBHOOK_PUBLIC_KEY"].mend
        assert f"SENDGRID_WEBHOOK_PUBLIC_KEY={POLICY_KEY},{EVENTS_KEY}" in mend

        second = await run(account, trusting(here), "make")
        assert not second.failed, second
        asked = server.changes
        third = await run(account, trusting(here), "make")
        assert server.changes == asked

    assert server.parse == {
        host: {
            "hostname": host,
            "url": MAIL,
            "send_raw": True,
            "spam_check": True,
            "security_policy": "policy-0",
        }
        for host in (DOMAIN, WORKSPACE)
    }
    assert hook["enabled"]
    assert hook["url"] == "https://mail.aexy.example/webhooks/email/sendgrid"
    assert {step.outcome for step in third.steps} == {Outcome.STANDS, Outcome.WAITS}


async def test_with_a_secret_in_the_address_mail_comes_at_once_and_signed_later() -> None:
    async with sendgrid(INBOUND_WEBHOOK_SECRET="s3cret-of-the-path") as (server, account, here):
        report = await run(account, here, "make")
        assert "s3cret" not in repr(report)
        assert server.parse[WORKSPACE]["url"] == f"{MAIL}/s3cret-of-the-path"
        assert "security_policy" not in server.parse[WORKSPACE]

        await run(account, trusting(here), "make")
    assert server.parse[WORKSPACE]["security_policy"] == "policy-0"


async def test_a_failure_takes_back_what_the_run_made() -> None:
    async with sendgrid() as (server, account, here):
        server.refused = {"POST /v3/user/webhooks/parse/settings"}
        report = by_name(await run(account, trusting(here), "make"))
    assert report[f"parse setting of {DOMAIN}"].outcome is Outcome.FAILED
    assert (server.domains, server.policies, server.events) == ({}, {}, {})


async def test_a_host_of_another_program_is_left_alone() -> None:
    async with sendgrid() as (server, account, here):
        theirs = {"hostname": WORKSPACE, "url": "https://other.example/webhook/sendgrid"}
        server.parse[WORKSPACE] = dict(theirs)
        await run(account, here, "make")
        report = by_name(await run(account, trusting(here), "make"))
        assert report[f"parse setting of {WORKSPACE}"].outcome is Outcome.WAITS
        opened = collector(account, trusting(here))
        assert opened is not None
        async with opened as collects:
            with pytest.raises(PermanentFailure, match="to another program"):
                await collects.collect(WORKSPACE)
            await collects.stop_collecting(WORKSPACE)
    assert server.parse[WORKSPACE] == theirs


async def test_an_older_address_of_ours_is_replaced() -> None:
    async with sendgrid() as (server, account, here):
        await run(account, here, "make")
        await run(account, trusting(here), "make")
        values = {**here.settings.values, "INBOUND_WEBHOOK_SECRET": "new"}
        moved = replace(here, settings=WebhookSettings(values))
        report = await run(account, trusting(moved), "make")
        assert not report.failed, report
    (hook,) = server.events.values()
    assert hook["url"].endswith("/webhooks/email/sendgrid/new")
    assert server.parse[DOMAIN]["url"] == f"{MAIL}/new"


async def test_each_host_is_collected_by_itself_and_no_more() -> None:
    async with sendgrid() as (server, account, here):
        await run(account, here, "make")
        opened = collector(account, trusting(here))
        assert opened is not None
        async with opened as collects:
            assert isinstance(collects, CollectsEachHost)
            records = await collects.collect("b.aexy.example")
            asked = server.changes
            assert await collects.collect("b.aexy.example") == records
            assert server.changes == asked
            assert await collects.collects("b.aexy.example")
            assert await collects.collected() == ["b.aexy.example"]
            await collects.stop_collecting("b.aexy.example")
            await collects.stop_collecting("b.aexy.example")
            assert not await collects.collects("b.aexy.example")
    assert [(one.type, one.name, one.value, one.priority) for one in records] == [
        ("MX", "b.aexy.example", "mx.sendgrid.net", 10)
    ]


async def test_a_host_is_not_collected_while_its_signature_would_be_refused() -> None:
    async with sendgrid() as (server, account, here):
        await run(account, here, "make")
        opened = collector(account, trusting(here, EVENTS_KEY))
        assert opened is not None
        async with opened as collects:
            with pytest.raises(PermanentFailure, match="lacks the key of the security policy"):
                await collects.collect(WORKSPACE)
    assert server.parse == {}


async def test_a_key_that_may_only_send_says_what_it_lacks() -> None:
    async with sendgrid() as (_, account, here):
        settings = {**account.settings, "SENDGRID_API_KEY": "SG.only-sends"}
        report = await run(Account("sendgrid", "sendgrid", settings), here, "check")
    assert report.failed
    assert "docs/providers/sendgrid.md" in report.steps[0].says
