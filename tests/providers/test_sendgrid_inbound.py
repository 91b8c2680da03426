"""Mail by SendGrid's Inbound Parse: what a request yields, and who may make one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Accepted, Duplicate, Inbound, Later, Replayed, Unrouted
from mailagent.mime import parse
from mailagent.mime.rebuilt import rebuild
from mailagent.providers.sendgrid import SendGrid
from mailagent.providers.sendgrid_signature import WrongSignature
from mailagent.webhook import Answered, Receives, WebhookRequest, WebhookSettings, from_base64
from tests.parsed_forms import Part, multipart
from tests.sendgrid_signer import PUBLIC_KEY, public_key, signed

DATA = Path(__file__).parents[1] / "data" / "sendgrid"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
NOW_SECONDS = int(NOW.timestamp())
OWN = {"SENDGRID_WEBHOOK_PUBLIC_KEY": PUBLIC_KEY}
FORM = "multipart/form-data; boundary=xYzZY"
ENVELOPE = {"to": ["support@acme.example"], "from": "bounces+77@customer.example"}


async def no_fetch(url: str) -> bytes:
    raise AssertionError(url)


def receiver(values: Mapping[str, str] = OWN) -> Receives:
    return SendGrid.receiver(WebhookSettings(values), no_fetch)


def posted(name: str) -> bytes:
    return (DATA / name).read_bytes()


def request(
    body: bytes,
    content_type: str = FORM,
    *,
    headers: Mapping[str, str] | None = None,
    secret_in_path: bool = False,
) -> WebhookRequest:
    proof = signed(body, NOW_SECONDS) if headers is None else headers
    return WebhookRequest(
        body, {"content-type": content_type, **proof}, NOW, secret_in_path=secret_in_path
    )


async def brought(body: bytes, content_type: str = FORM) -> Inbound:
    [inbound] = await receiver().inbound(request(body, content_type))
    return inbound


def form(**fields: bytes | None) -> tuple[bytes, str]:
    """A raw form with some fields changed, or left out."""
    values = {"email": posted("inbound-raw.eml"), "envelope": json.dumps(ENVELOPE).encode()}
    return multipart([Part(n, v) for n, v in {**values, **fields}.items() if v is not None])


async def test_raw_content_is_the_mail_octet_for_octet() -> None:
    inbound = await brought(posted("inbound-raw.form"))
    assert inbound.raw == posted("inbound-raw.eml")
    assert not inbound.raw.isascii()
    assert inbound.origin.body_format == "raw"
    assert inbound.origin.parsed_by == inbound.origin.body_type == ""


async def test_a_mail_of_thirty_megabytes_comes_through() -> None:
    eml = posted("inbound-raw.eml") + (b"\xe4" * 77 + b"\r\n") * 390_000
    inbound = await brought(*form(email=eml))
    assert len(inbound.raw) > 30_000_000
    assert inbound.raw == eml


async def test_without_raw_content_the_request_is_the_mail() -> None:
    inbound = await brought(posted("inbound-parsed.form"))
    assert inbound.raw == posted("inbound-parsed.form")
    origin = inbound.origin
    assert (origin.body_format, origin.body_type, origin.parsed_by) == ("parsed", FORM, "sendgrid")
    mail = parse.read(rebuild(inbound.raw, origin.body_type, parsed_by=origin.parsed_by))
    assert mail.subject == "Como pidió"
    assert mail.text == "¿Y mis 20 €?\n"
    assert mail.html == '<p>¿Y mis 20 €? <img src="cid:ii_logo"></p>'
    assert mail.references == ("<q0@mail.customer.example>", "<reply-42@acme.example>")
    assert mail.defects == ()
    assert [(f.filename, f.size_bytes, f.content_id, f.inline) for f in mail.attachments] == [
        ("rechnung.pdf", 32, None, False),
        ("logo.png", 8, "ii_logo", True),
    ]


async def test_the_envelope_is_sendgrids_and_never_the_headers() -> None:
    envelope = (await brought(posted("inbound-raw.form"))).envelope
    assert envelope.mail_from == "bounces+77@customer.example"
    assert envelope.rcpt_to == ("support@acme.example",)


async def test_two_recipients_are_two_and_an_empty_sender_is_nobody() -> None:
    two = {"to": ["a@acme.example", "<b@acme.example>", "a@acme.example"], "from": ""}
    envelope = (await brought(*form(envelope=json.dumps(two).encode()))).envelope
    assert envelope.mail_from is None
    assert envelope.rcpt_to == ("a@acme.example", "b@acme.example")


async def test_sendgrids_words_and_the_clients_address_are_kept() -> None:
    origin = (await brought(posted("inbound-raw.form"))).origin
    assert origin.provider_verdicts == {"spf": "pass", "dkim": "pass", "spam": "PASS"}
    assert origin.client_ip == "192.0.2.10"
    assert origin.received_at == NOW


async def test_several_signatures_are_no_single_word() -> None:
    origin = (await brought(posted("inbound-parsed.form"))).origin
    assert origin.provider_verdicts["dkim"] == "{@customer.example : pass, @relay.example : fail}"


async def test_spam_by_sendgrids_own_limit_is_spam() -> None:
    report = b"Content analysis details:   (7.1 points, 5.0 required)"
    origin = (await brought(*form(spam_report=report))).origin
    assert origin.provider_verdicts == {"spam": "FAIL"}


async def test_words_that_are_none_say_nothing() -> None:
    odd = form(sender_ip=b"\xff", SPF=b"", dkim=b"none", spam_report=b"(nan points, 1 required)")
    origin = (await brought(*odd)).origin
    assert origin.client_ip is None
    assert origin.provider_verdicts == {"dkim": "none"}


async def test_the_same_mail_posted_again_has_the_same_name_and_another_has_another() -> None:
    again = {"to": ["support@acme.example"], "from": "bounces+77@customer.example"}
    first, second = await brought(*form()), await brought(*form(to=b"x", SPF=b"pass"))
    assert first.source_id == second.source_id
    for changes in (
        {"email": posted("inbound-raw.eml") + b"."},
        {"envelope": json.dumps(again | {"to": ["other@acme.example"]}).encode()},
        {"envelope": json.dumps(again | {"from": "x@customer.example"}).encode()},
    ):
        assert (await brought(*form(**changes))).source_id != first.source_id


async def test_a_parsed_mail_is_named_by_its_header() -> None:
    one = await brought(*form(email=None, headers=b"Received: by mx id 1\r\n", text=b"a"))
    same = await brought(*form(email=None, headers=b"Received: by mx id 1\r\n", text=b"b"))
    other = await brought(*form(email=None, headers=b"Received: by mx id 2\r\n", text=b"a"))
    assert one.source_id == same.source_id != other.source_id


async def test_events_at_this_address_are_a_wrong_set_up() -> None:
    for content_type in ("application/json", ""):
        with pytest.raises(Misconfigured, match="/webhooks/email/sendgrid"):
            await brought(posted("events.json"), content_type)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"email": None}, "email"),
        ({"email": b""}, "email"),
        ({"email": b" \r\n"}, "email"),
        ({"email": None, "headers": b""}, "headers"),
        ({"envelope": None}, "envelope"),
        ({"envelope": b""}, "envelope"),
        ({"envelope": b"{"}, "envelope"),
        ({"envelope": b"[]"}, "envelope"),
        ({"envelope": b"[" * 100_000}, "envelope"),
        ({"envelope": b'{"to": ["a@b.example"]}'}, "envelope.from"),
        ({"envelope": b'{"to": ["a@b.example"], "from": 1}'}, "envelope.from"),
        ({"envelope": b'{"to": ["a@b.example"], "from": "nobody"}'}, "envelope.from"),
        ({"envelope": b'{"from": ""}'}, "envelope.to"),
        ({"envelope": b'{"to": [], "from": ""}'}, "envelope.to"),
        ({"envelope": b'{"to": [7], "from": ""}'}, "envelope.to"),
        ({"envelope": b'{"to": "a@b.example", "from": ""}'}, "envelope.to"),
        ({"envelope": b'{"to": ["nobody"], "from": ""}'}, "envelope.to"),
        ({"envelope": b'{"to": [""], "from": ""}'}, "envelope.to"),
    ],
)
async def test_a_field_that_is_missing_empty_or_of_another_kind_is_malformed(
    fields: dict[str, bytes | None], name: str
) -> None:
    with pytest.raises(Malformed) as caught:
        await brought(*form(**fields))
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", FORM), (b"--xYzZY", FORM), (b"x", "text/plain"), (b"x", "multipart/form-data")],
)
async def test_what_is_no_form_is_malformed(body: bytes, content_type: str) -> None:
    with pytest.raises(Malformed):
        await brought(body, content_type)


async def test_one_changed_octet_is_refused_for_good() -> None:
    body = posted("inbound-raw.form")
    proof = signed(body, NOW_SECONDS)
    hook = receiver()
    for place in range(0, len(body), 7):
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        with pytest.raises(WrongSignature):
            await hook.inbound(request(changed, headers=proof))
    for name, value in proof.items():
        for place in range(len(value)):
            letter = "1" if value[place] != "1" else "2"
            other = {**proof, name: value[:place] + letter + value[place + 1 :]}
            with pytest.raises(Unauthentic) as caught:
                await hook.inbound(request(body, headers=other))
            assert hook.answer(caught.value) in (403, 503)


def test_base64_is_read_in_one_spelling_alone() -> None:
    assert from_base64("YQ==") == b"a"
    for other in ("YR==", "YQ", "YQ= =", "Y Q=="):  # each is read as "a" by a lenient reader
        with pytest.raises(ValueError):
            from_base64(other)


async def test_another_key_is_refused_and_one_of_several_is_enough() -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    body = posted("inbound-raw.form")
    asked = request(body, headers=signed(body, NOW_SECONDS, key=stranger))
    with pytest.raises(WrongSignature):
        await receiver().inbound(asked)
    headers = signed(body, NOW_SECONDS, key=stranger)
    with pytest.raises(Misconfigured, match="list both"):
        await receiver().inbound(request(body, headers=headers, secret_in_path=True))
    several = {"SENDGRID_WEBHOOK_PUBLIC_KEY": f"{PUBLIC_KEY}, {public_key(stranger)}"}
    assert await receiver(several).inbound(asked)


async def test_a_key_may_be_given_as_pem() -> None:
    lines = f"{PUBLIC_KEY[:64]}\n{PUBLIC_KEY[64:]}"
    wrapped = f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"
    hook = receiver({"SENDGRID_WEBHOOK_PUBLIC_KEY": wrapped})
    assert await hook.inbound(request(posted("inbound-raw.form")))


async def test_a_retry_of_three_days_is_taken_and_an_older_one_is_not_refused_for_good() -> None:
    body = posted("inbound-raw.form")
    hook = receiver()
    assert await hook.inbound(request(body, headers=signed(body, NOW_SECONDS - 72 * 3_600)))
    for timestamp in (NOW_SECONDS - 74 * 3_600, NOW_SECONDS + 7_200, "soon", "9" * 30):
        with pytest.raises(Unauthentic) as caught:
            await hook.inbound(request(body, headers=signed(body, timestamp)))
        assert hook.answer(caught.value) == 503


async def test_what_is_not_signed_is_not_taken_and_not_lost() -> None:
    hook = receiver()
    body = posted("inbound-raw.form")
    with pytest.raises(Unauthentic) as caught:
        await hook.inbound(request(body, headers={}))
    assert hook.answer(caught.value) == 503


async def test_unsigned_with_our_secret_is_a_wrong_set_up_while_a_key_is_set() -> None:
    asked = request(posted("inbound-raw.form"), headers={}, secret_in_path=True)
    with pytest.raises(Misconfigured, match="security policy"):
        await receiver().inbound(asked)


async def test_the_secret_in_the_path_is_enough_while_no_key_is_set() -> None:
    hook = receiver({})
    assert hook.missing is not None
    assert hook.missing.setting == "SENDGRID_WEBHOOK_PUBLIC_KEY"
    assert await hook.inbound(request(posted("inbound-raw.form"), headers={}, secret_in_path=True))
    with pytest.raises(Misconfigured):
        await hook.inbound(request(posted("inbound-raw.form"), headers={}))


@pytest.mark.parametrize("key", ["x", "AAAA", PUBLIC_KEY[:-8], f"{PUBLIC_KEY},AAAA"])
async def test_a_key_that_cannot_be_read_is_said_and_lets_nobody_in(key: str) -> None:
    hook = receiver({"SENDGRID_WEBHOOK_PUBLIC_KEY": key})
    assert hook.missing is not None
    for secret_in_path in (True, False):
        with pytest.raises(Misconfigured, match="P-256"):
            await hook.inbound(request(posted("inbound-raw.form"), secret_in_path=secret_in_path))


async def test_a_key_of_another_curve_is_no_key() -> None:
    key = public_key(ec.generate_private_key(ec.SECP384R1()))
    assert receiver({"SENDGRID_WEBHOOK_PUBLIC_KEY": key}).missing is not None


@pytest.mark.parametrize(
    ("answered", "status"),
    [
        (Accepted(("dlv_1",)), 200),
        (Duplicate(("dlv_1",)), 200),
        (Unrouted(("x@acme.example",)), 200),
        (Later("the disk is full"), 503),
        (Replayed(), 503),
        (WrongSignature("no"), 403),
        (Unauthentic("the secret in the path is not ours"), 503),
        (Malformed("body", "is no form"), 503),
        (Misconfigured("webhook", "events"), 503),
        (TransientFailure("slow"), 503),
        (ZeroDivisionError(), 503),
    ],
)
def test_nothing_but_a_wrong_signature_is_refused_for_good(answered: Answered, status: int) -> None:
    assert receiver().answer(answered) == status
