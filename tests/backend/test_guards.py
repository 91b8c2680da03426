"""The settings of block lists, sealers, filter, relay and providers reach what they are about."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from structlog.testing import capture_logs

from backend.app import serving
from backend.installation import installation
from backend.smtp import make_certificate, make_door
from mailagent.doors.smtp import listening_socket
from mailagent.outgoing import Sent
from mailagent.screening import Screened, Stranger
from mailagent.settings import Settings, load
from tests.dns_server import DnsServer
from tests.doors.smtp_client import Book, Client, House, Shelf
from tests.providers.mails import ALICE, Commits, outgoing
from tests.rspamd_server import RspamdServer, verdict
from tests.smtp_sink import Sink


def settings(folder: Path, **environ: str) -> Settings:
    given = {"MAILAGENT_DATA": str(folder), "MAILAGENT_SECRET_KEY": "k" * 40, **environ}
    return load(given, env_file=None)


async def test_the_door_asks_the_lists_by_the_resolver_that_was_set(tmp_path: Path) -> None:
    with DnsServer({"5.6.7.8.zen.example.org": {"A": ["127.0.0.2"]}}) as dns:
        given = settings(
            tmp_path,
            MAILAGENT_DNSBL="zen.example.org",
            MAILAGENT_RESOLVER=dns.address,
            MAILAGENT_PROXY_NETWORKS="127.0.0.0/8",
        )
        shelf, book = Shelf(), Book()
        door = make_door(given, shelf, book, make_certificate(given))
        listening = listening_socket("127.0.0.1", 0)
        running = House(door, listening.getsockname()[1], shelf, book)
        await door.start(listening)
        try:
            client: Client = await running.knock()
            client.send("PROXY TCP4 8.7.6.5 127.0.0.1 40000 25")
            assert (await client.reply()).startswith("220 ")
            assert await client.begin() == "554 5.7.1 Your address is listed by zen.example.org"
        finally:
            await running.end()


async def test_an_installation_asks_the_filter_and_knows_the_sealers(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with RspamdServer(answers=verdict("add header", 7)) as filter_:
        given = settings(
            tmp_path,
            DATABASE_URL=sqlite_url,
            MAILAGENT_ARC_SEALERS="Lists.Example., google.com",
            MAILAGENT_RSPAMD_URL=filter_.url,
            MAILAGENT_RSPAMD_PASSWORD="hunter2",
            MAILAGENT_RSPAMD_AWAY="wait",
        )
        async with installation(given) as shared:
            services = shared.services
            assert services.settings.arc_sealers == ("lists.example", "google.com")
            assert services.settings.screening_waits
            assert services.screener is not None
            stranger = Stranger(None, None, None, "hello@shop.example", "dlv_1")
            screened = await services.screener.screen(b"Subject: x\r\n\r\n", stranger)
    assert isinstance(screened, Screened)
    assert filter_.asked[0].headers["password"] == "hunter2"


async def test_an_installation_that_ends_says_goodbye_to_its_relay(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with Sink() as sink:
        relay = f"smtp://127.0.0.1:{sink.port}?tls=none"
        given = settings(tmp_path, DATABASE_URL=sqlite_url, SMTP_RELAY_URL=relay)
        async with installation(given) as shared:
            account = shared.services.accounts["smtp"]
            for _ in range(2):
                outcomes = await account.send(outgoing(), [ALICE], committing=Commits())
                assert isinstance(outcomes[ALICE], Sent)
    assert (sink.connections, sink.commands[-1]) == (1, "QUIT")


async def test_what_contradicts_itself_is_told_at_the_start(
    tmp_path: Path, sqlite_url: str
) -> None:
    given = settings(
        tmp_path,
        DATABASE_URL=sqlite_url,
        DEFAULT_EMAIL_PROVIDER="ses",
        EMAIL_PROVIDER_TYPE="sendgrid",
        AWS_REGION="us-east-1",
        AWS_SES_REGION="eu-west-1",
    )
    async with installation(given) as shared:
        with capture_logs() as logs:
            async with serving(shared, (), host="127.0.0.1", stop=asyncio.Event()):
                pass
    told = [line["said"] for line in logs if line["event"] == "settings.conflict"]
    assert [line["log_level"] for line in logs if line["event"] == "settings.conflict"] == [
        "warning"
    ] * 3
    assert told[0].startswith("DEFAULT_EMAIL_PROVIDER is ses and EMAIL_PROVIDER_TYPE is sendgrid")
    assert told[1] == (
        "EMAIL_PROVIDER_TYPE is sendgrid, and SENDGRID_API_KEY is not set: no mail leaves by it"
    )
    assert told[2].startswith("AWS_SES_REGION is eu-west-1 and AWS_REGION is us-east-1")


async def test_submission_inside_tls_is_opened_where_it_has_a_port(
    tmp_path: Path, sqlite_url: str
) -> None:
    given = {"DATABASE_URL": sqlite_url, "MAILAGENT_HOSTNAME": "mx.our.example"}
    given |= dict.fromkeys(("MAILAGENT_SMTP_PORT", "MAILAGENT_SUBMISSION_PORT"), "0")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for more in ({}, {"MAILAGENT_SUBMISSIONS_PORT": "0"}):
        async with (
            installation(settings(tmp_path, **given, **more)) as shared,
            serving(shared, ("smtp",), host="127.0.0.1", stop=asyncio.Event()) as ports,
        ):
            if not more:
                assert ports.submissions_port is None
                continue
            assert ports.submissions_port is not None
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", ports.submissions_port, ssl=context
            )
            assert (await reader.readline()).startswith(b"220 mx.our.example")
            writer.close()
