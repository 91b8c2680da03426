"""Each published mistake has its code, and a sentence with the real names and the mend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from backend.domains.reasons import CODES, REASONS
from backend.domains.record import DomainRecord
from backend.domains.records import wildcard_set
from mailagent.identity import Identity
from tests.backend.domains import sets
from tests.backend.domains.sets import DEFAULT, DOMAIN, HOST, RSA, TOKEN, named, ours
from tests.backend.domains.world import World

Set = tuple[DomainRecord, ...]
Break = Callable[[World], object]
_SPF = "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ~all"
_DKIM = f"m1._domainkey.{DOMAIN}"
_SES_SPF = {"amazonses.com": {"TXT": ["v=spf1 ip4:198.51.100.0/24 -all"]}}


@dataclass(frozen=True)
class Mistake:
    code: str
    about: str
    expected: Callable[[], Set]
    kind: str
    """Of the record that is hit."""
    publish: Break
    status: str
    says: tuple[str, ...]


def _own() -> Set:
    return sets.own_set()


def _own_extras() -> Set:
    return sets.own_set(extras=sets.EXTRAS)


def _move(name: str, type_: str, to: str) -> Break:
    """Publish a record at another name than its own."""

    def moved(world: World) -> None:
        values = world.zone[name][type_]
        world.put(name, type_)
        world.put(to, type_, *values)

    return moved


def _includes(count: int) -> Break:
    """An SPF record of ours with so many includes, each of a name with a record of its own."""

    def published(world: World) -> None:
        names = [f"spf{number}.other.example" for number in range(count)]
        for name in names:
            world.put(name, "TXT", "v=spf1 ip4:198.51.100.1 -all")
        terms = " ".join(f"include:{name}" for name in names)
        world.put(DOMAIN, "TXT", f"v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 {terms} ~all")

    return published


def _servers_fail(world: World) -> None:
    world.own_fails.add(DOMAIN)
    world.resolver_fails.add(DOMAIN)


def _dmarc(text: str) -> Break:
    return lambda world: world.put(f"_dmarc.{DOMAIN}", "TXT", text)


MISTAKES = [
    Mistake(
        "dnssec_bogus", "signatures expired", _own, "mx",
        lambda w: w.bogus.update({DOMAIN: "signature expired"}),
        "unknown", (DOMAIN, "signature expired", "DS record"),
    ),
    Mistake(
        "cname_at_apex", "a CNAME at the domain", _own, "mx",
        lambda w: w.put(DOMAIN, "MX").put(DOMAIN, "TXT").put(DOMAIN, "CNAME", "web.host.example"),
        "mismatch", (DOMAIN, "web.host.example", "delete the CNAME", f"10 {HOST}"),
    ),
    Mistake(
        "ownership_missing", "not there", _own, "ownership",
        lambda w: w.put(f"_aexy-verification.{DOMAIN}", "TXT"),
        "missing", (f"_aexy-verification.{DOMAIN}", f"aexy-verify={TOKEN}"),
    ),
    Mistake(
        "ownership_missing", "a wildcard TXT answers there", _own, "ownership",
        lambda w: w.put(f"_aexy-verification.{DOMAIN}", "TXT").put(f"*.{DOMAIN}", "TXT", _SPF),
        "missing", (f"_aexy-verification.{DOMAIN}",),
    ),
    Mistake(
        "ownership_mismatch", "another workspace's token", _own, "ownership",
        lambda w: w.put(f"_aexy-verification.{DOMAIN}", "TXT", "aexy-verify=other"),
        "mismatch", ("aexy-verify=other", f"aexy-verify={TOKEN}"),
    ),
    Mistake(
        "ownership_mismatch", "the token in capitals", _own, "ownership",
        lambda w: w.put(f"_aexy-verification.{DOMAIN}", "TXT", f"aexy-verify={TOKEN.upper()}"),
        "mismatch", (TOKEN.upper(), f"aexy-verify={TOKEN}"),
    ),
    Mistake(
        "apex_cname_missing", "not there", sets.managed_set, "verification",
        lambda w: w.put(f"aexy.{DOMAIN}", "CNAME"),
        "missing", (f"aexy.{DOMAIN}", "k3f9.return.aexy.email"),
    ),
    Mistake(
        "apex_cname_mismatch", "another target", sets.managed_set, "verification",
        lambda w: w.put(f"aexy.{DOMAIN}", "CNAME", "zzzz.return.aexy.email"),
        "mismatch", ("points to zzzz.return.aexy.email", "k3f9.return.aexy.email"),
    ),
    Mistake(
        "dkim_cname_missing", "not there", sets.managed_set, "dkim",
        lambda w: w.put(_DKIM, "CNAME"),
        "missing", (_DKIM, "m1._domainkey.k3f9.return.aexy.email"),
    ),
    Mistake(
        "dkim_cname_mismatch", "the other selector's target", sets.managed_set, "dkim",
        lambda w: w.put(_DKIM, "CNAME", "m2._domainkey.k3f9.return.aexy.email"),
        "mismatch", ("points to m2._domainkey", "point it to m1._domainkey"),
    ),
    Mistake(
        "chain_broken", "our zone does not answer", sets.managed_set, "dkim",
        lambda w: w.put("m1._domainkey.k3f9.return.aexy.email", "TXT"),
        "missing", (_DKIM, "m1._domainkey.k3f9.return.aexy.email", "nothing to do"),
    ),
    Mistake(
        "dkim_mismatch", "an old key behind the CNAME", sets.managed_set, "dkim",
        lambda w: w.put("m1._domainkey.k3f9.return.aexy.email", "TXT", sets.RSA_NEXT),
        "mismatch", (_DKIM, "not ours"),
    ),
    Mistake(
        "mx_missing", "behind the CNAME", sets.managed_set, "verification",
        lambda w: w.put("k3f9.return.aexy.email", "MX"),
        "missing", (f"aexy.{DOMAIN}", HOST),
    ),
    Mistake(
        "spf_missing", "behind the CNAME", sets.managed_set, "verification",
        lambda w: w.put("k3f9.return.aexy.email", "TXT"),
        "missing", (f"aexy.{DOMAIN}", "v=spf1 ip4:192.0.2.25 ~all"),
    ),
    Mistake(
        "dkim_missing", "not there", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT"), "missing", (_DKIM, RSA),
    ),
    Mistake(
        "dkim_multiple", "the old key left beside", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT", RSA, sets.RSA_NEXT), "duplicate", (_DKIM, "has 2", RSA),
    ),
    Mistake(
        "dkim_key_truncated", "cut at 255 octets", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT", RSA[:255]),
        "mismatch", (_DKIM, f"255 of {len(RSA)}", "waiting does not help", RSA),
    ),
    Mistake(
        "dkim_key_mismatch", "another key", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT", sets.RSA_NEXT), "mismatch", (_DKIM, "another key", RSA),
    ),
    Mistake(
        "dkim_key_mismatch", "revoked", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT", "v=DKIM1; p="), "mismatch", (_DKIM, "revoked"),
    ),
    Mistake(
        "dkim_key_mismatch", "for SHA-1 alone", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT", RSA.replace("k=rsa", "k=rsa; h=sha1")),
        "mismatch", (_DKIM, "sha256"),
    ),
    Mistake(
        "spf_multiple", "ours beside the old one", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", _SPF, "v=spf1 ip4:203.0.113.9 -all"),
        "duplicate",
        (DOMAIN, "2 SPF records", "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 ip4:203.0.113.9 ~all"),
    ),
    Mistake(
        "spf_missing", "other TXT only", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", "google-site-verification=x"),
        "missing", (DOMAIN, _SPF),
    ),
    Mistake(
        "spf_missing", "not of this version", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", "v=spf10 ip4:192.0.2.25 -all"), "missing", (DOMAIN,),
    ),
    Mistake(
        "spf_invalid", "a comma", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", "v=spf1 ip4:192.0.2.25,203.0.113.9 -all"),
        "mismatch", (DOMAIN, "'ip4:192.0.2.25,203.0.113.9'", "v=spf1 ip4:192.0.2.25 ip6:"),
    ),
    Mistake(
        "spf_invalid", "an include of nothing", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", _SPF.replace("~", "include:gone.example ~")),
        "mismatch", ("gone.example has no SPF record", f"replace it by {_SPF}"),
    ),
    Mistake(
        "spf_missing_include", "only the old service", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", "v=spf1 ip4:203.0.113.9 -all"),
        "mismatch",
        ("ip4:192.0.2.25", "v=spf1 ip4:203.0.113.9 ip4:192.0.2.25 ip6:2001:db8::25 -all"),
    ),
    Mistake(
        "spf_missing_include", "ours behind all", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", "v=spf1 -all ip4:192.0.2.25 ip6:2001:db8::25"),
        "mismatch", ("lacks ip4:192.0.2.25", "v=spf1 ip4:192.0.2.25 ip6:2001:db8::25 -all"),
    ),
    Mistake(
        "spf_missing_include", "ours with a minus", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", "v=spf1 -ip4:192.0.2.25 ip6:2001:db8::25 ~all"),
        "mismatch", ("lacks ip4:192.0.2.25",),
    ),
    Mistake(
        "spf_missing_include", "ours with a minus before an include that has it", _own, "spf",
        lambda w: w.put("mine.test", "TXT", _SPF).put(
            DOMAIN, "TXT", "v=spf1 -ip4:192.0.2.25 include:mine.test ~all"
        ),
        "mismatch", ("lacks ip4:192.0.2.25", "replace it by v=spf1 include:mine.test ~all"),
    ),
    Mistake(
        "spf_too_many_lookups", "eleven includes", _own, "spf",
        _includes(11), "mismatch", (DOMAIN, "takes 11 DNS lookups", "include:spf0.other.example"),
    ),
    Mistake(
        "spf_void_lookups", "three hosts that are gone", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", _SPF.replace("~", "a:x1.test a:x2.test a:x3.test ~")),
        "mismatch", ("x1.test, x2.test, x3.test",),
    ),
    Mistake(
        "mx_missing", "not there", _own, "mx",
        lambda w: w.put(DOMAIN, "MX"), "missing", (DOMAIN, f"10 {HOST}"),
    ),
    Mistake(
        "mx_foreign", "Google instead of us", _own, "mx",
        lambda w: w.put(DOMAIN, "MX", "1 aspmx.l.google.com", "5 alt1.aspmx.l.google.com"),
        "mismatch", (DOMAIN, "Google Workspace (aspmx.l.google.com)", f"10 {HOST}"),
    ),
    Mistake(
        "mx_foreign", "Microsoft 365 before us", _own, "mx",
        lambda w: w.put(DOMAIN, "MX", f"10 {HOST}", "0 x.mail.protection.outlook.com"),
        "mismatch", ("Microsoft 365",),
    ),
    Mistake(
        "mx_foreign", "Zoho behind us", _own, "mx",
        lambda w: w.put(DOMAIN, "MX", f"10 {HOST}", "20 mx.zoho.com"),
        "extra", ("Zoho Mail (mx.zoho.com)",),
    ),
    Mistake(
        "mx_foreign", "another MX at the return path", sets.ses_set, "bounce_mx",
        lambda w: w.put(
            f"bounce.{DOMAIN}", "MX", "10 feedback-smtp.eu-west-1.amazonses.com", "20 mx.x.example"
        ),
        "mismatch", (f"bounce.{DOMAIN}", "mx.x.example"),
    ),
    Mistake(
        "mx_null", "no mail wanted", _own, "mx",
        lambda w: w.put(DOMAIN, "MX", "0 ."), "mismatch", (DOMAIN, "null MX", f"10 {HOST}"),
    ),
    Mistake(
        "dmarc_multiple", "two policies", _own, "dmarc",
        lambda w: w.put(f"_dmarc.{DOMAIN}", "TXT", "v=DMARC1; p=reject", "v=DMARC1; p=none"),
        "duplicate", (f"_dmarc.{DOMAIN}", "2 DMARC records"),
    ),
    Mistake(
        "dmarc_missing", "not there, nor above", _own, "dmarc",
        lambda w: w.put(f"_dmarc.{DOMAIN}", "TXT"),
        "missing", (f"_dmarc.{DOMAIN}", "v=DMARC1; p=quarantine"),
    ),
    Mistake(
        "dmarc_missing", "above it asks for nothing", _own, "dmarc",
        lambda w: w.put(f"_dmarc.{DOMAIN}", "TXT").put(
            "_dmarc.example.com", "TXT", "v=DMARC1; p=reject; sp=none"
        ),
        "missing", (f"_dmarc.{DOMAIN}",),
    ),
    Mistake(
        "dmarc_missing", "the version in lower case", _own, "dmarc",
        lambda w: w.put(f"_dmarc.{DOMAIN}", "TXT", "v=dmarc1; p=reject"),
        "missing", (f"_dmarc.{DOMAIN}",),
    ),
    *(
        Mistake(
            "dmarc_weaker", text, _own, "dmarc",
            _dmarc(text),
            "mismatch", (f"_dmarc.{DOMAIN}", why, "v=DMARC1; p=quarantine"),
        )
        for text, why in (
            ("v=DMARC1; p=none; rua=mailto:a@example.com", "p=none"),
            ("v=DMARC1; rua=mailto:a@example.com", "it has no p"),
            ("v=DMARC1; p=quarantine; pct=50", "pct=50"),
            ("v=DMARC1; p=quarantine; pct=0", "pct=0"),
            ("v=DMARC1; p=quarantine; t=y", "t=y"),
            ("v=DMARC1; p=quarantined; rua=mailto:a@example.com", "p=none"),
        )
    ),
    Mistake(
        "dmarc_weaker", "sub-domains let off", sets.default_set, "dmarc",
        lambda w: w.put("_dmarc.aexy.email", "TXT", "v=DMARC1; p=reject; sp=none"),
        "mismatch", ("sp=none",),
    ),
    Mistake(
        "dmarc_strict", "strict at the default domain", sets.default_set, "dmarc",
        lambda w: w.put("_dmarc.aexy.email", "TXT", "v=DMARC1; p=reject; adkim=s; aspf=s"),
        "mismatch", ("_dmarc.aexy.email", "adkim=s and aspf=s"),
    ),
    Mistake(
        "dmarc_strict", "psd at the default domain", sets.default_set, "dmarc",
        lambda w: w.put("_dmarc.aexy.email", "TXT", "v=DMARC1; p=reject; psd=y"),
        "mismatch", ("psd=y",),
    ),
    Mistake(
        "record_missing", "no report address for TLS", _own_extras, "tls_rpt",
        lambda w: w.put(f"_smtp._tls.{DOMAIN}", "TXT"),
        "missing", (f"_smtp._tls.{DOMAIN}", "v=TLSRPTv1; rua=mailto:tls@aexy.email"),
    ),
    Mistake(
        "record_mismatch", "tracking leads elsewhere", _own_extras, "tracking",
        lambda w: w.put(f"track.{DOMAIN}", "CNAME", "links.other.example"),
        "mismatch", (f"track.{DOMAIN}", "links.other.example", "track.aexy.email"),
    ),
    Mistake(
        "record_mismatch", "the MX host has moved", sets.default_set, "address",
        lambda w: w.put("mx.aexy.email", "A", "203.0.113.1"),
        "mismatch", ("mx.aexy.email", "203.0.113.1", "192.0.2.25"),
    ),
    Mistake(
        "record_multiple", "two MTA-STS records", _own_extras, "mta_sts",
        lambda w: w.put(f"_mta-sts.{DOMAIN}", "TXT", "v=STSv1; id=1;", "v=STSv1; id=2;"),
        "duplicate", (f"_mta-sts.{DOMAIN}", "has 2"),
    ),
    Mistake(
        "zone_appended", "the full name was typed", _own, "dmarc",
        _move(f"_dmarc.{DOMAIN}", "TXT", f"_dmarc.{DOMAIN}.example.com"),
        "missing", (f"_dmarc.{DOMAIN}.example.com", "enter _dmarc.mail as its name"),
    ),
    Mistake(
        "zone_appended", "the MX without its final dot", _own, "mx",
        lambda w: w.put(DOMAIN, "MX", f"10 {HOST}.example.com"),
        "mismatch", (f"{HOST}.example.com", f"{HOST}."),
    ),
    Mistake(
        "zone_appended", "a CNAME without its final dot", sets.ses_set, "dkim",
        lambda w: w.put(
            f"aaaa._domainkey.{DOMAIN}", "CNAME", "aaaa.dkim.amazonses.com.example.com"
        ),
        "mismatch", ("aaaa.dkim.amazonses.com.example.com", "final dot"),
    ),
    Mistake(
        "proxied", "the orange cloud", sets.ses_set, "dkim",
        lambda w: w.put(f"aaaa._domainkey.{DOMAIN}", "CNAME").put(
            f"aaaa._domainkey.{DOMAIN}", "A", "104.21.9.9", "172.67.1.1"
        ),
        "mismatch", (f"aaaa._domainkey.{DOMAIN}", "DNS only", "aaaa.dkim.amazonses.com"),
    ),
    Mistake(
        "at_parent", "the key one level up", _own, "dkim",
        _move(_DKIM, "TXT", "m1._domainkey.example.com"),
        "missing", ("m1._domainkey.example.com", _DKIM),
    ),
    Mistake(
        "at_parent", "the MX one level up", _own, "mx",
        _move(DOMAIN, "MX", "example.com"), "missing", ("stands at example.com", DOMAIN),
    ),
    Mistake(
        "prefix_missing", "_domainkey left out", _own, "dkim",
        _move(_DKIM, "TXT", f"m1.{DOMAIN}"), "missing", (f"stands at m1.{DOMAIN}", _DKIM),
    ),
    Mistake(
        "prefix_missing", "the token at the domain", _own, "ownership",
        lambda w: w.put(f"_aexy-verification.{DOMAIN}", "TXT").put(
            DOMAIN, "TXT", _SPF, f"aexy-verify={TOKEN}"
        ),
        "missing", (f"stands at {DOMAIN}", f"_aexy-verification.{DOMAIN}"),
    ),
    Mistake(
        "quoted", "SPF in quotation marks", _own, "spf",
        lambda w: w.put(DOMAIN, "TXT", f'"{_SPF}"'), "mismatch", (DOMAIN, _SPF),
    ),
    Mistake(
        "quoted", "semicolons with backslashes", _own, "dkim",
        lambda w: w.put(_DKIM, "TXT", RSA.replace(";", "\\;")), "mismatch", (_DKIM, RSA),
    ),
    Mistake(
        "quoted", "DMARC in quotation marks", _own, "dmarc",
        lambda w: w.put(f"_dmarc.{DOMAIN}", "TXT", '"v=DMARC1; p=reject"'),
        "mismatch", (f"_dmarc.{DOMAIN}",),
    ),
    Mistake(
        "wildcard_hidden", "a record below a workspace",
        lambda: wildcard_set(DEFAULT, "beta", [ours(DEFAULT.domain)]), "mx",
        lambda w: w.put("beta.aexy.email", "MX").put("beta.aexy.email", "TXT")
        .put("*.aexy.email", "MX", f"10 {HOST}").put("_dmarc.beta.aexy.email", "TXT", "x"),
        "missing", ("*.aexy.email", "beta.aexy.email", f"MX 10 {HOST}"),
    ),
    Mistake(
        "propagating", "a resolver with the old answer", _own, "mx",
        lambda w: w.old.update({(DOMAIN, "MX"): ["1 aspmx.l.google.com"]}),
        "valid", (DOMAIN, "nothing to do"),
    ),
    Mistake(
        "dns_unknown", "servers that fail", _own, "mx",
        _servers_fail,
        "unknown", (DOMAIN, "SERVFAIL", "asked again"),
    ),
]  # fmt: skip

PROVIDERS = {
    "provider_failed": Identity(DOMAIN, (), "failed", {"dkim": "FAILED"}),
    "provider_pending": Identity(DOMAIN, (), "pending", {"dkim": "PENDING"}, "HOST_NOT_FOUND"),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.code}: {each.about}")
def test_a_published_mistake_is_named_with_its_mend(mistake: Mistake) -> None:
    expected = mistake.expected()
    world = World().publish(expected)
    world.zone |= _SES_SPF
    mistake.publish(world)

    verdict = world.judge(expected)

    hit = next(each for each in verdict.records if each.record.kind == mistake.kind)
    assert (hit.code, hit.status) == (mistake.code, mistake.status), hit.message
    assert [part for part in mistake.says if part not in hit.message] == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.code}: {each.about}")
def test_every_other_record_of_the_set_stays_valid(mistake: Mistake) -> None:
    """One mistake makes one complaint, unless it takes several records away."""
    expected = mistake.expected()
    world = World().publish(expected)
    world.zone |= _SES_SPF
    mistake.publish(world)

    verdict = world.judge(expected)

    name = named(expected, mistake.kind).name
    wrong = [each for each in verdict.records if each.code and each.record.name != name]
    assert [(each.record.name, each.code) for each in wrong] == []


@pytest.mark.parametrize("code", sorted(PROVIDERS))
def test_a_providers_word_holds_sending_back_and_is_shown(code: str) -> None:
    expected = sets.own_set()

    verdict = World().publish(expected).judge(expected, {"Amazon SES": PROVIDERS[code]})

    assert verdict.sending is not None
    assert verdict.sending.failure is not None
    assert verdict.sending.failure.code == code
    assert "Amazon SES says dkim" in verdict.sending.failure.message
    assert verdict.receiving is not None
    assert verdict.receiving.standing == "verified"
    assert verdict.words == {"Amazon SES": PROVIDERS[code].words}


def test_every_code_is_produced_by_a_published_mistake() -> None:
    assert {each.code for each in MISTAKES} | PROVIDERS.keys() == set(CODES)
    assert REASONS.keys() == set(CODES)
