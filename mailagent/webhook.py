"""What does a provider's HTTP request look like to us, and what may become of it?

A receiver turns a request into `Inbound` values, a reporter turns one into `Event` values; both
authenticate it first. Which status means "kept", "again later" and "never again" is the provider's
to say (`answer`), because each of them does something else with the same status.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from mailagent.errors import Misconfigured
from mailagent.inbound import Inbound, Outcome
from mailagent.mail import Event

__all__ = [
    "Answered",
    "Fetch",
    "Receives",
    "Reports",
    "WebhookRequest",
    "WebhookSettings",
    "from_base64",
]


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One POST as it came, its body whole and undecoded."""

    body: bytes
    headers: Mapping[str, str]
    """By lower-case name, decoded as Latin-1; of a repeated one the last."""
    received_at: datetime
    path: tuple[str, ...] = ()
    """What follows `/webhook/<provider>`, without our secret: `()`, or `("mime",)`."""
    secret_in_path: bool = False
    """The URL carried `INBOUND_WEBHOOK_SECRET`, or the operator opened this webhook: enough where
    nothing of the provider's own is set. What is set is checked all the same."""
    client_ip: str | None = None

    def header(self, name: str) -> str:
        """The value of a header, "" when it is absent."""
        return self.headers.get(name.lower(), "")


Fetch = Callable[[str], Awaitable[bytes]]
"""GETs an https address that its caller has checked: no redirect, at most 64 KiB, 5 s.
Raises TransientFailure."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """What the operator has set for webhooks."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Settings by their environment variable's name; absent is "". Holds secrets."""
    open: frozenset[str] = frozenset()
    """Providers whose webhooks the operator opened to everybody, by kind."""

    def value(self, name: str) -> str:
        """The value of a setting, "" when it is not set."""
        return self.values.get(name, "")


Answered = Outcome | Exception
"""What became of a request: the heaviest of its mails' outcomes, or why it was not read:
`Unauthentic`, `Malformed`, `Misconfigured` (its secret is not set, or it came to the wrong
address), `TransientFailure`; any other is a fault of ours, and "later"."""


class Receives(Protocol):
    """A webhook that brings mail."""

    @property
    def missing(self) -> Misconfigured | None:
        """The provider's own setting that would authenticate its requests and is not set; None
        when one is set. Without it only a secret in the path will do."""
        ...

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        """The mails of an authentic request; none for one that only confirms something.

        Is called only with what may be authentic: `missing` is None or `secret_in_path` is set.
        Raises Unauthentic, Malformed, TransientFailure; Misconfigured for a request that belongs to
        another address, with a sentence for whoever set it up.
        """
        ...

    def answer(self, answered: Answered) -> int:
        """The HTTP status that makes this provider do what `answered` asks for."""
        ...


class Reports(Protocol):
    """A webhook that tells what became of sent mail."""

    @property
    def missing(self) -> Misconfigured | None:
        """As `Receives.missing`."""
        ...

    async def events(self, request: WebhookRequest) -> Sequence[Event]:
        """The events of an authentic request. Raises as `Receives.inbound` does."""
        ...

    def answer(self, answered: Answered) -> int:
        """The HTTP status for what was not stored; what was is 200 everywhere."""
        ...


def from_base64(text: str) -> bytes:
    """Octets from Base64, written as RFC 4648 §3.5 has it. Raises ValueError.

    The unused bits of its last letter must be zero: else a signature could be changed and hold.
    """
    octets = base64.b64decode(text, validate=True)
    if base64.b64encode(octets).decode() != text:
        raise ValueError("not canonical Base64")
    return octets
