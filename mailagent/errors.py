"""Which kinds of failure exist, and what each asks of the caller.

    MailagentError
    ├── Malformed            the input breaks a rule; `field` names where (never retried)
    ├── Unauthentic          a signature, token or password does not hold
    ├── NotFound             nothing of that name in this workspace
    ├── Conflict             the wish collides with what is there (HTTP 409)
    ├── Misconfigured        a setting is wrong; the text names it and the mend
    ├── Delivery             an attempt to hand a mail over failed
    │   ├── TransientFailure     RFC 3463 class 4: again later, `retry_at` if the far side said when
    │   ├── PermanentFailure     RFC 3463 class 5: not again; `about` says whose fault it is
    │   └── UncertainDelivery    the content may have been taken: neither retried nor failed over
    ├── SandboxFailure       the worker that read foreign bytes hung, died or ran out of memory
    └── LostClaim            another worker owns the row now; the transaction must not commit

Retry, failover and status are read from the class, never from the text. `str(error)` is the
public sentence: it names the thing and the mend and holds nothing internal.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from mailagent.outgoing import Fault

__all__ = [
    "Conflict",
    "Delivery",
    "LostClaim",
    "MailagentError",
    "Malformed",
    "Misconfigured",
    "NotFound",
    "PermanentFailure",
    "SandboxFailure",
    "TransientFailure",
    "Unauthentic",
    "UncertainDelivery",
]


class MailagentError(Exception):
    """Root of all errors that this project raises on purpose."""


class Malformed(MailagentError):
    """The input breaks a rule; `field` is the name the giver of the input knows it by."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Unauthentic(MailagentError):
    """A signature, token, key or password does not hold."""


class NotFound(MailagentError):
    """Nothing of that name exists in the workspace that was asked."""


class Conflict(MailagentError):
    """The wish collides with what is already there."""


class Misconfigured(MailagentError):
    """A setting is wrong; `setting` is its name, the text says how to mend it."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting
        self.problem = problem


class Delivery(MailagentError):
    """An attempt to hand a mail over failed. `code` is the far side's own word, for people."""

    def __init__(self, reason: str, *, code: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class TransientFailure(Delivery):
    """RFC 3463 class 4. `retry_at` (aware) is set when the far side named a time."""

    def __init__(
        self, reason: str, *, code: str | None = None, retry_at: datetime | None = None
    ) -> None:
        super().__init__(reason, code=code)
        self.retry_at = retry_at


class PermanentFailure(Delivery):
    """RFC 3463 class 5. Only an `account` failure may move to another account.

    `credentials`: they were rejected, so that nothing leaves by the account until they are mended.
    """

    def __init__(
        self, reason: str, *, code: str | None = None, about: Fault, credentials: bool = False
    ) -> None:
        super().__init__(reason, code=code)
        self.about = about
        self.credentials = credentials


class UncertainDelivery(Delivery):
    """The far side may have taken the content: recorded as `unknown`, never repeated by itself."""


class SandboxFailure(MailagentError):
    """The sandboxed worker did not answer; `cause` is `deadline`, `memory` or `crash`."""

    def __init__(self, cause: Literal["deadline", "memory", "crash"], detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause = cause


class LostClaim(MailagentError):
    """The row was claimed by another worker since: roll back, change nothing."""
