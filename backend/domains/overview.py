"""What is shown of a domain, in API and commands alike?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.domains import stored
from backend.domains.carriers import Installed
from backend.domains.desk import Desk
from backend.domains.judging import key_of
from backend.domains.publishing import Expected, expected
from backend.domains.record import DomainRecord
from backend.domains.stored import Domain
from backend.domains.vocabularies import WORDS, aexy_sending, leena
from mailagent.store.transaction import Transaction

__all__ = [
    "Overview",
    "ShownRecord",
    "StepShown",
    "of_domain",
    "overview",
    "overviews",
    "shown_record",
]


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """One record to publish, and what the last look found there."""

    type: str
    name: str
    value: str
    priority: int | None
    ttl: int
    purpose: str
    required: bool
    needed_for: tuple[str, ...]
    group: str
    name_below_apex: str
    name_below_zone: str
    status: str | None
    """None before the first look, or when it is asked for since."""
    message: str
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepShown:
    """Something that is, or was, to be done at a provider."""

    account: str
    kind: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A domain with everything that is known of it. Times are aware."""

    id: str
    name: str
    unicode_name: str
    mode: str
    delegation: str
    verification_status: str
    sending_status: str
    """`pending`, `warming`, `active` or `waiting`."""
    verified_at: datetime | None
    receiving_verified_at: datetime | None
    sending_verified_at: datetime | None
    verification_txt: bool
    mx: bool | None
    """None where the domain's mode has no such record; so with the following."""
    spf: bool | None
    dkim: bool | None
    dmarc: bool | None
    bounce: bool | None
    tracking: str
    """`disabled`, `pending` or `verified`; it never blocks mail."""
    ses_dkim_status: str | None
    provider_words: Mapping[str, Mapping[str, str]]
    verification_failure: Mapping[str, str] | None
    dns_records: tuple[ShownRecord, ...]
    name_servers: tuple[str, ...]
    region: str | None
    """Where all that carry it work; None for a domain that may go anywhere."""
    carried_by: tuple[str, ...]
    receive_by: str
    while_pending: str
    until_verified: str
    warnings: tuple[str, ...]
    may_resubmit: bool
    """Whether a provider has given up and can be asked to look again."""
    steps: tuple[StepShown, ...]
    words: Mapping[str, str]
    """The state in the words of other systems."""
    created_at: datetime
    checked_at: datetime | None
    next_check_at: datetime | None
    removing_at: datetime | None


def overview(tx: Transaction, desk: Desk, reference: str) -> Overview:
    """One domain of the workspace. Raises NotFound."""
    return of_domain(tx, desk.installed(tx), stored.find(tx, reference))


def overviews(tx: Transaction, desk: Desk) -> tuple[Overview, ...]:
    """The workspace's domains by name."""
    installed = desk.installed(tx)
    return tuple(of_domain(tx, installed, domain) for domain in stored.listed(tx))


def of_domain(tx: Transaction, installed: Installed, domain: Domain) -> Overview:
    """Everything that is known of a domain."""
    wanted = expected(tx, installed, domain)
    told: Mapping[str, Any] = domain.verdict or {}
    checks = told.get("checks", {})
    life = domain.life
    return Overview(
        id=domain.id,
        name=domain.name,
        unicode_name=domain.unicode_name,
        mode=domain.mode,
        delegation=domain.delegation,
        verification_status="removing" if domain.removing_at is not None else life.state,
        sending_status=life.sending,
        verified_at=domain.verified_at,
        receiving_verified_at=life.receiving_since,
        sending_verified_at=life.sending_since,
        verification_txt=bool(checks.get("verification_txt")),
        mx=_whether(wanted, checks, "mx", "mx"),
        spf=_whether(wanted, checks, "spf", "spf"),
        dkim=_whether(wanted, checks, "dkim", "dkim"),
        dmarc=_whether(wanted, checks, "dmarc", "dmarc"),
        bounce=_whether(wanted, checks, "bounce", "bounce_mx", "bounce_spf", "return_path"),
        tracking=_tracking(wanted, checks),
        ses_dkim_status=_ses_dkim(told.get("words", {})),
        provider_words=told.get("words", {}),
        verification_failure=told.get("failure"),
        dns_records=tuple(shown_record(each, told) for each in wanted.records),
        name_servers=tuple(told.get("name_servers", ())),
        region=domain.region,
        carried_by=domain.choices.carried_by,
        receive_by=domain.choices.receive_by,
        while_pending=domain.choices.while_pending,
        until_verified=domain.choices.until_verified,
        warnings=domain.choices.warnings,
        may_resubmit=any(one.sending == "failed" for one in wanted.identities.values()),
        steps=tuple(
            StepShown(row.account, row.kind, row.state, row.reason)
            for row in stored.steps(tx, domain)
        ),
        words=_words(domain, told),
        created_at=domain.created_at,
        checked_at=domain.checked_at,
        next_check_at=domain.next_look,
        removing_at=domain.removing_at,
    )


def _whether(
    wanted: Expected, checks: Mapping[str, bool | None], name: str, *kinds: str
) -> bool | None:
    if not any(each.kind in kinds for each in wanted.records):
        return None
    return bool(checks.get(name))


def _tracking(wanted: Expected, checks: Mapping[str, bool | None]) -> str:
    if not any(each.kind == "tracking" for each in wanted.records):
        return "disabled"
    return "verified" if checks.get("tracking") else "pending"


def _ses_dkim(words: Mapping[str, Mapping[str, str]]) -> str | None:
    for title, said in words.items():
        if title.startswith("Amazon SES") and "dkim" in said:
            return said["dkim"].lower()
    return None


def shown_record(each: DomainRecord, told: Mapping[str, Any]) -> ShownRecord:
    """A record with what a look, as `judging` wrote it, found there."""
    key = key_of(each)
    seen = next((one for one in told.get("records", ()) if one["key"] == key), None)
    return ShownRecord(
        type=each.record.type,
        name=each.name,
        value=each.record.value,
        priority=each.record.priority,
        ttl=each.ttl,
        purpose=each.purpose,
        required=each.required,
        needed_for=each.needed_for,
        group=each.group,
        name_below_apex=each.name_below_apex,
        name_below_zone=each.name_below_zone,
        status=None if seen is None else seen["status"],
        message="" if seen is None else seen["message"],
        found=() if seen is None else tuple(seen["found"]),
    )


def _words(domain: Domain, told: Mapping[str, Any]) -> Mapping[str, str]:
    words, life = WORDS[domain.life.state], domain.life
    looked = domain.checked_at is not None
    return {
        "sendmux": words.sendmux,
        "anypost": words.anypost,
        "cms": words.cms,
        "aexy": words.aexy,
        "aexy_sending": aexy_sending(life),
        "agentmail": words.agentmail if looked else "NOT_STARTED",
        "leena_sender": leena(
            (told.get("sending") or {}).get("standing"),
            verified=life.sending_since is not None,
            looked=looked,
        ),
        "leena_receiver": leena(
            (told.get("receiving") or {}).get("standing"),
            verified=life.receiving_since is not None,
            looked=looked,
        ),
    }
