"""What makes a provider account, and what does every provider need from the house it runs in?

An `Account` is what a person set; `Surroundings` is the same for all accounts of one process. A
provider's class reads its own settings out of both, so that adding a kind changes nothing here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mailagent.errors import Misconfigured
from mailagent.inbound import Acceptor
from mailagent.outgoing import Sends
from mailagent.webhook import Fetch, Receives, Reports, WebhookSettings

__all__ = [
    "Account",
    "CanKeep",
    "CanReceive",
    "CanReport",
    "CanSend",
    "Closes",
    "ProviderKind",
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


@runtime_checkable
class Closes(Protocol):
    """A provider that keeps connections between two mails."""

    async def close(self) -> None: ...
