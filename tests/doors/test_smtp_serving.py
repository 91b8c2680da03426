"""The SMTP door as `mailagent serve` opens it: what settings say reaches it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import select

from backend.app import Serving, serving
from backend.installation import installation
from bench.node import AGENT, DOMAIN, furnish
from mailagent.doors.smtp_tls import Certificate
from mailagent.settings import load
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries
from tests.doors.smtp_client import Client

_DEADLINE = 15.0


@asynccontextmanager
async def _served(url: str, folder: Path, **settings: str) -> AsyncIterator[tuple[Store, Serving]]:
    environ = {
        "DATABASE_URL": url,
        "MAILAGENT_DATA": str(folder),
        "MAILAGENT_SECRET_KEY": "a-key-of-this-test-and-of-no-installation",
        "DEFAULT_EMAIL_DOMAIN": DOMAIN,
        "MAILAGENT_SMTP_PORT": "0",
        "MAILAGENT_PORT": "0",
        "MAILAGENT_SUBMISSION_PORT": "0",
        **settings,
    }
    furnish(url)
    async with (
        installation(load(environ, env_file=None)) as shared,
        serving(shared, ("smtp", "webhooks"), host="127.0.0.1", stop=asyncio.Event()) as ports,
    ):
        yield shared.services.store, ports


async def _knock(ports: Serving) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", ports.smtp_port))


async def _health(ports: Serving) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.webhooks_port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return json.loads(answer.partition(b"\r\n\r\n")[2])


async def _leave(client: Client) -> None:
    await client.ask("QUIT")
    client.writer.close()
    await client.writer.wait_closed()


async def test_the_client_that_a_listed_proxy_names_is_who_the_mail_came_from(
    sqlite_url: str, tmp_path: Path
) -> None:
    networks = "192.0.2.0/24, 127.0.0.1"
    async with _served(sqlite_url, tmp_path, MAILAGENT_PROXY_NETWORKS=networks) as (store, ports):
        without = await _knock(ports)
        assert await without.ask("EHLO client.example") == ""
        without.writer.close()
        client = await _knock(ports)
        client.send("PROXY TCP6 2001:db8::7 2001:db8::25 4711 25")
        assert (await client.reply()).startswith("220")
        await client.ask("STARTTLS")
        await client.secure()
        assert (await client.deliver(b"Subject: x\r\n\r\nx\r\n", AGENT)).startswith("250")
        await _leave(client)

        origin = await store.read_unscoped(lambda tx: tx.value(select(deliveries.c.origin)))
        assert origin["client_ip"] == "2001:db8::7"
        assert origin["tls"].startswith("TLSv1.3")


async def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_reported(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.smtp._LOOK_EVERY", 0.01)
    for name in ("old", "new"):
        Certificate(None, None, hostname=f"{name}.example", folder=tmp_path)
    pair = tmp_path / "pair.pem"
    shutil.copy(tmp_path / "self-made-old.example.pem", pair)
    async with _served(sqlite_url, tmp_path, MAILAGENT_TLS_CERT=str(pair)) as (_, ports):

        async def shown() -> str:
            client = await _knock(ports)
            await client.reply()
            await client.ask("STARTTLS")
            await client.secure()
            leaf = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            await _leave(client)
            return x509.load_der_x509_certificate(leaf).subject.rfc4514_string()

        async def until(holds: Callable[[Any], bool]) -> None:
            async with asyncio.timeout(_DEADLINE):
                while not holds((await _health(ports))["smtp_certificate"]):
                    await asyncio.sleep(0.01)

        await until(lambda certificate: certificate["problem"] is None)
        assert await shown() == "CN=old.example"

        pair.write_text("half a file")
        await until(lambda certificate: certificate["problem"] is not None)
        assert (await _health(ports))["status"] == "ok"
        assert await shown() == "CN=old.example"

        shutil.copy(tmp_path / "self-made-new.example.pem", tmp_path / "next.pem")
        (tmp_path / "next.pem").rename(pair)
        await until(lambda certificate: certificate["problem"] is None)
        assert await shown() == "CN=new.example"
