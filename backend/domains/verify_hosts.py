"""Do the records that name hosts name the right ones: MX, CNAME, A and AAAA?"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from backend.domains.finding import Asked, Finding, Status
from backend.domains.mail_hosts import whose
from backend.domains.reasons import Code
from backend.domains.spf_terms import is_spf
from backend.domains.verify_key import public_key
from mailagent.dns_answers import Found, Unknown

__all__ = ["address", "alias", "exchange"]

# https://www.cloudflare.com/ips/: what proxied names resolve to.
_CLOUDFLARE = (
    ip_network("103.21.244.0/22"),
    ip_network("103.22.200.0/22"),
    ip_network("103.31.4.0/22"),
    ip_network("104.16.0.0/13"),
    ip_network("104.24.0.0/14"),
    ip_network("108.162.192.0/18"),
    ip_network("131.0.72.0/22"),
    ip_network("141.101.64.0/18"),
    ip_network("162.158.0.0/15"),
    ip_network("172.64.0.0/13"),
    ip_network("173.245.48.0/20"),
    ip_network("188.114.96.0/20"),
    ip_network("190.93.240.0/20"),
    ip_network("197.234.240.0/22"),
    ip_network("198.41.128.0/17"),
    ip_network("2400:cb00::/32"),
    ip_network("2405:8100::/32"),
    ip_network("2405:b500::/32"),
    ip_network("2606:4700::/32"),
    ip_network("2803:f800::/32"),
    ip_network("2a06:98c0::/29"),
    ip_network("2c0f:f248::/32"),
)
_ALIAS_CODES: dict[str, tuple[Code, Code]] = {
    "verification": ("apex_cname_missing", "apex_cname_mismatch"),
    "dkim": ("dkim_cname_missing", "dkim_cname_mismatch"),
}


def exchange(asked: Asked) -> Finding:
    """Judge one MX. The host counts, its preference only against those of foreign hosts."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    wanted = asked.record.record.value.lower()
    hosts = {host.lower().removesuffix("."): int(level) for level, host in map(_split, found)}
    if hosts.keys() == {""}:
        return asked.wrong("mx_null", found=found)
    if wanted not in hosts:
        return _without(asked, found, hosts)
    ours = _exchanges(asked)
    foreign = sorted(host for host in hosts if host not in ours)
    if not foreign:
        return Finding("valid", found=found)
    # A lower number is tried first (RFC 5321 §5.1). A return path has one MX and no other.
    first = min(hosts[host] for host in foreign) < min(hosts[h] for h in ours if h in hosts)
    worse = first or asked.record.kind == "bounce_mx"
    return _foreign(asked, found, foreign, "mismatch" if worse else "extra")


def _without(asked: Asked, found: tuple[str, ...], hosts: dict[str, int]) -> Finding:
    ours = _exchanges(asked)
    appended = _appended(asked, hosts)
    if appended is not None:
        return appended
    foreign = sorted(host for host in hosts if host not in ours)
    if foreign:
        return _foreign(asked, found, foreign, "mismatch")
    wanted = asked.record.record.value.lower()
    return asked.missing(
        "mx_missing",
        lambda there: any(_split(mx)[1].lower().removesuffix(".") == wanted for mx in there),
        found=found,
    )


def _foreign(
    asked: Asked, found: tuple[str, ...], foreign: Sequence[str], status: Status
) -> Finding:
    stay = "; if mail shall stay there, take a sub-domain or the mode send_only"
    return asked.wrong(
        "mx_foreign",
        status,
        found=found,
        at=", ".join(map(whose, foreign)),
        detail=stay if asked.record.kind == "mx" else "",
    )


def alias(asked: Asked) -> Finding:
    """Judge one CNAME, and what stands behind one that leads into a zone of ours."""
    missing, mismatch = _ALIAS_CODES.get(asked.record.kind, ("record_missing", "record_mismatch"))
    found = asked.values("CNAME")
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    wanted = asked.record.record.value.lower()
    targets = [_host(target) for target in found]
    if wanted in targets:
        return _behind(asked, found)
    if targets:
        return _appended(asked, targets) or asked.wrong(mismatch, found=found)
    shown = _proxied(asked)
    if shown:
        return asked.wrong("proxied", found=shown)
    return asked.missing(missing, lambda there: wanted in map(_host, there))


def address(asked: Asked) -> Finding:
    """Judge one A or AAAA; others beside it are the operator's affair."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    wanted = ip_address(asked.record.record.value)
    if any(_is(text, wanted) for text in found):
        return Finding("valid", found=found)
    if found and all(_is_cloudflare(text) for text in found):
        return asked.wrong("proxied", found=found)
    if found:
        return asked.wrong("record_mismatch", found=found)
    return asked.missing("record_missing", lambda there: any(_is(text, wanted) for text in there))


def _behind(asked: Asked, found: tuple[str, ...]) -> Finding:
    """Follow a CNAME that is right: everything that stands behind it must be found through it."""
    faults: list[Finding] = []
    absent = 0
    for record in asked.record.behind:
        answer = asked.look(record.name, record.type)
        if isinstance(answer, Unknown):
            return asked.unknown(answer.reason)
        there = answer.records if isinstance(answer, Found) else ()
        absent += not there
        if record.type == "MX":
            if record.value.lower() not in (_host(_split(mx)[1]) for mx in there):
                expected = f"{record.priority} {record.value}"
                faults.append(asked.wrong("mx_missing", "missing", expected=expected))
        elif is_spf(record.value):
            if not any(map(is_spf, there)):
                fault = asked.wrong("spf_missing", "missing", expected=record.value)
                faults.append(fault)
        elif public_key(record.value) not in map(public_key, there):
            faults.append(asked.wrong("dkim_mismatch", found=tuple(sorted(there))))
    if absent and absent == len(asked.record.behind):
        return asked.wrong("chain_broken", "missing", found=found)
    return faults[0] if faults else Finding("valid", found=found)


def _appended(asked: Asked, hosts: Sequence[str] | dict[str, int]) -> Finding | None:
    """A host without its final dot, to which the DNS host appended the zone."""
    wanted = asked.record.record.value.lower()
    for zone in dict.fromkeys((asked.record.place.zone, asked.record.place.domain)):
        if (made := f"{wanted}.{zone}") in hosts:
            detail = f"at {asked.record.name}, write the value with a final dot, {wanted}."
            return asked.wrong("zone_appended", found=(made,), at=made, detail=detail)
    return None


def _proxied(asked: Asked) -> tuple[str, ...]:
    """The addresses that Cloudflare shows in place of a CNAME, if it does."""
    shown: list[str] = []
    for type_ in ("A", "AAAA"):
        found = asked.values(type_)
        shown += () if isinstance(found, Unknown) else found
    return tuple(shown) if shown and all(map(_is_cloudflare, shown)) else ()


def _exchanges(asked: Asked) -> set[str]:
    """The hosts that may stand in the MX of this name."""
    return {
        each.record.value.lower()
        for each in asked.expected
        if each.record.type == "MX" and each.name == asked.record.name
    }


def _split(mx: str) -> tuple[str, str]:
    level, _, host = mx.partition(" ")
    return level, host


def _host(name: str) -> str:
    return name.lower().removesuffix(".")


def _is(text: str, wanted: object) -> bool:
    try:
        return ip_address(text) == wanted
    except ValueError:
        return False


def _is_cloudflare(text: str) -> bool:
    try:
        given = ip_address(text)
    except ValueError:
        return False
    return any(given.version == network.version and given in network for network in _CLOUDFLARE)
