"""What a verdict concludes: both sides of DNS, three answers, propagation, order and spelling."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.domains.record import DomainRecord, Place
from backend.domains.records import custom_domain, workspace_domain
from backend.domains.verify import Verdict, verify
from backend.domains.views import Evidence, Needs
from mailagent.dns_answers import Answer, Question
from mailagent.identity import DnsRecord
from mailagent.resolver import Resolver
from tests.backend.domains import sets
from tests.backend.domains.sets import DOMAIN, HOST, RSA, named
from tests.backend.domains.world import World, Zone
from tests.dns_server import DnsServer

SETS: dict[str, Callable[[], tuple[DomainRecord, ...]]] = {
    "our own server": lambda: sets.own_set(extras=sets.EXTRAS),
    "SES": sets.ses_set,
    "the default domain": sets.default_set,
    "managed": lambda: sets.managed_set("send_receive"),
}
INCLUDED: Zone = {"amazonses.com": {"TXT": ["v=spf1 ip4:198.51.100.0/24 -all"]}}


def published(records: tuple[DomainRecord, ...]) -> World:
    world = World().publish(records)
    world.zone |= {name: dict(types) for name, types in INCLUDED.items()}
    return world


def codes(verdict: Verdict) -> list[str]:
    return [each.code for each in verdict.records if each.code is not None]


@pytest.mark.parametrize("name", SETS)
def test_a_set_published_as_it_is_shown_is_verified(name: str) -> None:
    records = SETS[name]()

    verdict = published(records).judge(records)

    assert codes(verdict) == []
    assert verdict.failure is None
    assert verdict.sending is not None
    assert verdict.sending.standing == "verified"
    assert verdict.receiving is not None
    assert verdict.receiving.standing == "verified"


@pytest.mark.parametrize("name", SETS)
def test_a_verdict_needs_a_handful_of_rounds(name: str) -> None:
    records = SETS[name]()
    empty = World()

    empty.judge(records)

    assert empty.rounds <= 6


@pytest.mark.parametrize("name", SETS)
def test_nothing_published_is_missing_everywhere_and_nothing_is_a_mismatch(name: str) -> None:
    records = SETS[name]()

    verdict = World().judge(records)

    assert {each.status for each in verdict.records} == {"missing"}
    assert verdict.failure is not None


@pytest.mark.parametrize("side", ["own_fails", "resolver_fails"])
@pytest.mark.parametrize("name", SETS)
def test_what_is_unknown_on_one_side_is_never_missing_nor_wrong(name: str, side: str) -> None:
    records = SETS[name]()
    world = World()
    getattr(world, side).add("*")

    verdict = world.judge(records)

    assert {each.status for each in verdict.records} <= {"unknown"}
    assert {s.standing for s in (verdict.sending, verdict.receiving) if s} == {"unknown"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_single_failing_name_makes_a_right_record_wrong(data: st.DataObject) -> None:
    records = SETS[data.draw(st.sampled_from(sorted(SETS)))]()
    world = published(records)
    names = sorted({*world.zone, "example.com", "_dmarc.example.com", "_dmarc.com"})
    world.own_fails = set(data.draw(st.lists(st.sampled_from(names))))
    world.resolver_fails = set(data.draw(st.lists(st.sampled_from(names))))

    verdict = world.judge(records)

    assert {each.status for each in verdict.records} <= {"valid", "unknown"}
    assert {s.standing for s in (verdict.sending, verdict.receiving) if s} <= {
        "verified",
        "unknown",
    }


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_answers_and_records_does_not_matter(shuffle: random.Random) -> None:
    records = list(sets.own_set())
    world = published(tuple(records))
    world.put(DOMAIN, "MX", f"10 {HOST}", "20 mx.zoho.com", "30 mx2.zoho.com")
    world.put(DOMAIN, "TXT", "v=spf1 -all", "v=spf1 ip4:203.0.113.9 -all", "other")
    before = world.judge(records)
    for entry in world.zone.values():
        for values in entry.values():
            shuffle.shuffle(values)
    shuffle.shuffle(records)

    after = world.judge(records)

    assert {each.record: each for each in after.records} == {
        each.record: each for each in before.records
    }
    assert (after.failure, after.sending) == (before.failure, before.sending)


def test_capitals_and_final_dots_do_not_matter_where_names_are_compared() -> None:
    records = sets.ses_set()
    world = published(records)
    for each in records:
        if each.record.type in ("CNAME", "MX"):
            world.put(each.name, each.record.type, f"{each.text.upper()}.")
    world.put(DOMAIN, "TXT", "V=SPF1 INCLUDE:AmazonSES.com ~ALL")

    assert codes(world.judge(records)) == []


def test_a_key_in_other_capitals_is_another_key() -> None:
    records = sets.own_set()
    world = published(records)
    key = RSA.partition("p=")[2]
    world.put(f"m1._domainkey.{DOMAIN}", "TXT", RSA.replace(key, key.swapcase()))

    assert codes(world.judge(records)) == ["dkim_key_mismatch"]


@pytest.mark.parametrize(
    "policy",
    [
        "v=DMARC1; p=reject",
        "v=DMARC1; p=quarantine; pct=100; fo=1; rua=mailto:x@example.com; adkim=s",
        "v=DMARC1;p=Reject;sp=none",
        "v=DMARC1; p=reject; t=y",
        "v=DMARC1; rua=mailto:x@example.com; p=quarantine",
    ],
)
def test_a_dmarc_policy_that_is_stronger_or_says_more_is_valid(policy: str) -> None:
    records = sets.own_set()

    world = published(records).put(f"_dmarc.{DOMAIN}", "TXT", policy)

    assert codes(world.judge(records)) == []


def test_a_dmarc_policy_above_that_covers_the_domain_is_enough() -> None:
    records = sets.own_set()
    world = published(records).put(f"_dmarc.{DOMAIN}", "TXT")
    world.put("_dmarc.example.com", "TXT", "v=DMARC1; p=none; sp=reject")

    verdict = world.judge(records)

    assert codes(verdict) == []
    assert verdict.all_valid("dmarc") is True


@pytest.mark.parametrize(
    "record",
    [
        "v=spf1 include:_spf.google.com ip4:192.0.2.25 ip6:2001:db8::25 -all",
        "v=spf1 include:mine.example -all",
        "v=spf1 redirect=mine.example",
        "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ~all",
        f"v=spf1 a:{HOST} ~all",
        "v=spf1 mx ~all",
        "v=spf1 -ip4:203.0.113.9 ?a:old.example include:mine.example -all",
        "v=spf1 +ip4:192.0.2.25 +ip6:2001:DB8::25 ?all",
    ],
)
def test_an_spf_record_by_which_our_hosts_pass_is_valid_however_it_is_written(record: str) -> None:
    records = sets.own_set()
    world = published(records).put(DOMAIN, "TXT", record, "unrelated")
    world.put("_spf.google.com", "TXT", "v=spf1 ip4:198.51.100.0/24 ~all")
    world.put("mine.example", "TXT", "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all")
    world.put(HOST, "A", "192.0.2.25").put(HOST, "AAAA", "2001:db8::25")

    assert codes(world.judge(records)) == []


def test_a_token_in_quotation_marks_among_other_texts_proves_ownership() -> None:
    records = sets.own_set()
    name, value = f"_aexy-verification.{DOMAIN}", f"aexy-verify={sets.TOKEN}"

    world = published(records).put(name, "TXT", "other", f'"{value}"')

    assert codes(world.judge(records)) == []


def test_a_policy_delegated_by_cname_is_followed() -> None:
    records = sets.own_set()
    world = published(records).put(f"_dmarc.{DOMAIN}", "TXT")
    world.put(f"_dmarc.{DOMAIN}", "CNAME", "policy.dmarc-service.example")
    world.put("policy.dmarc-service.example", "TXT", "v=DMARC1; p=reject")

    assert codes(world.judge(records)) == []


def test_recommended_records_never_hold_anything_back() -> None:
    records = sets.own_set(extras=sets.EXTRAS)
    world = published(records)
    for each in records:
        if not each.required:
            world.put(each.name, each.record.type)

    verdict = world.judge(records)

    assert set(codes(verdict)) == {"record_missing"}
    assert verdict.failure is None


def test_receiving_and_sending_are_told_apart() -> None:
    records = sets.own_set()

    without_mx = published(records).put(DOMAIN, "MX").judge(records)
    without_key = published(records).put(f"m1._domainkey.{DOMAIN}", "TXT").judge(records)

    assert without_mx.sending is not None
    assert without_mx.sending.standing == "verified"
    assert without_mx.receiving is not None
    assert without_mx.receiving.standing == "wrong"
    assert without_key.sending is not None
    assert without_key.sending.standing == "wrong"
    assert without_key.receiving is not None
    assert without_key.receiving.standing == "verified"


def test_a_mode_without_a_side_has_no_verdict_on_it() -> None:
    assert World().judge(sets.own_set("send_only")).receiving is None
    assert World().judge(sets.own_set("receive_only")).sending is None


def test_ownership_is_told_before_what_waits_for_it() -> None:
    verdict = World().judge(sets.own_set())

    assert verdict.failure is not None
    assert verdict.failure.code == "ownership_missing"


def test_what_can_be_mended_is_told_before_what_only_takes_time() -> None:
    records = sets.own_set()
    world = published(records).put(f"_dmarc.{DOMAIN}", "TXT")
    world.old[(f"_aexy-verification.{DOMAIN}", "TXT")] = []
    world.old[(DOMAIN, "TXT")] = []

    verdict = world.judge(records)

    assert verdict.failure is not None
    assert verdict.failure.code == "dmarc_missing"
    assert verdict.receiving is not None
    assert verdict.receiving.standing == "waiting"


def test_right_at_the_zones_servers_and_old_elsewhere_is_on_its_way() -> None:
    records = sets.own_set()
    world = published(records)
    world.old[(DOMAIN, "MX")] = ["1 aspmx.l.google.com"]

    verdict = world.judge(records)

    assert named(records, "mx").name == DOMAIN
    assert codes(verdict) == ["propagating"]
    assert verdict.receiving is not None
    assert verdict.receiving.standing == "waiting"


def test_gone_at_the_zones_servers_is_missing_though_others_still_remember_it() -> None:
    records = sets.own_set()
    world = published(records).put(DOMAIN, "MX")
    world.old[(DOMAIN, "MX")] = [f"10 {HOST}"]

    verdict = world.judge(records)

    assert codes(verdict) == ["mx_missing"]


def test_a_resolver_alone_decides_where_the_zones_servers_are_not_asked() -> None:
    records = sets.own_set()
    world = published(records).put(DOMAIN, "MX")
    world.own_fails.add("*")

    verdict = world.judge(records, ask_own=False)

    assert codes(verdict) == ["mx_missing"]


def test_where_our_packets_do_not_reach_the_zones_servers_what_receivers_see_counts() -> None:
    records = sets.own_set()
    world = published(records)
    world.own_fails.add("*")

    verdict = world.judge(records)

    assert verdict.failure is None


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["site=1"], None),
        (["other", "site=1"], None),
        (["site=2"], "record_mismatch"),
        ([], "record_missing"),
    ],
)
def test_a_record_kept_beside_a_workspaces_set_must_stand_as_it_is(
    texts: list[str], code: str | None
) -> None:
    beside = DnsRecord("TXT", "_site.acme.aexy.email", "site=1")
    records = workspace_domain(sets.DEFAULT, "acme", [sets.ours("aexy.email")], beside=[beside])
    world = published(records).put(beside.name, "TXT", *texts)

    verdict = world.judge(records)

    assert codes(verdict) == ([code] if code else [])
    assert verdict.failure is None


def test_a_record_kept_beside_is_unknown_where_dns_does_not_tell() -> None:
    beside = DnsRecord("TXT", "_site.acme.aexy.email", "site=1")
    records = workspace_domain(sets.DEFAULT, "acme", [sets.ours("aexy.email")], beside=[beside])
    world = published(records)
    world.resolver_fails.add(beside.name)
    world.own_fails.add(beside.name)

    assert codes(world.judge(records)) == ["dns_unknown"]


def test_tracking_has_a_status_of_its_own() -> None:
    records = sets.own_set(extras=sets.EXTRAS)

    assert World().judge(sets.own_set()).tracking == "disabled"
    assert World().judge(records).tracking == "pending"
    assert published(records).judge(records).tracking == "verified"


def test_booleans_are_none_where_nothing_is_asked() -> None:
    verdict = World().judge(sets.own_set("receive_only"))

    assert verdict.all_valid("mx") is False
    assert verdict.all_valid("spf") is None


def test_names_in_the_domains_zone_are_asked_of_both_sides_and_others_of_a_resolver() -> None:
    needs = verify(sets.ses_set(), Evidence({}))

    assert isinstance(needs, Needs)
    assert all(each.name.endswith("example.com") for each in needs.authoritative)
    assert needs.authoritative <= needs.recursive


def test_a_zone_cut_at_the_domain_itself_is_honoured() -> None:
    place = Place.of(DOMAIN, DOMAIN)
    records = custom_domain(place, "send_receive", [sets.ours()], token=sets.TOKEN)
    world = published(records)
    world.put(f"_dmarc.{DOMAIN}", "TXT")
    world.put(f"_dmarc.{DOMAIN}.{DOMAIN}", "TXT", "v=DMARC1; p=reject")

    verdict = world.judge(records)

    assert codes(verdict) == ["zone_appended"]
    assert "enter _dmarc as its name" in named_verdict(verdict, "dmarc")


def named_verdict(verdict: Verdict, kind: str) -> str:
    return next(each.message for each in verdict.records if each.record.kind == kind)


@pytest.mark.parametrize("name", SETS)
async def test_a_real_resolver_and_a_real_server_give_the_same_verdict(name: str) -> None:
    records = SETS[name]()
    world = published(records)
    with DnsServer(world.zone) as server:
        resolver = Resolver(server.address)
        answers: dict[Question, Answer] = {}
        verdict = verify(records, Evidence(answers, authoritative=None))
        while isinstance(verdict, Needs):
            answers |= await resolver.ask_all(verdict.recursive)
            verdict = verify(records, Evidence(answers, authoritative=None))

    assert codes(verdict) == []
    assert verdict == replace(world.judge(records), words={})
