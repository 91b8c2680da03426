"""An edge says yes for what its backend has stored, and "later" for everything else."""

from __future__ import annotations

import asyncio
import json
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from backend.access import keys
from backend.app import serving
from backend.edge import is_edge, serving_edge
from backend.edges import PERMISSION
from backend.installation import installation
from backend.workspaces.service import operator_id
from bench.node import AGENT, DOMAIN, QUESTION, furnish
from bench.smtp_targets import free_port
from mailagent.doors.edge import Backend, decode, encode
from mailagent.errors import Malformed, Misconfigured
from mailagent.inbound import Accepted, Duplicate, Envelope, Inbound, Known, Later, Origin
from mailagent.settings import Settings, load
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries, raw_messages, unrouted_mails

_KEY = "a-key-of-this-test-and-of-no-installation"
RAW = (
    b"From: ann@x.example\r\nTo: b\r\nMessage-ID: <1@x.example>\r\n\r\n"
    + QUESTION.encode()
    + b"\xff\r\n"
)


def mail(to: str = AGENT, **changes: Any) -> Inbound:
    given = Inbound(
        Envelope("ann@x.example", (to,)),
        RAW,
        "smtp",
        "transaction-1",
        Origin(datetime.now(UTC), client_ip="192.0.2.7", helo="x.example"),
    )
    return replace(given, **changes)


@asynccontextmanager
async def a_backend(url: str, folder: Path) -> AsyncIterator[tuple[Store, int]]:
    environ = {
        "DATABASE_URL": url,
        "MAILAGENT_DATA": str(folder),
        "MAILAGENT_SECRET_KEY": _KEY,
        "DEFAULT_EMAIL_DOMAIN": DOMAIN,
        "BACKEND_PORT": "0",
    }
    async with (
        installation(load(environ, env_file=None)) as shared,
        serving(shared, ("backend",), host="127.0.0.1", stop=asyncio.Event()) as ports,
    ):
        assert ports.backend_port is not None
        yield shared.services.store, ports.backend_port


def edge_key(store: Store, *permissions: str) -> str:
    operator = store.read_now(None, operator_id)
    made = store.write_now(operator, keys.create, "edge", permissions or (PERMISSION,))
    return made.secret


@pytest.fixture
def database(sqlite_url: str) -> str:
    furnish(sqlite_url)
    return sqlite_url


def kept(store: Store) -> list[Any]:
    statement = select(
        deliveries.c.recipient, deliveries.c.origin, deliveries.c.source, raw_messages.c.content
    ).join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
    return store.read_now(None, lambda tx: list(tx.rows(statement)))


async def test_a_mail_that_comes_to_an_edge_by_smtp_is_stored_by_the_backend_as_it_came(
    database: str, tmp_path: Path
) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        settings = edge_settings(tmp_path, port, edge_key(store))
        async with serving_edge(
            settings, ("smtp", "webhooks"), host="127.0.0.1", stop=asyncio.Event()
        ) as ports:
            await asyncio.to_thread(send, ports.smtp_port, AGENT)
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                await asyncio.to_thread(send, ports.smtp_port, f"nobody@demo.{DOMAIN}")
            async with httpx.AsyncClient() as client:
                health = await client.get(f"http://127.0.0.1:{ports.webhooks_port}/health")
        (row,) = kept(store)
    assert (row.recipient, row.source) == (AGENT, "smtp")
    assert row.content == RAW
    assert row.origin["client_ip"] == "127.0.0.1"
    assert row.origin["handed_over_by"].startswith("key:")
    assert next(iter(refused.value.recipients.values()))[0] == 550
    assert health.json()["backend"] == "ok"


def edge_settings(folder: Path, port: int, key: str) -> Settings:
    environ = {
        "AEXY_API_URL": f"http://127.0.0.1:{port}",
        "AEXY_API_KEY": key,
        "MAILAGENT_DATA": str(folder),
        "MAILAGENT_SMTP_PORT": "0",
        "MAILAGENT_PORT": "0",
    }
    return load(environ, env_file=None)


def send(port: int | None, to: str) -> None:
    assert port is not None
    with smtplib.SMTP("127.0.0.1", port, "x.example", 15) as client:
        client.sendmail("ann@x.example", [to], RAW, mail_options=["BODY=8BITMIME"])


async def test_while_the_backend_is_away_an_edge_says_later_and_then_goes_on(
    database: str, tmp_path: Path
) -> None:
    settings = edge_settings(tmp_path, free_port(), "ma_none")
    async with serving_edge(settings, ("smtp",), host="127.0.0.1", stop=asyncio.Event()) as ports:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            await asyncio.to_thread(send, ports.smtp_port, AGENT)
    assert next(iter(refused.value.recipients.values()))[0] == 451


async def test_the_same_mail_handed_over_twice_is_one(database: str, tmp_path: Path) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        async with Backend(f"http://127.0.0.1:{port}", edge_key(store)) as backend:
            (first,) = await backend.accept([mail()])
            (second,) = await backend.accept([mail()])
        assert isinstance(first, Accepted)
        assert second == Duplicate(first.delivery_ids)
        assert len(kept(store)) == 1


async def test_an_answer_that_is_lost_on_its_way_is_asked_for_again(
    database: str, tmp_path: Path
) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        lost: list[bytes] = []

        async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Passes one connection's request on and loses its first answer."""
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)

            async def there() -> None:
                while octets := await reader.read(65_536):
                    there_writer.write(octets)

            going = asyncio.create_task(there())
            while octets := await there_reader.read(65_536):
                if not lost:
                    lost.append(octets)
                    break
                writer.write(octets)
            going.cancel()
            writer.close()
            there_writer.close()

        proxy = await asyncio.start_server(cut, "127.0.0.1", 0)
        async with proxy:
            there = proxy.sockets[0].getsockname()[1]
            async with Backend(f"http://127.0.0.1:{there}", edge_key(store)) as backend:
                (outcome,) = await backend.accept([mail()])
        assert lost
        assert isinstance(outcome, Duplicate)
        assert len(kept(store)) == 1


async def test_a_mail_for_nobody_that_a_webhook_brought_is_kept_for_the_operator(
    database: str, tmp_path: Path
) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        async with Backend(f"http://127.0.0.1:{port}", edge_key(store)) as backend:
            await backend.accept([mail(f"nobody@demo.{DOMAIN}", source="mailgun")])
        rows = store.read_now(None, lambda tx: list(tx.rows(select(unrouted_mails))))
    assert [row.recipients for row in rows] == [[f"nobody@demo.{DOMAIN}"]]


@pytest.mark.parametrize("permissions", [("message.read",), ("root:readonly",)])
async def test_a_key_that_is_no_edges_hands_nothing_over(
    database: str, tmp_path: Path, permissions: tuple[str, ...]
) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        async with Backend(f"http://127.0.0.1:{port}", edge_key(store, *permissions)) as backend:
            (outcome,) = await backend.accept([mail()])
            assert await backend.knows(AGENT) is Known.UNKNOWN
            assert "AEXY_API_KEY" in (backend.problem or "")
        assert isinstance(outcome, Later)
        assert kept(store) == []


async def test_an_edges_key_may_do_nothing_else(database: str, tmp_path: Path) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        headers = {"Authorization": f"Bearer {edge_key(store)}"}
        base = f"http://127.0.0.1:{port}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=headers) as client:
            assert (await client.get("/workspaces/demo")).status_code == 403
            assert (await client.get("/workspaces/demo/agents")).status_code == 403
            assert (await client.post("/internal/inbound", content=b"{}\n")).status_code == 422


async def test_a_recipient_is_asked_for_once_a_minute(database: str, tmp_path: Path) -> None:
    async with a_backend(database, tmp_path) as (store, port):
        backend = Backend(f"http://127.0.0.1:{port}", edge_key(store))
        assert await backend.knows(AGENT) is Known.YES
    async with backend:  # while its backend is gone
        assert await backend.knows(AGENT) is Known.YES
        assert await backend.knows(f"other@demo.{DOMAIN}") is Known.UNKNOWN


def test_what_crosses_the_wire_comes_back_the_same() -> None:
    origin = Origin(
        datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
        client_ip="2001:db8::1",
        parameters={"RET": "HDRS"},
        recipient_parameters={AGENT: {"NOTIFY": "NEVER"}},
        provider_verdicts={"spf": "pass"},
        body_format="stored",
        stored_at="s3://bucket/key",
    )
    given = mail(origin=origin, replay_token="t", raw=b"\n\r\n{}\xff\x00")
    assert decode(encode(given)) == given
    bounce = replace(given, envelope=Envelope(None, (AGENT,)))
    assert decode(encode(bounce)) == bounce


@pytest.mark.parametrize("body", [b"", b"{}", b"[]\nx", b"\xff\n", json.dumps({"a": 1}).encode()])
def test_what_is_no_mail_of_an_edge_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        decode(body)


def test_half_an_edges_settings_name_the_other_half() -> None:
    with pytest.raises(Misconfigured, match="AEXY_API_KEY"):
        is_edge(Settings(aexy_api_url="http://b.example"), ("smtp",))


def test_with_a_database_the_remote_backend_is_not_used() -> None:
    settings = Settings(
        aexy_api_url="http://b.example", aexy_api_key="k" * 40, database_url="sqlite:///x"
    )
    assert not is_edge(settings, ("smtp",))
    without = settings.model_copy(update={"database_url": ""})
    assert is_edge(without, ("smtp", "webhooks"))
    assert not is_edge(without, ("smtp", "worker"))
