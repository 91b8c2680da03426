"""A report finds its mail, and stops only what a dead address or a complaint should stop."""

from __future__ import annotations

import pytest

from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from tests.flow.house import House, Space, mail
from tests.flow.test_sending import someone

pytestmark = pytest.mark.asyncio(loop_scope="package")


def dsn(
    recipient: str,
    *,
    status: str = "5.1.1",
    action: str = "failed",
    about: str = "<none@x.example>",
    note: str = "",
) -> bytes:
    """A delivery status notification (RFC 3464) that speaks of the mail `about`."""
    return (
        "From: MAILER-DAEMON@mx.customer.example\r\nTo: you\r\nSubject: Undelivered Mail\r\n"
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\nNot delivered. {note}\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.customer.example\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {about}\r\n--b--\r\n"
    ).encode()


async def sent(space: Space, *to: str) -> tuple[str, dict[str, str], str]:
    """A mail that left: its id, the return path of each recipient, its Message-ID."""
    outbound_id = await space.send(*to)
    row = await space.sent_off(outbound_id, "sent")
    paths = {one: space.house.taken(one)[0].mail_from for one in to}
    return outbound_id, paths, row.message_id


async def suppressed(space: Space) -> dict[str, str]:
    return {row.address: row.reason for row in await space.rows(t.suppressions)}


async def test_a_hard_bounce_marks_its_recipient_and_stops_further_mail(house: House) -> None:
    space = await house.workspace()
    gone, fine = someone("gone"), someone("fine")
    outbound_id, paths, _ = await sent(space, gone, fine)
    got = await space.receive(dsn(gone), paths[gone], mail_from=None)
    assert "bounced_hard" in (await space.delivery(got, "recorded")).reason
    states = {a: row.state for a, row in (await space.recipients(outbound_id)).items()}
    assert states == {gone: "bounced", fine: "sent"}
    assert await suppressed(space) == {gone: "permanent_bounce"}
    again = await space.send(gone)
    await space.sent_off(again, "suppressed")
    assert len(house.taken(gone)) == 1


async def test_a_full_mailbox_is_a_bounce_but_stops_nothing(house: House) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, paths, _ = await sent(space, to)
    await space.delivery(
        await space.receive(dsn(to, status="5.2.2"), paths[to], mail_from=None), "recorded"
    )
    assert (await space.recipients(outbound_id))[to].state == "bounced"
    assert await suppressed(space) == {}


async def test_a_delay_is_outweighed_by_what_came_before_or_after(house: House) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, paths, _ = await sent(space, to)
    for report, state in (
        (dsn(to, status="4.4.1", action="delayed"), "delayed"),
        (dsn(to, status="2.0.0", action="delivered"), "delivered"),
        (dsn(to, status="4.4.1", action="delayed", note="still"), "delivered"),
    ):
        got = await space.receive(report, paths[to], mail_from=None)
        await space.delivery(got, "recorded")
        assert (await space.recipients(outbound_id))[to].state == state


async def test_the_same_report_twice_is_one_event(house: House) -> None:
    space = await house.workspace()
    to = someone()
    _, paths, _ = await sent(space, to)
    for _ in range(2):
        got = await space.receive(dsn(to), paths[to], mail_from=None)
        await space.delivery(got, "recorded")
    assert len(await space.rows(t.events)) == 1


async def test_reports_of_the_same_words_about_two_mails_are_two_events(house: House) -> None:
    space = await house.workspace()
    to = someone()
    first, paths, _ = await sent(space, to)
    second = await space.send(to)
    await space.sent_off(second, "sent")
    other_path = house.taken(to)[1].mail_from
    for path in (paths[to], other_path):
        got = await space.receive(dsn(to), path, mail_from=None)
        await space.delivery(got, "recorded")
    for outbound_id in (first, second):
        assert (await space.recipients(outbound_id))[to].state == "bounced"


async def test_a_report_at_the_agents_address_is_matched_by_our_message_id(house: House) -> None:
    space = await house.workspace()
    to, other = someone(), someone("other")
    outbound_id, _, message_id = await sent(space, to, other)
    got = await space.receive(dsn(to, about=message_id), mail_from=None)
    await space.delivery(got, "recorded")
    states = {a: row.state for a, row in (await space.recipients(outbound_id)).items()}
    assert states == {to: "bounced", other: "sent"}
    assert space.turns == []
    # Whoever got the mail knows its Message-ID: that proves too little to stop further mail.
    assert await suppressed(space) == {}


async def test_a_report_about_whom_we_never_wrote_to_is_not_believed(house: House) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, _, message_id = await sent(space, to)
    got = await space.receive(dsn(someone("victim"), about=message_id), mail_from=None)
    await space.delivery(got, "recorded")
    assert (await space.recipients(outbound_id))[to].state == "sent"
    assert await suppressed(space) == {}


async def test_a_report_about_another_workspaces_mail_changes_nothing(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    to = someone()
    outbound_id, _, message_id = await sent(space, to)
    got = await other.receive(dsn(to, about=message_id), mail_from=None)
    row = await other.delivery(got, "recorded")
    assert row.reason == "a report about no mail of ours"
    assert (await space.recipients(outbound_id))[to].state == "sent"
    assert await suppressed(other) == {}


async def test_a_complaint_suppresses_and_not_spam_does_not(house: House) -> None:
    space = await house.workspace()
    for kind, expected in (("not-spam", "sent"), ("abuse", "complained")):
        to = someone(kind)
        outbound_id, paths, message_id = await sent(space, to)
        got = await space.receive(arf(kind, to, message_id), paths[to], mail_from=None)
        await space.delivery(got, "recorded")
        assert (await space.recipients(outbound_id))[to].state == expected
    assert list((await suppressed(space)).values()) == ["complaint"]


def arf(kind: str, recipient: str, about: str) -> bytes:
    """A feedback report (RFC 5965)."""
    return (
        "From: feedback@isp.example\r\nTo: us\r\nSubject: FW: News\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="fb"\r\n\r\n'
        "--fb\r\nContent-Type: text/plain\r\n\r\nAn abuse report.\r\n"
        "--fb\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nUser-Agent: x/1\r\nVersion: 1\r\n"
        f"Original-Rcpt-To: <{recipient}>\r\n\r\n"
        "--fb\r\nContent-Type: message/rfc822\r\n\r\n"
        f"Message-ID: {about}\r\nSubject: News\r\n\r\nHello\r\n--fb--\r\n"
    ).encode()


async def test_a_person_who_writes_to_a_return_address_is_recorded(house: House) -> None:
    space = await house.workspace()
    to = someone()
    _, paths, _ = await sent(space, to)
    got = await space.receive(mail("Thanks!"), paths[to])
    row = await space.delivery(got, "recorded")
    assert row.reason == "mail to a return address that reports nothing"
    assert space.turns == []


async def test_a_report_answers_what_was_unknown(house: House) -> None:
    space = await house.workspace()
    to = someone()
    outbound_id, paths, _ = await sent(space, to)

    def forget(tx: Transaction) -> None:
        tx.execute(t.outbound_recipients.update().values(state="unknown"))
        tx.execute(t.outbound_mails.update().values(state="unknown"))

    await space.write(forget)
    report = dsn(to, status="2.0.0", action="delivered")
    await space.delivery(await space.receive(report, paths[to], mail_from=None), "recorded")
    await space.sent_off(outbound_id, "delivered")
