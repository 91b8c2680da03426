"""Sending by Postmark, judged by what its API sees and says."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailagent.errors import (
    LostClaim,
    Misconfigured,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.mail import Address
from mailagent.outgoing import HandedOver, Later, Outgoing, OutgoingAttachment, Recipient, Refused
from mailagent.providers.account import Account
from mailagent.providers.api import TIMES, Times
from mailagent.providers.postmark_send import PostmarkSender
from tests.api_server import Fault, Reply
from tests.postmark_server import MESSAGE_ID, TOKEN, PostmarkServer, error
from tests.providers.mails import ALICE, BOB, Commits, outgoing

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SHORT = Times(connect=5, write=0.3, read=0.3, whole=5)
"""For a server that is told to say nothing."""
BOTH = {"to": (Address(ALICE.address, "Alice"),), "cc": (Address(BOB.address, "Bob"),)}


async def send(
    *script: Reply | Fault,
    mail: Outgoing | None = None,
    to: Sequence[Recipient] = (ALICE,),
    commits: Commits | None = None,
    inactive: frozenset[str] = frozenset(),
    token: str = TOKEN,
    **settings: Any,
) -> tuple[HandedOver, PostmarkServer]:
    times = SHORT if Fault.DEAF in script or Fault.HANG in script else TIMES
    async with PostmarkServer(script, inactive=inactive) as server:
        sender = PostmarkSender(
            "postmark", token, base=server.url, times=times, now=lambda: NOW, **settings
        )
        try:
            said = await sender.send(mail or outgoing(), to, committing=commits or Commits())
        finally:
            await sender.close()
    return said, server


async def refusal(reply: Reply, **more: Any) -> PermanentFailure:
    with pytest.raises(PermanentFailure) as caught:
        await send(reply, **more)
    return caught.value


async def test_a_taken_mail_is_sent_and_known_by_all_its_names() -> None:
    commits = Commits()
    said, server = await send(commits=commits)
    sent = said[ALICE]
    assert sent.provider_id == MESSAGE_ID  # type: ignore[union-attr]
    assert sent.message_ids == (f"<{MESSAGE_ID}@mtasv.net>",)  # type: ignore[union-attr]
    assert commits.calls == [(ALICE,)]
    [asked] = server.requests
    assert (asked.method, asked.path) == ("POST", "/email")


async def test_all_of_a_mail_arrives() -> None:
    image = OutgoingAttachment("bild.png", "image/png", b"\x89PNG", "bild.1@acme.example")
    mail = outgoing(
        html='<img src="cid:bild.1@acme.example">',
        reply_to=(Address("support+t.8f3a@acme.example", 'Süd "Nord", \\ Ost'),),
        references=("<q1@customer.example>", "<reply-41@acme.example>"),
        headers=(("X-Mailagent-Loop", "1"), ("X-Stadt", "München")),
        attachments=(OutgoingAttachment("übersicht.txt", "text/plain", b"\xfcber"), image),
    )
    _, server = await send(mail=mail, stream="broadcasts", tag="acme")
    [taken] = server.taken
    headers = {one["Name"]: one["Value"] for one in taken["Headers"]}
    assert headers == {
        "Message-ID": "<reply-42@acme.example>",
        "X-PM-KeepID": "true",
        "In-Reply-To": "<question-1@customer.example>",
        "References": "<q1@customer.example> <reply-41@acme.example>",
        "Auto-Submitted": "auto-replied",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "X-Mailagent-Loop": "1",
        "X-Stadt": "München",
    }
    assert taken["From"] == '"Acme Süd" <support@acme.example>'
    assert taken["To"] == '"Alice" <alice@customer.example>'
    assert taken["ReplyTo"] == '"Süd \\"Nord\\", \\\\ Ost" <support+t.8f3a@acme.example>'
    assert (taken["Subject"], taken["TextBody"]) == (mail.subject, mail.text)
    assert taken["HtmlBody"] == mail.html
    assert (taken["MessageStream"], taken["Tag"]) == ("broadcasts", "acme")
    assert taken["Metadata"] == {"message_id": "<reply-42@acme.example>"}
    assert (taken["TrackOpens"], taken["TrackLinks"]) == (False, "None")
    text, picture = taken["Attachments"]
    assert (text["Name"], base64.b64decode(text["Content"])) == ("übersicht.txt", b"\xfcber")
    assert picture["ContentID"] == "cid:bild.1@acme.example"


async def test_a_message_id_that_metadata_cannot_hold_is_left_out_there() -> None:
    _, server = await send(mail=outgoing(message_id=f"<{'x' * 90}@acme.example>"))
    assert "Metadata" not in server.taken[0]


async def test_only_the_recipients_of_this_hand_over_are_named() -> None:
    hidden = Recipient("r3", "carol@customer.example")
    mail = outgoing(**BOTH, bcc=(Address(hidden.address),))
    said, server = await send(mail=mail, to=(ALICE, BOB, hidden))
    [taken] = server.taken
    assert (taken["Cc"], taken["Bcc"]) == ('"Bob" <bob@customer.example>', hidden.address)
    assert set(said) == {ALICE, BOB, hidden}
    said, server = await send(mail=mail, to=(BOB,))
    [taken] = server.taken
    assert "To" not in taken
    assert "Bcc" not in taken
    assert "shown without alice@customer.example" in said[BOB].response  # type: ignore[union-attr]
    _, server = await send(mail=mail, to=(hidden,))
    assert set(server.taken[0]) & {"To", "Cc", "Bcc"} == {"Bcc"}


async def test_a_domain_outside_ascii_goes_as_a_labels() -> None:
    recipient = Recipient("r4", "info@bücher.example")
    _, server = await send(mail=outgoing(to=(Address(recipient.address),)), to=(recipient,))
    assert server.taken[0]["To"] == "info@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "changes",
    [
        {"from_": Address("jürgen@acme.example")},
        {"reply_to": (Address("jürgen@acme.example"),)},
        {"text": ""},
        {"headers": (("X-PM-KeepID", "false"),)},
        {"attachments": (OutgoingAttachment("a.bin", "image/png", bytes(8 * 1024 * 1024)),)},
    ],
)
async def test_what_postmark_cannot_carry_is_refused_before_anything_is_sent(
    changes: dict[str, Any],
) -> None:
    commits = Commits()
    async with PostmarkServer() as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url)
        with pytest.raises(PermanentFailure) as caught:
            await sender.send(outgoing(**changes), [ALICE], committing=commits)
        await sender.close()
    assert caught.value.about == "message"
    assert commits.calls == []
    assert server.requests == []


async def test_fifty_one_recipients_are_too_many() -> None:
    many = [Recipient(f"r{n}", f"a{n}@customer.example") for n in range(51)]
    with pytest.raises(PermanentFailure, match="50 recipients"):
        await send(to=many)
    said, _ = await send(mail=outgoing(to=tuple(Address(r.address) for r in many)), to=many[:50])
    assert len(said) == 50


async def test_an_inactive_recipient_is_refused_for_itself() -> None:
    said, server = await send(inactive=frozenset({ALICE.address}))
    refused = said[ALICE]
    assert isinstance(refused, Refused)
    assert (refused.about, refused.code) == ("recipient", "422/406")
    assert refused.suppressed
    assert server.taken == []


async def test_the_others_get_their_mail_all_the_same() -> None:
    inactive = frozenset({BOB.address})
    said, _ = await send(mail=outgoing(**BOTH), to=(ALICE, BOB), inactive=inactive)
    assert said[ALICE].provider_id == MESSAGE_ID  # type: ignore[union-attr]
    assert getattr(said[BOB], "suppressed", None) is True


async def test_of_several_whom_no_word_accuses_none_is_taken_for_inactive() -> None:
    reply = error(406, "You tried to send to recipients that are inactive.")
    said, _ = await send(reply, mail=outgoing(**BOTH), to=(ALICE, BOB))
    assert [(type(one), getattr(one, "suppressed", None)) for one in said.values()] == [
        (Refused, False)
    ] * 2


async def test_a_bad_address_is_its_recipients_fault_and_the_others_come_again() -> None:
    reply = error(300, f"Invalid 'Cc' address: '{BOB.address}'.")
    said, _ = await send(reply, mail=outgoing(**BOTH), to=(ALICE, BOB))
    assert getattr(said[BOB], "suppressed", None) is False
    assert isinstance(said[ALICE], Later)


async def test_a_bad_sender_is_no_recipients_fault() -> None:
    mail = outgoing(from_=Address(ALICE.address))
    failure = await refusal(error(300, f"Invalid 'From' address: '{ALICE.address}'."), mail=mail)
    assert failure.about == "message"


@pytest.mark.parametrize(
    ("reply", "about"),
    [
        (error(300, "Invalid metadata content."), "message"),
        (error(400, "The 'From' address is not a Sender Signature."), "account"),
        (error(401, "The sender signature is not confirmed."), "account"),
        (error(402, "Invalid JSON"), "message"),
        (error(403, "Incompatible JSON"), "message"),
        (error(405, "Not allowed to send"), "account"),
        (error(409, "JSON required"), "message"),
        (error(411, "Forbidden attachment type"), "message"),
        (error(412, "The account is pending approval"), "account"),
        (error(413, "The account may not send"), "account"),
        (error(1235, "The stream does not exist"), "account"),
        (error(99_999, "An error of tomorrow"), "message"),
        (Reply(403), "account"),
        (Reply(404, b"<html>not found"), "account"),
        (Reply(301, b"", {"Location": "https://elsewhere.example/"}), "account"),
        (Reply(413, b"too large"), "message"),
        (Reply(415), "message"),
    ],
)
async def test_each_documented_error_has_its_fault(reply: Reply, about: str) -> None:
    failure = await refusal(reply)
    assert failure.about == about
    assert not failure.credentials


@pytest.mark.parametrize("reply", [error(10, "No valid Server token.", 401), Reply(401)])
async def test_a_rejected_token_is_told_apart(reply: Reply) -> None:
    failure = await refusal(reply)
    assert (failure.about, failure.credentials) == ("account", True)


@pytest.mark.parametrize(
    "reply",
    [
        error(100, "Maintenance", 503),
        error(0, "Rate limit exceeded", 429),
        Reply(500),
        Reply(503, b"<html>"),
        Reply(408),
    ],
)
async def test_not_now_is_later(reply: Reply) -> None:
    with pytest.raises(TransientFailure) as caught:
        await send(reply)
    assert caught.value.retry_at is None


async def test_the_wait_that_is_asked_for_is_kept() -> None:
    with pytest.raises(TransientFailure) as caught:
        await send(error(0, "Rate limit exceeded", 429, Retry_After="90"))
    assert caught.value.retry_at == NOW + timedelta(seconds=90)


@pytest.mark.parametrize(
    "reply",
    [
        *(Fault.DEAF, Fault.RESET_EARLY, Fault.HANG, Fault.CUT, Fault.RESET),
        *(Reply(502, b"<html>bad gateway"), Reply(504), Reply(200, b"<html>hello")),
        *(Reply(200, {"ErrorCode": 0, "Message": "OK"}), Reply(200, {"ErrorCode": "0"})),
        Reply(200, {"ErrorCode": 0, "Message": "OK", "MessageID": 7}),
    ],
)
async def test_what_may_have_been_taken_is_uncertain(reply: Reply | Fault) -> None:
    big = OutgoingAttachment("a.bin", "image/png", bytes(6 * 1024 * 1024))
    with pytest.raises(UncertainDelivery):
        await send(reply, mail=outgoing(attachments=(big,) if reply is Fault.DEAF else ()))


async def test_a_slow_answer_is_an_answer() -> None:
    said, _ = await send(Fault.SLOW)
    assert said[ALICE].provider_id == MESSAGE_ID  # type: ignore[union-attr]


async def test_a_slow_answer_that_takes_too_long_is_uncertain() -> None:
    async with PostmarkServer([Fault.HANG]) as server:
        times = Times(whole=0.3)
        sender = PostmarkSender("postmark", TOKEN, base=server.url, times=times)
        with pytest.raises(UncertainDelivery):
            await sender.send(outgoing(), [ALICE], committing=Commits())
        await sender.close()


async def test_nobody_listening_is_later() -> None:
    async with PostmarkServer() as server:
        url = server.url
    sender = PostmarkSender("postmark", TOKEN, base=url)
    with pytest.raises(TransientFailure):
        await sender.send(outgoing(), [ALICE], committing=Commits())
    await sender.close()


async def test_nothing_is_written_when_the_claim_is_lost() -> None:
    async with PostmarkServer() as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url)
        with pytest.raises(LostClaim):
            await sender.send(outgoing(), [ALICE], committing=Commits(LostClaim("gone")))
        await sender.close()
    assert server.requests == []


async def test_one_sender_carries_several_mails_at_once() -> None:
    async with PostmarkServer() as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url)
        mails = [outgoing(message_id=f"<m{n}@acme.example>") for n in range(5)]
        await asyncio.gather(*(sender.send(m, [ALICE], committing=Commits()) for m in mails))
        await sender.close()
    assert len(server.taken) == 5


async def test_the_token_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failure = await refusal(error(10, f"The token {TOKEN} is not valid.", 401))
    account = Account("postmark", "postmark", {"POSTMARK_SERVER_TOKEN": TOKEN})
    sender = PostmarkSender.of(account)
    await sender.close()
    shown = f"{failure!s}{failure!r}{failure.__cause__!r}{sender!r}{account!r}{caplog.text}"
    assert TOKEN not in shown


def test_an_account_is_read_and_its_faults_are_named() -> None:
    def of(**settings: str) -> PostmarkSender:
        return PostmarkSender.of(Account("mine", "postmark", settings))

    sender = of(POSTMARK_SERVER_TOKEN=TOKEN, POSTMARK_BASE_URL="https://postmark.acme.example/")
    assert (sender.name, sender.recipients_at_once) == ("mine", 50)
    with pytest.raises(Misconfigured, match="POSTMARK_SERVER_TOKEN"):
        of()
    for url in ("http://postmark.acme.example", "ftp://x", "https://", "https://[", "x"):
        with pytest.raises(Misconfigured, match="POSTMARK_BASE_URL"):
            of(POSTMARK_SERVER_TOKEN=TOKEN, POSTMARK_BASE_URL=url)


async def test_a_mail_whose_answer_was_lost_can_be_looked_up() -> None:
    long_ago, just_now = NOW - timedelta(hours=1), NOW - timedelta(minutes=1)
    lost, never = outgoing(), outgoing(message_id="<never@acme.example>")
    async with PostmarkServer() as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url, now=lambda: NOW)
        await sender.send(lost, [ALICE], committing=Commits())
        assert await sender.taken(lost, ALICE, tried_at=just_now) is True
        assert await sender.taken(never, ALICE, tried_at=long_ago) is False
        assert await sender.taken(never, ALICE, tried_at=just_now) is None
        assert await sender.taken(never, ALICE, tried_at=NOW - timedelta(days=30)) is None
        assert await sender.taken(never, ALICE) is None
        unnamed = outgoing(message_id=f"<{'x' * 90}@acme.example>")
        assert await sender.taken(unnamed, ALICE, tried_at=long_ago) is None
    assert await sender.taken(lost, ALICE, tried_at=long_ago) is None
    await sender.close()


@pytest.mark.parametrize("reply", [Reply(500), Reply(401, {"ErrorCode": 10}), Reply(200, b"{}")])
async def test_an_unreadable_answer_to_the_look_up_tells_nothing(reply: Reply) -> None:
    async with PostmarkServer([reply]) as server:
        sender = PostmarkSender("postmark", TOKEN, base=server.url, now=lambda: NOW)
        assert await sender.taken(outgoing(), ALICE, tried_at=NOW - timedelta(hours=1)) is None
        await sender.close()
