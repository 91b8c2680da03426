"""Mailgun is set up, checked and taken back, and told for which domains it brings mail."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from backend.outbound.provisioning import Mode, Report, carry_out
from mailagent.identity import OwnKey, Wish
from mailagent.providers import Account, House, collector, identifier
from mailagent.providers.steps import Outcome, Result
from mailagent.webhook import WebhookSettings
from tests.mailgun_control import MailgunControlServer
from tests.mailgun_server import KEY

DOMAIN = "aexy.example"
SECRET = "a secret/of the path"
EVENTS = "https://mail.aexy.example/webhooks/email/mailgun/a%20secret%2Fof%20the%20path"
MAIL = "https://mail.aexy.example/webhook/mailgun/a%20secret%2Fof%20the%20path/mime"


@asynccontextmanager
async def mailgun() -> AsyncIterator[tuple[MailgunControlServer, Account, House]]:
    async with MailgunControlServer() as server:
        settings = {"MAILGUN_API_KEY": KEY, "MAILGUN_BASE_URL": server.url}
        values = WebhookSettings({"INBOUND_WEBHOOK_SECRET": SECRET})
        here = House(DOMAIN, "https://mail.aexy.example", values)
        yield server, Account("mailgun", "mailgun", settings), here


async def run(account: Account, here: House, mode: Mode) -> Report:
    report = await carry_out(account, here, mode)
    assert report is not None
    return report


def by_name(report: Report) -> Mapping[str, Result]:
    return {step.name: step for step in report.steps}


def matches(expression: str, address: str) -> bool:
    pattern = expression.removeprefix('match_recipient("').removesuffix('")')
    return re.match(pattern, address) is not None


async def test_a_plan_makes_nothing_and_shows_no_secret() -> None:
    async with mailgun() as (server, account, here):
        report = await run(account, here, "plan")
        assert server.changes == []
    assert [step.name for step in report.steps if step.outcome is Outcome.WANTED] == [
        *("sender domain", "wildcard", "webhooks", "route")
    ]
    assert "a%20secret" not in repr(report)
    assert "/webhook/mailgun/…/mime" in by_name(report)["route"].wants


async def test_everything_of_the_guide_is_made_once() -> None:
    async with mailgun() as (server, account, here):
        first = await run(account, here, "make")
        assert not first.failed, first
        asked = server.changes
        second = await run(account, here, "make")
        assert server.changes == asked
    assert server.known[DOMAIN]["wildcard"]
    (route,) = server.routes.values()
    assert route["actions"] == [f'forward("{MAIL}")', "stop()"]
    for address, ours in {
        "x@aexy.example": True,
        "x@acme.aexy.example": True,
        "x@acme.aexy.example.evil.test": False,
        "x@aexyyexample": False,
        "x@not-aexy.example": False,
    }.items():
        assert matches(route["expression"], address) is ours, address
    kinds = {"delivered", "permanent_fail", "temporary_fail", "complained", "unsubscribed"}
    assert server.webhooks == {kind: [EVENTS] for kind in kinds}
    assert {step.outcome for step in second.steps} == {Outcome.STANDS, Outcome.WAITS}
    assert [(one.name, one.value) for one in second.publish][:2] == [
        (DOMAIN, "mxa.mailgun.org"),
        (DOMAIN, "mxb.mailgun.org"),
    ]


async def test_the_guides_unanchored_expression_is_pointed_out_and_left_alone() -> None:
    async with mailgun() as (server, account, here):
        guide = {
            "id": "g",
            "description": "guide",
            "priority": 0,
            "expression": r'match_recipient(".*@.*\.aexy\.example")',
            "actions": ["store()"],
        }
        server.routes["g"] = guide
        report = by_name(await run(account, here, "make"))
        assert server.routes["g"] == guide
    unanchored, misses = report["route"].notes
    assert "'guide' is not anchored: it also matches x@w.aexy.example.evil.example" in unanchored
    assert misses == "the expression of the route 'guide' misses x@aexy.example"


async def test_a_route_made_by_hand_that_does_the_same_is_left_alone() -> None:
    async with mailgun() as (server, account, here):
        await run(account, here, "make")
        (route,) = server.routes.values()
        route["description"] = "by hand"
        asked = server.changes
        report = by_name(await run(account, here, "make"))
        assert server.changes == asked
    assert report["route"].says == "the route 'by hand', made by hand, does it"


async def test_a_failure_takes_back_what_the_run_made_and_leaves_others_addresses() -> None:
    async with mailgun() as (server, account, here):
        server.webhooks = {"delivered": ["https://other.example/hook"]}
        server.refused = {"POST /v3/routes"}
        report = by_name(await run(account, here, "make"))
    assert report["route"].outcome is Outcome.FAILED
    assert report["webhooks"].outcome is Outcome.UNDONE
    assert server.webhooks == {"delivered": ["https://other.example/hook"]}
    assert server.known == {}


async def test_a_failure_within_a_step_takes_its_half_back_too() -> None:
    async with mailgun() as (server, account, here):
        server.webhooks = {"complained": ["https://other.example/hook"]}
        server.refused = {f"PUT /v3/domains/{DOMAIN}/webhooks/complained"}
        report = by_name(await run(account, here, "make"))
    assert report["webhooks"].outcome is Outcome.FAILED
    assert server.webhooks == {"complained": ["https://other.example/hook"]}


async def test_a_new_secret_replaces_the_old_one_which_is_shown_nowhere() -> None:
    async with mailgun() as (server, account, here):
        await run(account, here, "make")
        values = WebhookSettings({"INBOUND_WEBHOOK_SECRET": "new"})
        moved = replace(here, settings=values)
        checked = await run(account, moved, "check")
        assert by_name(checked)["route"].says == "it has other actions or another priority"
        assert "a%20secret" not in repr(checked)
        report = await run(account, moved, "make")
        assert not report.failed, report
    (route,) = server.routes.values()
    assert route["actions"][0].endswith('/webhook/mailgun/new/mime")')
    assert set(map(tuple, server.webhooks.values())) == {(f"{EVENTS.rpartition('/')[0]}/new",)}


async def test_addresses_that_are_full_are_a_persons_to_mend() -> None:
    full = [f"https://{n}.example" for n in range(3)]
    async with mailgun() as (server, account, here):
        server.webhooks = {"delivered": full}
        report = by_name(await run(account, here, "make"))
    assert report["webhooks"].outcome is Outcome.WAITS
    assert server.webhooks == {"delivered": full}
    assert report["route"].outcome is Outcome.MADE


async def test_a_sending_key_says_that_it_may_do_nothing_else() -> None:
    async with mailgun() as (_, account, here):
        settings = {**account.settings, "MAILGUN_API_KEY": "a-sending-key"}
        report = await run(Account("mailgun", "mailgun", settings), here, "check")
    assert not report.well
    assert "a sending key may do nothing else" in report.steps[0].says


async def test_mail_for_one_more_domain_is_brought_and_brought_no_more() -> None:
    async with mailgun() as (server, account, here):
        opened = collector(account, here)
        assert opened is not None
        async with opened as collects:
            assert not await collects.collects("shop.example")
            records = await collects.collect("shop.example")
            asked = server.changes
            assert await collects.collect("shop.example") == records
            assert server.changes == asked
            assert await collects.collects("shop.example")
            (route,) = server.routes.values()
            assert matches(route["expression"], "x@shop.example")
            assert not matches(route["expression"], "x@w.shop.example")
            await collects.stop_collecting("shop.example")
            await collects.stop_collecting("shop.example")
            assert not await collects.collects("shop.example")
    assert [(one.type, one.name, one.value, one.priority) for one in records] == [
        ("MX", "shop.example", "mxa.mailgun.org", 10),
        ("MX", "shop.example", "mxb.mailgun.org", 10),
    ]


async def test_a_key_of_ours_is_given_once_and_used() -> None:
    key = OwnKey("s1", b"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n")
    async with mailgun() as (server, account, _):
        opened = identifier(account)
        assert opened is not None
        async with opened as identifies:
            await identifies.identify("shop.example", Wish(own_key=key))
            asked = server.changes
            await identifies.identify("shop.example", Wish(own_key=key))
        assert server.changes == asked
    assert server.keys == {"s1": True}
