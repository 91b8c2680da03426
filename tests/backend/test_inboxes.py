"""What a person sees of mail that came in, and what they do with it, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy import select

from backend.inboxes import contents, handling
from backend.inboxes.listing import Filter, listing, one
from backend.inboxes.words import Status
from backend.paging import Window
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.answers import answer
from mailagent.flow.states import DeliveryState
from mailagent.outgoing import Handoff, Reply, Silence
from mailagent.sandbox import Sandbox
from mailagent.store.tables import ledger, messages, outbound_mails, threads
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, mail, open_mailroom

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    """One worker for all tests of this file."""
    made = Sandbox(workers=1)
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def room(database_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    async with open_mailroom(database_url, sandbox) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def quick(sqlite_url: str, sandbox: Sandbox) -> AsyncIterator[Mailroom]:
    """For what does not depend on the database."""
    async with open_mailroom(sqlite_url, sandbox) as opened:
        yield opened


async def test_an_inbox_shows_a_mail_with_its_reply(room: Mailroom) -> None:
    asked = mail(subject="受注の質問", message_id="<ask@customer.example>")
    delivery_id = await room.answered(asked)

    (item,) = (await room.ask(listing, Filter(agent_id=room.agent_id), Window())).items

    assert (item.id, item.subject, item.preview) == (
        delivery_id,
        "受注の質問",
        "Where is my order?",
    )
    assert (item.from_address, item.recipient) == ("ann@customer.example", HELLO)
    assert (item.status, item.state, item.priority) == ("responded", "answered", "normal")
    (reply,) = item.replies
    assert reply.in_reply_to == "<ask@customer.example>"
    assert (reply.state, reply.text) == ("sent", "It is on its way.")


async def test_a_mail_that_is_not_read_yet_is_pending_and_shows_its_envelope(
    quick: Mailroom,
) -> None:
    delivery_id = await quick.deliver(mail())

    item = await quick.ask(one, delivery_id)

    assert (item.status, item.state) == ("pending", "accepted")
    assert (item.from_address, item.subject, item.replies) == ("ann@customer.example", "", ())


async def test_a_list_is_filtered_by_status_state_and_time(room: Mailroom) -> None:
    answered = await room.answered()
    room.agent_says(Silence("a thank-you"))
    silent = await room.answered()
    room.agent_says(Handoff("a refund"))
    handed = await room.answered()

    async def ids(which: Filter) -> list[str]:
        return [item.id for item in (await room.ask(listing, which, Window())).items]

    assert await ids(Filter(status=Status.RESPONDED)) == [silent, answered]
    assert await ids(Filter(status=Status.ESCALATED)) == [handed]
    assert await ids(Filter(state=DeliveryState.SILENT)) == [silent]
    newest = (await room.ask(one, handed)).received_at
    assert await ids(Filter(since=newest)) == [handed]
    assert await ids(Filter(since=newest + timedelta(seconds=1))) == []


async def test_pages_hold_every_mail_once(room: Mailroom) -> None:
    delivered = [await room.deliver(mail()) for _ in range(5)]

    seen: list[str] = []
    page = await room.ask(listing, Filter(), Window(limit=2))
    seen += [item.id for item in page.items]
    while page.next_cursor:
        page = await room.ask(listing, Filter(), Window(limit=2, cursor=page.next_cursor))
        seen += [item.id for item in page.items]

    assert seen == sorted(delivered, reverse=True)


async def test_a_merged_mail_shows_the_state_and_reply_of_its_twin(room: Mailroom) -> None:
    await room.deliver(mail(), HELLO, f"help@shop.{DOMAIN}")
    await room.work()

    items = (await room.ask(listing, Filter(status=Status.RESPONDED), Window())).items

    assert sorted(item.state for item in items) == ["answered", "merged"]
    assert len({item.replies[0].message_id for item in items}) == 1


async def test_archiving_is_a_flag_beside_the_state_and_can_be_taken_back(
    quick: Mailroom,
) -> None:
    delivery_id = await quick.answered()

    await quick.do(handling.archive, delivery_id, actor="person:eva@shop.example")
    away = await quick.ask(one, delivery_id)
    await quick.do(handling.archive, delivery_id, actor="person:eva@shop.example", away=False)
    back = await quick.ask(one, delivery_id)

    assert (away.status, away.state) == ("archived", "answered")
    assert (back.status, back.archived_at) == ("responded", None)
    lines = await quick.rows(select(ledger.c.actor).where(ledger.c.step == "archive"))
    assert [line.actor for line in lines] == ["person:eva@shop.example"] * 2


async def test_a_stranger_workspace_sees_nothing(room: Mailroom) -> None:
    delivery_id = await room.answered()

    with pytest.raises(NotFound):
        await room.store.read("wsp_other", one, delivery_id)
    with pytest.raises(NotFound):
        await contents.raw(room.services, "wsp_other", delivery_id)
    with pytest.raises(NotFound):
        await room.store.write("wsp_other", handling.replay, delivery_id, actor="cli")
    assert (await room.store.read("wsp_other", listing, Filter(), Window())).items == ()


# --- inside a mail ----------------------------------------------------------------------------


async def test_the_raw_octets_come_back_as_they_came(quick: Mailroom) -> None:
    raw = mail(text="caf\xe9 \U0001f600")
    delivery_id = await quick.deliver(raw)

    kept = await contents.raw(quick.services, quick.workspace_id, delivery_id)
    assert kept.content == raw


async def test_an_attachment_is_decoded_and_its_name_is_safe(quick: Mailroom) -> None:
    raw = mail(attachment=("in;voice.html", "<b>owed</b>"))
    delivery_id = await quick.answered(raw)
    detail = await quick.ask(contents.detail, delivery_id)
    (file,) = detail.content.attachments

    download = await contents.attachment(quick.services, quick.workspace_id, delivery_id, file.part)

    assert download.content.strip() == b"<b>owed</b>"
    assert download.filename == "in_voice.html"
    with pytest.raises(NotFound):
        await contents.attachment(quick.services, quick.workspace_id, delivery_id, "9.9")


async def test_the_evidence_about_the_sender_is_one_sentence(quick: Mailroom) -> None:
    delivery_id = await quick.answered()

    detail = await quick.ask(contents.detail, delivery_id)

    assert "local test mail" in detail.authentication_sentence
    assert detail.authentication.judged_by == "nobody"
    assert detail.why_kind


async def test_a_thread_is_told_from_both_sides(quick: Mailroom) -> None:
    delivery_id = await quick.answered()
    item = await quick.ask(one, delivery_id)

    view = await quick.ask(contents.thread, item.thread_id)

    assert [(e.by_us, e.text) for e in view.thread.entries] == [
        (False, "Where is my order?"),
        (True, "It is on its way."),
    ]
    assert view.delivery_ids == (delivery_id,)


# --- driving it again -------------------------------------------------------------------------


async def test_a_silent_mail_is_driven_again_and_answered(room: Mailroom) -> None:
    room.agent_says(Silence("nothing to say"))
    delivery_id = await room.answered()
    room.agent_says(Reply("Now there is."))

    await room.do(handling.replay, delivery_id, actor="cli")
    await room.work()

    item = await room.ask(one, delivery_id)
    assert (item.state, item.replies[0].text) == ("answered", "Now there is.")
    kept = await room.rows(select(messages.c.id).where(messages.c.delivery_id == delivery_id))
    assert len(kept) == 1
    lines = await room.rows(select(ledger).where(ledger.c.step == "replay"))
    assert [(line.actor, line.delivery_id) for line in lines] == [("cli", delivery_id)]


async def test_an_answer_to_a_driven_mail_joins_its_new_thread(room: Mailroom) -> None:
    room.agent_says(Silence("nothing to say"))
    delivery_id = await room.answered(mail(message_id="<first@customer.example>"))
    room.agent_says(Reply("Now there is."))
    await room.do(handling.replay, delivery_id, actor="cli")
    await room.work()

    second = await room.answered(mail(headers=["In-Reply-To: <first@customer.example>"]))

    first_thread = (await room.ask(one, delivery_id)).thread_id
    assert (await room.ask(one, second)).thread_id == first_thread


async def test_driving_a_held_mail_again_leaves_no_empty_thread(room: Mailroom) -> None:
    delivery_id = await room.deliver(mail(author="a@x.example, b@y.example"))
    await room.work()
    assert (await room.ask(one, delivery_id)).state == "held"

    await room.do(handling.replay, delivery_id, actor="cli")
    await room.work()

    assert (await room.ask(one, delivery_id)).state == "held"
    assert len(await room.rows(select(threads.c.id))) == 1


async def test_a_merged_twin_does_not_swallow_the_mail_that_is_driven_again(
    room: Mailroom,
) -> None:
    room.agent_says(Silence("nothing to say"))
    await room.deliver(mail(), HELLO, f"help@shop.{DOMAIN}")
    await room.work()
    found = await room.ask(listing, Filter(state=DeliveryState.SILENT), Window())
    (silent,) = found.items
    room.agent_says(Reply("Now there is."))

    await room.do(handling.replay, silent.id, actor="cli")
    await room.work()

    assert (await room.ask(one, silent.id)).state == "answered"


async def test_an_answered_mail_is_never_driven_again(quick: Mailroom) -> None:
    delivery_id = await quick.answered()
    (reply,) = (await quick.ask(one, delivery_id)).replies

    with pytest.raises(Conflict, match=reply.message_id):
        await quick.do(handling.replay, delivery_id, actor="cli")


async def test_a_mail_in_work_is_not_driven_again(quick: Mailroom) -> None:
    delivery_id = await quick.deliver(mail())

    with pytest.raises(Conflict, match="in work"):
        await quick.do(handling.replay, delivery_id, actor="cli")


# --- a person's answer ------------------------------------------------------------------------


async def test_a_person_answers_in_the_thread_from_the_agents_address(room: Mailroom) -> None:
    room.agent_says(Handoff("a refund"))
    delivery_id = await room.answered(mail(message_id="<ask@customer.example>"))

    await room.do(
        answer,
        room.services,
        delivery_id,
        "We refund you.",
        author="person:eva@shop.example",
    )
    await room.work()

    item = await room.ask(one, delivery_id)
    assert (item.state, item.reason) == ("answered", "answered by eva@shop.example")
    (reply,) = item.replies
    assert (reply.in_reply_to, reply.state, reply.author) == (
        "<ask@customer.example>",
        "sent",
        "person:eva@shop.example",
    )
    (sent,) = await room.rows(select(outbound_mails).where(outbound_mails.c.id == reply.id))
    assert sent.outgoing["from_"]["address"] == HELLO
    assert sent.outgoing["auto_submitted"] is None


async def test_a_person_may_answer_a_mail_that_nothing_proves(room: Mailroom) -> None:
    delivery_id = await room.deliver(mail(author="a@x.example, b@y.example"))
    await room.work()

    await room.do(answer, room.services, delivery_id, "Yes.", author="cli")

    item = await room.ask(one, delivery_id)
    assert (item.state, item.held_until) == ("answered", None)
    (sent,) = await room.rows(
        select(outbound_mails).where(outbound_mails.c.id == item.replies[0].id)
    )
    assert [to["address"] for to in sent.outgoing["to"]] == ["a@x.example"]


async def test_mail_to_postmaster_is_answered_as_postmaster(quick: Mailroom) -> None:
    role = f"postmaster@shop.{DOMAIN}"
    delivery_id = await quick.deliver(mail(), role)
    await quick.work()

    await quick.do(answer, quick.services, delivery_id, "Thank you.", author="cli")
    await quick.work()

    (reply,) = (await quick.ask(one, delivery_id)).replies
    (sent,) = await quick.rows(select(outbound_mails).where(outbound_mails.c.id == reply.id))
    assert (sent.from_address, reply.state) == (role, "sent")


async def test_what_cannot_be_answered_says_why(quick: Mailroom) -> None:
    waiting = await quick.deliver(mail())

    with pytest.raises(Conflict, match="in work"):
        await quick.do(answer, quick.services, waiting, "Yes.", author="cli")
    with pytest.raises(Malformed, match="text"):
        await quick.do(answer, quick.services, waiting, " \n", author="cli")
    with pytest.raises(NotFound):
        await quick.do(answer, quick.services, "dlv_none", "Yes.", author="cli")
