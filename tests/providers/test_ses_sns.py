"""What SNS sends is believed only when a topic of the operator's signed it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Later, Replayed, Unrouted
from mailagent.providers.ses_sns import Notification, status
from mailagent.providers.ses_sns import Sns as Reader
from mailagent.webhook import WebhookRequest, WebhookSettings
from tests.sns_signer import NOW, TOPIC, Sns, certificate

DATA = Path(__file__).parent.parent / "data" / "ses"
VECTOR = json.loads((DATA / "sns-vector.json").read_text())
US_TOPIC = "arn:aws:sns:us-east-1:123456789012:aexy-inbound"
US_CERTIFICATE = (
    "https://sns.us-east-1.amazonaws.com/"
    "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"
)


async def read(sns: Sns, request: WebhookRequest, **settings: str) -> Notification | None:
    return await Reader(sns.settings(**settings), sns.fetch).read(request)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_notification_signed_by_others_is_read(version: str) -> None:
    web = {US_CERTIFICATE: (DATA / "sns-vector.pem").read_bytes()}
    sns = Sns(US_TOPIC, web)
    said = VECTOR["notification"] | {
        "SignatureVersion": version,
        "Signature": VECTOR[version],
        "SigningCertURL": US_CERTIFICATE,
    }
    told = await read(sns, sns.post(said))
    assert told == Notification(said["Message"], US_TOPIC)
    other = {"1": "2", "2": "1"}[version]
    with pytest.raises(Unauthentic, match="signature"):
        await read(sns, sns.post(said | {"SignatureVersion": other}))


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Amazon SES Email Receipt Notification", None])
async def test_both_versions_hold_with_and_without_a_subject(
    version: str, subject: str | None
) -> None:
    sns = Sns()
    told = await read(sns, sns.request("hello ü", SignatureVersion=version, Subject=subject))
    assert told == Notification("hello ü", TOPIC)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("Message", "hellp"),
        ("MessageId", "7a0f3c52-0000-5000-8000-000000000002"),
        ("Subject", "another"),
        ("Subject", None),
        ("Timestamp", "2026-11-21T09:00:01.124Z"),
        ("Type", "SubscriptionConfirmation"),
        ("SignatureVersion", "1"),
        ("SignatureVersion", "3"),
        ("Signature", "AAAA"),
        ("Signature", "not base64!"),
    ],
)
async def test_one_changed_member_is_unauthentic(member: str, value: Any) -> None:
    sns = Sns()
    with pytest.raises(Unauthentic):
        await read(sns, sns.request("hello", **{f"signed_{member}": value}))


async def test_an_added_subject_is_unauthentic() -> None:
    sns = Sns()
    with pytest.raises(Unauthentic):
        await read(sns, sns.request("hello", Subject=None, signed_Subject="added"))


async def test_any_changed_bit_of_what_is_signed_is_refused() -> None:
    sns = Sns()
    reader = Reader(sns.settings(), sns.fetch)
    whole = sns.request("hello")
    assert await reader.read(whole) == Notification("hello", TOPIC)
    # What is not signed is not used either.
    unsigned = whole.body.index(b"UnsubscribeURL"), whole.body.index(b'", "Signature"')
    refused = 0
    for place in range(len(whole.body)):
        if unsigned[0] <= place < unsigned[1] or chr(whole.body[place]).isspace():
            continue
        body = bytearray(whole.body)
        body[place] ^= 1
        with pytest.raises((Unauthentic, Malformed, TransientFailure)):
            await reader.read(sns.post(bytes(body), headers=whole.headers))
        refused += 1
    assert refused > 700


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123456789.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-012345678.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-012345678.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0123456789abcdef.pem",
        "https://bucket.s3.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://SNS.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-2.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem?x",
        "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem\n",
        "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-01234567.pem",
        "https://169.254.169.254/latest/meta-data",
        "",
    ],
)
async def test_a_certificate_from_elsewhere_is_never_fetched(url: str) -> None:
    sns = Sns()
    sns.web[url] = certificate()
    with pytest.raises(Unauthentic, match="SigningCertURL"):
        await read(sns, sns.request("hello", SigningCertURL=url))
    assert sns.fetched == []


async def test_a_foreign_topic_is_refused_before_anything_is_fetched() -> None:
    sns = Sns()
    foreign = Sns("arn:aws:sns:eu-west-1:210987654321:theirs")
    with pytest.raises(Unauthentic, match="not listed in SES_SNS_TOPIC_ARNS"):
        await Reader(sns.settings(), sns.fetch).read(foreign.request("hello"))
    assert sns.fetched == []


@pytest.mark.parametrize(
    "topic", ["", "mail", "arn:aws:sqs:eu-west-1:123456789012:mail", TOPIC + "/x"]
)
async def test_what_is_no_topic_is_refused(topic: str) -> None:
    sns = Sns()
    with pytest.raises((Unauthentic, Malformed)):
        await read(sns, sns.request("hello", TopicArn=topic), SES_SNS_TOPIC_ARNS=topic)
    assert sns.fetched == []


async def test_the_topic_of_china_is_asked_in_china() -> None:
    sns = Sns("arn:aws-cn:sns:cn-north-1:123456789012:mail")
    url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0123456789abcdef.pem"
    sns.web[url] = certificate()
    assert await read(sns, sns.request("hello", SigningCertURL=url))


async def test_a_certificate_is_fetched_once_and_few_are_kept() -> None:
    sns = Sns()
    reader = Reader(sns.settings(), sns.fetch)
    for _ in range(3):
        await reader.read(sns.request("hello"))
    assert sns.fetched == [sns.certificate_url]
    for number in range(16):
        url = sns.certificate_url.replace("0123456789abcdef" * 2, f"{number:032x}")
        sns.web[url] = certificate()
        await reader.read(sns.request("hello", SigningCertURL=url))
    await reader.read(sns.request("hello"))
    assert sns.fetched.count(sns.certificate_url) == 2


@pytest.mark.parametrize(
    "made",
    [
        certificate("sns.evil.example"),
        certificate(ends=NOW - timedelta(days=1)),
        certificate(begins=NOW + timedelta(days=1)),
    ],
)
async def test_a_certificate_of_others_or_of_another_time_proves_nothing(made: bytes) -> None:
    sns = Sns()
    sns.web[sns.certificate_url] = made
    with pytest.raises(Unauthentic, match="certificate"):
        await read(sns, sns.request("hello"))


@pytest.mark.parametrize("found", [None, b"<html>sign in to the hotel's network</html>"])
async def test_a_certificate_that_cannot_be_had_is_later(found: bytes | None) -> None:
    sns = Sns()
    del sns.web[sns.certificate_url]
    if found is not None:
        sns.web[sns.certificate_url] = found
    with pytest.raises(TransientFailure):
        await read(sns, sns.request("hello"))


async def test_a_notification_of_yesterday_is_a_repetition() -> None:
    sns = Sns()
    with pytest.raises(Unauthentic, match="more than a day"):
        await read(sns, sns.request("hello", Timestamp="2026-11-20T08:59:59Z"))
    assert await read(sns, sns.request("hello", Timestamp="2026-11-21T08:00:00.000Z"))


@pytest.mark.parametrize(
    "header", ["x-amz-sns-message-type", "x-amz-sns-message-id", "x-amz-sns-topic-arn"]
)
async def test_a_header_that_contradicts_the_body_is_unauthentic(header: str) -> None:
    sns = Sns()
    with pytest.raises(Unauthentic, match=header):
        await read(sns, sns.post(sns.envelope("hello"), headers={header: "another"}))


@pytest.mark.parametrize(
    "member",
    [
        *("Type", "MessageId", "TopicArn", "Message", "Timestamp"),
        *("SignatureVersion", "Signature", "SigningCertURL"),
    ],
)
@pytest.mark.parametrize("value", [None, "", 7, ["x"], {"x": 1}, True, "\ud800"])
async def test_a_member_that_is_missing_empty_or_no_text_is_refused(
    member: str, value: Any
) -> None:
    sns = Sns()
    said = sns.envelope("hello")
    said[member] = value
    if value is None:
        del said[member]
    with pytest.raises((Malformed, Unauthentic)):
        await read(sns, sns.post(json.dumps(said).encode()))


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"null", b"[]", b'"x"', b"{", b"[" * 100_000, b'{"Type":' + b"9" * 9_999]
)
async def test_a_body_that_is_no_object_is_malformed(body: bytes) -> None:
    sns = Sns()
    with pytest.raises(Malformed):
        await read(sns, sns.post(body))


async def test_a_listed_topic_is_confirmed() -> None:
    sns = Sns()
    sns.web[sns.subscribe_url] = b"<ConfirmSubscriptionResponse/>"
    assert await read(sns, sns.request("please", Type="SubscriptionConfirmation")) is None
    assert sns.fetched == [sns.certificate_url, sns.subscribe_url]


async def test_the_confirmation_that_others_signed_is_made() -> None:
    text = f"You have chosen to subscribe to the topic {US_TOPIC}."
    url = (
        "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription"
        f"&TopicArn={US_TOPIC}&Token=2336412f37fb687f5d51e6e2425f00"
    )
    sns = Sns(US_TOPIC, {US_CERTIFICATE: (DATA / "sns-vector.pem").read_bytes(), url: b"<Done/>"})
    said = {
        "Type": "SubscriptionConfirmation",
        "MessageId": "7a0f3c52-0000-5000-8000-000000000002",
        "Token": "2336412f37fb687f5d51e6e2425f00",
        "TopicArn": US_TOPIC,
        "Message": f"{text}\nTo confirm the subscription, visit the SubscribeURL included in this "
        "message.",
        "SubscribeURL": url,
        "Timestamp": "2026-11-21T01:00:01.000Z",
        "SignatureVersion": "2",
        "Signature": VECTOR["confirmation"],
        "SigningCertURL": US_CERTIFICATE,
    }
    assert await read(sns, sns.post(said)) is None
    assert sns.fetched[-1] == url


async def test_a_confirmation_that_cannot_be_made_is_later() -> None:
    sns = Sns()
    with pytest.raises(TransientFailure):
        await read(sns, sns.request("please", Type="SubscriptionConfirmation"))


@pytest.mark.parametrize(
    "change",
    [
        ("https://", "http://"),
        ("amazonaws.com/", "amazonaws.com.evil.example/"),
        ("amazonaws.com/", "amazonaws.com@evil.example/"),
        ("eu-west-1.amazonaws.com/", "us-east-1.amazonaws.com/"),
        ("ConfirmSubscription", "DeleteTopic"),
        ("123456789012:mail", "123456789012:other"),
        ("Token=2336412f37", "Token=99"),
        ("&Token", "&Action=DeleteTopic&Token"),
        ("&Token", " &Token"),
    ],
)
async def test_an_address_that_confirms_something_else_is_not_visited(
    change: tuple[str, str],
) -> None:
    sns = Sns()
    url = sns.subscribe_url.replace(*change)
    sns.web[url] = b""
    with pytest.raises(Unauthentic, match="SubscribeURL"):
        await read(sns, sns.request("please", Type="SubscriptionConfirmation", SubscribeURL=url))
    assert url not in sns.fetched


async def test_an_end_of_a_subscription_is_logged_and_nothing_is_visited() -> None:
    sns = Sns()
    assert await read(sns, sns.request("bye", Type="UnsubscribeConfirmation")) is None
    assert sns.fetched == [sns.certificate_url]


async def test_without_a_list_of_topics_the_setting_is_named() -> None:
    sns = Sns()
    reader = Reader(WebhookSettings(), sns.fetch)
    assert reader.missing is not None
    assert reader.missing.setting == "SES_SNS_TOPIC_ARNS"
    assert Reader(sns.settings(), sns.fetch).missing is None
    # A secret in the path lets mail in, and still subscribes us to nothing.
    assert await reader.read(sns.request("hello", secret_in_path=True))
    request = sns.request("please", Type="SubscriptionConfirmation", secret_in_path=True)
    with pytest.raises(Misconfigured, match=f"{TOPIC} asks to be confirmed"):
        await reader.read(request)


async def test_raw_delivery_is_believed_with_the_secret_only() -> None:
    sns = Sns()
    assert await read(sns, sns.raw("hello ü")) == Notification("hello ü", TOPIC)
    with pytest.raises(Unauthentic, match="raw message delivery"):
        await read(sns, sns.raw("hello", secret_in_path=False))
    with pytest.raises(Unauthentic, match="not listed"):
        await read(sns, Sns("arn:aws:sns:eu-west-1:210987654321:theirs").raw("hello"))
    headers = {**sns.raw("").headers}
    with pytest.raises(Malformed):
        await read(sns, sns.post(b"\xff", headers=headers, secret_in_path=True))


def test_sns_gets_a_4xx_only_for_what_is_not_from_it() -> None:
    assert {status(one) for one in (Accepted(()), Duplicate(()), Unrouted(()))} == {200}
    assert {status(one) for one in (Unauthentic("x"), Replayed())} == {403}
    for one in (
        *(Later("x"), Malformed("x", "y"), Misconfigured("x", "y")),
        *(TransientFailure("x"), ZeroDivisionError()),
    ):
        assert status(one) == 503
