"""The one entry: hostile mail ends quickly, a provider's words are taken with care, and the
rounds of questions end, also against a real DNS server that fails or stays silent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mailagent.authentication import Needs, dkim, judge
from mailagent.dns_answers import Absent, Answer, Found, Question, Unknown
from mailagent.mail import Authentication, SpfVerdict
from mailagent.resolver import Resolver
from tests.authentication.cases import NOW, content, judged, raw_mail, settle
from tests.dns_server import DnsServer

KEY = dkim.new_key("rsa2048")
ZONE = {
    "example.com": {"TXT": ["v=spf1 include:spf.example.net -all"], "A": ["192.0.2.1"]},
    "spf.example.net": {"TXT": ["v=spf1 mx -all"], "MX": ["10 mx.example.net."]},
    "mx.example.net": {"A": ["192.0.2.10"]},
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject; np=reject; sp=quarantine"]},
    "s1._domainkey.example.com": {"TXT": [KEY.public_record]},
}
SHORT = timedelta(milliseconds=300)


def signed(raw: bytes) -> bytes:
    return dkim.sign(
        raw, domain="example.com", selector="s1", private_key_pem=KEY.private_pem, now=NOW
    )


SIGNED = signed(raw_mail())


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(ZONE) as running:
        yield running


@pytest.fixture
def resolver(server: DnsServer) -> Resolver:
    return Resolver(server.address)


async def judged_live(
    resolver: Resolver, from_: str = "ann@example.com", mail_from: str = "ann@example.com"
) -> Authentication:
    return await settle(resolver, signed(raw_mail(from_)), from_=from_, mail_from=mail_from)


async def test_a_good_mail_passes_all_through_a_real_resolver(resolver: Resolver) -> None:
    auth = await judged_live(resolver)
    assert auth.spf == SpfVerdict("pass", "example.com")
    assert [verdict.result for verdict in auth.dkim] == ["pass"]
    assert (auth.dmarc.result, auth.dmarc.aligned_by) == ("pass", "dkim")
    assert (auth.aligned, auth.judged_by) == (True, "mailagent")


async def test_a_forged_mail_fails_through_a_real_resolver(resolver: Resolver) -> None:
    forged = await settle(
        resolver, raw_mail(), from_="ann@example.com", mail_from="eve@evil.example"
    )
    assert (forged.spf.result, forged.dmarc.result, forged.dmarc.policy) == (
        "none",
        "fail",
        "reject",
    )


async def test_a_subdomain_signed_by_its_organisation_passes(resolver: Resolver) -> None:
    auth = await judged_live(resolver, from_="x@no.example.com", mail_from="eve@evil.example")
    assert (auth.dmarc.result, auth.dmarc.record_domain) == ("pass", "example.com")


@pytest.mark.parametrize("trouble", ["failing", "silent"])
async def test_dns_in_trouble_is_a_temporary_error_through_a_real_resolver(
    server: DnsServer, trouble: str
) -> None:
    getattr(server, trouble)(*ZONE)
    auth = await judged_live(Resolver(server.address, attempt=SHORT, lifetime=SHORT))
    results = (auth.spf.result, auth.dkim[0].result, auth.dmarc.result)
    assert results == ("temperror", "temperror", "temperror")


async def test_the_usual_mail_takes_few_rounds_of_questions(server: DnsServer) -> None:
    rounds = 0

    class Counting(Resolver):
        async def ask_all(self, questions: object) -> dict[Question, Answer]:
            nonlocal rounds
            rounds += 1
            return await super().ask_all(questions)  # type: ignore[arg-type]

    await judged_live(Counting(server.address))
    assert rounds <= 5


HOSTILE = {
    "a body of blanks": signed(raw_mail()) + (b" " * 996 + b"x\r\n") * 1_500,
    "a line of blanks": signed(raw_mail()) + b" " * 1_000_000 + b"x",
    "ten thousand tags": b"DKIM-Signature: v=1; " + b"a=b; " * 10_000 + b"\r\n" + raw_mail(),
    "ten thousand signatures": b"DKIM-Signature: v=1\r\n" * 10_000 + raw_mail(),
    "blanks before b=": b"DKIM-Signature: v=1;" + b" \r\n\t" * 300 + b"b=" + raw_mail(),
    "a folded header": b"X: y\r\n" + b" \r\n" * 100_000 + raw_mail(),
    "a From of quotes": raw_mail('"' * 16_000 + "@example.com"),
    "a header without end": b"X" * 2_000_000,
}


@pytest.mark.parametrize("raw", [pytest.param(raw, id=name) for name, raw in HOSTILE.items()])
def test_hostile_mail_never_passes(raw: bytes) -> None:
    auth = judged({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]}, **ZONE}, raw=raw)
    assert all(verdict.result != "pass" for verdict in auth.dkim)


@given(
    raw=st.binary(max_size=400),
    from_=st.lists(st.text(max_size=40), max_size=2),
    mail_from=st.none() | st.text(max_size=40),
    client_ip=st.none() | st.text(max_size=20) | st.ip_addresses().map(str),
    helo=st.none() | st.text(max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_any_mail_can_be_judged(
    raw: bytes,
    from_: list[str],
    mail_from: str | None,
    client_ip: str | None,
    helo: str | None,
) -> None:
    auth = judged(ZONE, raw=raw, from_=from_, mail_from=mail_from, client_ip=client_ip, helo=helo)
    assert not auth.aligned


@given(st.lists(st.text(max_size=80), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_records_can_be_judged(texts: list[str]) -> None:
    names = ("example.com", "_dmarc.example.com", "s1._domainkey.example.com")
    auth = judged({name: {"TXT": texts} for name in names}, raw=SIGNED)
    assert auth.dkim[0].result == "permerror"


def test_values_cross_a_process_boundary_as_json() -> None:
    outcome = TypeAdapter(Authentication | Needs)
    auth = judged(ZONE, raw=signed(raw_mail()))
    needs = Needs(frozenset({Question("example.com", "TXT")}))
    for value in (auth, needs):
        assert outcome.validate_json(outcome.dump_json(value)) == value
    answers = TypeAdapter(list[tuple[Question, Answer]])
    pairs: list[tuple[Question, Answer]] = [
        (Question("a.example", "TXT"), Found(("é", "b"))),
        (Question("b.example", "A"), Absent(nxdomain=True)),
        (Question("c.example", "MX"), Unknown("SERVFAIL")),
    ]
    assert answers.validate_json(answers.dump_json(pairs)) == pairs


def test_a_providers_pass_is_a_pass() -> None:
    verdicts = {"spf": "PASS", "dkim": "PASS", "dmarc": "PASS", "spam": "FAIL"}
    auth = judge.from_provider(verdicts, "ses", content("ann@example.com"))
    assert auth is not None
    assert (auth.aligned, auth.judged_by, auth.dmarc.domain) == (True, "ses", "example.com")
    assert (auth.spf.result, auth.dkim[0].result) == ("pass", "pass")


@pytest.mark.parametrize(
    "word", ["FAIL", "GRAY", "PROCESSING_FAILED", "DISABLED", "", "passed", "bypass", "pass (p)"]
)
def test_no_other_word_of_a_provider_is_a_pass(word: str) -> None:
    verdicts = {"spf": word, "dkim": word, "dmarc": word}
    auth = judge.from_provider(verdicts, "ses", content("ann@example.com"))
    assert auth is not None
    assert "pass" not in (auth.spf.result, auth.dkim[0].result, auth.dmarc.result)


def test_a_providers_pass_for_a_mail_with_two_authors_fails() -> None:
    auth = judge.from_provider({"dmarc": "PASS"}, "ses", content("a@example.com", "b@example.com"))
    assert auth is not None
    assert (auth.dmarc.result, auth.dkim, auth.spf.result) == ("fail", (), "not_judged")


@pytest.mark.parametrize(("word", "policy"), [("FAIL", "reject"), ("PASS", None), ("GRAY", None)])
def test_what_the_from_domain_asks_for_counts_where_the_provider_saw_dmarc_fail(
    word: str, policy: str | None
) -> None:
    verdicts = {"dmarc": word, "dmarc_policy": "reject"}
    auth = judge.from_provider(verdicts, "ses", content("ann@example.com"))
    assert auth is not None
    assert auth.dmarc.policy == policy


def test_a_provider_without_verdicts_judged_nothing() -> None:
    assert judge.from_provider({"spam": "PASS"}, "ses", content("a@example.com")) is None


def test_local_test_mail_is_judged_by_nobody() -> None:
    auth = judge.unjudged()
    assert (auth.judged_by, auth.aligned, auth.dkim) == ("nobody", False, ())
