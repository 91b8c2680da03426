"""Sending by SendGrid, judged by what its API sees and says."""

from __future__ import annotations

import base64
import email.header
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
from mailagent.outgoing import (
    HandedOver,
    Later,
    Outgoing,
    OutgoingAttachment,
    Recipient,
    Refused,
    Sent,
)
from mailagent.providers.account import Account
from mailagent.providers.api import TIMES, Times
from mailagent.providers.sendgrid_send import SendGridSender
from tests.api_server import Fault, Reply
from tests.providers.mails import ALICE, BOB, Commits, outgoing
from tests.sendgrid_server import KEY, MESSAGE_ID, SendGridServer, errors

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SHORT = Times(connect=5, write=0.3, read=0.3, whole=5)
"""For a server that is told to say nothing."""
BOTH = {"to": (Address(ALICE.address, "Alice"),), "cc": (Address(BOB.address, "Bob"),)}
HIDDEN = Recipient("r3", "carol@customer.example")


async def send(
    *script: Reply | Fault,
    mail: Outgoing | None = None,
    to: Sequence[Recipient] = (ALICE,),
    commits: Commits | None = None,
) -> tuple[HandedOver, SendGridServer]:
    times = SHORT if Fault.DEAF in script or Fault.HANG in script else TIMES
    async with SendGridServer(script) as server:
        sender = SendGridSender("sendgrid", KEY, base=server.url, times=times, now=lambda: NOW)
        try:
            said = await sender.send(mail or outgoing(), to, committing=commits or Commits())
        finally:
            await sender.close()
    return said, server


async def test_a_taken_mail_is_sent_and_has_sendgrids_name() -> None:
    commits = Commits()
    said, server = await send(commits=commits)
    assert said == {ALICE: Sent(MESSAGE_ID, f"202 {MESSAGE_ID}")}
    assert commits.calls == [(ALICE,)]
    [asked] = server.requests
    assert (asked.method, asked.path) == ("POST", "/v3/mail/send")
    assert asked.headers["content-type"] == "application/json"


async def test_all_of_a_mail_arrives() -> None:
    image = OutgoingAttachment("bild.png", "image/png", b"\x89PNG", "bild.1@acme.example")
    mail = outgoing(
        html='<img src="cid:bild.1@acme.example">',
        reply_to=(Address("support+t.8f3a@acme.example", "Süd"),),
        references=("<q1@customer.example>", "<reply-41@acme.example>"),
        headers=(("X-Mailagent-Loop", "1"), ("X-Stadt", "München " * 20)),
        attachments=(OutgoingAttachment("übersicht.txt", "text/plain", b"\xfcber"), image),
    )
    _, server = await send(mail=mail)
    [taken] = server.taken
    town = taken["headers"].pop("X-Stadt")
    assert town.isascii()
    assert "\n" not in town
    assert str(email.header.make_header(email.header.decode_header(town))) == "München " * 20
    assert taken["headers"] == {
        "Message-ID": "<reply-42@acme.example>",
        "In-Reply-To": "<question-1@customer.example>",
        "References": "<q1@customer.example> <reply-41@acme.example>",
        "Auto-Submitted": "auto-replied",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "X-Mailagent-Loop": "1",
    }
    assert taken["from"] == {"email": "support@acme.example", "name": "Acme Süd"}
    assert taken["reply_to"] == {"email": "support+t.8f3a@acme.example", "name": "Süd"}
    assert taken["personalizations"] == [{"to": [{"email": ALICE.address, "name": "Alice"}]}]
    assert taken["subject"] == mail.subject
    assert [(one["type"], one["value"]) for one in taken["content"]] == [
        ("text/plain", mail.text),
        ("text/html", mail.html),
    ]
    assert taken["custom_args"] == {"mailagent_message_id": "<reply-42@acme.example>"}
    assert not any(one["enable"] for one in taken["tracking_settings"].values())
    text, picture = taken["attachments"]
    assert (text["filename"], base64.b64decode(text["content"])) == ("übersicht.txt", b"\xfcber")
    assert (text["type"], text["disposition"]) == ("application/octet-stream", "attachment")
    assert (picture["type"], picture["disposition"]) == ("image/png", "inline")
    assert picture["content_id"] == "bild.1@acme.example"


async def test_two_addresses_to_answer_to_are_a_list() -> None:
    mail = outgoing(reply_to=(Address("a@acme.example"), Address("b@acme.example")))
    _, server = await send(mail=mail)
    [taken] = server.taken
    assert "reply_to" not in taken
    assert taken["reply_to_list"] == [{"email": "a@acme.example"}, {"email": "b@acme.example"}]


async def test_only_the_recipients_of_this_hand_over_are_named() -> None:
    mail = outgoing(**BOTH, bcc=(Address(HIDDEN.address),))
    _, server = await send(mail=mail, to=(ALICE, BOB, HIDDEN))
    [one] = server.taken[0]["personalizations"]
    assert [[box["email"] for box in one[name]] for name in ("to", "cc", "bcc")] == [
        [ALICE.address],
        [BOB.address],
        [HIDDEN.address],
    ]
    said, server = await send(mail=mail, to=(BOB,))
    assert server.taken[0]["personalizations"] == [{"to": [{"email": BOB.address, "name": "Bob"}]}]
    assert "shown without alice@customer.example" in said[BOB].response  # type: ignore[union-attr]


async def test_hidden_recipients_alone_do_not_see_each_other() -> None:
    other = Recipient("r4", "dave@customer.example")
    mail = outgoing(to=(), bcc=(Address(HIDDEN.address), Address(other.address)))
    said, server = await send(mail=mail, to=(HIDDEN, other))
    assert server.taken[0]["personalizations"] == [
        {"to": [{"email": HIDDEN.address}]},
        {"to": [{"email": other.address}]},
    ]
    assert set(said) == {HIDDEN, other}


async def test_a_domain_outside_ascii_goes_as_a_labels() -> None:
    recipient = Recipient("r4", "info@bücher.example")
    _, server = await send(mail=outgoing(to=(Address(recipient.address),)), to=(recipient,))
    [one] = server.taken[0]["personalizations"]
    assert one["to"] == [{"email": "info@xn--bcher-kva.example"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"from_": Address("jürgen@acme.example")},
        {"to": (Address("jürgen@customer.example"),)},
        {"subject": " "},
        {"text": ""},
        *({"headers": ((name, "x"),)} for name in ("X-SG-ID", "x-sg-eid", "X-SMTPAPI", "Received")),
        {"headers": (("X-One", "1"), ("x-one", "2"))},
        {"attachments": (OutgoingAttachment("a.bin", "image/png", bytes(23 * 1024 * 1024)),)},
    ],
)
async def test_what_sendgrid_cannot_carry_is_refused_before_anything_is_sent(
    changes: dict[str, Any],
) -> None:
    commits = Commits()
    mail = outgoing(**changes)
    recipient = Recipient("r1", mail.to[0].address)
    async with SendGridServer() as server:
        sender = SendGridSender("sendgrid", KEY, base=server.url)
        with pytest.raises(PermanentFailure) as caught:
            await sender.send(mail, [recipient], committing=commits)
        await sender.close()
    assert caught.value.about == "message"
    assert commits.calls == []
    assert server.requests == []


async def test_a_thousand_recipients_and_no_more() -> None:
    many = [Recipient(f"r{n}", f"a{n}@customer.example") for n in range(1_001)]
    mail = outgoing(to=tuple(Address(one.address) for one in many))
    with pytest.raises(PermanentFailure, match="1000 recipients"):
        await send(mail=mail, to=many)
    said, _ = await send(mail=mail, to=many[:1_000])
    assert len(said) == 1_000


async def test_a_bad_address_is_its_recipients_fault_and_the_others_come_again() -> None:
    bad = Recipient("r9", "a..b@customer.example")
    mail = outgoing(cc=(Address(bad.address),))
    said, server = await send(mail=mail, to=(ALICE, bad))
    assert isinstance(said[bad], Refused)
    assert said[bad].about == "recipient"  # type: ignore[union-attr]
    assert isinstance(said[ALICE], Later)
    assert server.taken == []


@pytest.mark.parametrize(
    "path", ["from.email", "personalizations.0.to.9.email", "personalizations", "content.0", None]
)
async def test_any_other_field_is_the_mails_fault(path: str | None) -> None:
    with pytest.raises(PermanentFailure) as caught:
        await send(errors(400, "it is wrong", path), mail=outgoing(**BOTH), to=(ALICE, BOB))
    assert (caught.value.about, caught.value.code) == ("message", "400")
    assert "it is wrong" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "about"),
    [
        (errors(401, "Maximum credits exceeded"), "account"),
        (errors(403, "The from address does not match a verified Sender Identity"), "account"),
        (Reply(404, b"<html>"), "account"),
        (Reply(405), "account"),
        (Reply(302, b"", {"Location": "https://elsewhere.example/"}), "account"),
        (errors(413, "Payload too large"), "message"),
        (Reply(415), "message"),
        (Reply(400, b"<html>"), "message"),
        (Reply(400, {"errors": [{"message": 7}]}), "message"),
    ],
)
async def test_each_documented_error_has_its_fault(reply: Reply, about: str) -> None:
    with pytest.raises(PermanentFailure) as caught:
        await send(reply)
    assert caught.value.about == about
    assert not caught.value.credentials


async def test_a_revoked_key_is_told_apart() -> None:
    with pytest.raises(PermanentFailure) as caught:
        await send(errors(401, "The provided authorization grant is invalid, expired, or revoked"))
    assert (caught.value.about, caught.value.credentials) == ("account", True)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_not_now_is_later(status: int) -> None:
    with pytest.raises(TransientFailure) as caught:
        await send(errors(status, "not now"))
    assert caught.value.retry_at is None


@pytest.mark.parametrize(
    ("reset", "at"),
    [
        (str(int(NOW.timestamp()) + 60), NOW + timedelta(seconds=60)),
        (str(int(NOW.timestamp()) - 60), None),
        ("99999999999", None),
        ("9" * 40, None),
        ("soon", None),
    ],
)
async def test_the_end_of_a_rate_limit_is_kept(reset: str, at: datetime | None) -> None:
    with pytest.raises(TransientFailure) as caught:
        await send(errors(429, "too many requests", X_RateLimit_Reset=reset))
    assert caught.value.retry_at == at


@pytest.mark.parametrize(
    "reply",
    [
        *(Fault.DEAF, Fault.RESET_EARLY, Fault.HANG, Fault.CUT, Fault.RESET),
        *(Reply(502, b"<html>bad gateway"), Reply(504), Reply(200, {})),
    ],
)
async def test_what_may_have_been_taken_is_uncertain(reply: Reply | Fault) -> None:
    big = OutgoingAttachment("a.bin", "image/png", bytes(6 * 1024 * 1024))
    with pytest.raises(UncertainDelivery):
        await send(reply, mail=outgoing(attachments=(big,) if reply is Fault.DEAF else ()))


async def test_a_slow_answer_is_an_answer() -> None:
    said, _ = await send(Fault.SLOW)
    assert said[ALICE].provider_id == MESSAGE_ID  # type: ignore[union-attr]


async def test_nobody_listening_is_later() -> None:
    async with SendGridServer() as server:
        url = server.url
    sender = SendGridSender("sendgrid", KEY, base=url)
    with pytest.raises(TransientFailure):
        await sender.send(outgoing(), [ALICE], committing=Commits())
    await sender.close()


async def test_nothing_is_written_when_the_claim_is_lost() -> None:
    async with SendGridServer() as server:
        sender = SendGridSender("sendgrid", KEY, base=server.url)
        with pytest.raises(LostClaim):
            await sender.send(outgoing(), [ALICE], committing=Commits(LostClaim("gone")))
        await sender.close()
    assert server.requests == []


async def test_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(PermanentFailure) as caught:
        await send(errors(401, f"the key {KEY} is revoked"))
    account = Account("sendgrid", "sendgrid", {"SENDGRID_API_KEY": KEY})
    sender = SendGridSender.of(account)
    await sender.close()
    shown = f"{caught.value!s}{caught.value!r}{sender!r}{account!r}{caplog.text}"
    assert KEY not in shown


def test_an_account_is_read_and_its_faults_are_named() -> None:
    def of(**settings: str) -> SendGridSender:
        return SendGridSender.of(Account("mine", "sendgrid", settings))

    sender = of(SENDGRID_API_KEY=KEY, SENDGRID_REGION="EU")
    assert (sender.name, sender.recipients_at_once) == ("mine", 1_000)
    with pytest.raises(Misconfigured, match="SENDGRID_API_KEY"):
        of()
    with pytest.raises(Misconfigured, match="SENDGRID_REGION"):
        of(SENDGRID_API_KEY=KEY, SENDGRID_REGION="mars")
    with pytest.raises(Misconfigured, match="SENDGRID_BASE_URL"):
        of(SENDGRID_API_KEY=KEY, SENDGRID_BASE_URL="http://sendgrid.acme.example")
