"""DKIM: what `sign` made verifies, here and by dkimpy; what was touched does not."""

from __future__ import annotations

import base64
import re
from datetime import timedelta

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mailagent.authentication import dkim, judge
from mailagent.dns_answers import Absent, Question
from mailagent.errors import Malformed
from mailagent.mail import Authentication, DkimVerdict
from tests.authentication.cases import NOW, Zone, content, judged, raw_mail

RSA = dkim.new_key("rsa2048")
ED25519 = dkim.new_key("ed25519")
KEYS = [pytest.param(RSA, id="rsa"), pytest.param(ED25519, id="ed25519")]


def signed(raw: bytes | None = None, key: dkim.KeyPair = RSA) -> bytes:
    return dkim.sign(
        raw if raw is not None else raw_mail(),
        domain="example.com",
        selector="s1",
        private_key_pem=key.private_pem,
        now=NOW - timedelta(minutes=1),
    )


def zone(*records: str) -> Zone:
    return {"s1._domainkey.example.com": {"TXT": records or (RSA.public_record,)}}


def only(raw: bytes, at: Zone | None = None, **more: object) -> DkimVerdict:
    (verdict,) = judged(at or zone(), raw=raw, **more).dkim  # type: ignore[arg-type]
    return verdict


def with_tags(raw: bytes, tags: bytes) -> bytes:
    """Add tags to our signature: what they forbid is found before the hash that they break."""
    return raw.replace(b" v=1;", b" v=1; " + tags + b";", 1)


@pytest.mark.parametrize("key", KEYS)
def test_what_we_sign_passes(key: dkim.KeyPair) -> None:
    verdict = only(signed(key=key), zone(key.public_record))
    kind = "rsa-sha256" if key is RSA else "ed25519-sha256"
    assert verdict == DkimVerdict("pass", "example.com", "s1", kind)


@pytest.mark.parametrize("key", KEYS)
def test_dkimpy_agrees_with_what_we_sign(key: dkim.KeyPair) -> None:
    record = key.public_record.encode()
    # dkimpy judges by its own clock, so the time tag is of no use to it here.
    raw = dkim.sign(
        raw_mail(body=b"Hi \t there \r\n\r\n\r\n"),
        domain="example.com",
        selector="s1",
        private_key_pem=key.private_pem,
        now=NOW - timedelta(days=3650),
    )
    assert dkimpy.verify(raw, dnsfunc=lambda name, timeout: record)


@pytest.mark.parametrize("canonicalisation", ["simple/simple", "simple/relaxed", "relaxed/simple"])
def test_what_dkimpy_signs_passes(canonicalisation: str) -> None:
    raw = raw_mail(body=b"Hi \t there \r\n .\r\n\r\n")
    private = serialization.load_pem_private_key(RSA.private_pem, None)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    header, _, body = canonicalisation.partition("/")
    field = dkimpy.sign(
        raw, b"s1", b"example.com", pem, canonicalize=(header.encode(), body.encode())
    )
    signed_at = int(re.search(rb"t=(\d+)", field)[1])  # type: ignore[index]
    now = NOW.fromtimestamp(signed_at, NOW.tzinfo)
    assert only(field + raw, now=now).result == "pass"


def test_line_ends_without_cr_do_not_break_a_signature() -> None:
    assert only(signed().replace(b"\r\n", b"\n")).result == "pass"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"world", b"World"),
        (b"Subject: A question", b"Subject: A demand"),
        (b"ann@example.com", b"eve@example.com"),
        (b"To: agent@acme.example", b"To: other@acme.example"),
        (b"\r\n\r\nHello", b"\r\nReply-To: eve@evil.example\r\n\r\nHello"),
        (b"\r\n\r\nHello", b"\r\nContent-Type: text/html\r\n\r\nHello"),
        (b"Hello", b"\r\nHello"),
    ],
)
def test_what_was_changed_or_added_does_not_pass(old: bytes, new: bytes) -> None:
    assert only(signed().replace(old, new)).result == "fail"


def test_blanks_a_relay_may_change_do_not_break_it() -> None:
    raw = signed().replace(b"Subject: A question", b"subject:  A\r\n\tquestion")
    assert only(raw.replace(b"world.\r\n", b"world. \t\r\n\r\n")).result == "pass"


def test_a_second_from_field_fails_every_signature() -> None:
    raw = b"From: eve@evil.example\r\n" + signed()
    verdict = only(raw)
    assert (verdict.result, verdict.reason) == ("fail", "there is not exactly one From field")


def test_another_key_does_not_pass() -> None:
    other = dkim.new_key("rsa2048").public_record
    assert only(signed(), zone(other)).result == "fail"


@pytest.mark.parametrize(
    ("records", "result", "reason"),
    [
        (("v=DKIM1; k=rsa; p=",), "permerror", "revoked"),
        ((RSA.public_record, RSA.public_record), "permerror", "2 key records"),
        ((ED25519.public_record,), "permerror", "another algorithm"),
        ((RSA.public_record.replace("v=DKIM1", "v=DKIM2"),), "permerror", "version"),
        ((RSA.public_record + "; s=tlsrpt",), "permerror", "not for e-mail"),
        ((RSA.public_record + "; h=sha1",), "permerror", "sha256"),
        ((RSA.public_record[:-9],), "permerror", "cannot be read"),
        (("v=spf1 -all",), "permerror", "cannot be read"),
        (("v=DKIM1; p=AAAA",), "permerror", "cannot be read"),
        ((RSA.public_record + "; n=" + "x" * 5000,), "permerror", "longer"),
        ((RSA.public_record + "; t=y",), "pass", "testing"),
        ((RSA.public_record + "; t=s; s=email:other; h=sha256",), "pass", ""),
    ],
)
def test_a_key_record_is_judged(records: tuple[str, ...], result: str, reason: str) -> None:
    verdict = only(signed(), zone(*records))
    assert verdict.result == result
    assert reason in verdict.reason


def test_no_key_is_a_permanent_and_dns_that_fails_a_temporary_error() -> None:
    assert only(signed(), {"example.com": {}}).result == "permerror"
    failing = ["s1._domainkey.example.com"]
    assert only(signed(), failing=failing).result == "temperror"


def test_a_weak_key_does_not_pass() -> None:
    # 1,023 bits: one less than RFC 8301 allows.
    private = rsa.generate_private_key(65_537, 1_024)
    numbers = rsa.RSAPublicNumbers(65_537, private.public_key().public_numbers().n >> 1 | 1)
    der = numbers.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = "v=DKIM1; p=" + base64.b64encode(der).decode()
    verdict = only(signed(), zone(record))
    assert (verdict.result, verdict.reason) == ("policy", "RSA key of 1023 bits is too weak")


def test_a_key_of_1024_bits_still_passes() -> None:
    key = dkim.new_key("rsa1024")
    assert only(signed(key=key), zone(key.public_record)).result == "pass"
    assert len(key.public_record) <= 255


@pytest.mark.parametrize(
    ("tag", "result", "reason"),
    [
        (b"l=5", "policy", "l="),
        (b"l=999999", "policy", "l="),
        (b"x=1795262400", "fail", "expired"),
        (b"x=1", "permerror", "before"),
        (b"x=soon", "permerror", "not a time"),
        (b"q=carrier/pigeon", "permerror", "q="),
        (b"i=@evil.example", "permerror", "i="),
        (b"i=@evilexample.com", "permerror", "i="),
        (b"i=ann@mail.example.com", "fail", "does not match"),
        (b"d=example.com", "permerror", "cannot be read"),
        (b"nonsense", "permerror", "cannot be read"),
        (b"z=" + b"x" * 17_000, "permerror", "too large"),
        (b"z=" + b" " * 3_000, "permerror", "too large"),
    ],
)
def test_a_tag_can_keep_a_signature_from_passing(tag: bytes, result: str, reason: str) -> None:
    verdict = only(with_tags(signed(), tag))
    assert verdict.result == result
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (b"a=rsa-sha256", b"a=rsa-sha1", "policy"),
        (b"a=rsa-sha256", b"a=rsa-md5", "permerror"),
        (b"a=rsa-sha256", b"a=ed25519-sha256", "permerror"),
        (b"v=1;", b"v=2;", "permerror"),
        (b"c=relaxed/relaxed", b"c=nofws", "permerror"),
        (b"h=from:from:", b"h=", "fail"),
        (b"d=example.com", b"d=a b", "permerror"),
        (b"s=s1;", b"", "permerror"),
        (b"bh=", b"bh=!", "permerror"),
    ],
)
def test_a_changed_tag_does_not_pass(old: bytes, new: bytes, result: str) -> None:
    raw = signed()
    assert old in raw
    assert only(raw.replace(old, new, 1)).result == result


def test_a_signature_from_tomorrow_does_not_pass() -> None:
    verdict = only(signed(), now=NOW - timedelta(days=1))
    assert (verdict.result, verdict.reason) == ("fail", "signature is from the future")


def test_a_key_may_forbid_a_subdomain_as_identity() -> None:
    raw = with_tags(signed(), b"i=@mail.example.com")
    verdict = only(raw, zone(RSA.public_record + "; t=s"))
    assert (verdict.result, "i=" in verdict.reason) == ("permerror", True)


def test_only_ten_signatures_are_judged() -> None:
    raw = signed()
    field = raw[: raw.index(b"From: ")]
    assert len(judged(zone(), raw=field * 30 + raw).dkim) == 10


def test_one_good_signature_among_broken_ones_passes() -> None:
    raw = b"DKIM-Signature: nonsense\r\n" + signed()
    results = [verdict.result for verdict in judged(zone(), raw=raw).dkim]
    assert results == ["permerror", "pass"]


def test_a_line_in_the_header_that_is_no_field_spoils_the_signatures() -> None:
    raw = signed().replace(b"Subject:", b"no field here\r\nSubject:")
    assert only(raw).result == "permerror"


def test_without_the_raw_message_dkim_cannot_be_computed() -> None:
    answers = {Question(f"_dmarc.{name}", "TXT"): Absent(True) for name in ("example.com", "com")}
    outcome = judge.judge(
        None,
        content("ann@example.com"),
        mail_from=None,
        client_ip=None,
        helo=None,
        answers=answers,
        now=NOW,
    )
    assert isinstance(outcome, Authentication)
    assert [(v.result, "not computable" in v.reason) for v in outcome.dkim] == [("neutral", True)]


def test_our_signature_stands_on_top_and_the_message_is_untouched() -> None:
    raw = raw_mail()
    made = signed(raw)
    assert made.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com;")
    assert made.endswith(raw)
    assert max(map(len, made.removesuffix(raw).split(b"\r\n"))) <= 78


def test_a_field_that_stands_twice_is_signed_each_time_and_once_more() -> None:
    raw = b"List-Unsubscribe: <https://a.example>\r\nCc: a@b.example\r\n" + raw_mail()
    names = re.search(rb"h=([^;]*);", signed(raw))[1].split(b":")  # type: ignore[index]
    counts = [name.strip() for name in names]
    assert (counts.count(b"cc"), counts.count(b"reply-to"), counts.count(b"from")) == (2, 1, 2)
    assert counts.count(b"list-unsubscribe") == 1


@pytest.mark.parametrize(
    ("message", "pem", "field"),
    [
        (b"Subject: no From\r\n\r\n", RSA.private_pem, "message"),
        (b"From: a@b\r\nFrom: c@d\r\n\r\n", RSA.private_pem, "message"),
        (raw_mail(), b"no key", "private_key_pem"),
        (raw_mail(), RSA.private_pem[:200], "private_key_pem"),
    ],
)
def test_what_cannot_be_signed_is_refused_by_name(message: bytes, pem: bytes, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        dkim.sign(message, domain="example.com", selector="s1", private_key_pem=pem, now=NOW)
    assert refused.value.field == field
