"""A mail leaves once, as far as it may, and a person hears of what did not leave."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mailagent.flow import suppression
from mailagent.mail import Address
from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.flow.house import House, Space, mail
from tests.smtp_sink import Fault

pytestmark = pytest.mark.asyncio(loop_scope="package")


def someone(name: str = "ann") -> str:
    """An address that no other test writes to."""
    return f"{name}-{new_id('x')[-12:]}@customer.example"


async def tries(space: Space, outbound_id: str, attempts: int) -> bool:
    rows = (await space.recipients(outbound_id)).values()
    (mail,) = await space.outbound(t.outbound_mails.c.id == outbound_id)
    return mail.claimed_by is None and all(row.attempts >= attempts for row in rows)


async def test_every_recipient_gets_a_copy_with_a_return_path_of_its_own(house: House) -> None:
    space = await house.workspace()
    to, cc, bcc = someone("to"), someone("cc"), someone("bcc")
    sent = await space.send(to, cc=[cc], bcc=[bcc])
    row = await space.sent_off(sent, "sent")
    taken = [house.taken(one) for one in (to, cc, bcc)]
    assert [len(one) for one in taken] == [1, 1, 1]
    assert len({one[0].mail_from for one in taken}) == 3
    assert all(one[0].mail_from.startswith("b.") for one in taken)
    assert bcc not in str(space.as_sent(row.message_id))


async def test_the_same_address_twice_gets_one_copy(house: House) -> None:
    space = await house.workspace()
    to = someone()
    await space.sent_off(await space.send(to, cc=[to.upper()]), "sent")
    assert len(house.taken(to)) == 1


async def test_a_mail_in_the_name_of_another_workspace_is_refused(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    to = someone()
    sent = await space.send(to, from_=Address(other.address))
    await space.sent_off(sent, "refused")
    assert (await space.recipients(sent))[to].reason == "From is no address of this workspace"
    assert house.taken(to) == []
    (notice,) = await space.notices()
    assert "is refused" in str(notice["Subject"])


async def test_a_suppressed_address_is_never_handed_over(house: House) -> None:
    space = await house.workspace()
    dead, alive = someone("dead"), someone("alive")
    row = {
        "id": new_id("sup"),
        "address": dead,
        "reason": "permanent_bounce",
        "origin": "auto",
        "detail": "5.1.1",
        "created_at": house.store.now(),
    }
    await space.write(lambda tx: tx.insert(t.suppressions, row))
    sent = await space.send(dead.upper(), alive)
    await space.sent_off(sent, "suppressed")
    states = {a.lower(): r.state for a, r in (await space.recipients(sent)).items()}
    assert states == {dead: "suppressed", alive: "sent"}
    assert house.taken(dead.upper()) == []


async def test_of_a_writer_whom_no_answer_may_reach_a_person_hears_once_a_day(
    house: House,
) -> None:
    space = await house.workspace()
    writer = someone("`reboot`")
    await space.write(
        lambda tx: suppression.suppress(tx, writer, "permanent_bounce", "auto", "5.1.1")
    )

    async def write(to: int) -> None:
        await space.receive(mail(sender=writer, to=space.address), mail_from=writer)

        async def all_stopped() -> bool:
            mails = await space.outbound(t.outbound_mails.c.purpose == "reply")
            return [one.state for one in mails] == ["suppressed"] * to

        await house.until(all_stopped)
        await space.at_rest()

    await write(to=1)
    await write(to=2)
    (notice,) = await space.notices()
    assert notice["Subject"] == f"A mail is not sent: {writer} is suppressed: Re: A question"
    said = notice.get_content()
    assert "Why: permanent_bounce: 5.1.1" in said
    assert f"mailagent suppressions remove '{writer}'" in said
    await house.later(timedelta(days=1, minutes=1))
    await write(to=3)
    assert len(await space.notices()) == 2
    assert house.taken(writer) == []


async def test_a_suppression_that_ended_or_is_another_workspaces_stops_nothing(
    house: House,
) -> None:
    space, other = await house.workspace(), await house.workspace()
    to, now = someone(), house.store.now()
    row: dict[str, Any] = {"address": to, "reason": "x", "origin": "manual", "detail": ""}
    row |= {"created_at": now}
    ended = {**row, "id": new_id("sup"), "expires_at": now - timedelta(seconds=1)}
    await space.write(lambda tx: tx.insert(t.suppressions, ended))
    theirs = {**row, "id": new_id("sup")}
    await other.write(lambda tx: tx.insert(t.suppressions, theirs))
    await space.sent_off(await space.send(to), "sent")


async def test_not_now_is_tried_again_later_and_then_sent(house: House) -> None:
    space = await house.workspace()
    house.script["RCPT"] = "451 4.3.0 greylisted"
    to = someone()
    sent = await space.send(to)
    await house.until(lambda: tries(space, sent, 1))
    row = (await space.recipients(sent))[to]
    assert (row.state, "greylisted" in row.reason) == ("queued", True)
    assert timedelta(seconds=20) < row.not_before - house.store.now() < timedelta(minutes=2)
    house.script.clear()
    await house.later(timedelta(minutes=2))
    await space.sent_off(sent, "sent")
    assert len(house.taken(to)) == 1
    outcomes = await space.rows(t.hand_overs, order=t.hand_overs.c.id)
    assert [one.outcome for one in outcomes] == ["later", "sent"]


async def test_no_is_final_and_a_person_is_told(house: House) -> None:
    space = await house.workspace()
    house.script["RCPT"] = "550 5.1.1 no such user"
    to = someone()
    sent = await space.send(to)
    await space.sent_off(sent, "refused")
    house.script.clear()
    row = (await space.recipients(sent))[to]
    assert "no such user" in row.reason
    await house.later(timedelta(hours=1))
    told = await house.until(
        lambda: space.rows(t.outbound_mails, t.outbound_mails.c.purpose == "notice")
    )
    assert [one.subject for one in told] == ["A mail is refused: News"]
    assert house.taken(to) == []


async def test_a_refused_account_keeps_the_mail_and_a_person_is_told_once(house: House) -> None:
    space = await house.workspace()
    house.script["RCPT"] = "550 5.7.1 relaying denied"
    to = someone()
    sent = await space.send(to)
    await house.until(lambda: tries(space, sent, 1))
    await house.later(timedelta(minutes=2))
    await house.until(lambda: tries(space, sent, 2))
    house.script.clear()
    await house.later(timedelta(minutes=5))
    await space.sent_off(sent, "sent")
    assert len(house.taken(to)) == 1
    (told,) = await space.rows(t.outbound_mails, t.outbound_mails.c.purpose == "notice")
    assert told.subject.startswith("A mail waits: the account smtp was refused")


async def test_a_connection_lost_at_the_answer_is_unknown_and_never_repeated(
    house: House,
) -> None:
    space = await house.workspace()
    house.script["CONTENT"] = Fault.DROP
    to = someone()
    sent = await space.send(to)
    await space.sent_off(sent, "unknown")
    house.script.clear()
    await house.later(timedelta(days=1))
    (notice,) = await space.outbound(t.outbound_mails.c.purpose == "notice")
    assert notice.subject == "A mail is unknown: News"
    assert len(house.taken(to)) == 1  # the far side had taken it
    assert (await space.recipients(sent))[to].state == "unknown"


async def test_a_recipient_whose_worker_died_while_sending_is_unknown(house: House) -> None:
    space = await house.workspace()
    gone, waiting = someone("gone"), someone("waiting")

    def died(tx: Any) -> None:
        table = t.outbound_recipients
        past = tx.now - timedelta(minutes=1)
        tx.execute(
            t.outbound_mails.update()
            .where(t.outbound_mails.c.id == sent)
            .values(claimed_by="clm_dead", lease_until=past, not_before=past)
        )
        tx.execute(table.update().where(table.c.address == gone).values(state="sending"))
        tx.execute(table.update().values(not_before=past))

    # Not due yet, so that the living workers leave it alone until it looks abandoned.
    house.script["RCPT"] = "451 4.3.0 wait"
    sent = await space.send(gone, waiting)
    await house.until(lambda: tries(space, sent, 1))
    house.script.clear()
    await space.write(died)
    await space.sent_off(sent, "unknown")
    states = {address: row.state for address, row in (await space.recipients(sent)).items()}
    assert states == {gone: "unknown", waiting: "sent"}
    assert house.taken(gone) == []
    (notice,) = await space.notices()
    assert "is unknown" in str(notice["Subject"])


async def test_a_mail_that_nobody_takes_expires_and_a_person_is_told(house: House) -> None:
    space = await house.workspace()
    house.script["MAIL"] = "451 4.3.2 closed"
    to = someone()
    sent = await space.send(to)
    await house.until(lambda: tries(space, sent, 1))
    house.script.clear()
    await space.write(
        lambda tx: (
            tx.execute(
                t.outbound_mails.update()
                .where(t.outbound_mails.c.id == sent)
                .values(expires_at=tx.now)
            ).rowcount
        )
    )
    await house.later(timedelta(minutes=2))
    await space.sent_off(sent, "expired")
    assert "closed" in (await space.recipients(sent))[to].reason
    (notice,) = await space.notices()
    assert "expired" in str(notice["Subject"])


async def test_a_mail_cancelled_while_it_waits_is_not_sent(house: House) -> None:
    space = await house.workspace()
    house.script["RCPT"] = "451 4.3.0 wait"
    to, other = someone(), someone("other")
    sent = await space.send(to, other)
    await house.until(lambda: tries(space, sent, 1))
    house.script.clear()
    table = t.outbound_recipients
    await space.write(
        lambda tx: (
            tx.execute(
                table.update().where(table.c.address == to).values(state="cancelled")
            ).rowcount
        )
    )
    await house.later(timedelta(minutes=2))
    await space.sent_off(sent, "cancelled")
    assert house.taken(to) == []
    assert len(house.taken(other)) == 1


async def test_agents_write_to_each_other_without_leaving_the_house(house: House) -> None:
    here, there = await house.workspace(), await house.workspace()
    sent = await here.send(there.address)
    await here.sent_off(sent, "sent")
    (row,) = await house.until(lambda: there.rows(t.deliveries))
    await there.delivery(row.id, "answered")
    answer = await there.answer_to(row.id)
    # The answer comes back as a machine's, and is not answered again.
    (back,) = await house.until(lambda: here.rows(t.deliveries))
    assert (await here.delivery(back.id, "silent")).reason.startswith("not answered")
    assert [one for one in house.sink.taken if there.address in one.rcpt_to] == []
    assert answer.state == "sent"


async def test_an_address_of_ours_that_does_not_exist_is_refused(house: House) -> None:
    space = await house.workspace()
    sent = await space.send(f"nobody@{space.domain}")
    await space.sent_off(sent, "refused")


async def test_a_late_answer_settles_what_was_given_up_as_unknown(house: House) -> None:
    space = await house.workspace()
    to = someone()
    house.sink.delay = timedelta(seconds=1.5)
    sent = await space.send(to)

    async def is_(state: str) -> bool:
        return bool((await space.recipients(sent))[to].state == state)

    await house.until(lambda: is_("sending"))
    # This worker is taken for dead while the far side thinks; another one takes over.
    past = house.store.now() - timedelta(minutes=1)
    await space.write(
        lambda tx: (
            tx.execute(
                t.outbound_mails.update().values(claimed_by="clm_dead", lease_until=past)
            ).rowcount
        )
    )
    await space.sent_off(sent, "unknown")
    await space.sent_off(sent, "sent")
    assert await is_("sent")
    assert len(house.taken(to)) == 1
