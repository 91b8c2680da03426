"""What do Mailgun's answers to a mail mean? Source: Mailgun "Sending messages", "Errors"
(read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from mailagent.errors import Malformed, PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.mime import charset, json_body
from mailagent.outgoing import Fault, HandedOver, Recipient, Refused, Sent
from mailagent.providers.api import Answer, wait_of

__all__ = ["sent"]

_FAULTS: Mapping[int, Fault] = {
    402: "account",
    403: "account",
    413: "message",
}
_OF_THE_ACCOUNT = re.compile(
    r"not allowed to send|sandbox subdomain|free accounts|domain is unverified|\bdisabled\b", re.I
)
"""Only its words tell the 400 of an unverified domain from the 400 of a mail."""
_OF_A_RECIPIENT = re.compile(r"'?to'? parameter is not a valid address", re.I)
_TRY_AFTER = re.compile(r"try again after ([A-Za-z]{3}, [0-9A-Za-z :]{10,40})")
_LONGEST_WAIT = timedelta(days=1)
_LONGEST_ID = 255
"""A longer one is not kept; we know our own Message-ID."""


def sent(answer: Answer, to: Sequence[Recipient], *, region: str, now: datetime) -> HandedOver:
    """What one answer says of each recipient.

    Raises TransientFailure, PermanentFailure, and UncertainDelivery for the 502 and 504 of a
    gateway that does not know what became of the request.
    """
    said = _said(answer)
    words = answer.words(_text(said, "message") or None)
    if 200 <= answer.status < 300:
        # Taken, whatever else it says: Mailgun's id is our Message-ID.
        named = _text(said, "id")
        return dict.fromkeys(to, Sent(named if 0 < len(named) <= _LONGEST_ID else None, words))
    code = str(answer.status)
    reason = f"Mailgun: {answer.status} {words}".strip()
    match answer.status:
        case 429:
            raise TransientFailure(reason, code=code, retry_at=_retry_at(answer, said, words, now))
        case 502 | 504:
            raise UncertainDelivery(reason, code=code)
        case 408 | 500 | 503:
            raise TransientFailure(reason, code=code, retry_at=wait_of(answer, now))
        case 400 if _OF_THE_ACCOUNT.search(words):
            raise PermanentFailure(reason, code=code, about="account")
        case 400 if _OF_A_RECIPIENT.search(words) and len(to) == 1:
            return dict.fromkeys(to, Refused(reason, about="recipient", code=code))
        case 401 | 404:
            raise PermanentFailure(
                f"{reason} {_in(region)}",
                code=code,
                about="account",
                credentials=answer.status == 401,
            )
        case status if status >= 500:
            raise UncertainDelivery(f"an answer that is not documented: {reason}", code=code)
        case status:
            usual: Fault = "account" if status < 400 else "message"
            raise PermanentFailure(reason, code=code, about=_FAULTS.get(status, usual))


def _in(region: str) -> str:
    other = "eu" if region == "us" else "us"
    return (
        f"(asked in the region {region}: if key and domain are right, they are in the other one: "
        f"MAILGUN_REGION={other})"
    )


def _said(answer: Answer) -> Mapping[str, Any]:
    """The members of the answer; none when it is no JSON object, as a gateway's is not."""
    try:
        return json_body.read(answer.body).members
    except Malformed:
        return {}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return charset.clean(value) if isinstance(value, str) else ""


def _retry_at(
    answer: Answer, said: Mapping[str, Any], words: str, now: datetime
) -> datetime | None:
    """When to come again, wherever Mailgun says it: header, `retry-seconds`, or its sentence."""
    if (at := wait_of(answer, now)) is not None:
        return at
    seconds = said.get("retry-seconds")
    if isinstance(seconds, int | float) and 0 < seconds <= _LONGEST_WAIT.total_seconds():
        return now + timedelta(seconds=seconds)
    named = _TRY_AFTER.search(words)
    try:
        at = parsedate_to_datetime(named[1].replace("UTC", "+0000")) if named else None
    except ValueError:
        return None
    return at if at and at.tzinfo and now <= at <= now + _LONGEST_WAIT else None
