"""What can be wrong with a published record, in one word and in one sentence with its mend?

`REASONS` is the whole list. docs/reference/verification-codes.md shows it, and a test holds the
page to it. A sentence has the real names filled in by `say`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

__all__ = ["CODES", "REASONS", "Code", "Reason", "say"]

Code = Literal[
    "dnssec_bogus",
    "cname_at_apex",
    "ownership_missing",
    "ownership_mismatch",
    "apex_cname_missing",
    "apex_cname_mismatch",
    "dkim_cname_missing",
    "dkim_cname_mismatch",
    "chain_broken",
    "dkim_mismatch",
    "dkim_missing",
    "dkim_multiple",
    "dkim_key_truncated",
    "dkim_key_mismatch",
    "spf_multiple",
    "spf_missing",
    "spf_invalid",
    "spf_missing_include",
    "spf_too_many_lookups",
    "spf_void_lookups",
    "mx_missing",
    "mx_foreign",
    "mx_null",
    "dmarc_multiple",
    "dmarc_missing",
    "dmarc_weaker",
    "dmarc_strict",
    "record_missing",
    "record_mismatch",
    "record_multiple",
    "zone_appended",
    "proxied",
    "at_parent",
    "prefix_missing",
    "quoted",
    "wildcard_hidden",
    "propagating",
    "provider_failed",
    "provider_pending",
    "dns_unknown",
]

CODES: tuple[Code, ...] = get_args(Code)
"""Every code; of failures that matter alike the first in this order is told first."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One code: what it means in general, and its sentence."""

    means: str
    says: str
    """With {name}, {type}, {expected}, {found}, {at} and {detail}."""


REASONS: Mapping[Code, Reason] = MappingProxyType(
    {
        "dnssec_bogus": Reason(
            "The zone is signed and its signatures do not hold, so validating servers see nothing.",
            "DNSSEC of {name} does not validate ({detail}): at your registrar, renew the DS record "
            "to match the zone's key or remove it, or sign the zone anew.",
        ),
        "cname_at_apex": Reason(
            "A CNAME stands at a name that needs MX or TXT records; it takes their place.",
            "{name} is a CNAME to {at}, and no {type} record counts beside it (RFC 1034 §3.6.2): "
            "delete the CNAME, use A or AAAA records for the web, and add {expected}",
        ),
        "ownership_missing": Reason(
            "The TXT record that proves ownership is not there.",
            "There is no TXT record at {name}: add {expected} there, exactly as it is written.",
        ),
        "ownership_mismatch": Reason(
            "There is an ownership record, with another token.",
            "{name} has {found}: replace it by {expected}, the token of this workspace.",
        ),
        "apex_cname_missing": Reason(
            "The CNAME that lets us keep the records is not there.",
            "There is no CNAME at {name}: add one that points to {expected}",
        ),
        "apex_cname_mismatch": Reason(
            "That CNAME points elsewhere.",
            "The CNAME at {name} points to {found}: point it to {expected}",
        ),
        "dkim_cname_missing": Reason(
            "A DKIM CNAME is not there.",
            "There is no CNAME at {name}: add one that points to {expected}",
        ),
        "dkim_cname_mismatch": Reason(
            "A DKIM CNAME points elsewhere.",
            "The CNAME at {name} points to {found}: point it to {expected}",
        ),
        "chain_broken": Reason(
            "The CNAME is right, and nothing stands where it leads.",
            "{name} points to {expected} as it should, but nothing is found there: nothing to do "
            "at your DNS host; the operator checks the zone of {expected} and its name servers.",
        ),
        "dkim_mismatch": Reason(
            "The CNAME is right, and another key stands behind it.",
            "{name} leads to a key that is not ours ({found}): check that the CNAME points to "
            "{expected}; if it does, wait for the key's old copy to expire.",
        ),
        "dkim_missing": Reason(
            "A DKIM key is not there.",
            "There is no DKIM key at {name}: add a TXT record with {expected}",
        ),
        "dkim_multiple": Reason(
            "Several keys stand at one selector, so that none counts.",
            "{name} has {detail} DKIM keys and must have one: keep {expected}, delete the others.",
        ),
        "dkim_key_truncated": Reason(
            "The key was cut off, mostly at 255 characters.",
            "The key at {name} is not whole ({detail} characters): publish all of it, as one value "
            "or as several quoted strings in one record; waiting does not help. It is {expected}",
        ),
        "dkim_key_mismatch": Reason(
            "A key is there, and it is another, revoked or not readable.",
            "The key at {name} is not the one we sign with ({detail}): replace it by {expected}",
        ),
        "spf_multiple": Reason(
            "Several SPF records at one name; receivers then use none.",
            "{name} has {detail} SPF records and must have one: replace them all by {expected}",
        ),
        "spf_missing": Reason(
            "No SPF record.",
            "There is no SPF record at {name}: add a TXT record with {expected}",
        ),
        "spf_invalid": Reason(
            "The SPF record breaks the syntax, or includes a name without SPF record.",
            "The SPF record at {name} is not valid ({detail}): replace it by {expected}",
        ),
        "spf_missing_include": Reason(
            "The SPF record does not have all that sends for the domain.",
            "The SPF record at {name} lacks {detail}: replace it by {expected}",
        ),
        "spf_too_many_lookups": Reason(
            "Evaluating the SPF record takes more than ten DNS lookups, so receivers give up.",
            "The SPF record at {name} takes {detail} DNS lookups, and 10 are allowed (RFC 7208 "
            "§4.6.4): remove includes that you no longer use from {found}.",
        ),
        "spf_void_lookups": Reason(
            "More than two names in the SPF record do not exist, so receivers give up.",
            "The SPF record at {name} names hosts that do not exist ({detail}), and 2 are allowed "
            "(RFC 7208 §4.6.4): remove them from {found}.",
        ),
        "mx_missing": Reason(
            "An MX record is not there.",
            "{name} has no MX record for {expected}: add it.",
        ),
        "mx_foreign": Reason(
            "Mail goes to another mail service, or to it as well.",
            "Mail for {name} goes to {at} ({found}): remove that MX and keep {expected}{detail}",
        ),
        "mx_null": Reason(
            "A null MX says that the domain takes no mail (RFC 7505).",
            "{name} has the null MX, by which it takes no mail: replace it by {expected}",
        ),
        "dmarc_multiple": Reason(
            "Several DMARC records at one name; none counts.",
            "{name} has {detail} DMARC records and must have one: keep the one you want, at least "
            "{expected}, and delete the others.",
        ),
        "dmarc_missing": Reason(
            "No DMARC record at the domain, nor above it.",
            "There is no DMARC record at {name}: add a TXT record with {expected}",
        ),
        "dmarc_weaker": Reason(
            "The DMARC policy asks for less than ours: p=none, no p, t=y or pct below 100.",
            "The DMARC record at {at} asks for too little ({detail}): have at least {expected} at "
            "{name}; stronger is fine.",
        ),
        "dmarc_strict": Reason(
            "Strict alignment, or psd, at the default domain: mail of its workspaces would fail.",
            "The DMARC record at {name} has {detail}, with which mail of workspaces fails: remove "
            "that tag, as in {expected}",
        ),
        "record_missing": Reason(
            "A record is not there.",
            "There is no {type} record at {name}: add {expected}",
        ),
        "record_mismatch": Reason(
            "A record has another value.",
            "The {type} record at {name} is {found}: change it to {expected}",
        ),
        "record_multiple": Reason(
            "Several records of which one may stand.",
            "{name} has {detail} such records and must have one: keep {expected}",
        ),
        "zone_appended": Reason(
            "The DNS host appended the zone to a name that had it already.",
            "Your DNS host added its zone, so that {at} was made of what you typed: {detail}.",
        ),
        "proxied": Reason(
            "The record is behind Cloudflare's proxy (orange cloud), which hides it.",
            "{name} is proxied by Cloudflare ({found}): set it to DNS only (grey cloud), with the "
            "{type} {expected}",
        ),
        "at_parent": Reason(
            "The right record stands at the name above.",
            "The record is right but stands at {at}: add {type} {expected} at {name} as well.",
        ),
        "prefix_missing": Reason(
            "The right record stands at a name whose beginning was left out.",
            "The record is right but stands at {at}: move it to {name}, with the beginning of the "
            "name.",
        ),
        "quoted": Reason(
            "Quotation marks or backslashes became part of the value.",
            "The value at {name} has quotation marks or backslashes inside ({found}): enter it "
            "without them, as {expected}",
        ),
        "wildcard_hidden": Reason(
            "A wildcard has the record, and another record at or below the name hides it.",
            "The wildcard {at} has it, but another record at or below {name} hides that (RFC 4592 "
            "§4.4): add {type} {expected} at {name} itself, or remove the other record.",
        ),
        "propagating": Reason(
            "Right at the zone's own servers; resolvers still have an old answer.",
            "{name} is right at your DNS host; other servers still remember an old answer: nothing "
            "to do, it takes minutes, at most {detail}.",
        ),
        "provider_failed": Reason(
            "The provider gave up looking.",
            "{name} says {detail}: check that each record here is right, then resubmit.",
        ),
        "provider_pending": Reason(
            "The provider has not verified the domain yet.",
            "{name} says {detail}: nothing to do when the records here are right; it mostly takes "
            "1 to 12 hours, at most 72.",
        ),
        "dns_unknown": Reason(
            "DNS could not be asked, or did not answer; nothing is concluded from that.",
            "{name} cannot be told now ({detail}): it is asked again by itself.",
        ),
    }
)


def say(
    code: Code,
    *,
    name: str,
    type_: str = "",
    expected: str = "",
    found: str = "",
    at: str = "",
    detail: str = "",
) -> str:
    """The sentence of a code with the real names in it."""
    return REASONS[code].says.format(
        name=name, type=type_, expected=expected, found=_short(found), at=at, detail=_short(detail)
    )


def _short(text: str) -> str:
    """Foreign values in a sentence: one line, 200 characters."""
    line = "".join(each if each.isprintable() else "�" for each in text)
    return line if len(line) <= 200 else f"{line[:199]}…"
