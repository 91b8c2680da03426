"""What does an answer of the SES API mean, and whose fault is a no?

Pure: a code, a status and a text go in, a failure comes out. Sources: Amazon SES API v2 Reference,
"SendEmail" and "Common Errors"; Amazon SES Developer Guide, "Errors related to the sending quotas"
and "Handling bounces", "Email headers" (read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from mailagent.errors import PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.outgoing import Fault

__all__ = ["Answer", "seen_as"]

_TRANSIENT = frozenset(
    {
        "ConcurrentModificationException",
        "InternalFailure",
        "InternalServiceError",
        "InternalServiceErrorException",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_MESSAGE = frozenset(
    {
        "BadRequestException",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MessageRejected",
        "RequestEntityTooLarge",
        "RequestEntityTooLargeException",
        "ValidationError",
        "ValidationException",
    }
)
"""All other refusals, new ones too, are the account's: then the mail waits or goes another way."""
_CREDENTIALS = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId"),
        *("SignatureDoesNotMatch", "UnrecognizedClientException"),
    }
)
_NOT_VERIFIED = re.compile(r"not verified", re.IGNORECASE)
_DAILY_QUOTA = re.compile(r"daily (message )?(sending )?quota", re.IGNORECASE)
_MENDS: tuple[tuple[str, str], ...] = (
    (
        "MessageRejected|MailFromDomainNotVerifiedException",
        "verify the domain in this region; in the sandbox recipients must be verified too",
    ),
    (
        "AccountSuspendedException|.*SendingPausedException",
        "sending is paused: the SES console says why",
    ),
    ("NotFoundException", "SES_CONFIGURATION_SET names none of this region"),
    (
        "SignatureDoesNotMatch|RequestExpired",
        "look at AWS_SECRET_ACCESS_KEY and at this machine's clock",
    ),
    ("AccessDenied.*", "the key needs ses:SendEmail and ses:SendRawEmail"),
    (
        "UnrecognizedClientException|InvalidClientTokenId|ExpiredToken.*|IncompleteSignature",
        "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
)
"""What a person does about a refusal of the account, by its code."""
_LONGEST_WAIT = timedelta(hours=1)
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]+")


def seen_as(ses_id: str, region: str) -> str:
    """The Message-ID that recipients see: SES replaces ours by one made of its own id."""
    return f"<{ses_id}@{'email' if region == 'us-east-1' else region}.amazonses.com>"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that is no success. `code` is AWS's own word, "" when it has none."""

    status: int
    code: str
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, response: Mapping[str, Any]) -> Self:
        """From `botocore.exceptions.ClientError.response`."""
        error, about = response.get("Error", {}), response.get("ResponseMetadata", {})
        code = str(error.get("Code", ""))
        return cls(
            int(about.get("HTTPStatusCode", 0)),
            "" if code.isdecimal() else code,
            str(error.get("Message", "")),
            about.get("HTTPHeaders", {}),
        )

    def failure(self, now: datetime) -> TransientFailure | PermanentFailure | UncertainDelivery:
        """What it means for the hand-over that it answers."""
        reason, code = self._reason(), self.code or str(self.status)
        if self.status in (502, 504) and not self.code:
            # Of a gateway before SES, which may have passed the request on.
            return UncertainDelivery(reason, code=code)
        if self._is_transient():
            return TransientFailure(reason, code=code, retry_at=self._retry_at(now))
        return PermanentFailure(
            reason, code=code, about=self.fault, credentials=self.code in _CREDENTIALS
        )

    @property
    def fault(self) -> Fault:
        """Whose fault a refusal is."""
        if self.code == "MessageRejected" and _NOT_VERIFIED.search(self.text):
            return "account"
        return "message" if self.code in _MESSAGE or self.status == 413 else "account"

    def _is_transient(self) -> bool:
        if self.status >= 500 or self.status in (408, 429):
            return True
        # A daily quota is not over in a minute: let another account carry the mail.
        return self.code in _TRANSIENT and not _DAILY_QUOTA.search(self.text)

    def _retry_at(self, now: datetime) -> datetime | None:
        wait = self.headers.get("retry-after", "")
        if not re.fullmatch(r"[0-9]{1,9}", wait):
            return None
        return now + min(timedelta(seconds=int(wait)), _LONGEST_WAIT)

    def _reason(self) -> str:
        text = _NOT_PRINTABLE.sub(" ", self.text)[:500]
        said = " ".join(word for word in (str(self.status), self.code, text) if word)
        if self.status < 500 and self.fault == "account":
            for codes, mend in _MENDS:
                if re.fullmatch(codes, self.code):
                    return f"SES answered {said} ({mend})"
        return f"SES answered {said}"
