"""A plan touches our names alone, and takes nothing of others without a person's word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domains.dns_writers.plan import Plan, Published, Step, plan
from backend.domains.dns_writers.text import joined, quoted
from mailagent.errors import Malformed
from mailagent.identity import DnsRecord

ZONE = "example.com"


def record(type_: Any, name: str, value: str, priority: int | None = None) -> DnsRecord:
    return DnsRecord(type_, name, value, priority)


def mx(value: str, priority: int = 10, name: str = ZONE) -> DnsRecord:
    return record("MX", name, value, priority)


def txt(value: str, name: str = ZONE) -> DnsRecord:
    return record("TXT", name, value)


def made(
    wanted: Sequence[DnsRecord], there: Sequence[DnsRecord | Published] = (), *confirmed: str
) -> Plan:
    published = [one if isinstance(one, Published) else Published(one) for one in there]
    return plan(ZONE, published, wanted, confirmed=confirmed)


def only(wanted: DnsRecord, there: Sequence[DnsRecord | Published] = (), *confirmed: str) -> Step:
    (step,) = made([wanted], there, *confirmed).steps
    return step


def values(step: Step) -> list[str]:
    return sorted(one.value for one in step.after)


def test_what_is_not_there_is_created() -> None:
    step = only(mx("mx.ours.example"))
    assert (step.action, step.before, values(step)) == ("create", (), ["mx.ours.example"])


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        (mx("mx.ours.example"), mx("MX.Ours.example.", name="EXAMPLE.com.")),
        (txt("v=spf1 -all"), txt("v=spf1 -all")),
        (
            record("CNAME", "a.example.com", "B.example"),
            record("CNAME", "a.example.com", "b.example."),
        ),
    ],
)
def test_what_stands_already_is_left_however_it_is_written(
    wanted: DnsRecord, there: DnsRecord
) -> None:
    assert only(wanted, [there]).action == "leave"


def test_names_that_are_not_ours_are_not_looked_at() -> None:
    others = [txt("v=spf1 -all", "www.example.com"), mx("mx.google.com", name="a.example.com")]
    assert [one.name for one in made([mx("mx.ours.example")], others).steps] == [ZONE]


def test_a_foreign_mx_goes_only_when_a_person_says_so() -> None:
    there = [mx("aspmx.l.google.com", 1), mx("mx.ours.example")]
    step = only(mx("mx.ours.example"), there)
    assert step.action == "conflict"
    assert "mail would no longer go to aspmx.l.google.com" in step.why
    assert "confirm it as example.com MX" in step.why
    assert only(mx("mx.ours.example"), there, "example.com TXT").action == "conflict"
    agreed = only(mx("mx.ours.example"), there, "Example.com  mx")
    assert (agreed.action, values(agreed)) == ("update", ["mx.ours.example"])


def test_our_own_mx_takes_another_priority_and_a_second_host() -> None:
    (step,) = made(
        [mx("a.ours.example"), mx("b.ours.example", 20)], [mx("a.ours.example", 5)]
    ).steps
    assert (step.action, [one.priority for one in step.after]) == ("update", [10, 20])


def test_texts_of_others_stay_beside_ours() -> None:
    google = txt("google-site-verification=abc")
    step = only(txt("v=spf1 include:ours.example ~all"), [google, txt("some words")])
    assert step.action == "update"
    assert values(step) == [
        "google-site-verification=abc",
        "some words",
        "v=spf1 include:ours.example ~all",
    ]


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("v=spf1 include:_spf.google.com ~all", "include:_spf.google.com"),
        ("v=spf1 a mx ip4:192.0.2.0/24 include:ours.example -all", "a mx ip4:192.0.2.0/24"),
        ("V=SPF1 redirect=_spf.example.com", "redirect=_spf.example.com"),
    ],
)
def test_an_spf_record_is_replaced_by_the_merged_one_alone(there: str, why: str) -> None:
    bare = only(txt("v=spf1 include:ours.example ~all"), [txt(there)])
    assert (bare.action, f"would lose {why}" in bare.why) == ("conflict", True)
    terms = there.split()[1:]
    merged = " ".join(
        ["v=spf1", *[one for one in terms if "all" not in one], "include:ours.example", "~all"]
    )
    step = only(txt(merged), [txt(there)])
    assert (step.action, values(step)) == ("update", [merged])


def test_two_spf_records_become_the_merged_one() -> None:
    there = [txt("v=spf1 include:a.example ~all"), txt("v=spf1 include:b.example -all")]
    merged = "v=spf1 include:a.example include:b.example include:ours.example ~all"
    assert values(only(txt(merged), there)) == [merged]


@pytest.mark.parametrize(
    ("there", "action"),
    [
        ("v=DMARC1; p=reject; rua=mailto:d@example.com", "leave"),
        ("v=DMARC1; p=quarantine; pct=100", "leave"),
        ("v=DMARC1; p=quarantine; pct=50", "conflict"),
        ("v=DMARC1; p=none", "update"),
        ("v=DMARC1; p=none; rua=mailto:d@example.com", "conflict"),
        ("v=DMARC1; p=reject; sp=none", "conflict"),
        ("some words", "update"),
    ],
)
def test_a_published_dmarc_policy_stays_where_it_asks_for_as_much(there: str, action: str) -> None:
    name = "_dmarc.example.com"
    step = only(txt("v=DMARC1; p=quarantine", name), [txt(there, name)])
    assert step.action == action
    if action == "leave":
        assert values(step) == [there]


KEY = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQ" * 12


@pytest.mark.parametrize(
    ("there", "action"),
    [
        (KEY, "leave"),
        (KEY[:200], "update"),
        ("v=DKIM1; p=", "update"),
        (KEY.replace("MIIB", "MIIC"), "conflict"),
    ],
)
def test_a_cut_off_key_is_mended_and_another_one_is_not_written_over(
    there: str, action: str
) -> None:
    name = "s1._domainkey.example.com"
    assert only(txt(KEY, name), [txt(there, name)]).action == action


def test_a_proxied_record_is_written_anew() -> None:
    wanted = record("CNAME", "s1._domainkey.example.com", "s1.far.example")
    step = only(wanted, [Published(wanted, proxied=True)])
    assert (step.action, "proxied" in step.why) == ("update", True)


def test_a_cname_is_alone_at_its_name() -> None:
    cname = record("CNAME", "bounce.example.com", "far.example")
    there = [txt("hello", "bounce.example.com")]
    assert "stands alone, and there is TXT" in only(cname, there, "bounce.example.com CNAME").why
    step = only(txt("v=spf1 -all", "bounce.example.com"), [cname])
    assert (step.action, "a CNAME stands there" in step.why) == ("conflict", True)
    other = record("CNAME", "bounce.example.com", "elsewhere.example")
    assert only(cname, [other]).action == "conflict"
    assert only(cname, [other], "bounce.example.com CNAME").action == "update"


def test_what_is_more_than_a_record_is_never_written_over() -> None:
    there = Published(mx("x.example"), special="an alias")
    assert only(mx("mx.ours.example"), [there], "example.com MX").action == "conflict"


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ([mx("mx.ours.example", name="example.org")], "not in the zone"),
        ([mx("mx.ours.example", name="notexample.com")], "not in the zone"),
        ([txt("v=spf1 -all"), txt("v=spf1 ~all")], "two texts of one kind"),
        ([record("CNAME", ZONE, "a.example"), txt("x")], "a CNAME stands alone"),
        ([txt("x", "bad name")], "no name of the DNS"),
    ],
)
def test_what_cannot_be_published_is_refused_before_any_plan(
    wanted: list[DnsRecord], problem: str
) -> None:
    with pytest.raises(Malformed, match=problem):
        made(wanted)


# --- whatever stands --------------------------------------------------------------------------

_names = st.sampled_from([ZONE, "a.example.com", "_dmarc.example.com", "s._domainkey.example.com"])
_texts = st.sampled_from(
    [
        *("v=spf1 a -all", "v=spf1 include:x.example ~all"),
        *("v=DMARC1; p=none", "v=DMARC1; p=reject", "v=DKIM1; p=AAAA", "v=DKIM1; p=BBBB"),
        *("hello", "google-site-verification=1", "aexy-verify=1"),
    ]
)
_records = st.one_of(
    st.builds(txt, _texts, _names),
    st.builds(mx, st.sampled_from(["mx.ours.example", "mx.google.example"]), st.just(10), _names),
    st.builds(record, st.just("CNAME"), _names, st.sampled_from(["x.example", "y.example"])),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_records, max_size=6), st.lists(_records, max_size=5), st.booleans())
def test_a_plan_that_was_carried_out_has_nothing_left_to_do(
    there: list[DnsRecord], wanted: list[DnsRecord], agreed: bool
) -> None:
    confirmed = [f"{one.name} {one.type}" for one in wanted] if agreed else []
    try:
        first = made(wanted, there, *confirmed)
    except Malformed:
        return
    after = {(one.name, one.type): one.after for one in first.changes}
    kept = [one for one in there if (one.name, one.type) not in after]
    standing = [*kept, *(one for values in after.values() for one in values)]
    again = made(wanted, standing, *confirmed)
    assert again.changes == ()
    assert {one.record_set for one in again.conflicts} == {
        one.record_set for one in first.conflicts
    }
    if not agreed:
        lost = [one for one in there if one.type == "MX" and one not in standing]
        assert lost == []


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=700))
def test_any_text_is_read_back_from_its_character_strings(text: str) -> None:
    written = quoted(text)
    assert written.isascii()
    assert joined(written) == text
