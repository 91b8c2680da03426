"""Each mistake is published for real; what is said names the record, what is there, and the mend.

`pytest -s tests/domains/test_mistakes.py` prints every sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from backend.domains.life import State
from tests.dns_server import DnsServer
from tests.domains.town import HOST, NAME, Town, open_town

_DKIM = f"mailagent1._domainkey.{NAME}"
_DMARC = f"_dmarc.{NAME}"
_OWN = f"_aexy-verification.{NAME}"


class Signed(DnsServer):
    """Fails on some names as a validating resolver does, unless it is told not to check."""

    def __init__(self) -> None:
        super().__init__()
        self.bogus: set[str] = set()

    def answer(self, wire: bytes, *, limit: int | None) -> bytes | None:
        query = dns.message.from_wire(wire)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        recursive = bool(query.flags & dns.flags.RD)
        if name not in self.bogus or not recursive or query.flags & dns.flags.CD:
            return super().answer(wire, limit=limit)
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.SERVFAIL)
        error = dns.edns.EDEOption(dns.edns.EDECode.SIGNATURE_EXPIRED, "signature expired")
        response.use_edns(0, options=[error])
        return response.to_wire()


@pytest.fixture
def signed() -> Iterator[Signed]:
    with Signed() as server:
        yield server


@pytest.fixture
def town(sqlite_url: str, signed: Signed) -> Iterator[Town]:
    with open_town(sqlite_url, signed) as opened:
        yield opened


Mistake = Callable[[DnsServer], None]


def put(name: str, type_: str, *values: str) -> Mistake:
    return lambda dns: dns.add({name: {type_: values}})


def gone(name: str, type_: str) -> Mistake:
    def delete(dns: DnsServer) -> None:
        del dns.zone[name][type_]

    return delete


def moved(name: str, type_: str, to: str) -> Mistake:
    def move(dns: DnsServer) -> None:
        entry = dns.zone.setdefault(to, {})
        entry[type_] = [*entry.get(type_, []), *dns.zone[name].pop(type_)]
        if not dns.zone[name]:
            dns.remove(name)

    return move


def proxied(name: str, address: str) -> Mistake:
    """Cloudflare answers for the name with an address of its own."""

    def hide(dns: DnsServer) -> None:
        dns.zone[name] = {"A": [address]}

    return hide


def cut(name: str) -> Mistake:
    return lambda dns: dns.add({name: {"TXT": [dns.zone[name]["TXT"][0][:255]]}})


def also(name: str, type_: str, value: str) -> Mistake:
    return lambda dns: dns.zone[name][type_].append(value)


_MANY = "v=spf1 " + " ".join(f"a:h{n}.{NAME}" for n in range(11)) + " ip4:192.0.2.25 ~all"
_VOID = f"v=spf1 a:x.{NAME} a:y.{NAME} a:z.{NAME} ip4:192.0.2.25 ~all"

MISTAKES: dict[str, tuple[Mistake, str, str]] = {
    # code: (mistake, what it is about, what is said of the mend)
    "ownership_missing": (gone(_OWN, "TXT"), _OWN, "add aexy-verify="),
    "ownership_mismatch": (put(_OWN, "TXT", "aexy-verify=old"), "aexy-verify=old", "replace it by"),
    "mx_missing": (gone(NAME, "MX"), NAME, HOST),
    "mx_foreign": (put(NAME, "MX", "1 aspmx.l.google.com."), "Google Workspace", HOST),
    "mx_null": (put(NAME, "MX", "0 ."), "null MX", HOST),
    "spf_missing": (gone(NAME, "TXT"), NAME, "add a TXT record with v=spf1"),
    "spf_multiple": (also(NAME, "TXT", "v=spf1 -all"), NAME, "replace them all by"),
    "spf_missing_include": (put(NAME, "TXT", "v=spf1 -all"), "lacks", "replace it by v=spf1"),
    "spf_too_many_lookups": (put(NAME, "TXT", _MANY), "lookups", "remove"),
    "spf_void_lookups": (put(NAME, "TXT", _VOID), f"x.{NAME}", "remove them"),
    "dkim_missing": (gone(_DKIM, "TXT"), _DKIM, "add a TXT record with v=DKIM1"),
    "dkim_key_truncated": (cut(_DKIM), _DKIM, "publish all of it"),
    "dkim_key_mismatch": (put(_DKIM, "TXT", "v=DKIM1; k=rsa; p="), _DKIM, "replace it by"),
    "dmarc_missing": (gone(_DMARC, "TXT"), _DMARC, "add a TXT record with v=DMARC1"),
    "dmarc_weaker": (put(_DMARC, "TXT", "v=DMARC1; p=none"), _DMARC, "have at least"),
    "dmarc_multiple": (also(_DMARC, "TXT", "v=DMARC1; p=reject"), _DMARC, "delete the others"),
    "zone_appended": (
        moved(_DMARC, "TXT", f"{_DMARC}.{NAME}"),
        f"{_DMARC}.{NAME}",
        "added its zone",
    ),
    "prefix_missing": (moved(_OWN, "TXT", NAME), NAME, "move it to"),
    "cname_at_apex": (
        put(NAME, "CNAME", "hosting.example."),
        "hosting.example",
        "delete the CNAME",
    ),
}

_SUB = f"mail.{NAME}"
_ABOVE = f"mailagent1._domainkey.{NAME}"
_PROXY = "104.16.132.229"

ELSEWHERE: dict[str, tuple[str, str, Mistake, str, str]] = {
    # code: (domain, delegation, mistake, what it is about, what is said of the mend)
    "at_parent": (
        *(_SUB, "records", moved(f"mailagent1._domainkey.{_SUB}", "TXT", _ABOVE)),
        *(f"stands at {_ABOVE}", f"at mailagent1._domainkey.{_SUB} as well"),
    ),
    "wildcard_hidden": (
        *(_SUB, "records", moved(_SUB, "MX", f"*.{NAME}")),
        *(f"*.{NAME} has it", f"add MX 10 {HOST} at {_SUB}"),
    ),
    "proxied": (
        *(NAME, "cname", proxied(f"aexy.{NAME}", _PROXY)),
        *(f"aexy.{NAME} is proxied by Cloudflare ({_PROXY})", "DNS only"),
    ),
}


@pytest.mark.parametrize("code", MISTAKES)
async def test_a_mistake_is_named_and_mended(town: Town, code: str) -> None:
    await _is_named_and_mended(town, code, *MISTAKES[code])


@pytest.mark.parametrize("code", ELSEWHERE)
async def test_a_mistake_of_a_sub_domain_or_a_managed_one_is_named_and_mended(
    town: Town, code: str
) -> None:
    name, delegation, mistake, about, mend = ELSEWHERE[code]
    await _is_named_and_mended(town, code, mistake, about, mend, name=name, delegation=delegation)


async def _is_named_and_mended(
    town: Town,
    code: str,
    mistake: Mistake,
    about: str,
    mend: str,
    *,
    name: str = NAME,
    delegation: str = "records",
) -> None:
    await town.add(name, delegation=delegation)
    await town.publish(name)
    good = {name: {type_: list(v) for type_, v in e.items()} for name, e in town.dns.zone.items()}
    mistake(town.dns)
    looked = await town.look(name)
    assert looked.verdict is not None
    said = {each["code"]: each["message"] for each in looked.verdict["records"]}
    print(f"{code}: {said.get(code)}")
    assert code in said, said
    assert about in said[code]
    assert mend in said[code]
    assert looked.life.state == "pending"

    town.dns.zone.clear()
    town.dns.add(good)
    mended: State = (await town.look(name)).life.state
    assert mended == "verified"


async def test_a_signature_that_does_not_hold_is_told_and_takes_nothing_down(
    town: Town, signed: Signed
) -> None:
    await town.add()
    await town.publish()
    await town.look()
    signed.bogus |= {NAME, _DMARC}
    await town.cycles(2)
    domain = await town.domain()
    assert domain.life.state == "verified"
    assert domain.verdict is not None
    failure = domain.verdict["failure"]
    assert failure["code"] == "dnssec_bogus"
    assert "signature expired" in failure["message"]
    assert "DS record" in failure["message"]
