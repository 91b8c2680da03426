"""Any program hands over mail by HTTP, and nobody else can change or repeat what it said."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

import pytest

from mailagent.errors import Malformed, Misconfigured, Unauthentic
from mailagent.inbound import Envelope, Inbound
from mailagent.providers.generic import SIGNED_HEADERS, GenericReceiver
from mailagent.webhook import WebhookRequest
from tests.providers.mailgun_posts import (
    DATA,
    KEY,
    NOW,
    Fields,
    event,
    multipart,
    request,
    signed,
    urlencoded,
)

SECRET = "an-inbound-secret-of-forty-eight-characters-0000"
MAIL = (DATA.parent / "inbound" / "mail.eml").read_bytes()
STAMP = str(int(NOW.timestamp()))
HEADERS = {
    "X-Mailagent-Timestamp": STAMP,
    "X-Mailagent-Mail-From": "ann@customer.example",
    "X-Mailagent-Rcpt-To": "support@acme.aexy.email, sales@acme.aexy.email",
    "X-Mailagent-Id": "4711",
    "X-Mailagent-Client-Ip": "192.0.2.1",
}
FORM: Fields = [
    ("recipient", "support@acme.aexy.email"),
    ("sender", "ann@customer.example"),
    ("body-mime", MAIL),
]


def sign(headers: Mapping[str, str], body: bytes = MAIL, secret: str = SECRET) -> dict[str, str]:
    text = "".join(f"{headers.get(name, '')}\n" for name in SIGNED_HEADERS).encode() + body
    made = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return {**headers, "X-Mailagent-Signature": made}


def post(
    headers: Mapping[str, str], body: bytes = MAIL, *, vouched: bool = False
) -> WebhookRequest:
    seen = {name.lower(): value.encode().decode("latin-1") for name, value in headers.items()}
    return WebhookRequest(body=body, headers=seen, received_at=NOW, secret_in_path=vouched)


async def take(asked: WebhookRequest, *, secret: str = SECRET, mailgun_key: str = "") -> Inbound:
    (mail,) = await GenericReceiver(secret, mailgun_key).inbound(asked)
    return mail


async def test_a_signed_mail_is_taken_octet_for_octet() -> None:
    mail = await take(post(sign(HEADERS)))
    recipients = ("support@acme.aexy.email", "sales@acme.aexy.email")
    assert mail.envelope == Envelope("ann@customer.example", recipients)
    assert mail.raw == MAIL
    assert (mail.source, mail.source_id, mail.replay_token) == ("inbound", "4711", "4711")
    assert (mail.origin.client_ip, mail.origin.body_format) == ("192.0.2.1", "raw")


async def test_a_mail_without_a_name_of_its_own_is_named_by_what_it_is() -> None:
    plain = {name: value for name, value in HEADERS.items() if not name.endswith(("-Id", "-Ip"))}
    first = await take(post(sign(plain)))
    later = await take(post(sign({**plain, "X-Mailagent-Timestamp": str(int(STAMP) + 60)})))
    other = await take(post(sign(plain, MAIL + b"x"), MAIL + b"x"))
    assert first.source_id == later.source_id != other.source_id
    assert (first.replay_token, first.origin.client_ip) == (None, None)


async def test_an_empty_sender_is_a_bounces() -> None:
    assert (await take(post(sign({**HEADERS, SIGNED_HEADERS[2]: ""})))).envelope.mail_from is None


async def test_addresses_outside_ascii_are_read() -> None:
    mail = await take(post(sign({**HEADERS, SIGNED_HEADERS[2]: "zoë@customer.example"})))
    assert mail.envelope.mail_from == "zoë@customer.example"


@pytest.mark.parametrize("name", [*SIGNED_HEADERS, "X-Mailagent-Signature"])
async def test_every_changed_byte_of_a_header_is_unauthentic(name: str) -> None:
    right = sign(HEADERS)
    for at in range(len(right[name])):
        wrong = right[name][:at] + ("1" if right[name][at] != "1" else "2") + right[name][at + 1 :]
        with pytest.raises(Unauthentic):
            await take(post({**right, name: wrong}))


@pytest.mark.parametrize("name", [*SIGNED_HEADERS, "X-Mailagent-Signature"])
async def test_a_header_that_is_taken_away_is_unauthentic(name: str) -> None:
    right = sign(HEADERS)
    del right[name]
    with pytest.raises(Unauthentic):
        await take(post(right))


async def test_a_changed_body_is_unauthentic() -> None:
    for body in (MAIL + b" ", MAIL[1:], b"", MAIL.replace(b"Ann", b"Eve")):
        with pytest.raises(Unauthentic):
            await take(post(sign(HEADERS), body))


async def test_nothing_can_move_from_one_header_to_the_next() -> None:
    right = sign({**HEADERS, "X-Mailagent-Client-Ip": ""})
    first_line, _, rest = MAIL.partition(b"\n")
    # The same text is signed: the values have moved up by one, the mail's first line with them.
    moved = {
        **right,
        "X-Mailagent-Id": "4711\nann@customer.example",
        "X-Mailagent-Mail-From": right["X-Mailagent-Rcpt-To"],
        "X-Mailagent-Rcpt-To": "",
        "X-Mailagent-Client-Ip": first_line.decode(),
    }
    assert sign(moved, rest)["X-Mailagent-Signature"] == right["X-Mailagent-Signature"]
    with pytest.raises(Unauthentic, match="line break"):
        await take(post(moved, rest))


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_a_signature_of_another_time_is_unauthentic(seconds: int) -> None:
    stamp = str(int(STAMP) + seconds)
    with pytest.raises(Unauthentic, match="five minutes"):
        await take(post(sign({**HEADERS, "X-Mailagent-Timestamp": stamp})))


@pytest.mark.parametrize("stamp", ["", "now", "1e9", "-795250000", "17952500000"])
async def test_what_is_no_time_is_unauthentic(stamp: str) -> None:
    with pytest.raises(Unauthentic, match="no time"):
        await take(post(sign({**HEADERS, "X-Mailagent-Timestamp": stamp})))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Mailagent-Mail-From", "a b@c"),
        ("X-Mailagent-Mail-From", None),
        ("X-Mailagent-Rcpt-To", ""),
        ("X-Mailagent-Rcpt-To", " , "),
        ("X-Mailagent-Rcpt-To", "a@b, c d"),
        ("X-Mailagent-Id", "a b"),
        ("X-Mailagent-Id", "a" * 129),
        ("X-Mailagent-Client-Ip", "localhost"),
        ("X-Mailagent-Client-Ip", "192.0.2.1/24"),
    ],
)
async def test_a_header_that_breaks_a_rule_is_named(name: str, value: str | None) -> None:
    headers = {key: said for key, said in {**HEADERS, name: value}.items() if said is not None}
    with pytest.raises(Malformed, match=name):
        await take(post(sign(headers)))


async def test_a_mail_of_no_octets_is_malformed() -> None:
    with pytest.raises(Malformed, match="body"):
        await take(post(sign(HEADERS, b""), b""))


async def test_the_secret_in_the_address_is_enough_and_a_signature_is_checked_all_the_same() -> (
    None
):
    assert (await take(post(HEADERS, vouched=True))).raw == MAIL
    with pytest.raises(Unauthentic):
        await take(post(sign(HEADERS, secret="another"), vouched=True))


def test_without_a_secret_the_setting_is_named() -> None:
    assert "INBOUND_WEBHOOK_SECRET: is empty" in str(GenericReceiver("", "").missing)
    assert GenericReceiver("", KEY).missing is None
    assert GenericReceiver(SECRET, "").missing is None


async def test_with_mailguns_key_alone_a_signed_mail_waits_for_the_secret() -> None:
    with pytest.raises(Misconfigured, match="INBOUND_WEBHOOK_SECRET"):
        await take(post(sign(HEADERS)), secret="", mailgun_key=KEY)


@pytest.mark.parametrize("path", [(), ("mime",)])
@pytest.mark.parametrize(("secret", "mailgun_key"), [("", KEY), (SECRET, KEY), (KEY, "")])
async def test_a_route_of_mailgun_may_come_here(
    path: tuple[str, ...], secret: str, mailgun_key: str
) -> None:
    for form in (urlencoded(FORM + signed()), multipart(FORM + signed())):
        mail = await take(request(form, path), secret=secret, mailgun_key=mailgun_key)
        assert (mail.source, mail.raw) == ("mailgun", MAIL)


async def test_a_form_that_mailgun_did_not_sign_is_unauthentic() -> None:
    for keys in ({"mailgun_key": KEY}, {"secret": SECRET}):
        with pytest.raises(Unauthentic):
            await take(request(urlencoded(FORM + signed(key="another"))), **keys)


async def test_a_form_at_the_secret_address_needs_mailguns_signature_only_with_its_key() -> None:
    assert await take(request(urlencoded(FORM), vouched=True))
    with pytest.raises(Unauthentic):
        await take(request(urlencoded(FORM), vouched=True), mailgun_key=KEY)


async def test_events_of_mailgun_are_told_where_they_belong() -> None:
    with pytest.raises(Misconfigured, match="/webhooks/email/mailgun"):
        await take(request(event({"event": "opened"})), mailgun_key=KEY)
