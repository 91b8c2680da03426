"""A whole day's log of a node, at its most talkative, holds nothing that was said or is secret."""

from __future__ import annotations

import asyncio
import json
import smtplib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from backend.access import keys, sign_in
from backend.agents import service as agents
from backend.workspaces import members
from backend.workspaces import service as workspaces
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade
from mailagent.store.transaction import Transaction
from tests.dns_server import DnsServer
from tests.end_to_end.system import System, running
from tests.model_server import ModelServer, decide, status
from tests.operation.metrics import names_in_alerts, names_in_dashboard
from tests.smtp_sink import Fault, Sink

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARK = "zqxsaid"
"""Stands in all that was said, and in every name."""
SECRET = "zqxSecret" + "s3cr3t" * 6
ANN = f"{MARK}.ann@customer.example"
OWNER = f"{MARK}.owner@people.example"
AGENT = "hello@shop.aexy.email"


@dataclass(frozen=True)
class Day:
    """What the node printed from its start to its end."""

    log: str
    metrics: str
    secrets: tuple[str, ...]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    folder = tmp_path_factory.mktemp("day")
    async with _outside() as (settings, sink):
        return await _lived(folder, settings, sink)


@asynccontextmanager
async def _outside() -> AsyncIterator[tuple[dict[str, str], Sink]]:
    zone = {
        "customer.example": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
        "_dmarc.customer.example": {"TXT": ["v=DMARC1; p=reject"]},
    }
    answers = [decide(f"You said {MARK}."), status(401)]
    with DnsServer(zone) as dns:
        async with Sink(users={"relay": SECRET}) as sink, ModelServer(answers) as model:
            yield (
                {
                    "MAILAGENT_SECRET_KEY": f"{SECRET}-of-the-house-and-long-enough",
                    "MAILAGENT_LOG_LEVEL": "debug",
                    "MAILAGENT_RESOLVER": dns.address,
                    "SMTP_RELAY_URL": f"smtp://relay:{SECRET}@127.0.0.1:{sink.port}?tls=none",
                    "ANTHROPIC_API_KEY": f"sk-ant-{SECRET}",
                    "ANTHROPIC_BASE_URL": model.url,
                },
                sink,
            )


async def _lived(folder: Path, settings: dict[str, str], sink: Sink) -> Day:
    data = folder / "data"
    data.mkdir()
    file = data / "mailagent.db"
    upgrade(f"sqlite:///{file}")
    store = Store(f"sqlite:///{file}")
    key, token = store.write_now(None, _founded)
    store.close()
    with running(folder, **settings) as system:
        base = f"http://127.0.0.1:{system.backend_port}"
        bearer = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
            await asyncio.to_thread(_mails, system)
            await _until(lambda: _answers(client, bearer))
            await _refusals(sink, client, bearer)
            await _requests(system, client, bearer, token)
        await _broken(file, system)
        metrics = httpx.get(f"http://127.0.0.1:{system.webhooks_port}/metrics", trust_env=False)
        assert system.stop() == 0
        return Day(system.shown(), metrics.text, (SECRET, key, token))


def _founded(tx: Transaction) -> tuple[str, str]:
    """A workspace with an agent: a key's secret, and that of a sign-in link."""
    owner = members.ensure_person(tx, OWNER).id
    shop = workspaces.create(tx, "shop", "Shop", owner_id=owner)
    agents.create(tx.of(shop.id), "aexy.email", handle="hello")
    key = keys.create(tx.of(shop.id), "day", ["root:full"]).secret
    return key, sign_in.create_link(tx, OWNER)


def _mails(system: System) -> None:
    """A question, hostile mails, refused commands, a bounce of nothing."""
    with smtplib.SMTP("127.0.0.1", system.smtp_port, timeout=30) as client:
        client.send_message(_mail("a question"), ANN, [AGENT])
        client.docmd("RCPT", f"TO:<{MARK}@elsewhere.example>")
        client.docmd(f"{MARK.upper()} {SECRET}")
        client.docmd("AUTH", f"PLAIN {SECRET}")
        for raw in (
            b"\xff\xfe" + MARK.encode() * 500,
            f"Content-Type: multipart/mixed; boundary={MARK}\r\n\r\n--{MARK}".encode(),
            f"Subject: {MARK}\r\nAuto-Submitted: auto-replied\r\n\r\n{MARK} bounce".encode(),
        ):
            client.sendmail("", [AGENT], raw)


def _mail(subject: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = f"{MARK} <{ANN}>", AGENT
    mail["Subject"] = f"{MARK} {subject}"
    mail.set_content(f"{MARK}: what is the password {SECRET}?\n")
    return mail


async def _until(look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(40):
        while not await look():
            await asyncio.sleep(0.1)


async def _answers(client: httpx.AsyncClient, bearer: dict[str, str]) -> list[object]:
    inbox = await client.get("/api/v1/workspaces/shop/agents/hello/inbox", headers=bearer)
    return [one for mail in inbox.raise_for_status().json()["items"] for one in mail["replies"]]


async def _refusals(sink: Sink, client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    """The relay says no, breaks off, and does not know us any more."""
    test = {"to": ANN, "subject": f"{MARK} test", "body": f"{MARK} body"}
    for script in (
        {"RCPT": f"550 5.1.1 <{ANN}> {MARK}"},
        {"RCPT": Fault.DROP},
        {"AUTH": f"535 5.7.8 {MARK} is not {SECRET}"},
    ):
        sink.script = script
        await sink.hang_up()
        sent = await client.post("/api/v1/email/test", headers=bearer, json=test)
        assert sent.is_success, sent.text


async def _requests(
    system: System, client: httpx.AsyncClient, bearer: dict[str, str], token: str
) -> None:
    wrong = {"Authorization": f"Bearer ma_{SECRET}"}
    await client.get("/sign-in", params={"token": token})
    await client.get("/sign-in", params={"token": f"si_{SECRET}"})
    await client.post("/sign-in", data={"email": OWNER, "token": SECRET})
    await client.get("/api/v1/workspaces", headers=wrong)
    await client.get(f"/api/v1/workspaces/shop/members/{ANN}", headers=bearer)
    purge = "/api/v1/workspaces/shop/purge"
    await client.post(purge, headers=bearer, content=MARK.encode())
    counted = await client.post(purge, headers=bearer, json={"address": ANN, "dry_run": True})
    assert counted.json()["received"] > 0
    door = f"http://127.0.0.1:{system.webhooks_port}"
    await client.post(f"{door}/webhook/sendgrid/{SECRET}", content=MARK.encode())
    await client.get(f"{door}/metrics", headers=wrong)


async def _broken(file: Path, system: System) -> None:
    """For a moment no mail can be written down: the database's error quotes all that was to be."""

    def execute(statement: str) -> None:
        connection = sqlite3.connect(file, timeout=30)
        connection.execute(statement)
        connection.close()

    refuse = "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    execute(f"CREATE TRIGGER refusing BEFORE INSERT ON messages {refuse}")
    with smtplib.SMTP("127.0.0.1", system.smtp_port, timeout=30) as client:
        await asyncio.to_thread(client.send_message, _mail("a second question"), ANN, [AGENT])

    async def failed() -> bool:
        return "work.failed" in system.shown()

    await _until(failed)
    execute("DROP TRIGGER refusing")


async def test_the_day_had_its_failures(day: Day) -> None:
    events = {line["event"] for line in day.lines}
    assert {"smtp_door_open", "step.done", "work.failed"} <= events
    assert '"exception"' in day.log


async def test_nothing_that_was_said_and_no_name_is_in_the_log(day: Day) -> None:
    assert [line for line in day.log.splitlines() if MARK in line.lower()] == []


async def test_no_secret_is_in_the_log(day: Day) -> None:
    for secret in day.secrets:
        assert [line for line in day.log.splitlines() if secret in line] == []


async def test_every_line_about_a_mail_names_it(day: Day) -> None:
    about = [line for line in day.lines if line.get("step") in ("read", "think", "send")]
    about += [line for line in day.lines if line.get("queue") in ("read", "think", "send")]
    assert len(about) > 5
    assert [
        line for line in about if not str(line.get("mail_id", "")).startswith(("dlv_", "out_"))
    ] == []


async def test_every_metric_of_alerts_and_dashboard_is_told_by_a_node(day: Day) -> None:
    told = {line.split(" ")[2] for line in day.metrics.splitlines() if line.startswith("# TYPE")}
    for named in (names_in_alerts(), names_in_dashboard()):
        assert len(named) > 8
        assert named - told == {"up"}  # Prometheus's own: whether it was answered
