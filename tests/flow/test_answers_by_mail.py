"""A person answers a hand-over by replying to its notice: they alone, once, while it waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import select

from mailagent.agents import Turn
from mailagent.errors import LostClaim
from mailagent.flow import read
from mailagent.outgoing import Handoff
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, claim
from tests.flow.house import ANN, House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")

EVA = "eva@customer.example"
"""Of a domain for which DMARC vouches, as of Ann's."""
STRANGER_IP = "198.51.100.9"


def hand_over(_: Turn) -> Handoff:
    return Handoff("too hard for me")


async def handed_over(house: House, person: str = EVA) -> tuple[Space, str, EmailMessage]:
    """A workspace whose Eva was told of a mail of Ann: the mail's id, and her notice."""
    space = await house.workspace(hand_over, escalation_address=person)
    asked = mail("Can I pay later?", to=space.address, message_id=f"<{new_id('q')}@c.example>")
    delivery_id = await space.receive(asked)
    await space.delivery(delivery_id, "handed to a person")
    (notice,) = await space.notices(person)
    return space, delivery_id, notice


def reply_to(notice: EmailMessage) -> str:
    return str(notice["Reply-To"])


def text_of(message: EmailMessage) -> str:
    return str(message.get_content()).replace("\r\n", "\n")


def quoting(notice: EmailMessage, text: str) -> str:
    quoted = "\n".join(f"> {line}" for line in notice.get_content().splitlines())
    return f"{text}\n\nOn Sat, 21 Nov 2026 at 10:00, mailagent <a@b.example> wrote:\n{quoted}\n"


async def answer(
    space: Space, notice: EmailMessage, body: str, *, sender: str = EVA, **more: Any
) -> Any:
    """Reply to the notice; the row of that mail once it is read."""
    headers: Mapping[str, str] = more.pop("headers", {})
    to = more.pop("to", None) or reply_to(notice)
    raw = more.pop("raw", None) or mail(
        body, sender=sender, to=to, subject="Re: Needs you", headers=headers
    )
    more = {"mail_from": sender, **more}
    id_ = await space.receive(raw, to, **more)
    return await space.delivery(id_, "recorded", "quarantined", "duplicate", "looped")


async def sent_by_person(space: Space) -> list[EmailMessage]:
    rows = await space.outbound(t.outbound_mails.c.purpose == "person")
    for row in rows:
        await space.sent_off(row.id, "sent")
    return [space.as_sent(row.message_id) for row in rows]


async def refusals(space: Space) -> list[EmailMessage]:
    """What Eva was told beside the first notice."""
    return (await space.notices(EVA))[1:]


async def test_a_reply_to_the_notice_goes_to_the_customer_in_the_thread(house: House) -> None:
    space, delivery_id, notice = await handed_over(house)
    row = await answer(space, notice, quoting(notice, "Yes, until Friday.\n\nEva"))

    (sent,) = await sent_by_person(space)
    assert sent["From"] == f"Hello <{space.address}>"
    assert sent["To"] == ANN
    assert text_of(sent) == "Yes, until Friday.\n\nEva\n"
    assert "Auto-Submitted" not in sent
    (asked,) = await space.rows(t.messages, t.messages.c.delivery_id == delivery_id)
    assert sent["In-Reply-To"] == asked.message_id
    answered = await space.delivery(delivery_id, "answered")
    assert answered.reason == f"answered by {EVA}"
    assert row.state == "recorded"
    assert row.reason.startswith(f"the answer of {EVA} to {delivery_id}: sent as out_")
    assert f"answered by mail {row.id} (DMARC passed" in await space.story(delivery_id)
    assert "sent as out_" in await space.story(row.id)
    assert await refusals(space) == []
    assert len(space.turns) == 1


async def test_the_notice_says_how_and_until_when(house: House) -> None:
    _, delivery_id, notice = await handed_over(house)
    text = text_of(notice)

    assert text.startswith("--- Write your answer above this line ---\n")
    assert f"only, until {house.store.now() + timedelta(days=14):%Y-%m-%d}" in text
    assert f"from {EVA}\n" in text
    assert f"mailagent reply {delivery_id}" in text
    assert len(reply_to(notice).partition("@")[0]) <= 64


async def test_files_go_along_and_signatures_do_not(house: House) -> None:
    space, _, notice = await handed_over(house)
    written = EmailMessage()
    written["From"], written["To"], written["Subject"] = EVA, reply_to(notice), "Re: Needs you"
    written["Message-ID"] = f"<{new_id('m')}@customer.example>"
    written.set_content("The form is attached.")
    written.add_attachment(b"%PDF-1", maintype="application", subtype="pdf", filename="form.pdf")
    written.add_attachment(
        b"0", maintype="application", subtype="pkcs7-signature", filename="smime.p7s"
    )
    await answer(space, notice, "", raw=written.as_bytes().replace(b"\n", b"\r\n"))

    (sent,) = await sent_by_person(space)
    (file,) = sent.iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("form.pdf", b"%PDF-1")


async def test_a_forged_from_is_answered_by_nobody(house: House) -> None:
    space, delivery_id, notice = await handed_over(house, "eva@none.example")
    row = await answer(space, notice, "I am Eva.", sender="eva@none.example", ip=STRANGER_IP)

    assert row.state == "quarantined"
    assert f"nothing proves that eva@none.example answers {delivery_id}" in row.reason
    assert await sent_by_person(space) == []
    assert len(await space.notices("eva@none.example")) == 1
    await space.delivery(delivery_id, "handed to a person")


async def test_a_from_that_its_domain_disowns_is_answered_by_nobody(house: House) -> None:
    space, delivery_id, notice = await handed_over(house)
    row = await answer(space, notice, "I am Eva.", ip=STRANGER_IP)

    assert row.state == "quarantined"
    assert "DMARC failed" in row.reason
    assert await sent_by_person(space) == await refusals(space) == []
    await space.delivery(delivery_id, "handed to a person")


async def test_a_proven_stranger_with_the_token_is_answered_by_nobody(house: House) -> None:
    space, delivery_id, notice = await handed_over(house)
    row = await answer(space, notice, "Hello.", sender="mallory@customer.example")

    assert row.state == "quarantined"
    assert "mallory@customer.example answers with the address of another person" in row.reason
    assert await sent_by_person(space) == []
    assert len(await space.outbound(t.outbound_mails.c.purpose == "notice")) == 1
    await space.delivery(delivery_id, "handed to a person")


async def test_a_used_token_sends_nothing_more_and_the_person_is_told(house: House) -> None:
    space, _, notice = await handed_over(house)
    await answer(space, notice, "Yes.")
    again = await answer(space, notice, "And one more thing.")

    assert len(await sent_by_person(space)) == 1
    assert again.reason == (
        f"not sent: you have answered it already: a notice is answered once ({EVA} was told)"
    )
    (told,) = await refusals(space)
    assert "Your answer was not sent: you have answered it already" in told.get_content()
    assert told["Auto-Submitted"] == "auto-generated"


async def test_the_same_reply_delivered_twice_is_sent_once_and_nobody_is_told(house: House) -> None:
    space, _, notice = await handed_over(house)
    raw = mail("Yes.", sender=EVA, to=reply_to(notice), subject="Re: Needs you")
    await answer(space, notice, "", raw=raw)
    again = await answer(space, notice, "", raw=raw)

    assert again.state == "duplicate"
    assert len(await sent_by_person(space)) == 1
    assert await refusals(space) == []


async def two_owners(house: House) -> tuple[Space, str, dict[str, EmailMessage]]:
    """A mail of which Eva and Bob were told, each in a notice of their own."""
    bob = "bob@customer.example"
    space = await house.workspace(hand_over, owner=False)

    def add(tx: Transaction) -> None:
        for email in (EVA, bob):
            people = tx.value(select(t.people.c.id).where(t.people.c.email == email))
            person_id = people or new_id("per")
            if people is None:
                row = {"id": person_id, "email": email, "name": "", "created_at": tx.now}
                tx.insert(t.people, row)
            tx.insert(t.memberships, {"person_id": person_id, "role": "owner"})

    await space.write(add)
    delivery_id = await space.receive()
    await space.delivery(delivery_id, "handed to a person")
    notices = {one: (await space.notices(one))[0] for one in (EVA, bob)}
    return space, delivery_id, notices


async def test_the_first_answer_of_two_persons_wins_and_the_second_is_told(house: House) -> None:
    space, _, notices = await two_owners(house)
    eva, bob = notices
    assert reply_to(notices[eva]) != reply_to(notices[bob])
    await answer(space, notices[eva], "Yes.", sender=eva)
    late = await answer(space, notices[bob], "No.", sender=bob)

    (sent,) = await sent_by_person(space)
    assert sent.get_content().strip() == "Yes."
    assert f"the mail waits no longer: it is answered (answered by {eva})" in late.reason
    (told,) = (await space.notices(bob))[1:]
    assert f"answered by {eva}" in told.get_content()


async def test_a_colleagues_token_is_no_ones_but_theirs(house: House) -> None:
    space, delivery_id, notices = await two_owners(house)
    eva, bob = notices
    row = await answer(space, notices[eva], "Yes.", sender=bob)

    assert await sent_by_person(space) == []
    assert "this Reply-To is another person's" in row.reason
    assert len(await space.notices(bob)) == 2
    await space.delivery(delivery_id, "handed to a person")


async def test_an_absence_note_to_the_notice_is_no_answer_and_starts_no_loop(house: House) -> None:
    space, delivery_id, notice = await handed_over(house)
    row = await answer(space, notice, "I am away.", headers={"Auto-Submitted": "auto-replied"})

    assert (row.state, row.reason[:25]) == ("recorded", "no answer, automatic mail")
    assert await sent_by_person(space) == await refusals(space) == []
    await space.delivery(delivery_id, "handed to a person")


@pytest.mark.parametrize("token", ["", "a", "nothing-of-ours", "a" * 33])
async def test_a_token_that_is_none_of_ours_is_recorded(house: House, token: str) -> None:
    space, _, notice = await handed_over(house)
    to = f"postmaster+h.{token}@{space.domain}"
    row = await answer(space, notice, "Hello.", to=to)

    assert (row.state, row.reason) == ("recorded", "an answer with a token that is none of ours")
    assert await refusals(space) == []


async def test_a_token_of_another_workspace_is_none_of_ours(house: House) -> None:
    _, _, notice = await handed_over(house)
    other = await house.workspace(hand_over, escalation_address=EVA)
    to = reply_to(notice).partition("@")[0] + f"@{other.domain}"
    row = await answer(other, notice, "Hello.", to=to)
    assert row.reason == "an answer with a token that is none of ours"


@pytest.mark.parametrize("above", ["", "\n\n", "-- \nEva, Sales"])
async def test_a_reply_without_words_is_not_sent_and_the_person_is_told(
    house: House, above: str
) -> None:
    space, _, notice = await handed_over(house)
    row = await answer(space, notice, quoting(notice, above))

    assert await sent_by_person(space) == []
    assert row.reason.startswith("not sent: ")
    assert len(await refusals(space)) == 1


async def test_words_below_or_between_the_quote_are_not_sent(house: House) -> None:
    space, delivery_id, notice = await handed_over(house)
    below = quoting(notice, "").strip() + "\n\nYes, until Friday.\n"
    lines = below.splitlines()
    between = "\n".join([*lines[:5], "", "Yes.", "", *lines[5:9], "", "No.", "", *lines[9:]])
    bare = notice.get_content() + "\nYes.\n"
    for body in (below, between, bare):
        row = await answer(space, notice, body)
        assert "write above the quote" in row.reason
    assert await sent_by_person(space) == []
    assert len(await refusals(space)) == 3

    await answer(space, notice, quoting(notice, "Yes, until Friday."))
    assert len(await sent_by_person(space)) == 1
    await space.delivery(delivery_id, "answered")


async def test_a_notice_ends_after_fourteen_days(house: House) -> None:
    space, _, notice = await handed_over(house)
    await house.later(timedelta(days=14, minutes=1))
    row = await answer(space, notice, "Yes.")

    assert "its time ended on" in row.reason
    assert await sent_by_person(space) == []
    assert len(await refusals(space)) == 1


async def test_a_reader_that_dies_before_its_commit_is_followed_by_one_that_sends_once(
    house: House,
) -> None:
    space, delivery_id, notice = await handed_over(house)
    house.workers["read"]._slots = 0
    try:
        raw = mail("Yes.", sender=EVA, to=reply_to(notice), subject="Re: Needs you")
        answering = await space.receive(raw, reply_to(notice), mail_from=EVA)
        (frozen,) = await house.store.write_unscoped(claims_of, answering)
        await house.store.write(space.id, take_away, answering)
        with pytest.raises(LostClaim):
            await read.read(house.services, frozen)
        assert await sent_by_person(space) == []
        await space.delivery(delivery_id, "handed to a person")
        (again,) = await house.store.write_unscoped(claims_of, answering)
        await read.read(house.services, again)
        with pytest.raises(LostClaim):
            await read.read(house.services, again)
    finally:
        house.workers["read"]._slots = 8

    assert len(await sent_by_person(space)) == 1
    assert await refusals(space) == []


def claims_of(tx: Transaction, delivery_id: str) -> list[Claim]:
    return [one for one in claim(tx, read.READING_QUEUE, 10) if one.id == delivery_id]


def take_away(tx: Transaction, delivery_id: str) -> None:
    """What a rescue does to a worker that froze."""
    table = t.deliveries
    tx.execute(
        table.update().where(table.c.id == delivery_id).values(claimed_by=None, lease_until=None)
    )
