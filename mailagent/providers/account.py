"""What makes a provider account, and what does every provider need from the house it runs in?

An `Account` is what a person set; `Surroundings` is the same for all accounts of one process. A
provider's class reads its own settings out of both, so that adding a kind changes nothing here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable
from urllib.parse import quote, urlsplit

from mailagent.errors import Misconfigured
from mailagent.identity import Collects, Identifies
from mailagent.inbound import Acceptor, Inbound
from mailagent.outgoing import Sends
from mailagent.providers.steps import SetUp
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = [
    "Account",
    "CanCollect",
    "CanIdentify",
    "CanKeep",
    "CanReceive",
    "CanRecover",
    "CanReport",
    "CanSend",
    "CanSetUp",
    "Closes",
    "HasRegion",
    "House",
    "LeftBehind",
    "Listing",
    "ProviderKind",
    "Recovers",
    "SigningKey",
    "SigningKeys",
    "Surroundings",
]


@dataclass(frozen=True, slots=True)
class Account:
    """One account at one provider. `settings` may hold secrets and is never shown."""

    name: str
    """Unique; what ledger lines and hand-overs call it."""
    kind: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def required(self, setting: str) -> str:
        """The value of a setting. Raises Misconfigured when it is absent or empty."""
        value = self.settings.get(setting, "").strip()
        if not value:
            raise Misconfigured(setting, f"is empty: the account {self.name!r} needs it")
        return value


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Whose DKIM signature a mail carries (RFC 6376)."""

    domain: str
    """`d=`: the From domain, or the organisational domain that signs for it."""
    selector: str
    private_key_pem: bytes = field(repr=False)
    beside: SigningKey | None = None
    """A second key that signs too: Ed25519, which not everybody verifies (RFC 8463 §3)."""


SigningKeys = Callable[[str], Awaitable[SigningKey | None]]
"""Finds the key for a lower-case From domain; None when nobody signs for it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a provider is handed beside its account."""

    hostname: str
    """Our public name: HELO, and the right side of ids we make."""
    acceptor: Acceptor
    """Takes mail for our own addresses."""
    signing_key: SigningKeys


@dataclass(frozen=True, slots=True)
class House:
    """What a provider must be told of us before it brings mail and events here."""

    default_domain: str
    url: str
    """Where the provider reaches our webhooks: `https://mail.example.org`, no slash at the end."""
    settings: WebhookSettings
    hosts: Sequence[str] = ()
    """The workspaces' domains below the default domain, for a provider that knows no wildcard."""

    @property
    def secret(self) -> str:
        """`INBOUND_WEBHOOK_SECRET`, which may stand in a path; "" when it is not set."""
        return self.settings.value("INBOUND_WEBHOOK_SECRET")

    def webhook(self, kind: str, *rest: str, secret: bool = False) -> str:
        """Where a provider brings mail, by its kind; with the secret in it where one is set."""
        return self._address("webhook", kind, *rest, secret=secret)

    def events(self, kind: str, *, secret: bool = False) -> str:
        """Where a provider tells what became of mail."""
        return self._address("webhooks/email", kind, secret=secret)

    def is_ours(self, address: str, *, events: bool = False) -> bool:
        """Whether an address leads to our host, to our webhooks of `events` or of mail, whatever
        secret is in it: it may be an older one."""
        try:
            given, ours = urlsplit(address), urlsplit(self.url)
        except ValueError:
            return False
        under = f"{ours.path.rstrip('/')}/{'webhooks/email/' if events else 'webhook/'}"
        return given.hostname == ours.hostname and given.path.startswith(under)

    def masked(self, text: str) -> str:
        """A text for people, without our secrets."""
        for name in ("INBOUND_WEBHOOK_SECRET", "POSTMARK_WEBHOOK_PASSWORD"):
            if value := self.settings.value(name):
                text = text.replace(quote(value, safe=""), "…").replace(value, "…")
        return text

    def _address(self, first: str, *parts: str, secret: bool) -> str:
        kind, *rest = parts
        hidden = [quote(self.secret, safe="")] if secret and self.secret else []
        return "/".join([self.url.rstrip("/"), first, kind, *hidden, *rest])


class ProviderKind(Protocol):
    """A provider's class: it has a name, and offers of the following what its service can do."""

    @property
    def kind(self) -> str: ...


@runtime_checkable
class CanSend(Protocol):
    """A provider's class that makes a `Sends` from an account."""

    @property
    def carries_mime(self) -> bool:
        """Whether it gives its service the octets of `build.render`, and so those of a raw mail."""
        ...

    def open(self, account: Account, surroundings: Surroundings, /) -> Sends:
        """Raises Misconfigured. Connects to nothing."""
        ...


@runtime_checkable
class CanReceive(Protocol):
    """A provider's class that makes a `Receives`, which says itself what is not set."""

    def receiver(self, settings: WebhookSettings, fetch: Fetch, /) -> Receives: ...


@runtime_checkable
class CanReport(Protocol):
    """A provider's class that makes a `Reports`, as `CanReceive` does."""

    def reporter(self, settings: WebhookSettings, fetch: Fetch, /) -> Reports: ...


@runtime_checkable
class CanKeep(Protocol):
    """A provider's class that keeps a mail for us and tells only its place."""

    def keeps(self, stored_at: str, /) -> bool:
        """Whether this is a place of this provider, by its form alone."""
        ...

    async def fetch_stored(self, settings: WebhookSettings, stored_at: str, /) -> bytes:
        """The mail. Raises TransientFailure, also while it is not there; PermanentFailure for a
        place that the settings do not list.
        """
        ...


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A mail that a provider has, and of which its webhook may never have told us."""

    source_id: str
    """What its webhook names the mail by; "" where only the mail itself tells that."""
    place: str
    """By what the provider finds it again."""
    recipients: tuple[str, ...]
    """By the provider's own record; none where only the mail itself tells them."""
    at: datetime
    """When the provider took it; aware."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of what a provider has."""

    mails: Sequence[LeftBehind]
    after: str = ""
    """Where the next part begins; "" when this was the last."""


class Recovers(Protocol):
    """Finds mail at a provider that an outage of ours left there."""

    @property
    def late(self) -> timedelta:
        """How long after its time a mail may first be listed."""
        ...

    async def listed(self, since: datetime, after: str, /) -> Listing:
        """What was taken since then, one bounded part. Raises TransientFailure, also for keys that
        a person must mend first; PermanentFailure.
        """
        ...

    async def bring(self, mail: LeftBehind, /) -> Sequence[Inbound]:
        """The mail as its webhook would have brought it, under the same source and source_id.

        Without recipients, where none can be proven; none at all when the provider was asked to
        call the webhook again. Raises TransientFailure; PermanentFailure for this mail alone.
        """
        ...


@runtime_checkable
class CanRecover(Protocol):
    """A provider's class whose service still has what its webhook could not hand over."""

    def recoverer(self, settings: WebhookSettings, /) -> Recovers | None:
        """None when nothing is set that says where to look."""
        ...


@runtime_checkable
class CanIdentify(Protocol):
    """A provider's class that makes an `Identifies` from an account."""

    def identifier(self, account: Account, /) -> AbstractAsyncContextManager[Identifies]:
        """Raises Misconfigured. Connects to nothing before it is asked something."""
        ...


@runtime_checkable
class CanCollect(Protocol):
    """A provider's class that makes a `Collects` from an account."""

    def collector(self, account: Account, house: House, /) -> AbstractAsyncContextManager[Collects]:
        """As `CanIdentify.identifier`."""
        ...


@runtime_checkable
class HasRegion(Protocol):
    """A provider's class whose accounts keep and send mail in one part of the world."""

    def region(self, account: Account, /) -> str:
        """`US` (United States), `EU` (a member of the union), else the service's own word."""
        ...


@runtime_checkable
class CanSetUp(Protocol):
    """A provider's class that knows what its account should be, step by step."""

    def setting_up(self, account: Account, house: House, /) -> AbstractAsyncContextManager[SetUp]:
        """As `CanIdentify.identifier`; may ask who we are there, and raises what that does."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A provider that keeps connections between two mails."""

    async def close(self) -> None: ...
