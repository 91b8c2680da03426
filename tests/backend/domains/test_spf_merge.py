"""One SPF record of what is published and what we need, with what it costs."""

from __future__ import annotations

import pytest
import spf
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domains.spf_merge import SpfMerge, merge
from backend.domains.spf_terms import parse
from backend.domains.views import Needs
from mailagent.dns_answers import Answer, Found, Question, Unknown
from tests.backend.domains.world import World, Zone

DOMAIN = "example.com"
SES = "include:amazonses.com"
THEIRS: Zone = {
    "amazonses.com": {"TXT": ["v=spf1 ip4:198.51.100.0/24 -all"]},
    "_spf.google.com": {
        "TXT": ["v=spf1 include:_netblocks.google.com include:_netblocks2.google.com ~all"]
    },
    "_netblocks.google.com": {"TXT": ["v=spf1 ip4:203.0.113.0/25 ~all"]},
    "_netblocks2.google.com": {"TXT": ["v=spf1 ip6:2001:db8:1::/48 ~all"]},
    "all-of-us.example": {"TXT": ["v=spf1 include:amazonses.com -all"]},
}


def merged(*published: str, wanted: tuple[str, ...] = (SES,), more: Zone | None = None) -> SpfMerge:
    world = World({**{name: dict(types) for name, types in THEIRS.items()}, **(more or {})})
    if published:
        world.put(DOMAIN, "TXT", *published)
    answers: dict[Question, Answer] = {}
    for _ in range(20):
        result = merge(DOMAIN, wanted, answers)
        if not isinstance(result, Needs):
            assert isinstance(result, SpfMerge)
            return result
        answers |= {each: world.resolver(each) for each in result.recursive}
    raise AssertionError("no end of questions")


ROWS: list[tuple[str, tuple[str, ...], str]] = [
    ("nothing there", (), f"v=spf1 {SES} ~all"),
    ("other texts only", ("x=1",), f"v=spf1 {SES} ~all"),
    (
        "Google alone",
        ("v=spf1 include:_spf.google.com ~all",),
        f"v=spf1 include:_spf.google.com {SES} ~all",
    ),
    ("a strict end", ("v=spf1 mx -all",), f"v=spf1 mx {SES} -all"),
    ("ours already", (f"v=spf1 {SES} -all",), f"v=spf1 {SES} -all"),
    (
        "ours by another include",
        ("v=spf1 include:all-of-us.example -all",),
        "v=spf1 include:all-of-us.example -all",
    ),
    ("ours behind all", (f"v=spf1 mx -all {SES}",), f"v=spf1 mx {SES} -all"),
    (
        "a redirect",
        ("v=spf1 redirect=_spf.google.com",),
        f"v=spf1 {SES} redirect=_spf.google.com",
    ),
    ("no end", ("v=spf1 mx",), f"v=spf1 mx {SES}"),
    (
        "an explanation",
        ("v=spf1 mx -all exp=why.example.com",),
        f"v=spf1 mx {SES} -all exp=why.example.com",
    ),
    (
        "two records",
        ("v=spf1 mx ~all", "v=spf1 ip4:192.0.2.1 mx ~all"),
        f"v=spf1 ip4:192.0.2.1 mx {SES} ~all",
    ),
    (
        "two that end differently",
        ("v=spf1 ip4:192.0.2.1 -all", "v=spf1 mx ?all"),
        f"v=spf1 ip4:192.0.2.1 mx {SES} ~all",
    ),
    (
        "two, one a redirect",
        ("v=spf1 mx -all", "v=spf1 redirect=_spf.google.com"),
        f"v=spf1 mx include:_spf.google.com {SES} -all",
    ),
    ("a word that is none", ("v=spf1 mx,a -all",), f"v=spf1 {SES} -all"),
    ("an include of nothing", ("v=spf1 include:gone.example mx -all",), f"v=spf1 mx {SES} -all"),
    ("a redirect to nothing", ("v=spf1 redirect=gone.example",), f"v=spf1 {SES} ~all"),
    ("ours with a minus", (f"v=spf1 -{SES} mx -all",), f"v=spf1 mx {SES} -all"),
    ("an address that is none", ("v=spf1 ip4:192.0.2.256 mx -all",), f"v=spf1 mx {SES} -all"),
    ("another family", ("v=spf1 ip4:2001:db8::1 mx -all",), f"v=spf1 mx {SES} -all"),
    (
        "two that do not end",
        ("v=spf1 mx", "v=spf1 ip4:192.0.2.1"),
        f"v=spf1 ip4:192.0.2.1 mx {SES} ~all",
    ),
    ("in capitals", ("V=SPF1 MX -ALL",), f"v=spf1 MX {SES} -all"),
]


@pytest.mark.parametrize(("about", "published", "paste"), ROWS, ids=[row[0] for row in ROWS])
def test_the_merged_record_keeps_what_is_there_and_has_ours(
    about: str, published: tuple[str, ...], paste: str
) -> None:
    assert merged(*published).record == paste


@pytest.mark.parametrize(("about", "published", "paste"), ROWS, ids=[row[0] for row in ROWS])
def test_merging_the_merged_record_changes_nothing(
    about: str, published: tuple[str, ...], paste: str
) -> None:
    again = merged(paste)

    assert (again.record, again.added) == (paste, ())


@pytest.mark.parametrize(("about", "published", "paste"), ROWS, ids=[row[0] for row in ROWS])
def test_a_verifier_passes_our_address_by_the_merged_record(
    about: str, published: tuple[str, ...], paste: str
) -> None:
    """pyspf, which shares no code with the merge, is asked as a receiver would ask."""
    zone: Zone = {**THEIRS, DOMAIN: {"TXT": [merged(*published).record], "MX": ["5 mx.example"]}}

    def look_up(name: str, type_: str, *_: object, **__: object) -> list[object]:
        found = zone.get(name.lower(), {}).get(type_, [])
        if type_ == "MX":
            return [((name, type_), (5, "mx.example")) for _ in found]
        return [((name, type_), (text.encode(),)) for text in found]

    query = spf.query(i="198.51.100.7", s=f"x@{DOMAIN}", h=DOMAIN, strict=True)
    query.dns = lambda name, type_, *_, **__: [each[1] for each in look_up(name, type_)]  # type: ignore[index]

    assert query.check()[0] == "pass"


def test_what_was_changed_is_said() -> None:
    result = merged("v=spf1 mx,a include:_spf.google.com -all a", "v=spf1 redirect=other.example")

    said = " | ".join(result.notes)
    assert "2 records became one" in said
    assert "'mx,a' is not a term of SPF" in said
    assert "a stood behind all" in said
    assert "redirect=other.example became include:other.example" in said
    assert "other.example has no SPF record" in said


def test_a_record_that_lets_anybody_send_is_kept_and_said() -> None:
    result = merged("v=spf1 mx +all")

    assert result.record == f"v=spf1 mx {SES} all"
    assert any("anybody may send" in note for note in result.notes)


def test_an_include_is_never_replaced_by_addresses() -> None:
    result = merged("v=spf1 include:_spf.google.com ~all")

    assert "ip4" not in result.record
    assert result.lookups == 4  # Google's own two includes count too


def test_more_than_ten_lookups_are_counted_and_said() -> None:
    names = [f"n{number}.example" for number in range(11)]
    more: Zone = {name: {"TXT": ["v=spf1 -all"]} for name in names}

    result = merged(f"v=spf1 {' '.join(f'include:{name}' for name in names)} ~all", more=more)

    assert result.lookups == 12
    assert any("12 DNS lookups, and 10 are allowed" in note for note in result.notes)


def test_names_that_hold_nothing_are_counted_and_named() -> None:
    result = merged("v=spf1 a:x1.example mx:x2.example a:x3.example ~all")

    assert result.void_lookups == 3
    assert any("x1.example, x2.example, x3.example" in note for note in result.notes)


def test_a_record_that_outgrows_one_answer_is_said_and_a_short_one_is_not() -> None:
    terms = " ".join(f"ip6:2001:db8:{number:x}::/48" for number in range(1, 25))

    assert any("450" in note for note in merged(f"v=spf1 {terms} ~all").notes)
    assert merged("v=spf1 mx ~all", more={DOMAIN: {"MX": ["5 mx.example"]}}).notes == ()


def test_an_address_of_one_family_is_not_void() -> None:
    more: Zone = {"h.example": {"A": ["192.0.2.1"]}}

    assert merged("v=spf1 a:h.example ~all", more=more).void_lookups == 0


def test_includes_in_a_circle_end() -> None:
    more: Zone = {
        "a.example": {"TXT": ["v=spf1 include:b.example include:b.example -all"]},
        "b.example": {"TXT": ["v=spf1 include:a.example include:a.example -all"]},
    }

    result = merged("v=spf1 include:a.example ~all", more=more)

    assert any("includes itself" in note for note in result.notes)


def test_a_tree_of_includes_ends() -> None:
    more: Zone = {
        f"n{number}.example": {
            "TXT": [f"v=spf1 include:n{number + 1}.example include:n{number + 1}.example -all"]
        }
        for number in range(40)
    }

    result = merged("v=spf1 include:n0.example ~all", more=more)

    assert 10 < result.lookups <= 41


def test_a_record_with_very_many_includes_asks_a_bounded_number_of_questions() -> None:
    record = f"v=spf1 {' '.join(f'include:n{number}.example' for number in range(150))} ~all"
    asked = merge(DOMAIN, (SES,), {Question(DOMAIN, "TXT"): Found((record,))})

    assert isinstance(asked, Needs)
    assert len(asked.recursive) <= 41


def test_a_macro_is_counted_and_not_asked() -> None:
    result = merged("v=spf1 exists:%{i}._spf.example ~all")

    assert (result.lookups, result.void_lookups) == (2, 0)


def test_what_cannot_be_told_is_not_merged_into_nothing() -> None:
    answers = {Question(DOMAIN, "TXT"): Unknown("SERVFAIL")}

    assert merge(DOMAIN, (SES,), answers) == Unknown("SERVFAIL")


def test_an_include_that_cannot_be_told_leaves_the_count_open() -> None:
    world = World({DOMAIN: {"TXT": ["v=spf1 include:slow.example ~all"]}, **THEIRS})
    world.resolver_fails.add("slow.example")
    answers: dict[Question, Answer] = {}
    while isinstance(result := merge(DOMAIN, (SES,), answers), Needs):
        answers |= {each: world.resolver(each) for each in result.recursive}

    assert isinstance(result, SpfMerge)
    assert result.record == f"v=spf1 include:slow.example {SES} ~all"
    assert "SERVFAIL" in result.unknown


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    assert isinstance(parse(f"v=spf1 {text}"), tuple | str)


def test_a_long_term_is_refused_quickly() -> None:
    terms = parse("v=spf1 " + "a" * 100_000)

    assert isinstance(terms, str)
