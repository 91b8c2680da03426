"""An operator adds, limits, pauses and removes the accounts that carry mail; secrets only go in."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backend.outbound.account_health import Health, of_rates, score
from backend.outbound.accounts_environment import of_environment
from mailagent.outbound import Rates
from mailagent.sandbox import Sandbox
from mailagent.store.engine import Store
from mailagent.store.tables import provider_accounts
from tests.backend.api_client import key, open_api
from tests.backend.mailroom import Mailroom, open_mailroom
from tests.operation.terminal import Terminal
from tests.postmark_server import TOKEN
from tests.smtp_sink import Sink

KEY = "a-key-of-the-tests-that-is-long-enough"
RELAY = "smtp://ann:wonderland@relay.example:587"


@pytest.fixture
def mailagent(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_url: str,
) -> Terminal:
    for name, value in {
        "MAILAGENT_SECRET_KEY": KEY,
        "MAILAGENT_DATA": str(tmp_path),
        "DEFAULT_EMAIL_DOMAIN": "aexy.example",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return Terminal(capsys, monkeypatch).on(sqlite_url)


# --- the command line -------------------------------------------------------------------------


def test_an_account_is_added_shown_without_its_secret_and_removed(
    mailagent: Terminal, tmp_path: Path, sqlite_url: str
) -> None:
    assert mailagent.ok("provider", "list") == "none: mail is captured, nothing is sent"
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    added = mailagent(
        *("provider", "add", "postmark", "--name", "main", "--json"),
        *("--file", f"POSTMARK_SERVER_TOKEN={tmp_path}/token"),
        *("--setting", "POSTMARK_MESSAGE_STREAM=replies"),
    )

    (shown,) = added.json
    assert (shown["name"], shown["kind"], shown["status"]) == ("main", "postmark", "active")
    assert shown["sends_for"] == ["aexy.example"]
    assert shown["settings"] == ["POSTMARK_MESSAGE_STREAM", "POSTMARK_SERVER_TOKEN"]
    assert shown["health"]["word"] == "new"
    assert TOKEN not in added.out + added.err
    store = Store(sqlite_url)
    sealed = store.read_now(None, lambda tx: tx.value(provider_accounts.select()))
    (row,) = store.read_now(None, lambda tx: tx.rows(provider_accounts.select()))
    assert sealed == "main"
    assert TOKEN.encode() not in row.credentials
    store.close()
    assert mailagent.ok("provider", "remove", "main") == "removed main"
    assert mailagent("provider", "remove", "main").code == 1


def test_a_secret_comes_from_the_environment_or_standard_input_and_never_as_an_argument(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = mailagent(
        "provider", "add", "postmark", "--setting", f"POSTMARK_SERVER_TOKEN={TOKEN}"
    )
    assert refused.code == 1
    assert "would stay in the shell's history: use --file or --stdin" in refused.err

    monkeypatch.setattr("sys.stdin", io.StringIO(f"SMTP_RELAY_URL={RELAY}\n"))
    assert mailagent.ok("provider", "add", "smtp", "--stdin").startswith("smtp  smtp  active")
    again = mailagent("provider", "add", "smtp", "--setting", "SENDGRID_REGION=eu")
    assert "'SENDGRID_REGION' is none of smtp" in again.err

    monkeypatch.setenv("SENDGRID_API_KEY", "SG.from-the-environment")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    mailagent.ok("provider", "add", "sendgrid", "--name", "kept")
    monkeypatch.delenv("SENDGRID_API_KEY")
    assert [one["name"] for one in mailagent("provider", "list", "--json").json] == ["kept", "smtp"]


def test_settings_that_make_no_account_are_refused_at_once(mailagent: Terminal) -> None:
    assert "POSTMARK_SERVER_TOKEN: is empty" in mailagent("provider", "add", "postmark").err
    assert "is no provider: choose one of smtp, ses" in mailagent("provider", "add", "fax").err


def test_an_account_of_the_environment_is_paused_and_limited_like_any_other(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_RELAY_URL", RELAY)
    (row,) = mailagent("provider", "list", "--json").json
    assert (row["name"], row["from_environment"], row["sends_for"]) == ("smtp", True, ["*"])

    mailagent.ok("provider", "set", "smtp", "--quota", "day=200", "--sends-for", "Acme.example")
    (row,) = mailagent("provider", "pause", "smtp", "--reason", "moving", "--json").json
    assert (row["status"], row["reason"]) == ("paused", "moving")
    assert (row["quotas"], row["sends_for"]) == ({"day": 200}, ["acme.example"])
    (row,) = mailagent("provider", "resume", "smtp", "--json").json
    assert row["status"] == "active"
    assert "there is no account" in mailagent("provider", "remove", "smtp").err
    assert "there is no provider account 'fax'" in mailagent("provider", "pause", "fax").err


def test_one_agent_or_one_domain_is_bound_to_accounts(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_RELAY_URL", RELAY)
    mailagent.ok("workspace", "create", "acme")
    mailagent.ok("agent", "create", "hello")
    assert mailagent.ok("provider", "use", "smtp", "--agent", "hello") == "smtp"
    mailagent.ok("provider", "use", "smtp", "--domain", "Acme.aexy.example")

    assert mailagent("provider", "preferences", "--json").json == [
        {"agent": None, "domain": "acme.aexy.example", "accounts": ["smtp"]},
        {"agent": "hello", "domain": None, "accounts": ["smtp"]},
    ]
    assert mailagent.ok("provider", "use", "--agent", "hello") == "the usual order"
    assert mailagent.ok("provider", "preferences") == "acme.aexy.example  smtp"
    for words, problem in {
        ("fax", "--agent", "hello"): "there is no provider account 'fax'",
        ("smtp", "--domain", "else.example"): "is none of this workspace's",
        ("smtp", "smtp", "--agent", "hello"): "names one of them twice",
        ("smtp",): "are for one of them each time",
    }.items():
        assert problem in mailagent("provider", "use", *words).err


def test_a_domain_warms_up_at_an_account(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_RELAY_URL", RELAY)
    at = ("smtp", "acme.example")
    (made,) = mailagent("provider", "warm-up", "start", *at, "--days", "7", "--json").json
    told = {"state": "warming", "day": 1, "days": 7, "cap": 50, "used": 0}
    assert {name: made[name] for name in told} == told
    assert made["health"]["word"] == "new"
    assert "warming for acme.example, day 1 of 7: 0 of 50" in mailagent.ok("provider", "list")
    paused = mailagent.ok("provider", "warm-up", "pause", *at, "--reason", "we move")
    assert paused.startswith("smtp  acme.example  paused  day 1 of 7  0 of 50 today  new  we move")
    (row,) = mailagent("provider", "list", "--json").json
    assert row["warm_ups"][0]["reason"] == "we move"
    assert "  warming  " in mailagent.ok("provider", "warm-up", "resume", *at)
    mailagent.ok("provider", "warm-up", "stop", *at)
    assert mailagent.ok("provider", "warm-up", "list") == "none"
    for words, problem in {
        ("start", "smtp", "acme.example", "--days", "8"): "days: must be 7, 14, 21",
        ("start", "fax", "acme.example"): "there is no provider account 'fax'",
        ("resume", *at): "has no warm-up for 'acme.example'",
    }.items():
        assert problem in mailagent("provider", "warm-up", *words).err


# --- the environment --------------------------------------------------------------------------


def test_the_named_providers_go_first_and_contradictions_are_told() -> None:
    found = of_environment(
        {
            "DEFAULT_EMAIL_PROVIDER": "ses",
            "EMAIL_PROVIDER_TYPE": "sendgrid",
            "AWS_REGION": "us-east-1",
            "AWS_SES_REGION": "eu-west-1",
            "SENDGRID_API_KEY": "SG.key",
            "SMTP_RELAY_URL": RELAY,
        }
    )
    assert [one.name for one in found.accounts] == ["ses", "sendgrid", "smtp"]
    two_names, two_regions = found.conflicts
    assert two_names.endswith(": ses goes first, sendgrid after it")
    assert two_regions.endswith(": SES is asked in eu-west-1, S3 and SNS in us-east-1")


def test_a_provider_that_is_named_without_its_credentials_is_told() -> None:
    found = of_environment({"DEFAULT_EMAIL_PROVIDER": "postmark"})
    assert found.accounts == ()
    (told,) = found.conflicts
    assert told.endswith("and POSTMARK_SERVER_TOKEN is not set: no mail leaves by it")


def test_aws_keys_that_are_there_for_storage_make_no_account() -> None:
    assert of_environment({"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "A"}).accounts == ()


# --- health -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "fates", "reached", "word"),
    [
        ({}, {}, None, "new"),
        ({"sent": 100}, {"delivered": 100}, 100, "excellent"),
        ({"sent": 80, "later": 20}, {"delivered": 80}, 88, "good"),
        ({"sent": 90, "unknown": 10}, {"delivered": 90}, 88, "good"),
        ({"sent": 100}, {"delivered": 90, "bounced": 10}, 80, "good"),
        ({"sent": 100}, {"delivered": 80, "bounced": 10, "complained": 10}, 60, "fair"),
        ({"refused": 10}, {}, 40, "poor"),
    ],
)
def test_health_is_a_number_with_its_reasons(
    outcomes: dict[str, int], fates: dict[str, int], reached: int | None, word: str
) -> None:
    found: Health = score(outcomes, fates)
    assert (found.score, found.word) == (reached, word)
    assert found.reasons


# --- the API ----------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def room(database_url: str) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, Sandbox(allowed=())) as opened:
        yield opened


PATH = "/email-infrastructure/providers"
OPERATOR = "wsp_other"
"""The mailroom's first workspace by time and id."""


@pytest.mark.asyncio
async def test_the_api_does_what_the_commands_do(room: Mailroom) -> None:
    new = {"kind": "postmark", "settings": {"POSTMARK_SERVER_TOKEN": TOKEN}}
    async with open_api(room, await key(room, workspace=OPERATOR)) as api:
        added = await api.post(PATH, json=new)
        assert (added.status_code, added.json()["status"]) == (201, "active")
        assert (await api.post(PATH, json=new)).status_code == 409
        change = {"priority": 5, "quotas": {"second": 14}, "sends_for": ["shop.example"]}
        changed = (await api.patch(f"{PATH}/postmark", json=change)).json()
        assert {name: changed[name] for name in change} == change
        paused = await api.post(f"{PATH}/postmark/pause", json={"reason": "moving"})
        assert paused.json()["status"] == "paused"
        assert (await api.post(f"{PATH}/postmark/resume")).json()["status"] == "active"
        listed = await api.get(PATH)
        assert [one["name"] for one in listed.json()] == ["postmark"]
        assert TOKEN not in listed.text + added.text
        assert (await api.get(f"{PATH}/fax")).status_code == 404
        assert (await api.delete(f"{PATH}/postmark")).status_code == 204
        assert (await api.get(PATH)).json() == []


@pytest.mark.asyncio
async def test_only_the_operator_sees_accounts(room: Mailroom) -> None:
    reader = await key(room, "provider.read", workspace=OPERATOR)
    async with open_api(room, reader) as api:
        assert (await api.get(PATH)).status_code == 200
        assert (await api.delete(f"{PATH}/x")).status_code == 403
    async with open_api(room, await key(room)) as api:
        assert (await api.get(PATH)).status_code == 403


@pytest.mark.asyncio
async def test_the_operator_binds_a_workspaces_agent_or_domain_to_accounts(room: Mailroom) -> None:
    new = {"kind": "postmark", "settings": {"POSTMARK_SERVER_TOKEN": TOKEN}}
    at, mine = "/email-infrastructure/routing", {"workspace": "shop"}
    async with open_api(room, await key(room, workspace=OPERATOR)) as api:
        assert (await api.post(PATH, json=new)).status_code == 201
        for of in ({"agent": "hello"}, {"domain": "shop.aexy.example"}):
            chosen = await api.put(at, json={**mine, **of, "accounts": ["postmark"]})
            assert (chosen.status_code, chosen.json()["accounts"]) == (200, ["postmark"])
        assert len((await api.get(at, params=mine)).json()) == 2
        await api.put(at, json={**mine, "agent": "hello", "accounts": []})
        (left,) = (await api.get(at, params=mine)).json()
        assert left["domain"] == "shop.aexy.example"
        missing = await api.put(at, json={**mine, "agent": "hello", "accounts": ["fax"]})
        assert missing.status_code == 404
        neither = await api.put(at, json={**mine, "accounts": ["postmark"]})
        assert neither.status_code == 422
    async with open_api(room, await key(room)) as api:
        assert (await api.get(at, params=mine)).status_code == 403


@pytest.mark.asyncio
async def test_the_api_starts_pauses_resumes_and_stops_warm_ups(room: Mailroom) -> None:
    new = {"kind": "postmark", "settings": {"POSTMARK_SERVER_TOKEN": TOKEN}}
    at = "/email-infrastructure/warm-ups"
    one = f"{at}/postmark/aexy.example"
    async with open_api(room, await key(room, workspace=OPERATOR)) as api:
        assert (await api.post(PATH, json=new)).status_code == 201
        body = {"account": "postmark", "domain": "shop.aexy.example", "days": 21}
        for _ in range(2):
            made = await api.post(at, json=body, headers={"Idempotency-Key": "k"})
            assert (made.status_code, made.json()["domain"]) == (201, "aexy.example"), made.text
        assert (await api.post(at, json=body)).status_code == 409
        assert (await api.post(at, json={**body, "days": 1})).status_code == 422
        assert (await api.post(at, json={**body, "account": "fax"})).status_code == 404
        paused = await api.post(f"{one}/pause", json={"reason": "we move"})
        assert (paused.json()["state"], paused.json()["reason"]) == ("paused", "we move")
        (account,) = (await api.get(PATH)).json()
        assert account["warm_ups"] == (await api.get(at, params={"account": "postmark"})).json()
        assert (await api.post(f"{one}/resume")).json()["state"] == "warming"
        assert (await api.delete(one)).status_code == 204
        assert (await api.get(at)).json() == []
        assert (await api.delete(one)).status_code == 404
        # What is removed takes its warm-ups with it.
        await api.post(at, json=body)
        await api.delete(f"{PATH}/postmark")
        assert (await api.get(at)).json() == []
    async with open_api(room, await key(room, "provider.read", workspace=OPERATOR)) as api:
        assert (await api.get(at)).status_code == 200
        assert (await api.post(at, json=body)).status_code == 403


@pytest.mark.parametrize(
    ("rates", "reached", "word"),
    [
        (Rates(), None, "new"),
        (Rates(sent=100, due=100, delivered=100), 100, "excellent"),
        (Rates(sent=100, bounced=1), 92, "excellent"),
        (Rates(sent=100, bounced=3), 76, "good"),
        (Rates(sent=2_000, complained=2, due=2_000, delivered=1_900), 50, "fair"),
        (Rates(sent=100, bounced=9, due=100, delivered=85), 40, "poor"),
        (Rates(sent=50, bounced=9, complained=1, due=50, delivered=40), 0, "critical"),
        # A relay reports no deliveries: that says nothing.
        (Rates(sent=100, due=100), 100, "excellent"),
    ],
)
def test_a_warm_ups_health_follows_from_its_rates(
    rates: Rates, reached: int | None, word: str
) -> None:
    found = of_rates(rates)
    assert (found.score, found.word) == (reached, word)
    assert found.reasons


@pytest.mark.asyncio
async def test_a_test_logs_in_and_sends_nothing(room: Mailroom) -> None:
    async with (
        Sink(users={"ann": "wonderland"}, script={}) as sink,
        open_api(room, await key(room, workspace=OPERATOR)) as api,
    ):
        for name, password, good in (("right", "wonderland", True), ("wrong", "guess", False)):
            url = f"smtp://ann:{password}@127.0.0.1:{sink.port}?tls=none"
            new = {"kind": "smtp", "name": name, "settings": {"SMTP_RELAY_URL": url}}
            assert (await api.post(PATH, json=new)).status_code == 201
            told = (await api.post(f"{PATH}/{name}/test")).json()
            assert told["good"] is good, told
            assert password not in str(told)
    assert not any(line.startswith("MAIL") for line in sink.commands)
