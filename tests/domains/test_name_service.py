"""The name server on its sockets: it follows the database, tells the secondaries, and stays up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdtypes.ANY.SOA
import dns.zone
import pytest
from sqlalchemy import delete

from backend.domains.carriers import Installed
from backend.domains.dns_dialogue import Policy
from backend.domains.dns_server import DnsServer
from backend.domains.name_service import name_service
from backend.domains.served_zone import current_zone
from backend.domains.zone import Zone
from backend.workspaces import service as workspaces
from mailagent.errors import Misconfigured
from mailagent.identity import DnsRecord
from mailagent.settings import Settings
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.store.tables import zone_serials
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets
from tests.contract.far_side import unused_port
from tests.domains.test_dns_dialogue import foreign, random_packets
from tests.domains.zones import DOMAIN, KEY, query, settings, zone

SECRETS = Secrets(["k" * 40])


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = DnsServer(zone, Policy(frozenset({"127.0.0.1"}), KEY))
    yield await server.start("127.0.0.1", 0)
    await server.stop()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store(database_url)
    yield opened
    opened.close()


async def ask(port: int, name: str, type_: str = "MX") -> dns.message.Message:
    return await dns.asyncquery.udp(query(name, type_), "127.0.0.1", timeout=20, port=port)


def add_key(store: Store, selector: str) -> None:
    key = signing_keys.StoredKey(DOMAIN, selector, b"private", f"v=DKIM1; p={selector}")
    assert store.write_now(None, signing_keys.add, SECRETS, key)


def without_accounts(settings: Settings) -> Callable[[Transaction], Installed]:
    """An installation that sends by its own server alone."""
    host, domain = settings.mailagent_hostname, settings.default_email_domain
    return lambda _: Installed(domain, host, settings.public_ips, ())


def zone_now(store: Store, settings: Settings) -> Zone:
    return current_zone(store, settings, without_accounts(settings))


class Secondary(asyncio.DatagramProtocol):
    """Hears NOTIFY, and answers all but the first `deaf` ones."""

    def __init__(self, deaf: int = 0) -> None:
        self.heard: asyncio.Queue[dns.message.Message] = asyncio.Queue()
        self._deaf = deaf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = dns.message.from_wire(data, keyring=KEY)
        if message.opcode() != dns.opcode.NOTIFY:
            return  # asked for the serial that it has
        self.heard.put_nowait(message)
        if self._deaf:
            self._deaf -= 1
            return
        assert isinstance(self.transport, asyncio.DatagramTransport)
        self.transport.sendto(dns.message.make_response(message).to_wire(), addr)

    async def serial(self) -> int:
        message = await asyncio.wait_for(self.heard.get(), 30)
        rdata = message.answer[0][0]
        assert isinstance(rdata, dns.rdtypes.ANY.SOA.SOA)
        return int(rdata.serial)


@contextlib.asynccontextmanager
async def secondary(deaf: int = 0) -> AsyncIterator[Secondary]:
    loop = asyncio.get_running_loop()
    transport, heard = await loop.create_datagram_endpoint(
        lambda: Secondary(deaf), local_addr=("127.0.0.1", 0)
    )
    yield heard
    transport.close()


# --- sockets ---


async def test_random_packets_by_udp_and_it_still_answers(port: int) -> None:
    """The first of those that the dialogue gets all of, in `test_dns_dialogue`."""
    loop = asyncio.get_running_loop()
    probe = query(f"acme.{DOMAIN}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        for number, packet in enumerate(random_packets(500)):
            await loop.sock_sendall(client, packet)
            if number % 50 != 49:
                continue
            await loop.sock_sendall(client, probe.to_wire())
            while True:  # replies come in order: that of the probe is the last
                reply = await asyncio.wait_for(loop.sock_recv(client, 65535), 30)
                if len(reply) == 12:
                    continue
                response = dns.message.from_wire(reply, keyring=False)
                assert not foreign(response)
                if probe.is_response(response) and response.answer:
                    break


async def test_one_connection_carries_several_questions_also_in_one_packet(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for asked in (query(DOMAIN), query(f"delta.{DOMAIN}", "TXT")):
        wire = asked.to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
    lengths = []
    for _ in range(2):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        lengths.append(len(dns.message.from_wire(await reader.readexactly(length)).answer))
    assert lengths == [1, 1]
    writer.close()


async def test_who_says_that_no_more_questions_come_still_gets_the_whole_zone() -> None:
    keys = (DnsRecord("TXT", f"k{n}._domainkey.{DOMAIN}", "p=" + "x" * 400) for n in range(3_000))
    huge = zone(*keys)
    server = DnsServer(lambda: huge, Policy(frozenset({"127.0.0.1"}), KEY))
    asked = dns.message.make_query(DOMAIN, "AXFR")
    asked.use_tsig(KEY)
    wire = asked.to_wire()
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start("127.0.0.1", 0))
    writer.write(struct.pack("!H", len(wire)) + wire)
    writer.write_eof()
    assert len(await asyncio.wait_for(reader.read(), 60)) > 3_000 * 400
    writer.close()
    await server.stop()


async def test_a_packet_that_gets_no_answer_ends_its_connection(port: int) -> None:
    response = dns.message.make_response(query(DOMAIN)).to_wire()
    for sent in (struct.pack("!H", len(response)) + response, b"\xff\xff"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_one_client_cannot_take_all_connections(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(9):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            opened.append(reader)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(opened[-1].read(), 30) == b""
        answer = await dns.asyncquery.tcp(
            query(DOMAIN), "127.0.0.1", timeout=30, port=port, source="127.0.0.2"
        )
        assert answer.rcode() == dns.rcode.NOERROR


async def test_a_secondary_copies_the_zone_by_tcp(port: int) -> None:
    copy = dns.zone.Zone(DOMAIN, relativize=False)
    asked = dns.message.make_query(DOMAIN, "AXFR")
    asked.use_tsig(KEY)
    await dns.asyncquery.inbound_xfr("127.0.0.1", copy, asked, port=port, timeout=30)
    assert {str(one) for one in copy} == {str(one.name) for one in zone().rrsets()}


async def test_the_healthcheck_of_the_container_tells_whether_somebody_answers(port: int) -> None:
    script = Path(__file__).parents[2] / "deploy" / "healthcheck.py"
    for asked, expected in ((port, 0), (unused_port(), 1)):
        check = await asyncio.create_subprocess_exec(sys.executable, str(script), str(asked), "dns")
        assert await check.wait() == expected


# --- what it serves ---


async def test_it_follows_the_database_and_tells_the_secondaries(
    store: Store, database_url: str
) -> None:
    async with secondary() as told:
        ours = settings(MAILAGENT_DNS_SECONDARIES=f"127.0.0.1:{told.port}")
        async with name_service(
            store, ours, without_accounts(ours), host="127.0.0.1", port=0
        ) as port:
            first = await told.serial()
            assert (await ask(port, f"s1._domainkey.{DOMAIN}", "A")).rcode() == dns.rcode.NOERROR
            other_process = Store(database_url)
            await asyncio.to_thread(add_key, other_process, "s1")
            other_process.close()
            assert await told.serial() > first
            found = await ask(port, f"s1._domainkey.{DOMAIN}", "TXT")
    assert found.answer[0][0].to_text() == '"v=DKIM1; p=s1"'


async def test_a_notice_is_signed_and_repeated_until_it_is_answered(
    store: Store,
) -> None:
    async with secondary(deaf=1) as told:
        ours = settings(MAILAGENT_DNS_SECONDARIES=f"127.0.0.1:{told.port}")
        async with name_service(store, ours, without_accounts(ours), host="127.0.0.1", port=0):
            first = await asyncio.wait_for(told.heard.get(), 30)
            again = await told.serial()
    assert first.had_tsig
    assert first.opcode() == dns.opcode.NOTIFY
    assert first.flags & dns.flags.AA
    assert first.answer[0][0].serial == again


async def test_a_port_that_is_taken_is_a_wrong_setting(store: Store, port: int) -> None:
    with pytest.raises(Misconfigured, match=r"^MAILAGENT_DNS_PORT: cannot listen"):
        async with name_service(
            store, settings(), without_accounts(settings()), host="127.0.0.1", port=port
        ):
            pass


def test_the_same_content_has_the_same_serial_in_every_process(
    store: Store, database_url: str
) -> None:
    other_process = Store(database_url)
    first = zone_now(store, settings()).serial
    assert zone_now(other_process, settings()).serial == first
    add_key(other_process, "s1")
    second = zone_now(store, settings()).serial
    assert second > first
    assert zone_now(other_process, settings()).serial == second
    other_process.close()


def test_a_change_of_the_settings_is_a_new_serial(store: Store) -> None:
    first = zone_now(store, settings())
    moved = zone_now(store, settings(MAILAGENT_PUBLIC_IPS="192.0.2.26 2001:db8::26"))
    assert moved.serial > first.serial
    assert "2001:db8::26" in moved.to_text()


def test_a_database_made_anew_takes_no_lower_serial(database_url: str) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    store = Store(database_url, now=lambda: now)
    first = zone_now(store, settings()).serial
    now += timedelta(minutes=1)
    store.write_now(None, lambda tx: tx.execute(delete(zone_serials)))
    assert zone_now(store, settings()).serial > first
    store.close()


def test_a_workspace_that_the_wildcard_does_not_reach_gets_the_set_itself(store: Store) -> None:
    for slug in ("acme", "other"):
        store.write_now(None, workspaces.create, slug, slug)
    at = settings(
        MAILAGENT_HOSTNAME=f"mx.acme.{DOMAIN}", MAILAGENT_DNS_NAME_SERVERS="ns1.other.example"
    )
    text = zone_now(store, at).to_text()
    assert f"acme.{DOMAIN}. 300 IN MX 10 mx.acme.{DOMAIN}.\n" in text
    assert f'acme.{DOMAIN}. 300 IN TXT "v=spf1 ip4:192.0.2.25 ~all"\n' in text
    assert "other" not in text.replace("ns1.other.example", "")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("MAILAGENT_DNS_NAME_SERVERS", ""),
        ("MAILAGENT_PUBLIC_IPS", ""),
        ("MAILAGENT_HOSTNAME", "localhost"),
    ],
)
def test_what_is_missing_for_a_zone_is_said(sqlite_url: str, setting: str, value: str) -> None:
    store = Store(sqlite_url)
    with pytest.raises(Misconfigured, match=f"^{setting}: is "):
        zone_now(store, settings(**{setting: value}))
    store.close()
