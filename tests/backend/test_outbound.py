"""What goes out, and what a person may decide about it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from backend.outbound import deciding, trial, writing
from backend.outbound.listing import Filter, OutboundMail, get, listing
from backend.outbound.writing import Draft, Queued, mailbox
from backend.paging import Window
from mailagent.errors import Conflict, Malformed, NotFound, UncertainDelivery
from mailagent.mail import Address
from mailagent.mime import build
from mailagent.outbound import AccountState
from mailagent.outgoing import Committing, HandedOver, Outgoing, OutgoingAttachment, Recipient, Sent
from mailagent.sandbox import Sandbox
from mailagent.store.tables import (
    agents,
    deliveries,
    ledger,
    outbound_mails,
    participants,
    threads,
)
from mailagent.store.transaction import Transaction
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANN = Address("ann@customer.example", "Ann")
DRAFT = Draft((ANN,), "Your order", "It left today.")
DAYS = timedelta(days=3)


class Cut:
    """An account whose connection is cut after the content, until it is mended."""

    name = "cut"
    recipients_at_once = 1

    def __init__(self) -> None:
        self.mended = False

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        await committing(to)
        if not self.mended:
            raise UncertainDelivery("no answer to the final dot")
        return dict.fromkeys(to, Sent("far-1", "250 ok"))


@pytest.fixture
def cut() -> Cut:
    return Cut()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox, cut: Cut) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def cut_room(database_url: str, sandbox: Sandbox, cut: Cut) -> AsyncIterator[Mailroom]:
    """Its only account is the one whose connection is cut."""
    states = [AccountState("cut")]
    async with open_mailroom(database_url, sandbox, accounts=[cut], states=states) as opened:
        yield opened


async def write(room: Mailroom, draft: Draft = DRAFT) -> Queued:
    queued: Queued = await room.do(
        writing.write, room.services, room.agent_id, draft, author="person:eva@shop.example"
    )
    return queued


async def seen(room: Mailroom, outbound_id: str) -> OutboundMail:
    mail: OutboundMail = await room.ask(get, outbound_id)
    return mail


# --- writing ----------------------------------------------------------------------------------


async def test_a_new_mail_opens_a_thread_with_its_recipients(room: Mailroom) -> None:
    bcc = Address("boss@shop.example")
    queued = await write(room, replace(DRAFT, bcc=(bcc,), headers=(("X-Order", "7"),)))
    await room.work()

    mail = await seen(room, queued.id)
    assert (mail.summary.state, mail.summary.purpose) == ("sent", "new")
    assert [(one.address, one.field) for one in mail.summary.recipients] == [
        ("ann@customer.example", "to"),
        ("boss@shop.example", "bcc"),
    ]
    assert mail.outgoing.from_.address == HELLO
    assert mail.outgoing.reply_to[0].address.startswith("hello+t.")
    assert mail.outgoing.auto_submitted is None
    (thread,) = await room.rows(select(threads))
    assert (thread.id, thread.subject) == (queued.thread_id, "Your order")
    known = await room.rows(select(participants.c.address))
    assert [row.address for row in known] == ["ann@customer.example"]


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        (replace(DRAFT, to=()), "to"),
        (replace(DRAFT, to=(Address("nobody"),)), "to"),
        (replace(DRAFT, subject="a\r\nBcc: x@y.example"), "subject"),
        (replace(DRAFT, headers=(("From", "x@y.example"),)), "headers"),
        (replace(DRAFT, cc=(ANN,) * 50), "to"),
        (replace(DRAFT, text="x" * 11_000_000), "text"),
        (
            replace(DRAFT, attachments=(OutgoingAttachment("a.bin", "a/b", b"x" * 11_000_000),)),
            "attachments",
        ),
    ],
    ids=["no to", "bad to", "injection", "our header", "too many", "long text", "big file"],
)
async def test_a_mail_that_cannot_be_sent_names_its_field(
    sqlite_url: str, sandbox: Sandbox, draft: Draft, field: str
) -> None:
    async with open_mailroom(sqlite_url, sandbox) as room:
        with pytest.raises(Malformed) as refused:
            await write(room, draft)

        assert refused.value.field == field
        assert await room.rows(select(threads.c.id)) == []


async def test_an_agent_whose_mail_is_off_writes_nothing(room: Mailroom) -> None:
    await room.do(_switch_off)

    with pytest.raises(Conflict, match="off"):
        await write(room)


def _switch_off(tx: Transaction) -> None:
    tx.execute(update(agents).values(email_enabled=False))


async def test_a_mailbox_is_read_with_and_without_a_name() -> None:
    assert mailbox("to", "ann@customer.example") == Address("ann@customer.example")
    assert mailbox("to", "Ann <ann@customer.example>") == ANN
    assert mailbox("to", '"Ann, of <Sales>" <ann@customer.example>').name == "Ann, of <Sales>"
    for wrong in ("", "Ann", "Ann <ann>", "a@b.example, c@d.example"):
        with pytest.raises(Malformed, match=r"^cc: "):
            mailbox("cc", wrong)


# --- the test mail ----------------------------------------------------------------------------


async def test_a_test_mail_says_that_it_was_only_captured(room: Mailroom) -> None:
    async with room.working():
        made = await trial.send(
            room.services, room.workspace_id, to=ANN.address, subject="Hi", body="x", author="cli"
        )

    assert (made.account, made.state, made.captured) == ("capture", "sent", True)
    assert (made.from_address, made.to) == (HELLO, ANN.address)


async def test_a_test_mail_without_an_agent_comes_from_postmaster(room: Mailroom) -> None:
    await room.do(_switch_off)

    async with room.working():
        made = await trial.send(
            room.services, room.workspace_id, to=ANN.address, subject="Hi", body="x", author="cli"
        )

    assert (made.from_address, made.state) == (f"postmaster@shop.{DOMAIN}", "sent")


async def test_a_test_mail_that_nobody_works_on_says_who_will_carry_it(room: Mailroom) -> None:
    made = await trial.send(
        room.services,
        room.workspace_id,
        to=ANN.address,
        subject="Hi",
        body="x",
        author="cli",
        patience=timedelta(),
    )

    assert (made.account, made.state, made.captured) == ("capture", "queued", True)


class Back:
    """An account whose mail comes back through a door of ours, under an id of its own."""

    name = "back"
    recipients_at_once = 1

    def __init__(self) -> None:
        self.room: Mailroom | None = None

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        assert self.room is not None
        await committing(to)
        raw = build.render(replace(outgoing, message_id="<far-1@mail.provider.example>"))
        for one in to:
            await self.room.deliver(raw, one.address, mail_from=one.return_path)
        return dict.fromkeys(to, Sent("far-1", "250 ok"))


@pytest_asyncio.fixture(loop_scope="module")
async def back_room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    """Its only account brings mail to our own addresses back to us."""
    back, states = Back(), [AccountState("back")]
    async with open_mailroom(database_url, sandbox, accounts=[back], states=states) as opened:
        back.room = opened
        yield opened


async def test_a_test_mail_to_ourselves_goes_out_and_shows_how_it_came_back(
    back_room: Mailroom,
) -> None:
    room = back_room
    async with room.working():
        made = await trial.send(
            room.services, room.workspace_id, to=HELLO, subject="Hi", body="x", author="cli"
        )

    assert (made.account, made.state, made.ours) == ("back", "sent", True)
    assert made.arrival is not None
    # By the id that the provider gave it, and no other mail of ours.
    assert made.arrival.came_by == "smtp"
    assert "was not checked" in made.arrival.sentence  # the mailroom trusts loopback
    delivery = await room.rows(
        select(deliveries).where(deliveries.c.id == made.arrival.delivery_id)
    )
    assert delivery[0].recipient == HELLO
    # It is a machine's mail, which no agent answers: this one would answer itself.
    assert (delivery[0].state, delivery[0].turn_id) == ("silent", None)
    sent = await room.rows(select(outbound_mails))
    assert [one.purpose for one in sent] == ["trial"]


async def test_a_test_mail_to_ourselves_without_an_account_proves_nothing(room: Mailroom) -> None:
    async with room.working():
        made = await trial.send(
            room.services, room.workspace_id, to=HELLO, subject="Hi", body="x", author="cli"
        )

    assert (made.account, made.state, made.captured) == ("local", "sent", False)
    assert made.arrival is not None
    assert "no account that carries mail is set up" in made.arrival.sentence


async def test_how_a_test_mail_arrived_elsewhere_is_the_operators_to_see(
    back_room: Mailroom,
) -> None:
    room = back_room
    to = f"postmaster+x@other.{DOMAIN}"
    async with room.working():
        made = await trial.send(
            room.services,
            room.workspace_id,
            to=to,
            subject="Hi",
            body="x",
            author="cli",
            everywhere=True,
        )
        assert made.arrival is not None
        theirs = await trial.look(room.services, room.workspace_id, made.id)
    assert (theirs.state, theirs.ours, theirs.arrival) == ("sent", False, None)


async def test_a_mail_to_several_is_no_test_mail(room: Mailroom) -> None:
    queued = await write(room, replace(DRAFT, cc=(Address("bob@customer.example"),)))
    with pytest.raises(NotFound, match="no test mail"):
        await trial.look(room.services, room.workspace_id, queued.id)


# --- deciding ---------------------------------------------------------------------------------


async def test_what_has_not_left_can_be_cancelled(room: Mailroom) -> None:
    queued = await write(room)

    summary = await room.do(deciding.cancel, queued.id, actor="cli")
    await room.work()

    assert (summary.state, summary.recipients[0].state) == ("cancelled", "cancelled")
    assert (await seen(room, queued.id)).hand_overs == ()
    with pytest.raises(Conflict, match="cancelled"):
        await room.do(deciding.cancel, queued.id, actor="cli")


async def test_a_mail_that_left_cannot_be_cancelled(room: Mailroom) -> None:
    queued = await write(room)
    await room.work()

    with pytest.raises(Conflict, match="nothing of it waits"):
        await room.do(deciding.cancel, queued.id, actor="cli")


async def test_an_unknown_mail_waits_until_a_person_says_it_arrived(cut_room: Mailroom) -> None:
    queued = await write(cut_room)
    await cut_room.work()
    # The notice that tells the owner of it took the same way.
    waiting, notice = await cut_room.ask(deciding.unknown)
    assert (waiting.id, waiting.state, notice.purpose) == (queued.id, "unknown", "notice")

    decided = await cut_room.do(deciding.declare_sent, queued.id, actor="person:eva@shop.example")

    assert (decided.state, decided.recipients[0].reason) == (
        "sent",
        "declared sent by eva@shop.example",
    )
    assert await cut_room.ask(deciding.unknown) == (notice,)
    told = await cut_room.rows(
        select(ledger.c.actor).where(ledger.c.what.startswith("declared sent"))
    )
    assert [row.actor for row in told] == ["person:eva@shop.example"]


async def test_a_person_may_have_an_unknown_mail_sent_again(cut_room: Mailroom, cut: Cut) -> None:
    queued = await write(cut_room)
    await cut_room.work()
    waiting, _ = await cut_room.ask(deciding.unknown)
    cut.mended = True

    await cut_room.do(deciding.send_again, waiting.recipients[0].id, actor="cli", expiry=DAYS)
    await cut_room.work()

    mail = await seen(cut_room, queued.id)
    assert [one.outcome for one in mail.hand_overs] == ["unknown", "sent"]
    assert (mail.summary.state, mail.summary.recipients[0].provider_id) == ("sent", "far-1")


async def test_an_expired_unknown_mail_gets_new_time_when_it_is_sent_again(
    cut_room: Mailroom, cut: Cut
) -> None:
    queued = await write(cut_room)
    await cut_room.work()
    await cut_room.do(_expire)
    cut.mended = True

    await cut_room.do(deciding.send_again, queued.id, actor="cli", expiry=DAYS)
    await cut_room.work()

    assert (await seen(cut_room, queued.id)).summary.state == "sent"


def _expire(tx: Transaction) -> None:
    tx.execute(update(outbound_mails).values(expires_at=tx.now - DAYS))


async def test_nothing_is_decided_about_a_mail_that_is_not_unknown(room: Mailroom) -> None:
    queued = await write(room)

    with pytest.raises(Conflict, match="not unknown"):
        await room.do(deciding.declare_sent, queued.id, actor="cli")
    with pytest.raises(NotFound):
        await room.do(deciding.send_again, "out_none", actor="cli", expiry=DAYS)
    with pytest.raises(NotFound):
        await room.store.write("wsp_other", deciding.cancel, queued.id, actor="cli")


# --- lists ------------------------------------------------------------------------------------


async def test_a_list_is_filtered_and_paged(room: Mailroom) -> None:
    queued = [(await write(room)).id for _ in range(3)]
    await room.do(deciding.cancel, queued[0], actor="cli")

    waiting = await room.ask(listing, Filter(state="queued"), Window(limit=1))
    rest = await room.ask(listing, Filter(state="queued"), Window(5, waiting.next_cursor))

    assert sorted(one.id for one in (*waiting.items, *rest.items)) == sorted(queued[1:])
    assert (await room.ask(listing, Filter(agent_id="agt_none"), Window())).items == ()
