"""How do domains look in the API?"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from backend.domains.overview import shown_record
from backend.domains.removing import Removal

__all__ = [
    "AllowIn",
    "AllowOut",
    "CheckOut",
    "DnsRecordOut",
    "DomainIn",
    "DomainOut",
    "DomainPatch",
    "DomainRemovalOut",
    "DomainStepOut",
    "FailureOut",
    "InfrastructureOut",
    "ResubmittedOut",
]


class DomainIn(BaseModel):
    """A domain to be added, or an address of an agent there (`sales@acme.example`)."""

    model_config = ConfigDict(extra="forbid")

    name: str
    mode: Literal["send_only", "send_receive", "receive_only"] = "send_receive"
    delegation: Literal["records", "cname"] = "records"
    carried_by: list[str] | None = None
    receive_by: str | None = None
    agent: str | None = None
    group: str | None = None
    replace_mx: bool = False
    while_pending: Literal["wait", "go_on"] = "wait"
    until_verified: Literal["default", "wait"] = "default"
    confirm_apex: bool = False
    region: Literal["US", "EU"] | None = None


class DomainPatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    mode: Literal["send_only", "send_receive", "receive_only"] | None = None
    while_pending: Literal["wait", "go_on"] | None = None
    until_verified: Literal["default", "wait"] | None = None


class DnsRecordOut(BaseModel):
    """One record to publish; `status` is null before the first look."""

    type: str
    name: str
    value: str
    priority: int | None
    ttl: int
    purpose: str
    required: bool
    needed_for: list[str]
    group: str
    name_below_apex: str
    name_below_zone: str
    status: str | None
    message: str
    found: list[str]


class FailureOut(BaseModel):
    """The first thing that is wrong, with its mend."""

    code: str
    message: str


class DomainStepOut(BaseModel):
    """Something to be done at a provider, or done."""

    account: str
    kind: str
    state: str
    reason: str


class DomainOut(BaseModel):
    """A domain; a boolean is null where its mode has no such record."""

    id: str
    name: str
    unicode_name: str
    mode: str
    delegation: str
    verification_status: str
    sending_status: str
    verified_at: datetime | None
    receiving_verified_at: datetime | None
    sending_verified_at: datetime | None
    verification_txt: bool
    mx: bool | None
    spf: bool | None
    dkim: bool | None
    dmarc: bool | None
    bounce: bool | None
    tracking: str
    ses_dkim_status: str | None
    provider_words: dict[str, dict[str, str]]
    verification_failure: FailureOut | None
    dns_records: list[DnsRecordOut]
    name_servers: list[str]
    region: str | None
    carried_by: list[str]
    receive_by: str
    while_pending: str
    until_verified: str
    warnings: list[str]
    may_resubmit: bool
    steps: list[DomainStepOut]
    words: dict[str, str]
    created_at: datetime
    checked_at: datetime | None
    next_check_at: datetime | None
    removing_at: datetime | None


class CheckOut(BaseModel):
    """One look that was made."""

    at: datetime
    regular: bool
    before: str
    after: str
    failure: FailureOut | None


class DomainRemovalOut(BaseModel):
    """What a removal means: `gone` says that nothing is left to undo at a provider."""

    gone: bool
    consequences: list[str]
    records_to_remove: list[DnsRecordOut]

    @classmethod
    def of(cls, done: Removal) -> DomainRemovalOut:
        shown = [shown_record(each, {}) for each in done.records]
        values = {"gone": done.gone, "consequences": list(done.consequences)}
        return cls.model_validate({**values, "records_to_remove": shown}, from_attributes=True)


class ResubmittedOut(BaseModel):
    """The accounts that look again, and what to know."""

    asked: list[str]
    warnings: list[str]
    domain: DomainOut


class AllowIn(BaseModel):
    """A sub-domain, and the workspace (id or slug) that may have it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    workspace: str


class AllowOut(BaseModel):
    """A sub-domain that was given away."""

    name: str
    workspace: str


class InfrastructureOut(BaseModel):
    """The default domain, under which every workspace has its name."""

    domain: str
    wildcard: str
    verification_status: str
    verification_failure: FailureOut | None
    dns_records: list[DnsRecordOut]
    name_servers: list[str]
    checked_at: datetime | None
