"""An operator plans, makes and checks what should stand at a provider, by shell and by API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mailagent.sandbox import Sandbox
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, open_mailroom
from tests.mailgun_control import MailgunControlServer
from tests.mailgun_server import KEY
from tests.operation.terminal import Done, Terminal

pytestmark = pytest.mark.asyncio

SECRET = "a-secret-of-the-path-0001"
PATH = "/email-infrastructure/providers"
OPERATOR = "wsp_other"
"""The mailroom's first workspace by time and id."""


class Shell:
    """The command line in a thread, beside the servers of the test."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    async def __call__(self, *arguments: str) -> Done:
        return await asyncio.to_thread(self._terminal, "provider", *arguments)


@pytest.fixture
async def mailgun() -> AsyncIterator[MailgunControlServer]:
    async with MailgunControlServer() as server:
        yield server


@pytest.fixture
def provider(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_url: str,
    mailgun: MailgunControlServer,
) -> Shell:
    for name, value in {
        "MAILAGENT_SECRET_KEY": "a-key-of-the-tests-that-is-long-enough",
        "MAILAGENT_DATA": str(tmp_path),
        "DEFAULT_EMAIL_DOMAIN": "aexy.example",
        "WEBHOOK_PUBLIC_URL": "https://mail.aexy.example",
        "INBOUND_WEBHOOK_SECRET": SECRET,
        "MAILGUN_API_KEY": KEY,
        "MAILGUN_BASE_URL": mailgun.url,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return Shell(Terminal(capsys, monkeypatch).on(sqlite_url))


def outcomes(report: Any) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in report["steps"]}


async def test_a_plan_prints_the_calls_and_makes_nothing(
    provider: Shell, mailgun: MailgunControlServer
) -> None:
    done = await provider("setup", "mailgun", "--plan")
    assert done.code == 0
    assert mailgun.changes == []
    lines = [line.strip() for line in done.out.splitlines()]
    assert "call: POST /v4/domains aexy.example" in lines
    assert "call: POST /v3/routes" in lines
    assert any("/webhook/mailgun/…/mime" in line for line in lines)
    assert "publish *.aexy.example MX 10 mxa.mailgun.org" in lines
    assert SECRET not in done.out + done.err
    assert KEY not in done.out + done.err


async def test_a_set_up_is_made_checked_and_mended(
    provider: Shell, mailgun: MailgunControlServer
) -> None:
    made = await provider("setup", "mailgun", "--json")
    assert made.code == 0
    assert outcomes(made.json)["route"] == "made"
    assert outcomes((await provider("setup", "mailgun", "--json")).json)["route"] == "stands"

    checked = await provider("check", "mailgun", "--json")
    assert checked.code == 1  # its records are not published
    (report,) = checked.json
    assert outcomes(report)["records of the domain"] == "waits for a person"

    mailgun.dns["aexy.example"] = "all"
    assert (await provider("check")).code == 0
    mailgun.routes.clear()
    broken = await provider("check", "--json")
    assert broken.code == 1
    (report,) = broken.json
    assert outcomes(report)["route"] == "wanted"
    assert (report["mode"], report["well"]) == ("check", False)


async def test_a_failure_ends_the_command_with_one_and_says_what_was_taken_back(
    provider: Shell, mailgun: MailgunControlServer
) -> None:
    mailgun.refused = {"POST /v3/routes"}
    done = await provider("setup", "mailgun")
    assert done.code == 1
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "taken back sender domain: aexy.example is a sender domain" in lines
    assert any(line.startswith("failed route:") for line in lines)
    assert mailgun.known == {}


async def test_an_address_that_no_provider_reaches_is_refused_before_anything_is_asked(
    provider: Shell, mailgun: MailgunControlServer
) -> None:
    done = await provider("setup", "mailgun", "--url", "http://127.0.0.1:8001")
    assert done.code == 1
    assert "WEBHOOK_PUBLIC_URL: must be the https:// address" in done.err
    assert mailgun.requests == []
    assert "'fax' is no provider" in (await provider("setup", "fax")).err
    assert "there is no account 'fax'" in (await provider("check", "fax")).err
    assert "has nothing to set up" in (await provider("setup", "smtp")).err


async def test_of_several_accounts_one_is_named(
    provider: Shell, mailgun: MailgunControlServer
) -> None:
    await provider("add", "mailgun", "--name", "second")
    done = await provider("setup", "mailgun", "--plan")
    assert done.code == 1
    assert "there are several mailgun accounts: name one of second, mailgun" in done.err
    named = await provider("setup", "mailgun", "--account", "second", "--plan", "--json")
    assert named.json["account"] == "second"


async def test_the_api_plans_makes_and_checks(
    database_url: str, mailgun: MailgunControlServer
) -> None:
    async with open_mailroom(database_url, Sandbox(allowed=())) as room:
        secret = await key(room, workspace=OPERATOR)
        settings = {"MAILGUN_API_KEY": KEY, "MAILGUN_BASE_URL": mailgun.url}
        async with open_api(room, secret, webhook_public_url="https://mail.example") as api:
            new = {"kind": "mailgun", "settings": settings}
            assert (await api.post(PATH, json=new)).status_code == 201
            planned = (await api.post(f"{PATH}/mailgun/setup", json={"plan": True})).json()
            assert outcomes(planned)["route"] == "wanted"
            assert mailgun.changes == []
            made = (await api.post(f"{PATH}/mailgun/setup", json={})).json()
            assert (outcomes(made)["route"], made["failed"]) == ("made", False)
            checked = (await api.post(f"{PATH}/mailgun/check")).json()
            assert outcomes(checked)["route"] == "stands"
            assert (await api.post(f"{PATH}/fax/setup", json={})).status_code == 404
        await _only_the_operator(room)


async def _only_the_operator(room: Mailroom) -> None:
    async with open_api(room, await key(room, "provider.read", workspace=OPERATOR)) as api:
        assert (await api.post(f"{PATH}/mailgun/setup", json={})).status_code == 403
        assert (await api.post(f"{PATH}/mailgun/check")).status_code == 403
    async with open_api(room, await key(room)) as api:
        assert (await api.post(f"{PATH}/mailgun/setup", json={})).status_code == 403
