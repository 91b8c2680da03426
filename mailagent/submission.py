"""Which values describe a mail that one of our own hands in to be sent (RFC 6409)?

The submission door knows `Logins` and `Submits` and nothing behind them; what it may say of a
mail that is not taken stands in `Fault`, in words the door has a reply for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from mailagent.inbound import Later

__all__ = [
    "Declined",
    "Denied",
    "Fault",
    "Login",
    "Logins",
    "Submission",
    "Submits",
    "Submitted",
]


@dataclass(frozen=True, slots=True)
class Login:
    """Who is logged in. What it may send as is looked up with every mail, not here."""

    workspace_id: str
    name: str
    """The address it logged in with, lower case."""
    author: str
    """How the ledger names it: `key:<prefix>` or `sender:<address>`."""
    credential: Literal["key", "sender"]
    credential_id: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Name or password is wrong; nobody is told which. `why` is for the log."""

    why: str


class Logins(Protocol):
    """Tells who may hand mail in. Never raises: what fails is `Later`.

    An unknown name takes as long as a wrong password.
    """

    async def log_in(self, name: str, password: str) -> Login | Denied | Later: ...


@dataclass(frozen=True, slots=True)
class Submission:
    """One mail as a client of the submission door handed it in."""

    login: Login
    mail_from: str | None
    rcpt_to: tuple[str, ...]
    raw: bytes
    """The octets received."""
    client_ip: str
    tls: str
    """Protocol and cipher."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """Durable and due. A mail that was handed in before has the id that it had then."""

    outbound_id: str


class Fault(Enum):
    """Why a mail is not taken, for good."""

    SENDER = "the login may not send as this"
    CONTENT = "the message breaks a rule"


@dataclass(frozen=True, slots=True)
class Declined:
    """Nothing was kept. `mend` is one line of ASCII for the client to read."""

    fault: Fault
    mend: str


class Submits(Protocol):
    """Makes handed-in mails durable. Never raises: what fails is `Later`."""

    async def submit(self, submission: Submission) -> Submitted | Declined | Later: ...
