"""A receipt notification becomes the mail that SES took, octet for octet, or says where it is."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mailagent.errors import Malformed, Misconfigured
from mailagent.inbound import Envelope, Inbound
from mailagent.providers.ses import Ses
from tests.sns_signer import NOW, Sns

DATA = Path(__file__).parent.parent / "data" / "ses"


def notification(name: str) -> Any:
    return json.loads((DATA / f"inbound-{name}.json").read_text())


async def inbound(message: object, **settings: str) -> Sequence[Inbound]:
    sns = Sns()
    receiver = Ses.receiver(sns.settings(**settings), sns.fetch)
    return await receiver.inbound(sns.request(message))


@pytest.mark.parametrize("name", ["base64", "utf8"])
async def test_inline_content_is_the_mail_octet_for_octet(name: str) -> None:
    (mail,) = await inbound(notification(name))
    assert mail.raw == (DATA / f"inbound-{name}.eml").read_bytes()
    assert mail.source == "ses"
    assert mail.source_id == notification(name)["mail"]["messageId"]
    assert mail.origin.body_format == "raw"
    assert mail.origin.received_at == NOW


async def test_every_octet_survives_base64() -> None:
    message = notification("base64")
    message["content"] = base64.b64encode(bytes(range(256)) * 500).decode()
    (mail,) = await inbound(message)
    assert mail.raw == bytes(range(256)) * 500


async def test_an_unpaired_surrogate_is_no_reason_to_lose_a_mail() -> None:
    message = notification("utf8")
    message["content"] += "\ud83d"
    (mail,) = await inbound(message)
    assert mail.raw.startswith((DATA / "inbound-utf8.eml").read_bytes())


async def test_the_envelope_is_that_of_smtp_and_not_of_the_header() -> None:
    (mail,) = await inbound(notification("base64"))
    assert mail.envelope == Envelope("bounces+77@customer.example", ("hello@demo.aexy.email",))
    (mail,) = await inbound(notification("utf8"))
    assert mail.envelope == Envelope(None, ("hello@demo.aexy.email", "Team@demo.aexy.email"))


@pytest.mark.parametrize("source", [None, "", "<>", " "])
async def test_a_mail_from_nobody_is_from_nobody(source: str | None) -> None:
    message = notification("base64")
    message["mail"]["source"] = source
    (mail,) = await inbound(message)
    assert mail.envelope.mail_from is None


async def test_verdicts_are_kept_in_the_words_of_ses() -> None:
    (mail,) = await inbound(notification("base64"))
    assert mail.origin.provider_verdicts == {
        "spf": "PASS",
        "dkim": "GRAY",
        "dmarc": "FAIL",
        "dmarc_policy": "quarantine",
        "spam": "PASS",
        "virus": "PASS",
    }


async def test_a_word_that_is_not_documented_is_no_pass_and_a_missing_one_stays_out() -> None:
    (mail,) = await inbound(notification("utf8"))
    assert mail.origin.provider_verdicts == {
        "spf": "PROCESSING_FAILED",
        "dkim": "UNKNOWN",
        "spam": "FAIL",
        "virus": "DISABLED",
    }


async def test_a_mail_in_s3_says_where_it_is() -> None:
    (mail,) = await inbound(notification("s3"))
    assert mail.origin.body_format == "stored"
    assert mail.origin.stored_at == "s3://mail-in/in/ses0s3xxxk4h5g7f3d2a1b0c9e8f7a603"
    assert mail.source_id == "ses0s3xxxk4h5g7f3d2a1b0c9e8f7a603"
    assert mail.envelope.rcpt_to == ("hello@demo.aexy.email", "hidden@other.aexy.email")
    assert json.loads(mail.raw)["mail"]["commonHeaders"]["subject"] == "Zwei Kännchen"


async def test_no_workspace_sees_the_other_recipients_nor_may_end_the_subscription() -> None:
    (mail,) = await inbound(notification("s3"))
    assert b"hidden@other" not in mail.raw
    assert b"Unsubscribe" not in mail.raw


async def test_a_bucket_that_is_not_listed_is_named() -> None:
    with pytest.raises(Misconfigured, match="SES_S3_BUCKETS: does not list mail-in"):
        await inbound(notification("s3"), SES_S3_BUCKETS="another")


async def test_a_notification_that_does_not_bring_the_mail_names_the_rule() -> None:
    with pytest.raises(Misconfigured, match=r"Lambda action .* does not bring it"):
        await inbound(notification("lambda"))


async def test_a_mail_that_a_rule_refused_is_none() -> None:
    assert await inbound(notification("bounce")) == []


@pytest.mark.parametrize(
    "message",
    [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        {"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have successfully"},
    ],
)
async def test_what_only_tries_the_topic_is_no_mail(message: object) -> None:
    assert await inbound(message) == []


@pytest.mark.parametrize("name", ["bounce", "complaint", "delivery", "send", "open"])
async def test_an_event_is_told_where_it_belongs(name: str) -> None:
    event = json.loads((DATA / f"event-{name}.json").read_text())
    with pytest.raises(Misconfigured, match="brings sending events to /webhook/ses: subscribe"):
        await inbound(event)


async def test_raw_delivery_brings_the_same_mail() -> None:
    sns = Sns()
    receiver = Ses.receiver(sns.settings(), sns.fetch)
    for name in ("base64", "utf8", "s3"):
        message = notification(name)
        raw = await receiver.inbound(sns.raw(message))
        assert raw == await receiver.inbound(sns.request(message))


REQUIRED = [
    *("notificationType", "mail", "mail.messageId", "mail.source", "receipt", "receipt.recipients"),
    *("receipt.action", "receipt.action.type"),
]


def changed(message: Any, path: str, value: Any) -> Any:
    made = copy.deepcopy(message)
    *way, last = path.split(".")
    place = made
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made


@pytest.mark.parametrize("value", [None, 7, True, [7], {"x": 7}, ["\ud800"]])
@pytest.mark.parametrize("path", REQUIRED)
async def test_a_field_that_is_missing_or_of_another_type_is_malformed(
    path: str, value: Any
) -> None:
    message = changed(notification("base64"), path, value)
    with pytest.raises(Malformed):
        await inbound(message)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("content", ""),
        ("content", 7),
        ("content", "no base64!"),
        ("receipt.action.encoding", "ROT13"),
        ("receipt.recipients", []),
        ("receipt.recipients", [""]),
        ("receipt.recipients", ["a@x.example\r\nDATA"]),
        ("receipt.spfVerdict", "PASS"),
        ("receipt.recipients", ["\x00"]),
        ("mail.source", "a@x.example\r\nDATA"),
        ("mail.messageId", ""),
        ("mail.messageId", "\x00"),
        ("mail.messageId", "a b"),
    ],
)
async def test_a_field_that_makes_no_sense_is_malformed(path: str, value: Any) -> None:
    with pytest.raises(Malformed):
        await inbound(changed(notification("base64"), path, value))


@pytest.mark.parametrize("path", ["bucketName", "objectKey"])
@pytest.mark.parametrize("value", [None, "", 7, ["x"], "a\x00b"])
async def test_a_place_that_is_missing_or_no_text_is_malformed(path: str, value: Any) -> None:
    with pytest.raises(Malformed):
        await inbound(changed(notification("s3"), f"receipt.action.{path}", value))


@pytest.mark.parametrize("message", ["a test of the console", "[]", "7", "{" * 9_999, {}])
async def test_a_message_that_is_no_notification_is_malformed(message: object) -> None:
    with pytest.raises(Malformed):
        await inbound(message)
