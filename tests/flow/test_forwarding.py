"""A route posts mail beside its agent: signed, durable, and never into a private network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import delete, select, update

from mailagent.doors.smtp_tls import Certificate
from mailagent.errors import Malformed
from mailagent.flow import forwarding, retention
from mailagent.flow.forwarding import FORWARDING, PURPOSE, checked_url, forbidden, parse_action
from mailagent.flow.purge import Named, purge
from mailagent.providers.generic import Generic
from mailagent.providers.raw_store import RawStore
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.store.tables import (
    deliveries,
    domains,
    ledger,
    outbound_mails,
    raw_messages,
    receiver_routes,
    route_forwards,
)
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.webhook import WebhookRequest, WebhookSettings
from mailagent.work import claim
from tests.api_server import ApiServer, Fault, Reply, Request
from tests.backend.mailroom import HELLO, Mailroom, mail, open_mailroom
from tests.dns_server import DnsServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "rk_of-this-test"
ZONE: Any = {
    "here.example": {"A": ["127.0.0.1"]},
    "inside.example": {"A": ["10.0.0.7"]},
    "both.example": {"A": ["127.0.0.1"], "AAAA": ["fd00::1"]},
}


class Program(ApiServer):
    """Somebody's program that takes forwarded mail; answers with `status`."""

    status = 200
    headers: Mapping[str, str] = {}

    def reply(self, request: Request) -> Reply:
        return Reply(self.status, b"", self.headers)


@dataclass
class Room:
    """A mailroom whose agent's address has routes."""

    mailroom: Mailroom

    async def route(self, *actions: str, recipient: str = HELLO, position: int = 1) -> str:
        """One more route for an address of the agent."""
        services = self.mailroom.services
        row = {
            "id": new_id("rte"),
            "domain_id": "dom_shop",
            "position": position,
            "recipient": recipient,
            "actions": list(actions),
            "description": "",
            "signing_key": services.secrets.seal(KEY.encode(), PURPOSE),
        }

        def add(tx: Transaction) -> None:
            owned = {"id": "dom_shop", "name": HELLO.partition("@")[2], "state": "verified"}
            tx.insert_new(domains, {**owned, "created_at": tx.now}, unique=["id"])
            tx.insert(receiver_routes, {**row, "created_at": tx.now, "changed_at": tx.now})

        await self.mailroom.do(add)
        return str(row["id"])

    async def forward(self) -> None:
        """Do what is due to be forwarded now, once."""
        room = self.mailroom
        for one in await room.store.write_unscoped(lambda tx: claim(tx, FORWARDING, 10)):
            await forwarding.forward(room.services, one)

    async def forwards(self) -> Sequence[AnyRow]:
        return await self.mailroom.rows(select(route_forwards).order_by(route_forwards.c.id))

    async def later(self, **values: Any) -> None:
        """Make every forward due now, with other values."""
        past = datetime(2020, 1, 1, tzinfo=UTC)
        due = update(route_forwards).values(not_before=past, **values)
        await self.mailroom.do(lambda tx: tx.execute(due))

    async def told(self) -> str:
        lines = await self.mailroom.rows(select(ledger).where(ledger.c.step == "forward"))
        return "\n".join(f"{line.what} ({line.why})" for line in lines)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@asynccontextmanager
async def opened(url: str, sandbox: Sandbox, *, loopback: bool) -> AsyncIterator[Room]:
    with DnsServer(ZONE) as dns:
        async with open_mailroom(url, sandbox) as mailroom:
            services = mailroom.services
            mailroom.services = replace(
                services,
                settings=replace(services.settings, routes_to_loopback=loopback),
                resolver=Resolver(dns.address),
            )
            yield Room(mailroom)


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Room]:
    async with opened(database_url, sandbox, loopback=True) as made:
        yield made


async def test_the_agent_answers_and_the_program_gets_the_raw_mail_signed(room: Room) -> None:
    async with Program() as program:
        url = program.url
        await room.route(f'forward("{url}/mail?of=shop")', "store()")
        raw = mail(subject="Grüße, wörtlich")
        delivery_id = await room.mailroom.answered(raw)
        await room.forward()
        (request,) = program.requests

    assert (request.method, request.path, request.body) == ("POST", "/mail?of=shop", raw)
    (row,) = await room.forwards()
    assert (row.state, row.delivery_id) == ("sent", delivery_id)
    assert request.headers["host"] == url.removeprefix("http://")
    # Another mailagent takes it as it is: the door for programs of one's own.
    receiver = Generic.receiver(
        WebhookSettings({"INBOUND_WEBHOOK_SECRET": KEY, "MAILGUN_WEBHOOK_SIGNING_KEY": ""}),
        _never,
    )
    (inbound,) = await receiver.inbound(
        WebhookRequest(request.body, request.headers, datetime.now(UTC))
    )
    assert (inbound.raw, inbound.source_id) == (raw, row.id)
    assert inbound.envelope.mail_from == "ann@customer.example"
    assert inbound.envelope.rcpt_to == (HELLO,)
    (delivery,) = await room.mailroom.rows(select(deliveries).where(deliveries.c.id == delivery_id))
    assert delivery.state == "answered"
    assert "store() (the route" in await room.told()


async def _never(_: str) -> bytes:
    raise AssertionError("nothing is fetched")


async def test_a_mail_that_is_read_again_is_not_forwarded_again(room: Room) -> None:
    async with Program() as program:
        await room.route(f'forward("{program.url}")')
        delivery_id = await room.mailroom.answered()
        again = update(deliveries).where(deliveries.c.id == delivery_id).values(state="accepted")
        await room.forward()
        await room.mailroom.do(lambda tx: tx.execute(again))
        await room.mailroom.work()
        await room.forward()
        assert len(program.requests) == 1


async def test_the_routes_of_a_recipient_act_in_their_order_until_one_says_stop(room: Room) -> None:
    async with Program() as program:
        await room.route(f'forward("{program.url}/third")', position=3)
        await room.route(f'forward("{program.url}/second")', "stop()", position=2)
        await room.route(f'forward("{program.url}/first")', position=1)
        await room.route(f'forward("{program.url}/other")', recipient="help@elsewhere.example")
        await room.mailroom.deliver(mail(), HELLO.replace("@", "+tag@"))
        await room.mailroom.work()
        await room.forward()
        assert sorted(one.path for one in program.requests) == ["/first", "/second"]


@pytest.mark.parametrize("fault", [500, 503, 302, 404, Fault.RESET, Fault.CUT])
async def test_what_is_not_taken_is_posted_again_and_no_redirect_is_followed(
    room: Room, fault: int | Fault
) -> None:
    async with Program() as elsewhere, Program() as program:
        if isinstance(fault, Fault):
            program._script = [fault]
        else:
            program.status, program.headers = fault, {"Location": elsewhere.url}
        await room.route(f'forward("{program.url}")')
        await room.mailroom.answered()
        await room.forward()
        (row,) = await room.forwards()
        if fault is not Fault.CUT:  # the status had come: the mail is taken
            assert (row.state, row.attempts) == ("queued", 1)
            program.status = 200
            await room.later()
            await room.forward()
        (row,) = await room.forwards()
        assert row.state == "sent"
        assert elsewhere.requests == []


@pytest.mark.parametrize("status", [406, 410])
async def test_a_program_may_say_never_and_the_owners_hear_of_it(room: Room, status: int) -> None:
    async with Program() as program:
        program.status = status
        await room.route(f'forward("{program.url}")')
        await room.mailroom.answered()
        await room.forward()
        (row,) = await room.forwards()
        assert (row.state, row.reason) == (
            "failed",
            f"127.0.0.1 answered {status}: it does not want it",
        )
    notices = select(outbound_mails).where(outbound_mails.c.purpose == "notice")
    (notice,) = await room.mailroom.rows(notices)
    assert notice.subject == f"A forward of {HELLO} failed"


async def test_nobody_is_told_of_a_forward_whose_mail_was_purged_meanwhile(room: Room) -> None:
    mailroom = room.mailroom
    async with Program(held=asyncio.Event()) as program:
        program.status = 406
        await room.route(f'forward("{program.url}")')
        id_ = await mailroom.answered()
        forwarded = asyncio.create_task(room.forward())
        async with asyncio.timeout(8):
            while not program.requests:
                await asyncio.sleep(0.01)
        mine = Named((id_,))
        await purge(
            mailroom.store, mailroom.workspace_id, mine, actor="cli", raw_store=RawStore({})
        )
        assert program.held is not None
        program.held.set()
        await forwarded

    (row,) = await room.forwards()
    assert row.state == "failed"
    notices = select(outbound_mails).where(outbound_mails.c.purpose == "notice")
    assert await mailroom.rows(notices) == []


async def test_after_eight_hours_it_is_over(room: Room) -> None:
    async with Program() as program:
        program.status = 500
        await room.route(f'forward("{program.url}")')
        await room.mailroom.answered()
        (row,) = await room.forwards()
        assert row.expires_at - row.created_at == timedelta(hours=8)
        await room.later(expires_at=datetime(2020, 1, 2, tzinfo=UTC))
        await room.forward()
        (row,) = await room.forwards()
        assert row.state == "failed"
        assert row.reason.startswith("not taken within eight hours: 127.0.0.1 answered 500")


async def test_a_route_that_was_removed_forwards_nothing_more(room: Room) -> None:
    async with Program() as program:
        await room.route(f'forward("{program.url}")')
        await room.mailroom.answered()
        await room.mailroom.do(lambda tx: tx.execute(delete(receiver_routes)))
        await room.forward()
        (row,) = await room.forwards()
        assert (row.state, row.reason) == ("failed", "its route or its content was removed")
        assert program.requests == []


@pytest.mark.parametrize(
    ("url", "state", "said"),
    [
        ("https://inside.example/", "failed", "10.0.0.7 is no public address"),
        ("https://here.example/", "failed", "127.0.0.1 is no public address"),
        ("https://both.example/", "failed", "is no public address"),
        ("https://nobody.example/", "queued", "nobody.example has no address at present"),
    ],
)
async def test_a_host_that_leads_inside_is_not_spoken_to(
    database_url: str, sandbox: Sandbox, url: str, state: str, said: str
) -> None:
    async with opened(database_url, sandbox, loopback=False) as room:
        await room.route(f'forward("{url}")')
        await room.mailroom.answered()
        await room.forward()
        (row,) = await room.forwards()
        assert row.state == state
        assert said in row.reason


async def test_the_certificate_must_be_the_hosts_and_the_address_is_the_one_looked_at(
    room: Room, tmp_path: Path
) -> None:
    asked: list[str | None] = []
    context = Certificate(None, None, hostname="here.example", folder=tmp_path).context()
    context.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a mail was posted over a connection that nobody vouches for")

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    await room.route(f'forward("https://here.example:{port}/")')
    await room.mailroom.answered()
    await room.forward()
    server.close()
    (row,) = await room.forwards()
    assert row.state == "queued"
    assert row.reason == "here.example did not answer: ConnectError"
    assert asked == ["here.example"]


async def test_what_waits_to_be_forwarded_is_kept_beyond_the_domains_retention(room: Room) -> None:
    async with Program() as program:
        program.status = 500
        await room.route(f'forward("{program.url}")')
        await room.mailroom.answered()
        days = update(domains).values(retention_days=0)
        await room.mailroom.do(lambda tx: tx.execute(days))
        await retention.keep_all(room.mailroom.services)
        contents = select(raw_messages.c.content)
        assert all(one.content for one in await room.mailroom.rows(contents))
        program.status = 200
        await room.later()
        await room.forward()
        await retention.keep_all(room.mailroom.services)
        assert [one.content for one in await room.mailroom.rows(contents)] == [None]
        said = await room.mailroom.rows(
            select(ledger.c.why).where(ledger.c.what == "content removed")
        )
        domain = HELLO.partition("@")[2]
        assert {one.why for one in said} == {f"{domain} keeps mail for 0 days"}


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::10.0.0.1", False),
        ("2002:0a00:0001::1", False),
        ("2001:db8::1", False),
    ],
)
async def test_only_public_addresses_may_be_posted_to(address: str, allowed: bool) -> None:
    assert (forbidden([ip_address(address)]) is None) == allowed


async def test_one_private_address_forbids_them_all() -> None:
    both = [ip_address("93.184.216.34"), ip_address("10.0.0.1")]
    assert forbidden(both) is not None
    assert forbidden([]) == "its host has no address"
    assert forbidden([ip_address("127.0.0.1")], loopback=True) is None
    assert forbidden([ip_address("10.0.0.1")], loopback=True) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://program.example/",
        "ftp://program.example/",
        "https://",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://user:password@program.example/",
        "https://program.example:0/",
        "https://program.example:99999/",
        "https://prögram.example/",
        "http://127.0.0.1/",
    ],
)
async def test_an_address_that_no_route_may_name_is_refused(url: str) -> None:
    with pytest.raises(Malformed):
        checked_url(url, loopback=False)


async def test_addresses_that_a_route_may_name() -> None:
    for url in ("https://program.example/mail?key=1", "https://93.184.216.34:8443/"):
        assert checked_url(url, loopback=False) == url
    assert checked_url("http://127.0.0.1:9/", loopback=True)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('forward("https://x.example/")', 'forward("https://x.example/")'),
        (" forward( 'https://x.example/' ) ", 'forward("https://x.example/")'),
        ("store()", "store()"),
        ("stop( )", "stop()"),
    ],
)
async def test_actions_are_read_as_they_are_written_at_mailgun(text: str, kept: str) -> None:
    assert str(parse_action(text)) == kept


@pytest.mark.parametrize(
    "text",
    ["", "forward", "forward()", 'forward("a" "b")', "drop()", 'stop("x")', "store();stop()"],
)
async def test_what_is_no_action_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(Malformed, match=r"store\(\) or stop\(\)"):
        parse_action(text)
