"""A client on a public list is refused at RCPT by the list's name; doubt always lets it in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from mailagent.dns_answers import Absent, Answer, Question
from mailagent.doors.smtp_blocklists import Blocklists, question
from mailagent.resolver import Resolver
from tests.dns_server import DnsServer
from tests.doors.smtp_client import Client, House, house

ZONE, SECOND = "zen.example.org", "bl.example.net"
HERE = [ip_network("127.0.0.0/8")]
STRANGER = "8.7.6.5"
"""A public address of nobody in particular, told by PROXY headers alone."""
LISTED = f"554 5.7.1 Your address is listed by {ZONE}"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as running:
        yield running


@asynccontextmanager
async def guarded(dns: DnsServer, *, patience: float = 20, **more: object) -> AsyncIterator[House]:
    """A door behind a proxy that asks two lists."""
    lists = Blocklists(
        (ZONE, SECOND), Resolver(dns.address), spared=HERE, patience=timedelta(seconds=patience)
    )
    async with house(blocklists=lists, proxy_networks=HERE, **more) as running:
        yield running


async def client_from(running: House, address: str = STRANGER) -> Client:
    client = await running.knock()
    family = "TCP6" if ":" in address else "TCP4"
    ours = "::1" if ":" in address else "127.0.0.1"
    client.send(f"PROXY {family} {address} {ours} 40000 25")
    assert (await client.reply()).startswith("220 ")
    return client


def listed(dns: DnsServer, answer: str = "127.0.0.2", zone: str = ZONE) -> None:
    dns.add({f"5.6.7.8.{zone}": {"A": [answer]}})


async def test_a_listed_client_is_refused_at_rcpt_by_the_name_of_the_list(dns: DnsServer) -> None:
    listed(dns)
    async with guarded(dns) as running:
        client = await client_from(running)
        assert (await client.ask("EHLO spam.example")).startswith("250-")
        assert (await client.ask("MAIL FROM:<x@spam.example>")).startswith("250 ")
        assert await client.ask("RCPT TO:<bob@our.example>") == LISTED
        assert await client.ask("RCPT TO:<nobody@our.example>") == LISTED
        assert (await client.ask("DATA")).startswith("554 5.5.1")
        assert running.book.asked == []
        assert running.door.stats().refused["554 5.7.1"] == 2


async def test_the_second_list_refuses_too(dns: DnsServer) -> None:
    listed(dns, zone=SECOND)
    async with guarded(dns) as running:
        reply = await (await client_from(running)).begin()
        assert reply == LISTED.replace(ZONE, SECOND)


@pytest.mark.parametrize("role", ["Postmaster@our.example", "postmaster", "ABUSE@our.example"])
async def test_who_is_listed_may_still_write_to_those_who_can_help(
    dns: DnsServer, role: str
) -> None:
    listed(dns)
    async with guarded(dns) as running:
        client = await client_from(running)
        assert (await client.begin(role)).startswith("250 ")
        assert await client.ask("RCPT TO:<bob@our.example>") == LISTED
        await client.ask("DATA")
        assert (await client.ask(b"Subject: why?\r\n\r\n.")).startswith("250 ")
    (mail,) = running.shelf.mails
    assert mail.envelope.rcpt_to == (role,)


async def test_a_role_of_another_domain_is_not_relayed_to(dns: DnsServer) -> None:
    listed(dns)
    async with guarded(dns) as running:
        reply = await (await client_from(running)).begin("abuse@other.example")
        assert reply.startswith("550 5.7.1 Not a domain of ours")


@pytest.mark.parametrize("answer", ["127.255.255.254", "127.255.255.1", "192.0.2.1", "10.0.0.2"])
async def test_an_answer_that_is_no_listing_refuses_nobody(dns: DnsServer, answer: str) -> None:
    listed(dns, answer)
    async with guarded(dns) as running:
        assert (await (await client_from(running)).begin()).startswith("250 ")


@pytest.mark.parametrize("trouble", ["failing", "silent", "absent"])
async def test_a_list_that_does_not_tell_refuses_nobody(dns: DnsServer, trouble: str) -> None:
    if trouble != "absent":
        listed(dns)
        getattr(dns, trouble)(f"5.6.7.8.{ZONE}")
    async with guarded(dns, patience=0.1) as running:
        client = await client_from(running)
        assert (await client.deliver(b"Subject: hello\r\n\r\n")).startswith("250 ")


async def test_one_silent_list_does_not_keep_the_other_from_refusing(dns: DnsServer) -> None:
    listed(dns, zone=SECOND)
    dns.silent(f"5.6.7.8.{ZONE}")
    async with guarded(dns, patience=2) as running:
        assert SECOND in await (await client_from(running)).begin()


async def test_ipv6_is_asked_by_nibbles(dns: DnsServer) -> None:
    name = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.e.a.0.0.0.6.2"
    dns.add({f"{name}.{ZONE}": {"A": ["127.0.0.4"]}})
    async with guarded(dns) as running:
        client = await client_from(running, "2600:ae8:1:2:3:4:567:89ab")
        assert await client.begin() == LISTED
    assert (f"{name}.{ZONE}", "A") in dns.asked


def test_the_example_of_the_rfc_is_asked_as_it_stands_there() -> None:
    assert question(ip_address("192.0.2.99"), "bad.example.com") == Question(
        "99.2.0.192.bad.example.com", "A"
    )
    assert question(ip_address("2001:db8:1:2:3:4:567:89ab"), "ugly.example.com") == Question(
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com", "A"
    )


@pytest.mark.parametrize(
    "address", ["127.0.0.9", "10.1.2.3", "192.168.1.5", "169.254.1.1", "fd00::7", "::1"]
)
async def test_nobody_asks_about_private_addresses(dns: DnsServer, address: str) -> None:
    async with guarded(dns) as running:
        assert (await (await client_from(running, address)).begin()).startswith("250 ")
    assert dns.asked == []


async def test_nobody_asks_about_the_proxy_itself() -> None:
    class Counting:
        asked: list[Question] = []  # noqa: RUF012

        async def ask(self, question: Question, /) -> Answer:
            self.asked.append(question)
            return Absent(nxdomain=True)

    lists = Blocklists((ZONE,), Counting(), spared=[ip_network("8.7.6.0/24")])
    assert lists.look_up(STRANGER) is None
    other = lists.look_up("8.7.7.5")
    assert other is not None
    assert await other is None
    assert len(Counting.asked) == 1


async def test_the_banner_and_the_dialogue_do_not_wait_for_the_lists(dns: DnsServer) -> None:
    dns.silent(f"5.6.7.8.{ZONE}")
    listed(dns, zone=SECOND)
    async with guarded(dns, patience=60) as running:
        client = await client_from(running)
        assert (await client.ask("EHLO client.example")).startswith("250-")
        assert (await client.ask("MAIL FROM:<x@their.example>")).startswith("250 ")
        while len(dns.asked) < 2:
            await asyncio.sleep(0)


async def test_a_client_that_comes_again_is_not_looked_up_again(dns: DnsServer) -> None:
    listed(dns)
    async with guarded(dns) as running:
        for _ in range(3):
            assert await (await client_from(running)).begin() == LISTED
    assert sorted(dns.asked) == [(f"5.6.7.8.{SECOND}", "A"), (f"5.6.7.8.{ZONE}", "A")]
