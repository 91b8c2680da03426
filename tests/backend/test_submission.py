"""A handed-in mail is held against its login and leaves like any other, once, as it was given."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from backend.access import keys
from backend.senders import service as senders
from backend.submission.handing_in import HandingIn
from backend.submission.logins import StoreLogins
from mailagent.doors import SubmissionDoor
from mailagent.doors.smtp import listening_socket
from mailagent.doors.smtp_tls import Certificate
from mailagent.flow import directory, removal
from mailagent.mime import build
from mailagent.outbound import AccountState
from mailagent.outgoing import Committing, HandedOver, Outgoing, Recipient, Sent
from mailagent.sandbox import Sandbox
from mailagent.store.tables import (
    addresses,
    agents,
    anchors,
    domains,
    ledger,
    outbound_mails,
    outbound_recipients,
    raw_messages,
    suppressions,
    threads,
)
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests import verified_domain
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELP = f"help@shop.{DOMAIN}"
SUB = "mail.shop.example"


@dataclass
class Relay:
    """An account that keeps what it was given, and carries MIME."""

    name: str = "relay"
    recipients_at_once: int = 1
    taken: list[tuple[str, bytes]] = field(default_factory=list)

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        await committing(to)
        self.taken += [(one.address, build.render(outgoing)) for one in to]
        return dict.fromkeys(to, Sent(None, "250 ok"))


@dataclass
class Desk:
    """The door over a mailroom, and the key of its agent's workspace."""

    mailroom: Mailroom
    relay: Relay
    port: int
    key: str

    async def hand_in(
        self,
        raw: bytes,
        *to: str,
        name: str = HELLO,
        password: str | None = None,
        mail_from: str | None = None,
    ) -> dict[str, tuple[int, bytes]]:
        """As a mail program does; raises what smtplib raises."""

        def speak() -> dict[str, tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", self.port, "client.example") as client:
                client.starttls(context=_trusting())
                client.login(name, self.key if password is None else password)
                sender = name if mail_from is None else mail_from
                return client.sendmail(sender, to or ["ann@customer.example"], raw)

        return await asyncio.to_thread(speak)

    async def sent(self) -> list[Any]:
        """Every outbound mail, the oldest first."""
        return list(await self.mailroom.rows(select(outbound_mails).order_by(outbound_mails.c.id)))


def _trusting() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def desk(database_url: str, sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Desk]:
    relay = Relay()
    states = [AccountState("api", carries_mime=False), AccountState("relay")]
    async with open_mailroom(
        database_url, sandbox, accounts=[Relay("api"), relay], states=states
    ) as room:
        key = await room.do(keys.create, "mail program", ["message.send"])
        certificate = Certificate(None, None, hostname="mx.example", folder=tmp_path)
        door = SubmissionDoor(
            StoreLogins(room.store),
            HandingIn(room.services),
            hostname="mx.example",
            tls=certificate.context,
        )
        listening = listening_socket("127.0.0.1", 0)
        port = listening.getsockname()[1]
        await door.start(listening)
        yield Desk(room, relay, port, key.secret)
        await door.stop(timedelta(seconds=5))


def written(*headers: str, author: str = HELLO, to: str = "ann@customer.example") -> bytes:
    """A mail of the agent's owner, all but its Message-ID and Date."""
    lines = [f"From: Shop <{author}>", f"To: {to}", "Subject: Your order", *headers]
    return "\r\n".join([*lines, "", "It left today.", ""]).encode()


def own_id() -> str:
    return f"<{new_id('m')}@shop.{DOMAIN}>"


async def test_it_leaves_octet_for_octet_but_for_what_was_missing(desk: Desk) -> None:
    raw = written("X-Odd:   spaces  stay ", "Bcc: eve@customer.example")
    await desk.hand_in(raw, "ann@customer.example", "eve@customer.example")
    (row,) = await desk.sent()
    assert (row.purpose, row.agent_id, row.state) == ("new", desk.mailroom.agent_id, "queued")
    await desk.mailroom.work()

    (row,) = await desk.sent()
    assert row.state == "sent"
    assert {to for to, _ in desk.relay.taken} == {"ann@customer.example", "eve@customer.example"}
    for _, octets in desk.relay.taken:
        date, message_id, rest = octets.split(b"\r\n", 2)
        assert date.startswith(b"Date: ")
        assert message_id == f"Message-ID: {row.message_id}".encode()
        assert rest == raw.replace(b"Bcc: eve@customer.example\r\n", b"")


async def test_an_account_that_takes_no_mime_is_passed_over_with_the_reason(desk: Desk) -> None:
    await desk.hand_in(written())
    await desk.mailroom.work()
    lines = await desk.mailroom.rows(select(ledger.c.what, ledger.c.why))
    said = "\n".join(f"{line.what} ({line.why})" for line in lines)
    assert "api takes no raw MIME, as the mail was handed in" in said
    assert f"handed in by {HELLO} from 127.0.0.1 (by SMTP submission over TLSv1.3" in said


async def test_the_same_mail_again_gets_the_same_yes_and_is_sent_once(desk: Desk) -> None:
    raw = written(f"Message-ID: {own_id()}")
    for _ in range(3):
        await desk.hand_in(raw)
    await desk.mailroom.work()
    await desk.hand_in(raw)
    await desk.mailroom.work()
    assert len(await desk.sent()) == 1
    assert [to for to, _ in desk.relay.taken] == ["ann@customer.example"]


async def test_many_connections_that_hand_in_one_mail_at_once_make_one(desk: Desk) -> None:
    raw = written(f"Message-ID: {own_id()}")
    await asyncio.gather(*(desk.hand_in(raw) for _ in range(6)))
    await desk.mailroom.work()
    assert len(await desk.sent()) == 1
    assert len(desk.relay.taken) == 1


async def test_who_comes_again_for_the_rest_of_the_recipients_reaches_them_all(desk: Desk) -> None:
    raw = written(f"Message-ID: {own_id()}")
    everyone = [f"a{number}@customer.example" for number in range(120)]
    refused = await desk.hand_in(raw, *everyone)
    assert len(refused) == 20
    assert {code for code, _ in refused.values()} == {452}
    await desk.mailroom.work()
    assert await desk.hand_in(raw, *refused) == {}
    await desk.mailroom.work()
    assert sorted(to for to, _ in desk.relay.taken) == sorted(everyone)
    (row,) = await desk.sent()
    assert row.state == "sent"


async def test_a_message_id_of_another_mail_is_refused_and_nothing_is_lost(desk: Desk) -> None:
    message_id = own_id()
    await desk.hand_in(written(f"Message-ID: {message_id}"))
    for raw, name in (
        (written(f"Message-ID: {message_id}", "X-Other: yes"), HELLO),
        (written(f"Message-ID: {message_id}"), HELP),
    ):
        with pytest.raises(smtplib.SMTPDataError, match="give each mail its own") as refused:
            await desk.hand_in(raw, name=name, mail_from=HELLO)
        assert refused.value.smtp_code == 550
    assert len(await desk.sent()) == 1


@pytest.mark.parametrize(
    ("raw", "mail_from", "said"),
    [
        (written(author="boss@shop.example"), HELLO, "5.7.1 From is not this login's: write one"),
        (written(author=f"hello+tag@shop.{DOMAIN}"), HELLO, "5.7.1 From is not this login's"),
        (written(author=f"hello@other.{DOMAIN}"), HELLO, "5.7.1 From is not this login's"),
        (written(), "boss@shop.example", "5.7.1 MAIL FROM is not this login's: write one"),
        (written(), "", "5.7.1 MAIL FROM is not this login's"),
        (written("Sender: boss@shop.example"), HELLO, "5.7.1 Sender is not this login's"),
        (written(f"From: {HELLO}"), HELLO, "5.6.0 From: is there twice"),
        (b"Subject: x\r\n\r\nx\r\n", HELLO, "5.6.0 From: is missing"),
    ],
)
async def test_what_is_not_the_logins_own_is_refused_with_the_mend(
    desk: Desk, raw: bytes, mail_from: str, said: str
) -> None:
    with pytest.raises(smtplib.SMTPDataError, match=said) as refused:
        await desk.hand_in(raw, mail_from=mail_from)
    assert refused.value.smtp_code == 550
    assert await desk.sent() == []


async def test_an_agent_may_send_as_each_of_its_addresses(desk: Desk) -> None:
    await desk.hand_in(written(f"Sender: {HELLO}", author=HELP.upper()))
    await desk.mailroom.work()
    (row,) = await desk.sent()
    assert row.state == "sent"


async def test_only_a_key_of_the_agents_workspace_that_may_send_opens(desk: Desk) -> None:
    room = desk.mailroom
    reader = await room.do(keys.create, "reader", ["root:readonly"])
    revoked = await room.do(keys.create, "old", ["message.send"])
    await room.do(keys.revoke, revoked.key.id)
    foreign = await room.store.write("wsp_other", keys.create, "foreign", ["root:full"])
    for name, password in (
        (HELLO, reader.secret),
        (HELLO, revoked.secret),
        (HELLO, foreign.secret),
        (HELLO, "ma_guess"),
        (f"nobody@shop.{DOMAIN}", desk.key),
        ("", desk.key[:-1]),
    ):
        with pytest.raises(smtplib.SMTPAuthenticationError) as denied:
            await desk.hand_in(written(), name=name or HELLO, password=password)
        assert denied.value.args == (535, b"5.7.8 Name or password is wrong")
    used = await room.ask(keys.get, reader.key.id)
    assert used.last_used_at is None


async def test_a_key_that_is_revoked_sends_nothing_on_a_connection_that_is_open(
    desk: Desk,
) -> None:
    def log_in() -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", desk.port, "client.example")
        client.starttls(context=_trusting())
        client.login(HELLO, desk.key)
        return client

    client = await asyncio.to_thread(log_in)
    key = await desk.mailroom.store.read_unscoped(keys.authenticate, desk.key)
    await desk.mailroom.do(keys.revoke, key.id)
    with pytest.raises(smtplib.SMTPDataError, match="This login has ended"):
        await asyncio.to_thread(client.sendmail, HELLO, ["ann@customer.example"], written())
    await asyncio.to_thread(client.quit)
    assert await desk.sent() == []


async def test_an_agent_whose_email_is_off_hands_nothing_in(desk: Desk) -> None:
    off = update(agents).values(email_enabled=False)
    await desk.mailroom.do(lambda tx: tx.execute(off))
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await desk.hand_in(written())


async def test_a_suppressed_recipient_gets_nothing(desk: Desk) -> None:
    stop = {
        "id": new_id("sup"),
        "address": "ann@customer.example",
        "reason": "bounce",
        "origin": "event",
        "detail": "no such user",
    }
    await desk.mailroom.do(lambda tx: tx.insert(suppressions, {**stop, "created_at": tx.now}))
    await desk.hand_in(written(), "ann@customer.example", "bob@customer.example")
    await desk.mailroom.work()
    rows = await desk.mailroom.rows(select(outbound_recipients))
    states = {row.address: row.state for row in rows}
    assert states == {"ann@customer.example": "suppressed", "bob@customer.example": "sent"}
    assert [to for to, _ in desk.relay.taken] == ["bob@customer.example"]


async def test_the_envelope_says_who_gets_it_and_the_header_who_is_named(desk: Desk) -> None:
    raw = written("Cc: bob@customer.example", to="list@customer.example")
    await desk.hand_in(raw, "bob@customer.example", "hidden@customer.example")
    rows = await desk.mailroom.rows(select(outbound_recipients))
    assert {row.address: row.field for row in rows} == {
        "bob@customer.example": "cc",
        "hidden@customer.example": "bcc",
    }


async def test_an_answer_goes_on_with_the_agents_conversation(desk: Desk) -> None:
    await desk.mailroom.answered(mail(message_id="<question@customer.example>"))
    (answer,) = await desk.sent()
    for number, header in enumerate(
        ("In-Reply-To: <question@customer.example>", f"References: <x@y> {answer.message_id}")
    ):
        await desk.hand_in(written(header))
        row = (await desk.sent())[number + 1]
        assert (row.purpose, row.thread_id) == ("person", answer.thread_id)
    await desk.hand_in(written("In-Reply-To: <unknown@customer.example>"))
    row = (await desk.sent())[3]
    assert (row.purpose, row.thread_id == answer.thread_id) == ("new", False)
    anchor = select(anchors).where(anchors.c.message_id == row.message_id)
    assert len(await desk.mailroom.rows(anchor)) == 1
    assert len(await desk.mailroom.rows(select(threads))) == 2


async def test_our_own_addresses_get_it_as_it_is(desk: Desk) -> None:
    second = {
        "id": new_id("agt"),
        "handle": "second",
        "name": "Second",
        "processor": "scripted",
        "instructions": "",
        "email_enabled": True,
        "settings": {},
    }
    place = {"id": new_id("adr"), "local_part": "second", "domain": f"shop.{DOMAIN}"}

    def add(tx: Any) -> None:
        tx.insert(agents, {**second, "created_at": tx.now})
        row = {**place, "agent_id": second["id"], "alias": False, "created_at": tx.now}
        tx.insert(addresses, row)
        directory.changed(tx)

    await desk.mailroom.do(add)
    await desk.mailroom.services.directory.refresh()
    raw = written(f"Message-ID: {own_id()}", "Date: Mon, 02 Mar 2026 09:00:00 +0000")
    await desk.hand_in(raw, f"second@shop.{DOMAIN}")
    await desk.mailroom.work()
    assert (await desk.sent())[0].state == "sent"
    assert desk.relay.taken == []
    kept = await desk.mailroom.rows(select(raw_messages).order_by(raw_messages.c.id))
    assert kept[0].content == raw


async def make_sender(desk: Desk, user: str = "orders") -> str:
    """A verified domain of the agent with one sender; its password."""

    def make(tx: Transaction) -> str:
        row = {"id": "dom_1", "name": SUB, "state": "verified", "agent_id": "agt_hello"}
        tx.insert(
            domains,
            {
                **row,
                "created_at": tx.now,
                **verified_domain.columns(tx.now),
            },
        )
        return senders.create(tx, DOMAIN, SUB, user=user, most=10).password

    made: str = await desk.mailroom.do(make)
    return made


async def test_a_sender_identity_hands_in_as_itself_alone(desk: Desk) -> None:
    password = await make_sender(desk)
    name = f"orders@{SUB}"
    await desk.hand_in(written(author=name), name=name.upper(), password=password, mail_from=name)
    await desk.mailroom.work()
    (row,) = await desk.sent()
    assert (row.state, row.author, row.agent_id) == ("sent", f"sender:{name}", "agt_hello")
    with pytest.raises(smtplib.SMTPDataError, match=f"write one of {name}"):
        await desk.hand_in(written(), name=name, password=password)


async def test_a_sender_with_a_wrong_password_and_nobody_sound_alike(desk: Desk) -> None:
    password = await make_sender(desk)
    for name, guess in ((f"orders@{SUB}", password[:-1]), (f"nobody@{SUB}", password)):
        with pytest.raises(smtplib.SMTPAuthenticationError) as denied:
            await desk.hand_in(written(), name=name, password=guess)
        assert denied.value.args == (535, b"5.7.8 Name or password is wrong")


async def test_a_sender_whose_domain_lost_its_records_hands_nothing_in(desk: Desk) -> None:
    password = await make_sender(desk)
    failed = update(domains).values(state="failed", verified_at=None, sending_verified_at=None)
    await desk.mailroom.do(lambda tx: tx.execute(failed))
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await desk.hand_in(written(), name=f"orders@{SUB}", password=password)


async def test_what_was_removed_by_retention_is_still_the_same_mail(desk: Desk) -> None:
    raw = written(f"Message-ID: {own_id()}")
    await desk.hand_in(raw)
    await desk.mailroom.work()
    (row,) = await desk.sent()
    await desk.mailroom.do(removal.remove_sent, [row.id], "retention", why="a test")
    await desk.hand_in(raw)
    with pytest.raises(smtplib.SMTPDataError, match="give it a new Message-ID"):
        await desk.hand_in(raw, "bob@customer.example")
    await desk.mailroom.work()
    assert len(desk.relay.taken) == 1


@pytest.mark.parametrize("at", ["read_unscoped", "write"])
async def test_while_the_database_is_away_the_client_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(desk.mailroom.store, at, away)
    expected: Callable[[int], bool] = {454, 451}.__contains__
    with pytest.raises(smtplib.SMTPResponseException) as later:
        await desk.hand_in(written())
    assert expected(later.value.smtp_code)
    monkeypatch.undo()
    assert await desk.sent() == []
