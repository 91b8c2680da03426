"""Which values describe a mail that came in?

All are frozen and free of behaviour that needs a database, a clock or a network. `Content` is what
`mime` reads from raw bytes, `Authentication` what `authentication` proves about the sender,
`Mail` both together with the delivery they belong to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

__all__ = [
    "Address",
    "ArcVerdict",
    "Attachment",
    "Authentication",
    "Complaint",
    "Content",
    "DkimVerdict",
    "DmarcVerdict",
    "Event",
    "EventKind",
    "FailedRecipient",
    "FailureCause",
    "Kind",
    "Mail",
    "NonDelivery",
    "SpfVerdict",
    "Thread",
    "ThreadEntry",
]


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox of RFC 5322 §3.4: display name (may be empty) and addr-spec."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """Lower-case domain after the last `@`, empty when there is none."""
        return self.address.rpartition("@")[2].lower() if "@" in self.address else ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part that is not the text. `part` is stable: the same raw bytes give the same ids."""

    part: str
    """Path in the MIME tree, 1-based, e.g. `1.2`; a mail inside a mail continues the path."""
    filename: str
    """Safe to show and to store: no path, no control characters; never empty."""
    content_type: str
    """As declared, lower case, without parameters."""
    size_bytes: int
    sha256: str
    content_id: str | None = None
    """Without angle brackets."""
    inline: bool = False


class Kind(StrEnum):
    """What sort of mail this is; only `person` is answered by itself."""

    PERSON = "person"
    AUTOMATIC = "automatic"
    LIST = "list"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    REPORT = "report"
    SPAM = "spam"


@dataclass(frozen=True, slots=True)
class Content:
    """What the raw bytes say. No NUL, no lone surrogate, no CR/LF inside a header value."""

    message_id: str | None
    """With angle brackets, e.g. `<a@b>`; None when absent or unusable."""
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    """Message-IDs with brackets, oldest first, at most 100."""
    date: datetime | None
    """Aware; None when absent or not readable."""
    subject: str
    from_: tuple[Address, ...]
    """All mailboxes of all From fields; authorise only when there is exactly one."""
    sender: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    text: str
    """The whole text as a person would see it (text part, else HTML as text)."""
    written: str
    """What this mail's writer wrote; of quotes only those that are answered point by point."""
    html: str | None
    """The HTML part as sent, decoded; sanitise before showing."""
    hidden_text: bool
    """HTML text that a person would not see was found and left out of `text`."""
    is_forward: bool
    attachments: tuple[Attachment, ...]
    headers: tuple[tuple[str, str], ...]
    """Name and decoded value, in order of appearance, at most 1,000."""
    content_sha256: str
    """Of the body octets after the header: the same mail through two doors has the same."""
    defects: tuple[str, ...] = ()
    """What was odd, as stable words, e.g. `charset_replaced`, `several_from`."""

    def header(self, name: str) -> str | None:
        """First value of a header, by case-insensitive name."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)


SpfResult = Literal[
    "none", "neutral", "pass", "fail", "softfail", "temperror", "permerror", "not_judged"
]
DkimResult = Literal["none", "pass", "fail", "policy", "neutral", "temperror", "permerror"]
DmarcResult = Literal["none", "pass", "fail", "temperror", "permerror", "not_judged"]
ArcResult = Literal["pass", "fail", "temperror"]
DmarcPolicy = Literal["none", "quarantine", "reject"]


@dataclass(frozen=True, slots=True)
class SpfVerdict:
    """RFC 7208 §2.6."""

    result: SpfResult
    domain: str | None = None
    """The domain that was checked, lower case."""
    identity: Literal["mailfrom", "helo"] = "mailfrom"
    reason: str = ""
    """At most 300 characters; may quote the sender's record."""


@dataclass(frozen=True, slots=True)
class DkimVerdict:
    """RFC 8601 §2.7.1, one for each signature (at most 10)."""

    result: DkimResult
    domain: str | None = None
    selector: str | None = None
    algorithm: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DmarcVerdict:
    """RFC 9989."""

    result: DmarcResult
    domain: str | None = None
    """The From domain that was judged."""
    policy: DmarcPolicy | None = None
    """The policy that applies to this mail (after p, sp, np, t)."""
    aligned_by: Literal["spf", "dkim", "arc"] | None = None
    """`arc`: it failed here, and a sealer on the operator's list saw it pass; see `reason`."""
    record_domain: str | None = None
    """Where the policy record was found."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ArcVerdict:
    """RFC 8617 §5.2, about the chain of seals of a forwarded mail."""

    result: ArcResult
    sealers: tuple[str, ...] = ()
    """`d=` of each seal, the first sealer first; empty when the sets cannot be read."""
    trusted: str | None = None
    """The last sealer, when the operator lists it: only then the chain counts."""
    said: str = ""
    """The authentication results that the trusted sealer saw, at most 500 characters."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Authentication:
    """What was proven about the sender, with the evidence."""

    spf: SpfVerdict
    dkim: tuple[DkimVerdict, ...]
    dmarc: DmarcVerdict
    judged_by: str
    """`mailagent`, a provider's name, or `nobody` (local test mail of the demo)."""
    arc: ArcVerdict | None = None
    """None without seals, and where no sealer is listed: then nobody looks."""

    @property
    def aligned(self) -> bool:
        """DMARC passed: the From domain itself vouches for the mail."""
        return self.dmarc.result == "pass"


FailureCause = Literal[
    "no_such_address",
    "no_such_host",
    "mailbox_full",
    "disabled",
    "message",
    "policy",
    "route",
]
"""What a failure is about. The first two are facts about the address; the others may end without
its owner's doing: room is made, an account is woken, a block is lifted, a server is mended."""

_DEAD_ADDRESS = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"})
"""RFC 3463 §3.2 and RFC 7505 §4.1: bad mailbox, bad system, bad syntax, moved away, null MX."""


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """One recipient of a DSN (RFC 3464 §2.3)."""

    address: str | None
    """Final-Recipient without its type; None when the report does not say."""
    action: Literal["failed", "delayed", "delivered", "relayed", "expanded"]
    status: str | None
    """Enhanced code `x.y.z` (RFC 3463); None when none can be read."""
    diagnostic: str = ""
    """At most 500 characters."""
    cause: FailureCause | None = None
    """Read from the status and the far side's words; None when they leave it open."""

    @property
    def hard(self) -> bool:
        """The address is dead and should not be written to again.

        Class 5 alone says only that this attempt is over: `5.2.2` is a full mailbox, `5.7.1` a
        block of the sender, and either may be gone tomorrow. So a failure is hard when its cause
        is the address or its host; without a cause the status decides. A status of class 4 never
        is: `4.1.1` says that the server could not look the address up.
        """
        if self.action != "failed" or (self.status or "").startswith("4"):
            return False
        if self.cause is not None:
            return self.cause in ("no_such_address", "no_such_host")
        return self.status in _DEAD_ADDRESS


@dataclass(frozen=True, slots=True)
class NonDelivery:
    """A bounce or delay report; `original_message_id` is that of the mail it speaks of."""

    recipients: tuple[FailedRecipient, ...]
    original_message_id: str | None = None
    original_envelope_id: str | None = None
    reporting_mta: str | None = None


@dataclass(frozen=True, slots=True)
class Complaint:
    """A feedback report (RFC 5965)."""

    feedback_type: str
    original_recipients: tuple[str, ...]
    original_message_id: str | None = None
    source_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail for one agent, read and judged."""

    delivery_id: str
    workspace_id: str
    recipient: str
    """The envelope recipient, as given."""
    mail_from: str | None
    received_at: datetime
    content: Content
    authentication: Authentication
    kind: Kind
    why_kind: str
    """The evidence in words, e.g. `Auto-Submitted: auto-replied`."""


@dataclass(frozen=True, slots=True)
class ThreadEntry:
    """One earlier message of a thread as an agent may see it."""

    author: str
    """Address of the writer."""
    by_us: bool
    at: datetime
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation of one agent: its entries before the mails of this turn, oldest first."""

    id: str
    subject: str
    entries: tuple[ThreadEntry, ...] = ()


class EventKind(StrEnum):
    """What became of a sent mail, our words for every provider's."""

    DELIVERED = "delivered"
    DELAYED = "delayed"
    BOUNCED_HARD = "bounced_hard"
    BOUNCED_SOFT = "bounced_soft"
    BLOCKED = "blocked"
    """Not taken for what the mail or its sender is, and no word about the address."""
    REJECTED = "rejected"
    """Taken by the provider, and not sent on by it: a virus, a suppression list of its own."""
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    OPENED = "opened"
    CLICKED = "clicked"
    UNKNOWN = "unknown"
    """A word of the provider's that we do not know; kept as it came."""


@dataclass(frozen=True, slots=True)
class Event:
    """One report about one recipient of a sent mail."""

    source: str
    source_event_id: str
    """Unique for its source: the same event twice is one."""
    kind: EventKind
    at: datetime
    recipient: str | None
    message_ids: tuple[str, ...] = ()
    """Every id the report names the mail by: ours, the provider's."""
    detail: str = ""
    raw: dict[str, object] = field(default_factory=dict)
