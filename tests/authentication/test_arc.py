"""A forwarder's word counts if the operator lists it, the seals hold, and it saw DMARC pass."""

from __future__ import annotations

import re
from datetime import timedelta

import dkim as dkimpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.authentication import dkim
from mailagent.authentication.arc_results import parse_results, vouches
from mailagent.authentication.results import authentication_results
from mailagent.mail import Authentication
from tests.authentication.cases import NOW, judged, raw_mail
from tests.authentication.seals import sealed

LIST = "lists.example.org"
OTHER = "forward.example.net"
KEY, OTHERS = dkim.new_key("rsa2048"), dkim.new_key("rsa2048")
ZONE = {
    "example.com": {"TXT": ["v=spf1 -all"]},
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]},
    f"s1._domainkey.{LIST}": {"TXT": [KEY.public_record]},
    f"s1._domainkey.{OTHER}": {"TXT": [OTHERS.public_record]},
}
SAW_PASS = "spf=pass smtp.mailfrom=example.com; dmarc=pass (p=reject) header.from=example.com"
ONE = sealed(raw_mail(), LIST, SAW_PASS, KEY)
TWO = sealed(
    sealed(raw_mail(), OTHER, SAW_PASS, OTHERS), LIST, f"arc=pass; {SAW_PASS}", KEY
)  # fmt: skip


def arrived(raw: bytes, *sealers: str, **more: object) -> Authentication:
    """The mail as it is judged after the forwarder, whom SPF does not know."""
    more = {"mail_from": "list-bounces@lists.example.org", "sealers": sealers or (LIST,), **more}
    return judged(ZONE, raw=raw, **more)  # type: ignore[arg-type]


def assert_fails(auth: Authentication) -> None:
    assert (auth.dmarc.result, auth.dmarc.policy, auth.aligned) == ("fail", "reject", False)


@pytest.mark.parametrize("raw", [ONE, TWO], ids=["one set", "two sets"])
def test_a_listed_sealer_that_saw_dmarc_pass_is_believed(raw: bytes) -> None:
    auth = arrived(raw)
    assert (auth.dmarc.result, auth.dmarc.aligned_by) == ("pass", "arc")
    assert auth.dmarc.reason.startswith(f"by ARC of {LIST}, which saw dmarc=pass for example.com")
    assert auth.arc is not None
    assert (auth.arc.result, auth.arc.trusted, auth.arc.sealers[-1]) == ("pass", LIST, LIST)
    assert "dmarc=pass" in auth.arc.said


@pytest.mark.parametrize("raw", [ONE, TWO], ids=["one set", "two sets"])
def test_dkimpy_agrees_that_these_chains_hold(raw: bytes) -> None:
    def published(name: bytes, timeout: int = 5) -> bytes:
        return ZONE[name.decode().removesuffix(".")]["TXT"][0].encode()

    assert dkimpy.arc_verify(raw, dnsfunc=published)[0] == dkimpy.CV_Pass


def test_the_verdict_is_written_out() -> None:
    written = authentication_results(arrived(ONE), authserv_id="mx.acme.example")
    assert "; arc=pass; dmarc=pass reason=\"by ARC of lists.example.org" in written  # fmt: skip


def test_nobody_is_listed_and_nobody_looks() -> None:
    auth = judged(ZONE, raw=ONE, mail_from="x@lists.example.org")
    assert auth.arc is None
    assert_fails(auth)


def test_a_sealer_that_is_not_listed_is_evidence_and_no_more() -> None:
    auth = arrived(ONE, "example.org", "sub.lists.example.org")
    assert_fails(auth)
    assert auth.arc is not None
    assert (auth.arc.result, auth.arc.sealers, auth.arc.trusted) == ("pass", (LIST,), None)


def test_whoever_sealed_after_the_listed_one_must_be_listed_too() -> None:
    raw = sealed(ONE, OTHER, f"arc=pass; {SAW_PASS}", OTHERS)
    assert_fails(arrived(raw, LIST))
    assert arrived(raw, OTHER).aligned


def test_a_mail_that_passes_by_itself_needs_no_seal() -> None:
    zone = {**ZONE, "example.com": {"TXT": ["v=spf1 +all"]}}
    auth = judged(zone, raw=ONE, mail_from="ann@example.com", sealers=(LIST,))
    assert (auth.dmarc.result, auth.dmarc.aligned_by) == ("pass", "spf")


def test_a_domain_without_a_policy_is_not_raised_by_a_seal() -> None:
    zone = {name: records for name, records in ZONE.items() if not name.startswith("_dmarc")}
    auth = judged(zone, raw=ONE, mail_from="x@lists.example.org", sealers=(LIST,))
    assert (auth.dmarc.result, auth.aligned) == ("none", False)


def test_two_authors_are_not_vouched_for() -> None:
    auth = arrived(ONE, from_=("ann@example.com", "eve@evil.example"))
    assert (auth.dmarc.result, auth.aligned) == ("fail", False)


@pytest.mark.parametrize(
    "results",
    [
        "dmarc=fail header.from=example.com",
        "dmarc=fail header.from=example.com; dkim=pass header.d=example.com",
        "dmarc=pass header.from=evil.example",
        "dmarc=pass header.from=sub.example.com",
        "dmarc=pass",
        "dmarc=pass reason=\"x header.from=example.com\"",
        "dmarc=pass (header.from=example.com)",
        "dmarc=passed header.from=example.com",
        "spf=pass smtp.mailfrom=ann@evil.example; dkim=pass header.d=evil.example",
        "spf=softfail smtp.mailfrom=ann@example.com",
        "dmarc=temperror header.from=example.com",
        "none",
        "",
    ],
)  # fmt: skip
def test_a_sealer_that_did_not_see_the_author_pass_vouches_for_nobody(results: str) -> None:
    auth = arrived(sealed(raw_mail(), LIST, results, KEY))
    assert_fails(auth)
    assert auth.arc is not None
    assert auth.arc.result == "pass"


@pytest.mark.parametrize(
    "results",
    [
        "dmarc=pass action=none header.from=Example.COM;compauth=pass reason=100",
        "dkim=pass header.i=@example.com header.s=s header.b=\"ab;c/=\"",
        "dkim = pass header.d = example.com",
        "dkim/1=pass (2048-bit; (good) key) header.d=example.com",
        "spf=pass (mx.a: domain of ann@example.com) smtp.mailfrom=ann@example.com",
        "dmarc=none header.from=example.com; dkim=pass header.d=example.com",
    ],
)  # fmt: skip
def test_results_are_understood_as_sealers_write_them(results: str) -> None:
    assert arrived(sealed(raw_mail(), LIST, results, KEY)).aligned


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("the body", b"world.", b"World."),
        ("From", b"From: Ann", b"From: Eve"),
        ("Subject", b"A question", b"An order"),
        ("what the sealer saw", b"(p=reject)", b"(p=none)"),
        ("its own name in the results", b"mx.lists", b"mx.lints"),
        ("a name in h=", b"h=from", b"h=date"),
        ("the time of the signature", b"t=1", b"t=0"),
        ("cv= of the seal", b"cv=none", b"cv=pass"),
        ("the seal's domain", b"ARC-Seal: i=1", b"ARC-Seal: i=2"),
        ("the selector", b"s=s1", b"s=s2"),
        ("the algorithm", b"a=rsa-sha256", b"a=rsa-sha1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_changed_octet_breaks_the_chain(what: str, old: bytes, new: bytes) -> None:
    assert old in ONE, what
    for place in range(ONE.count(old)):
        parts = ONE.split(old)
        touched = old.join(parts[: place + 1]) + new + old.join(parts[place + 1 :])
        auth = arrived(touched, from_="ann@example.com")
        assert_fails(auth)
        assert auth.arc is not None
        assert auth.arc.result == "fail"


def test_a_changed_octet_of_any_signature_or_hash_breaks_the_chain() -> None:
    header = TWO.partition(b"\r\n\r\n")[0]
    places = [found.start() for found in re.finditer(rb"[A-Za-z0-9+/]{40,}", header)]
    assert len(places) >= 6, "two seals, two signatures, two body hashes"
    for place in places:
        other = b"A" if TWO[place : place + 1] != b"A" else b"B"
        assert_fails(arrived(TWO[:place] + other + TWO[place + 1 :]))


def field(raw: bytes, name: bytes, number: int = 1) -> bytes:
    """A whole ARC field of an instance."""
    parts = raw.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b"\0").split(b"\r\n")
    found = [part for part in parts if part.startswith(name) and f"i={number};".encode() in part]
    return found[0].replace(b"\0", b"\r\n ") + b"\r\n"


NAMES = [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("instance", [1, 2])
@pytest.mark.parametrize("change", ["missing", "twice", "renumbered", "signature"])
def test_sets_that_are_not_whole_are_a_fail(name: bytes, instance: int, change: str) -> None:
    whole = field(TWO, name, instance)
    assert whole in TWO
    match change:
        case "missing":
            raw = TWO.replace(whole, b"")
        case "twice":
            raw = whole + TWO
        case "renumbered":
            raw = TWO.replace(whole, whole.replace(f"i={instance};".encode(), b"i=3;"))
        case _:
            raw = TWO.replace(whole, whole.replace(b"=", b"==", 2))
    auth = arrived(raw)
    assert_fails(auth)
    assert auth.arc is not None
    assert auth.arc.result == "fail"


@pytest.mark.parametrize("base", [1, 2], ids=["the first", "the second"])
def test_a_seal_that_reports_a_broken_chain_ends_it(base: int) -> None:
    below = raw_mail() if base == 1 else sealed(raw_mail(), OTHER, SAW_PASS, OTHERS)
    raw = sealed(below, LIST, SAW_PASS, KEY, cv="fail")
    auth = arrived(raw)
    assert_fails(auth)
    assert auth.arc is not None
    assert (auth.arc.result, "cv=fail" in auth.arc.reason) == ("fail", True)


def test_a_second_set_cannot_begin_a_chain_anew() -> None:
    raw = sealed(sealed(raw_mail(), OTHER, SAW_PASS, OTHERS), LIST, SAW_PASS, KEY, cv="none")
    assert_fails(arrived(raw))


def test_a_gap_in_the_instances_is_a_fail() -> None:
    assert_fails(arrived(sealed(ONE, LIST, SAW_PASS, KEY, instance=3)))
    assert_fails(arrived(sealed(raw_mail(), LIST, SAW_PASS, KEY, instance=2, cv="none")))


def test_the_sets_of_another_mail_prove_nothing() -> None:
    sets = ONE.removesuffix(raw_mail())
    assert_fails(arrived(sets + raw_mail(body=b"Send money.\r\n")))
    assert_fails(arrived(sets + raw_mail().replace(b"A question", b"Send money")))


def test_the_seal_of_one_mail_does_not_carry_the_signature_of_another() -> None:
    another = sealed(raw_mail(body=b"Send money.\r\n"), LIST, SAW_PASS, KEY)
    name = b"ARC-Message-Signature"
    mixed = another.replace(field(another, b"ARC-Seal"), field(ONE, b"ARC-Seal"))
    assert field(another, name) in mixed
    assert_fails(arrived(mixed))


def test_a_sealers_old_word_about_one_mail_seals_no_forged_outer_set() -> None:
    forged = sealed(raw_mail(body=b"Send money.\r\n"), LIST, SAW_PASS, OTHERS)
    assert_fails(arrived(forged))


@pytest.mark.parametrize(
    "extra", [(b"x", b"1795262400"), (b"l", b"5"), (b"v", b"1")], ids=["x=", "l=", "v="]
)
def test_a_signature_that_cannot_pass_ends_the_chain(extra: tuple[bytes, bytes]) -> None:
    assert_fails(arrived(sealed(raw_mail(), LIST, SAW_PASS, KEY, extra=(extra,))))


def test_a_signature_without_from_binds_no_author() -> None:
    assert_fails(arrived(sealed(raw_mail(), LIST, SAW_PASS, KEY, signed=(b"to", b"subject"))))


def test_more_sets_than_honest_mail_has_cost_nothing() -> None:
    raw = raw_mail()
    for _ in range(11):
        raw = sealed(raw, LIST, SAW_PASS, KEY)
    auth = arrived(raw)
    assert_fails(auth)
    assert auth.arc is not None
    assert auth.arc.reason == "more than 10 sets"


def test_dns_that_does_not_tell_a_key_is_no_verdict() -> None:
    auth = arrived(TWO, failing=[f"s1._domainkey.{OTHER}"])
    assert_fails(auth)
    assert auth.arc is not None
    assert (auth.arc.result, auth.arc.trusted) == ("temperror", LIST)


def test_a_sealer_without_a_key_seals_nothing() -> None:
    zone = {name: records for name, records in ZONE.items() if "_domainkey" not in name}
    assert_fails(judged(zone, raw=ONE, mail_from="x@lists.example.org", sealers=(LIST,)))


HOSTILE = {
    "results without end": b"ARC-Authentication-Results: i=1; " + b"(" * 500_000 + b"\r\n",
    "a thousand results": b"ARC-Authentication-Results: i=1; a; " + b"spf=pass;" * 1_500 + b"\r\n",
    "blanks": b"ARC-Seal: i=1;" + b" \r\n\t" * 3_000 + b"b=\r\n",
    "ten thousand seals": b"ARC-Seal: i=1; b=\r\n" * 10_000,
    "a great instance": b"ARC-Seal: i=" + b"9" * 5_000 + b";\r\n",
}


@pytest.mark.parametrize("added", HOSTILE.values(), ids=HOSTILE)
def test_hostile_sets_are_a_fail(added: bytes) -> None:
    auth = arrived(added + ONE)
    assert auth.arc is not None
    assert (auth.arc.result, auth.aligned) == ("fail", False)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_results_can_be_read(text: str) -> None:
    assert all(each.result for each in parse_results(text))
    assert vouches(text, "example.com") is None


@given(st.lists(st.binary(max_size=80), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_any_sets_can_be_judged(values: list[bytes]) -> None:
    fields = zip(NAMES, values, strict=True)
    clean = b"".join(
        name + b": i=1;" + value.translate(None, b"\r\n") + b"\r\n" for name, value in fields
    )
    assert not arrived(clean + raw_mail()).aligned


def test_the_seal_is_judged_at_the_time_of_arrival() -> None:
    assert_fails(arrived(ONE, now=NOW - timedelta(days=1)))
