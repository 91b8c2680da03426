"""Mail by Postmark's inbound webhook: what a request yields, and who may make one."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailagent.errors import MailagentError, Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Inbound, Later, Replayed, Unrouted
from mailagent.mime import parse
from mailagent.mime.rebuilt import rebuild
from mailagent.providers.postmark import Postmark
from mailagent.webhook import Answered, Receives, WebhookRequest, WebhookSettings

DATA = Path(__file__).parents[1] / "data" / "postmark"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
USER, PASSWORD, SECRET = "mailagent", "pässwörd:with/colon", "s3cret-of-the-path"
OWN = {"POSTMARK_WEBHOOK_USER": USER, "POSTMARK_WEBHOOK_PASSWORD": PASSWORD}
SHARED = {"INBOUND_WEBHOOK_SECRET": SECRET}


async def no_fetch(url: str) -> bytes:
    raise AssertionError(url)


def receiver(values: Mapping[str, str] = OWN) -> Receives:
    return Postmark.receiver(WebhookSettings(values), no_fetch)


def basic(user: str = USER, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def posted(name: str, **changes: Any) -> dict[str, Any]:
    mail: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return mail | changes


def request(
    mail: object, *, authorization: str | None = None, secret_in_path: bool = False
) -> WebhookRequest:
    body = mail if isinstance(mail, bytes) else json.dumps(mail, ensure_ascii=False)
    octets = body if isinstance(body, bytes) else body.encode("utf-8", "surrogateescape")
    headers = {"content-type": "application/json; charset=utf-8"}
    headers["authorization"] = basic() if authorization is None else authorization
    return WebhookRequest(octets, headers, NOW, secret_in_path=secret_in_path)


async def brought(mail: object) -> Inbound:
    [inbound] = await receiver().inbound(request(mail))
    return inbound


async def test_raw_content_is_the_mail_octet_for_octet() -> None:
    inbound = await brought(posted("inbound-raw"))
    assert inbound.raw == (DATA / "inbound-raw.eml").read_bytes()
    assert inbound.origin.body_format == "raw"
    assert inbound.origin.parsed_by == inbound.origin.body_type == ""


async def test_octets_outside_utf_8_survive() -> None:
    raw = b"From: dana@customer.example\r\n\r\nF\xfcr \xff\xfe\x80, \xc3\xbc and \xed\xa0\x80\r\n"
    inbound = await brought(posted("inbound-raw", RawEmail=raw.decode("utf-8", "surrogateescape")))
    assert inbound.raw == raw


async def test_such_octets_survive_as_escapes_too() -> None:
    raw = b"From: dana@customer.example\r\n\r\nF\xfcr\r\n"
    mail = posted("inbound-raw", RawEmail=raw.decode("utf-8", "surrogateescape"))
    assert (await brought(json.dumps(mail).encode())).raw == raw


async def test_without_raw_content_the_request_is_the_mail() -> None:
    asked = request(posted("inbound-parsed"))
    [inbound] = await receiver().inbound(asked)
    assert inbound.raw == asked.body
    assert inbound.origin.body_format == "parsed"
    assert inbound.origin.body_type == "application/json; charset=utf-8"
    assert inbound.origin.parsed_by == "postmark"
    mime = rebuild(inbound.raw, inbound.origin.body_type, parsed_by=inbound.origin.parsed_by)
    raw, again = parse.read((DATA / "inbound-raw.eml").read_bytes()), parse.read(mime)
    assert (again.text, again.subject, again.references) == (raw.text, raw.subject, raw.references)


async def test_the_envelope_is_postmarks_and_never_the_headers() -> None:
    mail = posted("inbound-raw", To="else@acme.example", OriginalRecipient="agent@acme.example")
    inbound = await brought(mail)
    assert inbound.envelope.rcpt_to == ("agent@acme.example",)
    assert inbound.envelope.mail_from == "bounces+78@customer.example"
    assert inbound.source == "postmark"
    assert inbound.source_id == "22c74902-a0c1-4511-804f-341342852c90"


def with_headers(*headers: tuple[str, str]) -> dict[str, Any]:
    listed = [{"Name": name, "Value": value} for name, value in headers]
    return posted("inbound-raw", Headers=listed)


RECEIVED = ("Received", "by p-pm-inbound02.inbound.postmarkapp.com (Postfix) id 0ABC")
FORGED = [
    ("Received", "from mail.customer.example by p-pm-inbound02.inbound.postmarkapp.com id 1"),
    ("Return-Path", "<ceo@acme.example>"),
    ("Received-SPF", "Pass client-ip=127.0.0.1; helo=acme.example; envelope-from=ceo@acme.example"),
    ("X-Spam-Status", "No"),
]


async def test_the_empty_return_path_is_nobody() -> None:
    inbound = await brought(with_headers(("Return-Path", "<>"), RECEIVED))
    assert inbound.envelope.mail_from is None


async def test_a_return_path_further_down_is_the_senders_own_and_counts_for_nothing() -> None:
    inbound = await brought(with_headers(RECEIVED, ("Subject", "x"), *FORGED))
    assert inbound.envelope.mail_from is None
    assert inbound.origin.client_ip is None
    assert inbound.origin.provider_verdicts == {}


async def test_postmarks_verdicts_stand_above_the_senders() -> None:
    spf = ("Received-SPF", "Fail (not authorized) client-ip=203.0.113.9; helo=evil.example;")
    tests = ("X-Spam-Tests", "DKIM_SIGNED,DKIM_INVALID,SPF_FAIL")
    spam = ("X-Spam-Status", "Yes, score=9.1")
    top = (("Return-Path", "<a@customer.example>"), RECEIVED, spam, tests, spf)
    inbound = await brought(with_headers(*top, *FORGED))
    assert inbound.origin.provider_verdicts == {"spf": "fail", "dkim": "fail", "spam": "FAIL"}
    assert (inbound.origin.client_ip, inbound.origin.helo) == ("203.0.113.9", "evil.example")


async def test_a_good_mail_is_vouched_for() -> None:
    origin = (await brought(posted("inbound-raw"))).origin
    assert origin.provider_verdicts == {"spf": "pass", "dkim": "pass", "spam": "PASS"}
    assert (origin.client_ip, origin.helo) == ("192.0.2.10", "mail.customer.example")
    assert origin.received_at == NOW


async def test_the_test_of_postmarks_page_is_a_mail_with_its_file() -> None:
    inbound = await brought(posted("inbound-test"))
    assert inbound.envelope.mail_from == "bounces+78@customer.example"
    content = parse.read(rebuild(inbound.raw, inbound.origin.body_type, parsed_by="postmark"))
    assert [(file.filename, file.size_bytes) for file in content.attachments] == [("test.txt", 14)]


async def test_the_same_request_twice_has_one_name() -> None:
    one, other = await brought(posted("inbound-raw")), await brought(posted("inbound-raw"))
    assert (one.source, one.source_id, one.envelope) == (
        other.source,
        other.source_id,
        one.envelope,
    )


async def test_events_at_this_address_are_a_wrong_set_up() -> None:
    with pytest.raises(Misconfigured, match="/webhooks/email/postmark"):
        await brought(posted("event-bounce"))


@pytest.mark.parametrize("name", ["OriginalRecipient", "MessageID", "Headers", "RawEmail"])
@pytest.mark.parametrize("value", [7, True, {"a": 1}, ["x"], "", "  "])
async def test_a_field_of_another_kind_or_empty_is_malformed(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=name):
        await brought(posted("inbound-raw", **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("From", 7),
        ("From", None),
        ("FromFull", "dana@customer.example"),
        ("ToFull", {"Email": "x"}),
        ("ToFull", ["support@acme.example"]),
        ("CcFull", [{"Email": 1}]),
        ("TextBody", ["text"]),
        ("HtmlBody", 1),
        ("Subject", {}),
        ("Date", 1795251600),
        ("Headers", [{"Name": "X"}]),
        ("Headers", [["X", "y"]]),
        ("Attachments", "none"),
        ("Attachments", [{"Name": "a.txt"}]),
        ("Attachments", [{"Name": 1, "Content": ""}]),
    ],
)
async def test_a_parsed_mail_of_another_shape_is_malformed(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=name):
        await brought(posted("inbound-parsed", **{name: value}))


@pytest.mark.parametrize("name", ["OriginalRecipient", "MessageID", "Headers", "From"])
async def test_a_missing_field_is_malformed(name: str) -> None:
    mail = posted("inbound-parsed")
    del mail[name]
    with pytest.raises(Malformed, match=name):
        await brought(mail)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"1" * 9_000],
)
async def test_what_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match="body"):
        await brought(body)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Bearer " + PASSWORD,
        basic(password=PASSWORD[:-1]),
        basic(password=PASSWORD + "x"),
        basic(password=""),
        basic(user="other"),
        basic(user="", password=SECRET),
    ],
)
async def test_other_credentials_are_refused(authorization: str) -> None:
    for secret_in_path in (False, True):
        asked = request(
            posted("inbound-raw"), authorization=authorization, secret_in_path=secret_in_path
        )
        with pytest.raises(Unauthentic):
            await receiver().inbound(asked)


async def test_one_changed_octet_of_the_credentials_is_refused() -> None:
    right = basic().removeprefix("Basic ")
    for place in range(len(right)):
        letter = "A" if right[place] != "A" else "B"
        authorization = f"Basic {right[:place]}{letter}{right[place + 1 :]}"
        with pytest.raises(Unauthentic):
            await receiver().inbound(request(posted("inbound-raw"), authorization=authorization))


async def test_the_webhook_secret_is_the_password_of_any_user_while_none_is_set() -> None:
    hook = receiver(SHARED)
    assert hook.missing is None
    for user in ("", "anybody"):
        asked = request(posted("inbound-raw"), authorization=basic(user, SECRET))
        assert await hook.inbound(asked)
    with pytest.raises(Unauthentic):
        await hook.inbound(request(posted("inbound-raw"), authorization=basic("x", "other")))


async def test_the_secret_in_the_path_is_enough_while_no_password_is_set() -> None:
    asked = request(posted("inbound-raw"), authorization="", secret_in_path=True)
    assert await receiver(SHARED).inbound(asked)


async def test_without_anything_set_the_setting_is_named() -> None:
    missing = receiver({}).missing
    assert missing is not None
    assert missing.setting == "POSTMARK_WEBHOOK_PASSWORD"
    with pytest.raises(Unauthentic):
        await receiver({}).inbound(request(posted("inbound-raw"), authorization=basic("", "")))


@pytest.mark.parametrize(
    ("answered", "status"),
    [
        (Accepted(("dlv_1",)), 200),
        (Duplicate(("dlv_1",)), 200),
        (Unrouted(("x@acme.example",)), 200),
        (Later("the disk is full"), 503),
        (Replayed(), 403),
        (Unauthentic("no"), 401),
        (Malformed("body", "is no JSON"), 403),
        (Misconfigured("webhook", "events"), 503),
        (TransientFailure("slow"), 503),
        (ZeroDivisionError(), 503),
    ],
)
def test_only_what_never_can_be_kept_is_refused_for_good(answered: Answered, status: int) -> None:
    assert receiver().answer(answered) == status


async def test_no_secret_is_shown() -> None:
    hook = receiver()
    with pytest.raises(MailagentError) as caught:
        await hook.inbound(request(posted("inbound-raw"), authorization=basic(password="guess")))
    assert PASSWORD not in f"{caught.value!s}{caught.value!r}{hook!r}{hook.missing!r}"
    assert "guess" not in str(caught.value)
