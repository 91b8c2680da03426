"""What does every door yield, and what is a door given?

A door (SMTP, a webhook) turns what arrived into `Inbound` values and speaks to two protocols only:
`Directory` (is this address ours?) and `Acceptor` (make it durable). Nothing behind the door
knows which door it was: where things differ, `Origin` holds the evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Literal, Protocol

__all__ = [
    "Accepted",
    "Acceptor",
    "Directory",
    "Duplicate",
    "Envelope",
    "Inbound",
    "Known",
    "Later",
    "Origin",
    "Outcome",
    "Replayed",
    "Unrouted",
]


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 §2.3.1; never read from `To:` or `From:`."""

    mail_from: str | None
    """Reverse-path without brackets; None is `<>` (§4.5.5) and is never answered."""
    rcpt_to: tuple[str, ...]
    """One or more forward-paths, as the source gave them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What only the door can know of a mail; kept with each delivery."""

    received_at: datetime
    client_ip: str | None = None
    helo: str | None = None
    tls: str | None = None
    """Protocol and cipher, e.g. `TLSv1.3 TLS_AES_256_GCM_SHA384`; None is plain text."""
    authenticated_as: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    """MAIL parameters by upper-case name (RFC 1870, 3461, 6152, 6531), e.g. `{"RET": "HDRS"}`."""
    recipient_parameters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """RCPT parameters (NOTIFY, ORCPT) by recipient; only recipients that had some."""
    provider_verdicts: Mapping[str, str] = field(default_factory=dict)
    """The delivering provider's words: keys `spf`, `dkim`, `dmarc`, `spam`, `virus`; and
    `dmarc_policy` (none, quarantine, reject), where DMARC failed."""
    body_format: Literal["raw", "parsed", "stored"] = "raw"
    """`parsed`: the provider gave no raw MIME and `raw` is its request body. `stored`: it gave only
    the place where it keeps the mail, `stored_at`, and `raw` is its notification."""
    body_type: str = ""
    """The request's Content-Type, where `raw` is its body."""
    handed_over_by: str = ""
    """The edge that took it, by its key; it may hand the same mail over again."""
    parsed_by: str = ""
    """Whose form a `parsed` body has: the kind of a provider."""
    stored_at: str = ""
    """`s3://bucket/key` or an https address of the provider."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One mail as one source handed it over."""

    envelope: Envelope
    raw: bytes
    """The octets received: nothing added, nothing decoded."""
    source: str
    """`smtp`, `ses`, `postmark`, `local`, …"""
    source_id: str
    """The source's name for this hand-over; (source, source_id, recipient) is unique."""
    origin: Origin
    replay_token: str | None = None
    """A single-use token of the source: kept in the accepting transaction, and good for this
    content alone."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Durable: one delivery for each recipient, in the order of `rcpt_to`."""

    delivery_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same (source, source_id, recipient) was accepted before: the same yes as then."""

    delivery_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """Its `replay_token` came before with other content: somebody copied it."""


@dataclass(frozen=True, slots=True)
class Unrouted:
    """None of the recipients is ours (any more)."""

    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing was kept; the sender must try again. `reason` is for the log, not for the peer."""

    reason: str


Outcome = Accepted | Duplicate | Replayed | Unrouted | Later


class Known(Enum):
    """What a directory says of an address."""

    YES = "yes"
    NO_SUCH_ADDRESS = "no_such_address"
    NO_SUCH_DOMAIN = "no_such_domain"
    """A name below the default domain that no workspace has."""
    NOT_OUR_DOMAIN = "not_our_domain"
    OFF = "off"
    """The address exists, its agent's e-mail is switched off, or its workspace has retired."""
    UNKNOWN = "unknown"
    """It cannot be told now: 451 / "later", never a no."""


class Directory(Protocol):
    """Says whether an address is ours. Never raises: what fails is `Known.UNKNOWN`."""

    async def knows(self, address: str) -> Known: ...


class Acceptor(Protocol):
    """Makes mails durable. Never raises: what fails is `Later`, one outcome for each mail."""

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]: ...
