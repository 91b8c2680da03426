"""A draft that needs a yes waits for it, fires once, and never after a participant wrote again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.agents import Turn
from mailagent.errors import Conflict, Malformed
from mailagent.flow import answers, approval_edits, approval_times, approvals, policies
from mailagent.flow.threads import participate
from mailagent.mail import Address
from mailagent.outgoing import Handoff, OutgoingAttachment, Reply
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from tests.flow.house import ANN, House, Space, mail
from tests.flow.test_standing import enlist, make_member

pytestmark = pytest.mark.asyncio(loop_scope="package")

EVA = "eva@customer.example"
BOB = "bob@customer.example"
STRANGER_IP = "198.51.100.9"


def careful(_: Turn) -> Reply:
    return Reply("Yes, until Friday.\n", ask="a promise")


async def asked(
    house: House, mind: Callable[[Turn], Any] = careful, **limits: Any
) -> tuple[Space, AnyRow]:
    """A workspace whose agent wrote a draft that waits; Eva is asked unless others are named."""
    space = await house.workspace(mind, limits={"approvers": [EVA], **limits})
    first = mail("Can I pay later?", to=space.address, message_id=f"<a1@{space.slug}.example>")
    delivery_id = await space.receive(first)
    await space.delivery(delivery_id, "waiting for approval")
    return space, await the_approval(space)


async def the_approval(space: Space, *conditions: Any) -> AnyRow:
    (row,) = await space.rows(t.approvals, *conditions)
    return row


async def decide(space: Space, what: Any, *args: Any, **named: Any) -> AnyRow:
    """Approve, reject or edit, as a person's wish does."""
    given = {"actor": f"person:{EVA}", **named}
    row: AnyRow = await space.write(lambda tx: what(tx, *args, **given))
    return row


async def approve(space: Space, row: AnyRow, **named: Any) -> AnyRow:
    return await decide(space, approvals.approve, space.house.services, row.id, **named)


async def edit(space: Space, row: AnyRow, widening: Any = len, **changes: Any) -> AnyRow:
    given = (space.house.services, row.id, approval_edits.Changes(**changes))
    return await decide(space, approval_edits.edit, *given, widening=widening)


def following(space: Space, text: str = "And one more thing.", **headers: str) -> bytes:
    """Ann's next mail in the thread."""
    more = {"In-Reply-To": f"<a1@{space.slug}.example>", **headers}
    return mail(text, to=space.address, headers=more)


async def replies(space: Space) -> list[AnyRow]:
    return list(await space.outbound(t.outbound_mails.c.purpose == "reply"))


# --- asking -----------------------------------------------------------------------------------


async def test_nothing_leaves_before_the_yes_and_the_frozen_draft_after_it(house: House) -> None:
    space, row = await asked(house)
    assert row.reasons == ["the agent asks for it: a promise"]
    assert await replies(space) == []

    decided = await approve(space, row, digest=row.digest)

    sent = await space.sent_off(decided.outbound_id, "sent")
    assert sent.digest == row.digest
    assert space.as_sent(sent.message_id).get_content().strip() == "Yes, until Friday."
    delivery = await space.delivery(row.delivery_id, "answered")
    assert delivery.reason == f"approved by {EVA}"
    assert "approve: draft approved" in await space.story(row.delivery_id)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply("See https://evil.example/?q=1"), "link"),
        (Reply("Yes", attachments=(OutgoingAttachment("a.pdf", "application/pdf", b"%"),)), "file"),
        (Reply("We pay you 5,000 dollars."), "5,000 dollars is above 100"),
        (Reply("The key is AKIAAAAAAAAAAAAAAAAA"), "AWS access key"),
        (Reply("Perhaps.", confidence=0.75), "0.75 sure"),
        (Reply("For you.", to=(Address("boss@elsewhere.example"),)), "takes no part"),
    ],
    ids=["link", "file", "sum", "secret", "unsure", "forward"],
)
async def test_what_the_thread_has_not_waits_with_its_reason(
    house: House, reply: Reply, why: str
) -> None:
    _, row = await asked(house, lambda _: reply)
    assert why in "; ".join(row.reasons)


async def test_an_address_of_another_workspace_in_a_draft_waits(house: House) -> None:
    other = await house.workspace()
    _, row = await asked(house, lambda _: Reply(f"Ask {other.address} about it."))
    assert row.reasons == [f"it has {other.address}, an address of another workspace"]


async def test_who_is_unsure_enough_leaves_it_to_a_person(house: House) -> None:
    space = await house.workspace(lambda _: Reply("Perhaps.", confidence=0.69))
    row = await space.delivery(await space.receive(), "handed to a person")
    assert "0.69 sure" in row.reason
    assert await space.rows(t.approvals) == []


async def test_what_a_policy_refuses_is_left_to_a_person_and_the_cell_is_named(
    house: House,
) -> None:
    space = await house.workspace(lambda _: Reply("See https://evil.example"))
    cells = {"stranger": {"link": "refuse"}}
    await space.write(lambda tx: policies.save(tx, cells, author="cli"))
    row = await space.delivery(await space.receive(), "handed to a person")
    assert row.reason.endswith("refused (workspace policy 1: stranger, link)")


async def test_a_policy_that_allows_lets_it_go_and_the_ledger_names_the_cell(house: House) -> None:
    space = await house.workspace(lambda _: Reply("See https://docs.example/x"))
    cells = {"stranger": {"link": "do"}}
    save = policies.save
    await space.write(
        lambda tx: save(tx, cells, author="cli", agent_id=space.agent_id, handle="hello")
    )
    row = await space.delivery(await space.receive(), "answered")
    story = await space.story(row.id)
    assert "default policy 1: stranger, reply; agent hello policy 1: stranger, link" in story
    assert "the answer may be sent, for standing stranger (DMARC passed" in story


async def test_a_member_gets_what_a_stranger_does_not(house: House) -> None:
    space = await house.workspace(lambda _: Reply("See https://docs.example/x"))
    await make_member(space, ANN)
    await space.delivery(await space.receive(), "answered")


async def test_a_colleagues_question_lends_a_strangers_words_no_standing(house: House) -> None:
    space = await house.workspace(
        lambda turn: Reply("See https://docs.example/x" if turn.thread.entries else "Hello")
    )
    await make_member(space, BOB)
    id_ = f"<s1@{space.slug}.example>"
    first = await space.receive(mail("Send it all to me.", to=space.address, message_id=id_))
    row = await space.delivery(first, "answered")
    await space.write(lambda tx: participate(tx, row.thread_id, [BOB], authenticated=True))
    asks = mail("Well?", sender=BOB, to=space.address, headers={"In-Reply-To": id_})
    second = await space.delivery(await space.receive(asks, mail_from=BOB), "waiting for approval")
    assert second.thread_id == row.thread_id
    assert "default policy 1: stranger, link" in second.reason


async def test_a_link_of_the_thread_or_of_a_cited_document_needs_no_yes(house: House) -> None:
    space = await house.workspace(lambda turn: Reply(turn.mails[-1].content.text))
    await space.delivery(
        await space.receive(mail("Is https://shop.example/7 right?", to=space.address)), "answered"
    )


async def test_automatic_answers_that_are_off_wait_all(house: House) -> None:
    space = await house.workspace(limits={"auto_reply": False})
    row = await space.delivery(await space.receive(), "waiting for approval")
    assert "automatic answers are off" in row.reason


async def test_a_forward_has_the_mail_and_goes_to_whom_the_policy_allows(house: House) -> None:
    desk = "desk@elsewhere.example"
    space = await house.workspace(lambda _: Reply("Please see.", to=(Address(desk),)))
    cells = {"stranger": {"forward": "do"}}
    await space.write(lambda tx: policies.save(tx, cells, author="cli"))
    await enlist(space, "allow", "send", desk)
    id_ = await space.receive(mail("Where is it?", to=space.address, subject="My order"))
    await space.delivery(id_, "answered")
    sent = space.as_sent((await space.answer_to(id_)).message_id)
    assert (sent["To"], sent["Subject"]) == (desk, "Fwd: My order")
    assert "Please see." in sent.get_content()
    assert f"From: {ANN}" in sent.get_content()
    assert "Where is it?" in sent.get_content()


async def test_what_a_handing_agent_tells_the_writer_is_held_to_the_policy(house: House) -> None:
    space = await house.workspace(lambda _: Handoff("hard", notice="See https://evil.example"))
    await space.delivery(await space.receive(), "handed to a person")
    assert await replies(space) == []


# --- deciding ---------------------------------------------------------------------------------


async def test_two_people_who_decide_at_once_send_one_mail(house: House) -> None:
    space, row = await asked(house)

    async def one(actor: str) -> str:
        try:
            return str((await approve(space, row, actor=f"person:{actor}")).state)
        except Conflict as error:
            return str(error)

    said = await asyncio.gather(one(EVA), one(BOB))
    assert sorted(map(len, said))[0] == len("approved")
    assert any(f"{row.id} waits no longer, it was approved by" in one for one in said)
    assert len(await replies(space)) == 1


async def test_a_rejected_draft_is_never_sent_and_a_person_answers(house: House) -> None:
    space, row = await asked(house)
    await decide(space, approvals.reject, row.id, reason="we do not")
    delivery = await space.delivery(row.delivery_id, "handed to a person")
    assert delivery.reason == f"rejected by {EVA}: we do not"
    with pytest.raises(Conflict, match=f"it was rejected by {EVA}: we do not"):
        await approve(space, row)
    assert await replies(space) == []


async def test_an_edit_is_kept_as_a_difference_and_what_was_seen_before_is_not_approved(
    house: House,
) -> None:
    space, row = await asked(house)
    changed = await edit(space, row, text="Yes, until Monday.\n")
    (kept,) = changed.edits
    assert (kept["from"], kept["to"], kept["by"]) == (row.digest, changed.digest, f"person:{EVA}")
    assert "-Yes, until Friday.\n+Yes, until Monday." in kept["difference"]
    with pytest.raises(Conflict, match="was changed since you saw it"):
        await approve(space, row, digest=row.digest)

    decided = await approve(space, row, digest=changed.digest)
    sent = await space.sent_off(decided.outbound_id, "sent")
    assert "Monday" in space.as_sent(sent.message_id).get_content()


async def test_an_edit_without_words_or_change_is_refused(house: House) -> None:
    space, row = await asked(house)
    for text in ("  ", "Yes, until Friday.\n"):
        with pytest.raises(Malformed, match=r"^text:"):
            await edit(space, row, text=text)


async def test_recipients_and_files_are_changed_and_sent_as_they_were_seen(house: House) -> None:
    letter = OutgoingAttachment("a.pdf", "application/pdf", b"%PDF")
    space, row = await asked(house, lambda _: Reply("Yes", attachments=(letter,)))
    other = OutgoingAttachment("b.txt", "text/plain", b"B")
    to = (Address(ANN), Address("desk@elsewhere.example"))
    changed = await edit(space, row, to=to, cc=(Address(BOB),), add=(other,), drop=("a.pdf",))
    for line in (f"+To: {ANN}, desk@elsewhere.example", f"+Cc: {BOB}", "-File: a.pdf (",
                 "+File: b.txt (text/plain, 1 octets)"):  # fmt: skip
        assert line in changed.edits[0]["difference"]
    with pytest.raises(Conflict, match="was changed since you saw it"):
        await approve(space, row, digest=row.digest)
    decided = await approve(space, row, digest=changed.digest)
    await space.sent_off(decided.outbound_id, "sent")
    assert set(await space.recipients(decided.outbound_id)) == {ANN, to[1].address, BOB}
    sent = space.as_sent((await replies(space))[0].message_id)
    assert [part.get_filename() for part in sent.iter_attachments()] == ["b.txt"]


async def test_what_an_edit_adds_beyond_the_policy_is_told_and_no_lapse_of_time_approves_it(
    house: House,
) -> None:
    space, row = await asked(house, at_expiry="approve", approval_hours=1)
    told: list[str] = []
    one = await edit(space, row, told.extend, text="Yes.\n")
    assert (told, one.at_expiry, one.reasons) == ([], "approve", row.reasons)
    away = "desk@elsewhere.example"
    two = await edit(space, row, told.extend, to=(Address(ANN), Address(away)))
    assert any(away in words and "stranger, new_" in words for words in told)
    assert two.reasons[len(row.reasons) :] == [f"an edit added: {words}" for words in told]
    assert two.at_expiry == "reject"
    told.clear()
    await edit(space, row, told.extend, text="The key is AKIAAAAAAAAAAAAAAAAA")
    assert "AWS access key" in told[0]


async def test_an_edit_that_a_role_does_not_allow_changes_nothing(house: House) -> None:
    space, row = await asked(house)

    def refuse(_: Any) -> None:
        raise Malformed("to", "is more than you may")

    with pytest.raises(Malformed, match="more than you may"):
        await edit(space, row, refuse, to=(Address("desk@elsewhere.example"),))
    assert await the_approval(space) == row
    await enlist(space, "allow", "send", "desk@elsewhere.example")
    await edit(space, row, refuse, to=(Address("desk@elsewhere.example"),))


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"to": ()}, "to"), ({"drop": ("none.pdf",)}, "drop"),
     ({"cc": tuple(Address(f"a{n}@b.example") for n in range(50))}, "to")],
)  # fmt: skip
async def test_an_edit_that_makes_no_mail_is_refused(
    house: House, changes: dict[str, Any], field: str
) -> None:
    space, row = await asked(house)
    with pytest.raises(Malformed, match=rf"^{field}:"):
        await edit(space, row, **changes)


async def test_a_draft_that_is_not_the_one_asked_about_never_fires(house: House) -> None:
    space, row = await asked(house)
    forged = {**row.outgoing, "text": "Give them everything."}
    change = update(t.approvals).where(t.approvals.c.id == row.id).values(outgoing=forged)
    await space.write(lambda tx: tx.execute(change))
    with pytest.raises(Conflict, match="not the draft that was asked about"):
        await approve(space, row)
    assert await replies(space) == []


async def test_a_person_who_answers_makes_the_draft_void(house: House) -> None:
    space, row = await asked(house)
    await space.write(
        lambda tx: answers.answer(
            tx, house.services, row.delivery_id, "I see to it.", author=f"person:{BOB}"
        )
    )
    await space.delivery(row.delivery_id, "answered")
    with pytest.raises(Conflict, match=f"it was stale: answered by {BOB}"):
        await approve(space, row)
    assert await replies(space) == []


# --- stale ------------------------------------------------------------------------------------


async def test_a_participants_next_mail_makes_the_draft_stale_and_the_agent_thinks_of_both(
    house: House,
) -> None:
    space, row = await asked(house)
    again = await space.receive(following(space))
    await space.delivery(again, "waiting for approval")

    old = await the_approval(space, t.approvals.c.id == row.id)
    assert (old.state, old.decision) == ("stale", f"{again} came in the thread")
    assert [len(turn.mails) for turn in space.turns] == [1, 2]
    with pytest.raises(Conflict, match="it was stale"):
        await approve(space, row)
    new = await the_approval(space, t.approvals.c.state == "waiting")
    await approve(space, new)
    for id_ in (row.delivery_id, again):
        await space.delivery(id_, "answered")
    assert len(await replies(space)) == 1


async def test_a_machines_mail_in_the_thread_changes_nothing(house: House) -> None:
    space, row = await asked(house)
    away = following(space, "I am away.", **{"Auto-Submitted": "auto-replied"})
    await space.delivery(await space.receive(away), "silent")
    decided = await approve(space, row)
    await space.sent_off(decided.outbound_id, "sent")


async def test_a_mail_of_who_takes_no_part_changes_nothing(house: House) -> None:
    space, row = await asked(house)
    other = following(space).replace(ANN.encode(), b"mallory@customer.example")
    id_ = await space.receive(other, mail_from="mallory@customer.example")
    await space.delivery(id_, "waiting for approval")
    assert (await the_approval(space, t.approvals.c.id == row.id)).state == "waiting"


async def test_a_blocked_participants_mail_changes_nothing(house: House) -> None:
    space, row = await asked(house)
    await enlist(space, "block", "reply", ANN)
    await space.delivery(await space.receive(following(space)), "rejected")
    await approve(space, row)


async def test_a_mail_that_came_while_the_agent_thought_leaves_no_draft_behind(
    house: House,
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(turn: Turn) -> Reply:
        begun.set()
        await go.wait()
        return Reply(f"About {len(turn.mails)}.", ask="look")

    space = await house.workspace(slow, limits={"approvers": [EVA]})
    first = await space.receive(mail(to=space.address, message_id=f"<a1@{space.slug}.example>"))
    await begun.wait()
    second = await space.receive(following(space))
    await space.delivery(second, "routed")
    go.set()
    for id_ in (first, second):
        await space.delivery(id_, "waiting for approval")
    assert (await the_approval(space)).outgoing["text"] == "About 2."


# --- time -------------------------------------------------------------------------------------


async def pass_time(space: Space, by: timedelta) -> None:
    await space.house.later(by)
    await approval_times.pass_time(space.house.services)


async def test_what_nobody_decides_is_rejected_and_handed_over(house: House) -> None:
    space, row = await asked(house)
    await space.notices()  # they have left: a notice, too, expires after three days
    await pass_time(space, timedelta(hours=73))
    await space.delivery(row.delivery_id, "handed to a person")
    assert (await the_approval(space)).state == "expired"
    assert any("Needs you" in one["Subject"] for one in await space.notices())
    with pytest.raises(Conflict, match="it was expired"):
        await approve(space, row)
    assert await replies(space) == []


async def test_a_rule_may_approve_what_nobody_decides_but_never_a_secret(house: House) -> None:
    space, row = await asked(house, at_expiry="approve", approval_hours=1)
    secret = Reply("The key is AKIAAAAAAAAAAAAAAAAA")
    other, grave = await asked(house, lambda _: secret, at_expiry="approve", approval_hours=1)
    assert (row.at_expiry, grave.at_expiry) == ("approve", "reject")
    await pass_time(space, timedelta(hours=2))
    assert "nobody decided in time" in (await the_approval(space)).decision
    await space.delivery(row.delivery_id, "answered")
    await other.delivery(grave.delivery_id, "handed to a person")


async def test_what_a_lapse_of_time_approves_waits_for_the_working_hours(house: House) -> None:
    tomorrow = (house.store.now() + timedelta(days=1, hours=12)).strftime("%a").lower()
    hours = {"zone": "UTC", "days": [tomorrow], "opens": "09:00", "closes": "17:00"}
    space, _ = await asked(house, at_expiry="approve", approval_hours=1, working_hours=hours)
    await pass_time(space, timedelta(hours=2))
    (row,) = await replies(space)
    assert (row.state, f"{row.not_before:%a}".lower(), row.not_before.hour) == (
        *("queued", tomorrow, 9),
    )


async def test_people_are_reminded_once_and_then_others_are_told(house: House) -> None:
    space, _ = await asked(house)
    assert len(await space.notices(EVA)) == 1
    for told, owner in ((2, 0), (3, 1), (3, 1)):
        await pass_time(space, timedelta(hours=5))
        assert len(await space.notices(EVA)) == told
        assert len(await space.notices()) == owner
    subjects = [str(one["Subject"]) for one in await space.notices(EVA)]
    assert [one.partition(":")[0] for one in subjects[1:]] == ["Reminder", "Still waiting"]


# --- by mail ----------------------------------------------------------------------------------


async def notice(space: Space, to: str = EVA) -> EmailMessage:
    return (await space.notices(to))[-1]


async def say(
    space: Space, words: str, *, by: str = EVA, of: EmailMessage | None = None, **more: Any
) -> AnyRow:
    """Reply to a notice; the row of that mail once it is read."""
    to = str((of or await notice(space))["Reply-To"])
    raw = mail(words, sender=by, to=to, subject="Re: Approve?", headers=more.pop("headers", None))
    id_ = await space.receive(raw, to, **{"mail_from": by, **more})
    return await space.delivery(id_, "recorded", "quarantined")


def quoting(words: str) -> str:
    return f"{words}\n\nOn Sat, 21 Nov 2026 at 10:00, mailagent <a@b.example> wrote:\n> approve\n"


async def test_the_notice_shows_the_draft_whom_it_goes_to_and_how_to_decide(house: House) -> None:
    space, row = await asked(house)
    text = str((await notice(space)).get_content()).replace("\r\n", "\n")
    for part in ("- the agent asks for it: a promise", f"To: {ANN}", "Yes, until Friday.",
                 "> Can I pay later?", f"from {EVA} only", f"/approvals/{row.id}",
                 f"mailagent approvals show {row.id}"):  # fmt: skip
        assert part in text
    assert len(str((await notice(space))["Reply-To"]).partition("@")[0]) <= 64


async def test_approve_in_the_first_line_sends_the_draft_and_nothing_of_the_reply(
    house: House,
) -> None:
    space, row = await asked(house)
    said = await say(space, quoting("Approve.\n\nNice one, by the way."))
    assert said.reason == f"{EVA} has approved {row.id}"
    sent = await space.sent_off((await the_approval(space)).outbound_id, "sent")
    assert "Nice one" not in space.as_sent(sent.message_id).get_content()
    assert f"by mail {said.id} (DMARC passed" in (await the_approval(space)).decision
    assert len(space.turns) == 1


async def test_reject_in_the_first_line_keeps_its_reason(house: House) -> None:
    space, row = await asked(house)
    await say(space, quoting("reject: we never promise"))
    delivery = await space.delivery(row.delivery_id, "handed to a person")
    assert delivery.reason == f"rejected by {EVA}: we never promise"


@pytest.mark.parametrize(
    "words",
    ["approve if the price is right", "Yes!", "I rejected it", "not approve", quoting("")],
)
async def test_another_first_line_decides_nothing_and_the_person_is_told(
    house: House, words: str
) -> None:
    space, _ = await asked(house)
    said = await say(space, words)
    assert (await the_approval(space)).state == "waiting"
    assert said.state == "recorded"
    assert "neither approve nor reject" in said.reason
    assert "Nothing was decided" in (await notice(space)).get_content()
    await say(space, "approve", of=(await space.notices(EVA))[0])
    assert (await the_approval(space)).state == "approved"


async def test_a_token_in_other_hands_decides_nothing(house: House) -> None:
    space, _ = await asked(house)
    for by, ip in (("mallory@customer.example", "192.0.2.1"), ("eva@none.example", STRANGER_IP)):
        said = await say(space, "approve", by=by, ip=ip, of=(await space.notices(EVA))[0])
        assert said.state == "quarantined"
    forged = await say(space, "approve", ip=STRANGER_IP, of=(await space.notices(EVA))[0])
    assert forged.state == "quarantined"
    assert (await the_approval(space)).state == "waiting"


async def test_a_machines_reply_decides_nothing(house: House) -> None:
    space, _ = await asked(house)
    said = await say(space, "approve", headers={"Auto-Submitted": "auto-replied"})
    assert said.reason.startswith("no decision, automatic mail")
    assert (await the_approval(space)).state == "waiting"


async def test_a_token_that_is_none_of_ours_decides_nothing(house: House) -> None:
    space, _ = await asked(house)
    of = await notice(space)
    real = str(of["Reply-To"])
    del of["Reply-To"]
    of["Reply-To"] = real.replace("+a.", "+a.a" if "+a.a" not in real else "+a.b")
    assert (await say(space, "approve", of=of)).reason.endswith("none of ours")


async def test_a_draft_that_was_changed_since_the_notice_is_not_approved_by_it(
    house: House,
) -> None:
    space, row = await asked(house)
    await edit(space, row, text="Take it all.")
    said = await say(space, "approve")
    assert "was changed since you saw it" in said.reason
    assert await replies(space) == []


async def test_each_approver_has_a_token_of_their_own_and_the_second_is_told(house: House) -> None:
    space, _ = await asked(house, approvers=[EVA, BOB])
    mine, theirs = await notice(space, EVA), await notice(space, BOB)
    assert mine["Reply-To"] != theirs["Reply-To"]
    stolen = await say(space, "approve", by=BOB, of=mine)
    assert stolen.state == "quarantined"
    await say(space, "reject", by=BOB, of=theirs)
    late = await say(space, "approve", of=mine)
    assert f"it was rejected by {BOB}" in late.reason
    assert await replies(space) == []


async def test_without_named_approvers_the_owners_are_asked(house: House) -> None:
    space, _ = await asked(house, approvers=[])
    assert len(await space.notices()) == 1
    assert await space.notices(EVA) == []


# --- the rest ---------------------------------------------------------------------------------


async def test_the_signature_and_the_delay_are_the_limits(house: House) -> None:
    space = await house.workspace(limits={"signature": "Your shop", "delay_seconds": 3600})
    await space.delivery(id_ := await space.receive(), "answered")
    (row,) = await replies(space)
    assert row.outgoing["text"].endswith("\n-- \nYour shop\n")
    assert row.not_before - row.created_at == timedelta(hours=1)
    assert row.state == "queued"
    await house.later(timedelta(hours=1))
    await space.answer_to(id_)
