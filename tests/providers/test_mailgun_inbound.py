"""A route of Mailgun brings a mail: signed, told from a sender's own headers, whole or in parts."""

from __future__ import annotations

import json
import re

import pytest

from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Envelope, Inbound, Later, Replayed, Unrouted
from mailagent.providers.mailgun_inbound import MailgunReceiver
from mailagent.providers.mailgun_stored import is_stored_at
from tests.providers.mailgun_posts import (
    DATA,
    KEY,
    TOKEN,
    Fields,
    event,
    fixture,
    multipart,
    request,
    signed,
    urlencoded,
)

RAW = (DATA / "inbound-raw.eml").read_bytes()
WHOLE: Fields = [
    ("recipient", "support@acme.aexy.email"),
    ("sender", "bounces+77@customer.example"),
    ("subject", "Rechnung für März"),
    ("body-mime", RAW),
]
PLACE = (
    "https://storage-us-east4.api.mailgun.net/v3/domains/aexy.email/messages/BAABAAUx5f0c-ab_cd=="
)


async def take(form: tuple[bytes, str], path: tuple[str, ...] = (), *, key: str = KEY) -> Inbound:
    (mail,) = await MailgunReceiver(key).inbound(request(form, path, vouched=not key))
    return mail


def changed(fields: Fields, **values: str | bytes | None) -> Fields:
    """The fields with other values, or without those that are None."""
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return [(n, named.get(n, v)) for n, v in fields if named.get(n, "") is not None]  # type: ignore[misc]


@pytest.mark.parametrize("encode", [urlencoded, multipart])
async def test_a_raw_mail_comes_out_octet_for_octet(encode: object) -> None:
    mail = await take(encode(WHOLE + signed()), ("mime",))  # type: ignore[operator]
    assert mail.raw == RAW
    assert mail.envelope == Envelope("bounces+77@customer.example", ("support@acme.aexy.email",))
    assert (mail.source, mail.origin.body_format) == ("mailgun", "raw")
    assert mail.replay_token == TOKEN


async def test_a_raw_mail_may_come_as_a_file() -> None:
    form = multipart(WHOLE[:2] + signed(), [("body-mime", "mail.eml", "message/rfc822", RAW)])
    assert (await take(form, ("mime",))).raw == RAW


async def test_a_parsed_mail_is_the_form_that_it_came_in() -> None:
    body, content_type = urlencoded(fixture("inbound-parsed.json"))
    mail = await take((body, content_type))
    assert mail.raw == body
    assert mail.origin.body_format == "parsed"
    assert mail.origin.body_type == content_type
    assert mail.origin.parsed_by == "mailgun"
    assert mail.origin.provider_verdicts == {"spf": "Pass", "dkim": "Pass", "spam": "PASS"}


async def test_a_stored_mail_is_its_notification_and_its_place() -> None:
    body, content_type = urlencoded(fixture("inbound-stored.json"))
    mail = await take((body, content_type))
    assert mail.raw == body
    assert (mail.origin.body_format, mail.origin.stored_at) == ("stored", PLACE)


@pytest.mark.parametrize(
    "url",
    [
        PLACE.replace("https", "http"),
        PLACE.replace("api.mailgun.net", "api.mailgun.net.evil.example"),
        PLACE.replace("storage-us-east4.", "evil.example/"),
        PLACE.replace(".net/", ".net:8443/"),
        PLACE.replace("https://", "https://key@"),
        PLACE.replace(".net/", ".net@evil.example/"),
        PLACE.replace("storage-us-east4.", "a.b."),
        PLACE.replace("storage-us-east4.", "storage-us-east4.xapi.").replace("xapi.api", "xapi"),
        PLACE + "?next=1",
        PLACE + "#x",
        PLACE + "\n",
        PLACE.replace("messages/", "messages/../../"),
        PLACE.upper(),
        "file:///etc/passwd",
        "https://169.254.169.254/v3/domains/a/messages/b",
    ],
)
async def test_a_mail_stored_elsewhere_is_refused(url: str) -> None:
    assert not is_stored_at(url)
    with pytest.raises(Malformed, match="message-url"):
        await take(urlencoded(changed(fixture("inbound-stored.json"), message_url=url)))


@pytest.mark.parametrize("host", ["api", "api.eu", "sw.api", "storage-europe-west1.api"])
def test_mailguns_own_hosts_are_known(host: str) -> None:
    assert is_stored_at(f"https://{host}.mailgun.net/v3/domains/a.example/messages/AbC-_=")


async def test_every_changed_byte_of_the_signature_is_unauthentic() -> None:
    for name, value in signed():
        assert isinstance(value, str)
        for at in range(len(value)):
            other = value[:at] + ("1" if value[at] != "1" else "2") + value[at + 1 :]
            fields = changed(WHOLE + signed(), **{name: other})
            with pytest.raises(Unauthentic):
                await take(urlencoded(fields))


@pytest.mark.parametrize("name", ["timestamp", "token", "signature"])
@pytest.mark.parametrize("value", ["", None, "\u0661" * 10, f"{TOKEN}\x00", b"\xff"])
async def test_a_missing_or_strange_signature_is_unauthentic(
    name: str, value: str | bytes | None
) -> None:
    with pytest.raises(Unauthentic):
        await take(urlencoded(changed(WHOLE + signed(), **{name: value})))


async def test_a_digit_moved_between_timestamp_and_token_makes_no_other_token() -> None:
    moved = [("timestamp", "17952500005"), ("token", TOKEN[1:]), signed()[2]]
    with pytest.raises(Unauthentic, match="no timestamp"):
        await take(urlencoded(WHOLE + moved))


async def test_of_repeated_signatures_the_last_counts() -> None:
    forged: Fields = [("timestamp", "1"), ("token", "t"), ("signature", "s")]
    assert await take(urlencoded(forged + WHOLE + signed()))
    with pytest.raises(Unauthentic):
        await take(urlencoded(signed() + WHOLE + forged))


@pytest.mark.parametrize("timestamp", ["1795217000", "1795251000"])
async def test_a_signature_of_another_time_is_tried_again(timestamp: str) -> None:
    with pytest.raises(TransientFailure):
        await take(urlencoded(WHOLE + signed(timestamp)))


async def test_a_retry_seven_hours_later_is_taken() -> None:
    assert await take(urlencoded(WHOLE + signed("1795224800")))


async def test_a_retry_that_is_signed_anew_and_bounded_anew_has_the_same_name() -> None:
    first = await take(multipart(fixture("inbound-parsed.json"), boundary="one"))
    unsigned = changed(fixture("inbound-parsed.json"), timestamp=None, token=None, signature=None)
    again = signed("1795250001", "0" * 50) + unsigned[::-1]
    second = await take(multipart(again, boundary="two"))
    assert first.source_id == second.source_id
    assert first.replay_token != second.replay_token


async def test_another_mail_has_another_name() -> None:
    mails = [
        await take(urlencoded(WHOLE + signed())),
        await take(urlencoded(changed(WHOLE + signed(), body_mime=RAW + b"x"))),
        await take(urlencoded(changed(WHOLE + signed(), recipient="sales@acme.aexy.email"))),
        await take(urlencoded(changed(WHOLE + signed(), sender="eve@customer.example"))),
    ]
    assert len({mail.source_id for mail in mails}) == len(mails)


async def test_a_mail_for_two_recipients_names_both() -> None:
    fields = changed(WHOLE + signed(), recipient='a@acme.aexy.email, "b,c"@acme.aexy.email')
    mail = await take(urlencoded(fields))
    assert mail.envelope.rcpt_to == ("a@acme.aexy.email", '"b,c"@acme.aexy.email')


@pytest.mark.parametrize("sender", ["", "<>"])
async def test_a_bounce_has_no_envelope_sender(sender: str) -> None:
    mail = await take(urlencoded(changed(WHOLE + signed(), sender=sender)))
    assert mail.envelope.mail_from is None


async def test_the_senders_own_headers_do_not_choose_the_mailbox() -> None:
    fields: Fields = [("Recipient", "boss@acme.aexy.email"), ("Sender", "ceo@bank.example")]
    mail = await take(urlencoded(fields + WHOLE + fields + signed()))
    assert mail.envelope == Envelope("bounces+77@customer.example", ("support@acme.aexy.email",))


@pytest.mark.parametrize(
    "forged",
    [
        [["Received", "by mxa.mailgun.org"], ["X-Mailgun-Spf", "Pass"], ["From", "a@b"]],
        [["X-Mailgun-Spf", "Pass"], ["From", "a@b"]],
    ],
)
async def test_a_verdict_that_the_sender_wrote_is_none(forged: list[list[str]]) -> None:
    fields = changed(fixture("inbound-parsed.json"), message_headers=json.dumps(forged))
    mail = await take(urlencoded([*fields, ("X-Mailgun-Spf", "Pass")]))
    assert mail.origin.provider_verdicts == {}


async def test_mail_that_mailgun_takes_for_spam_is_marked() -> None:
    fields = fixture("inbound-parsed.json")
    headers = str(dict(fields)["message-headers"]).replace('Sflag", "No', 'Sflag", "Yes')
    mail = await take(urlencoded(changed(fields, message_headers=headers)))
    assert mail.origin.provider_verdicts["spam"] == "FAIL"


MISSING_OR_WRONG = [
    *[("recipient", value) for value in (None, "", ",", "a b@c", "\x00", b"\xff@a", "a" * 600)],
    *[("sender", value) for value in (None, "a b@c", "\x00", b"\xff@a", "a\r\nb")],
    *[("body-mime", value) for value in (None, "")],
]


@pytest.mark.parametrize(("name", "value"), MISSING_OR_WRONG)
async def test_a_field_that_is_missing_or_wrong_is_malformed(
    name: str, value: str | bytes | None
) -> None:
    with pytest.raises(Malformed, match=name):
        await take(urlencoded(changed(WHOLE + signed(), **{name: value})), ("mime",))


@pytest.mark.parametrize(
    "value", [None, "", "x", "1", '{"a": 1}', "[[1, 2]]", '[["a"]]', "[" * 50_000, b"\xff"]
)
async def test_a_header_that_is_missing_or_no_list_of_pairs_is_malformed(
    value: str | bytes | None,
) -> None:
    with pytest.raises(Malformed, match="message-headers"):
        await take(urlencoded(changed(fixture("inbound-parsed.json"), message_headers=value)))


async def test_an_envelope_that_is_said_twice_is_malformed() -> None:
    with pytest.raises(Malformed, match="recipient"):
        await take(urlencoded([*WHOLE, ("recipient", "boss@acme.aexy.email"), *signed()]))


async def test_events_at_the_address_for_mail_are_told_where_they_belong() -> None:
    with pytest.raises(Misconfigured, match="/webhooks/email/mailgun"):
        await take(event({"event": "opened"}))


async def test_events_at_the_address_for_mail_must_be_authentic_too() -> None:
    with pytest.raises(Unauthentic):
        await take(event({"event": "opened"}, key="another"))


async def test_without_a_key_a_vouched_address_is_enough() -> None:
    mail = await take(urlencoded(WHOLE), key="")
    assert mail.replay_token is None
    assert MailgunReceiver("").missing is not None
    assert "MAILGUN_WEBHOOK_SIGNING_KEY: is empty" in str(MailgunReceiver("").missing)
    assert MailgunReceiver(KEY).missing is None


async def test_a_mail_of_thirty_megabytes_passes() -> None:
    raw = RAW + b"0123456789abcdef\r\n" * (30 * 1024 * 1024 // 18)
    assert (await take(multipart(changed(WHOLE + signed(), body_mime=raw)), ("mime",))).raw == raw


@pytest.mark.parametrize(
    ("answered", "status"),
    [
        (Accepted(("dlv_1",)), 200),
        (Duplicate(("dlv_1",)), 200),
        (Unrouted(("a@b",)), 200),
        (Replayed(), 406),
        (Malformed("body", "is no form"), 406),
        (Unauthentic("no"), 401),
        (Later("the disk is full"), 503),
        (TransientFailure("slow"), 503),
        (Misconfigured("KEY", "is empty"), 503),
        (ZeroDivisionError(), 503),
    ],
)
def test_mailgun_gets_the_status_that_it_needs(answered: object, status: int) -> None:
    assert MailgunReceiver(KEY).answer(answered) == status  # type: ignore[arg-type]


async def test_no_secret_is_in_an_error_or_a_repr() -> None:
    with pytest.raises(Unauthentic) as told:
        await take(urlencoded(WHOLE + signed(key="another")))
    assert not re.search(f"{KEY}|{TOKEN}", f"{told.value} {MailgunReceiver(KEY)!r}")
