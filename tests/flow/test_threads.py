"""A conversation is found by what we signed or sent, and shown to nobody who has no part in it."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from mailagent.flow.purge import Named, purge
from mailagent.flow.threads import anchor
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.flow.house import ANN, House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")

STRANGER = "eve@spf-only.example"


async def thread_of(space: Space, delivery_id: str) -> str:
    row = await space.delivery(delivery_id, "answered", "silent", "held")
    assert row.thread_id is not None
    return str(row.thread_id)


async def begin(space: Space) -> tuple[str, EmailMessage]:
    """A conversation of Ann with the agent: its thread and the agent's answer."""
    got = await space.receive(mail("First question", message_id=f"<a1@{space.slug}.example>"))
    answer = space.as_sent((await space.answer_to(got)).message_id)
    return await thread_of(space, got), answer


def reply_address(answer: EmailMessage) -> str:
    address = str(answer["Reply-To"]).partition("<")[2].rstrip(">")
    assert "+t." in address
    return address


async def test_an_answer_to_our_reply_address_joins_with_all_headers_lost(house: House) -> None:
    space = await house.workspace()
    thread, answer = await begin(space)
    got = await space.receive(mail("And on Sunday?"), reply_address(answer).upper())
    assert await thread_of(space, got) == thread
    (earlier, later) = space.turns
    assert earlier.thread.entries == ()
    assert [entry.by_us for entry in later.thread.entries] == [False, True]
    assert "First question" in later.thread.entries[0].text


async def test_an_answer_that_names_our_message_joins(house: House) -> None:
    space = await house.workspace()
    thread, answer = await begin(space)
    got = await space.receive(mail(headers={"In-Reply-To": answer["Message-ID"]}))
    assert await thread_of(space, got) == thread


async def test_an_answer_that_names_the_id_a_provider_gave_joins(house: House) -> None:
    space = await house.workspace()
    thread, _ = await begin(space)

    def anchored(tx: Transaction) -> None:
        tx.insert(
            t.anchors,
            {
                "agent_id": space.agent_id,
                "message_id": "<0102@eu-west-1.amazonses.example>",
                "thread_id": thread,
            },
        )

    await space.write(anchored)
    named = {"References": "<other@x.example> <0102@eu-west-1.amazonses.example>"}
    got = await space.receive(mail(headers=named))
    assert await thread_of(space, got) == thread


async def test_a_second_mail_that_names_the_first_joins(house: House) -> None:
    space = await house.workspace()
    thread, _ = await begin(space)
    got = await space.receive(mail(headers={"In-Reply-To": f"<a1@{space.slug}.example>"}))
    assert await thread_of(space, got) == thread


async def test_the_subject_alone_joins_nothing(house: House) -> None:
    space = await house.workspace()
    thread, answer = await begin(space)
    got = await space.receive(mail(subject=str(answer["Subject"])))
    assert await thread_of(space, got) != thread


async def test_a_stranger_with_the_token_gets_a_thread_of_their_own(house: House) -> None:
    space = await house.workspace()
    thread, answer = await begin(space)
    raw = mail("What did Ann ask?", sender=STRANGER)
    got = await space.receive(raw, reply_address(answer), mail_from=STRANGER)
    own = await thread_of(space, got)
    assert own != thread
    (row,) = await space.rows(t.threads, t.threads.c.id == own)
    assert row.related_thread_id == thread
    assert space.turns[-1].thread.entries == ()
    assert space.turns[-1].mails[0].content.from_[0].address == STRANGER


async def test_a_participants_name_without_proof_opens_nothing(house: House) -> None:
    space = await house.workspace()
    sender = "bo@spf-only.example"
    first = await space.receive(mail(sender=sender), mail_from=sender)
    answer = space.as_sent((await space.answer_to(first)).message_id)
    forged = mail("It is me, Bo", sender=sender, headers={"In-Reply-To": answer["Message-ID"]})
    got = await space.receive(forged, mail_from="x@elsewhere.example", ip="198.51.100.9")
    assert await thread_of(space, got) != await thread_of(space, first)


async def test_a_spoiled_token_is_a_plain_tag(house: House) -> None:
    space = await house.workspace()
    thread, answer = await begin(space)
    local, _, domain = reply_address(answer).partition("@")
    spoiled = f"{local[:-1]}{'a' if local[-1] != 'a' else 'b'}@{domain}"
    got = await space.receive(mail(), spoiled)
    assert await thread_of(space, got) != thread


async def test_another_agent_of_the_workspace_knows_nothing_of_the_thread(house: House) -> None:
    space = await house.workspace()
    other = await space.another_agent("sales")
    thread, answer = await begin(space)
    got = await space.receive(
        mail(headers={"In-Reply-To": answer["Message-ID"]}), f"sales@{space.domain}"
    )
    own = await thread_of(space, got)
    (row,) = await space.rows(t.threads, t.threads.c.id == own)
    assert (row.agent_id, row.related_thread_id) == (other, None)
    assert own != thread


async def test_a_token_of_one_agent_says_nothing_at_another(house: House) -> None:
    space = await house.workspace()
    await space.another_agent("sales")
    thread, answer = await begin(space)
    moved = reply_address(answer).replace("hello+", "sales+")
    got = await space.receive(mail(), moved)
    assert await thread_of(space, got) != thread


async def test_another_workspace_knows_nothing_of_the_thread(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    thread, answer = await begin(space)
    named = {"In-Reply-To": answer["Message-ID"], "References": f"<a1@{space.slug}.example>"}
    got = await other.receive(mail(headers=named))
    own = await thread_of(other, got)
    (row,) = await other.rows(t.threads, t.threads.c.id == own)
    assert row.related_thread_id is None
    assert own != thread
    assert other.turns[-1].thread.entries == ()


async def test_whom_we_wrote_to_may_answer_in_the_thread(house: House) -> None:
    space = await house.workspace()
    thread, _ = await begin(space)
    assert [
        (row.address, row.authenticated)
        for row in await space.rows(t.participants, t.participants.c.thread_id == thread)
    ] == [(ANN, True)]


async def wrote(space: Space, message_id: str, *answers: str, sender: str = ANN) -> str:
    """A mail that names others as those it answers; its thread."""
    named = {"References": " ".join(answers), "In-Reply-To": answers[-1]} if answers else {}
    raw = mail(f"This is {message_id}", sender=sender, message_id=message_id, headers=named)
    return await thread_of(space, await space.receive(raw, mail_from=sender))


async def test_a_mail_that_comes_after_its_answer_joins_it(house: House) -> None:
    space = await house.workspace()
    thread = await wrote(space, "<second@x.example>", "<first@x.example>")
    assert await wrote(space, "<first@x.example>") == thread
    (_, turn) = space.turns
    assert "<second@x.example>" in turn.thread.entries[0].text
    assert await wrote(space, "<third@x.example>", "<first@x.example>") == thread


async def test_answers_to_a_mail_that_never_came_are_one_conversation(house: House) -> None:
    space = await house.workspace()
    thread = await wrote(space, "<two@x.example>", "<one@x.example>")
    assert await wrote(space, "<three@x.example>", "<one@x.example>") == thread
    assert await wrote(space, "<other@x.example>", "<else@x.example>") != thread


async def test_a_mail_is_not_drawn_into_a_strangers_thread_that_expected_it(house: House) -> None:
    space = await house.workspace()
    strangers = await wrote(space, "<bait@x.example>", "<anns@x.example>", sender=STRANGER)
    anns = await wrote(space, "<anns@x.example>")
    (row,) = await space.rows(t.threads, t.threads.c.id == anns)
    assert row.related_thread_id == strangers
    assert space.turns[-1].thread.entries == ()
    assert await wrote(space, "<more@x.example>", "<anns@x.example>") == anns


async def test_what_a_provider_names_goes_before_what_was_expected(house: House) -> None:
    space = await house.workspace()
    thread, _ = await begin(space)
    named = f"<0102-{space.slug}@eu-west-1.amazonses.example>"
    await wrote(space, "<early@x.example>", named)
    await space.write(lambda tx: anchor(tx, space.agent_id, thread, [named]))
    assert await wrote(space, "<late@x.example>", named) == thread


async def test_a_purge_takes_what_a_mail_expected_along(house: House) -> None:
    space = await house.workspace()
    thread = await wrote(space, "<kept@x.example>", "<of-both@x.example>")
    got = await space.receive(
        mail(headers={"References": "<of-both@x.example> <of-one@x.example>"})
    )
    assert await thread_of(space, got) == thread
    await purge(
        house.store, space.id, Named((got,)), actor="cli", raw_store=house.services.raw_store
    )
    left = {row.message_id for row in await space.rows(t.anchors, t.anchors.c.expected)}
    assert left == set()
