"""How does a mail leave by SendGrid, and what do its answers mean?

`POST /v3/mail/send` takes one mail of at most 30 MB to at most 1,000 recipients. Source: Twilio
SendGrid "Mail Send" (v3), "Errors" and "Rate limits", read 2026-11-21.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from mailagent.errors import (
    Malformed,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.mime import json_body
from mailagent.mime.json_body import JsonObject
from mailagent.outgoing import (
    Committing,
    HandedOver,
    Later,
    Outgoing,
    Recipient,
    Refused,
    Sent,
)
from mailagent.providers.account import Account
from mailagent.providers.addressing import Addressing, addressing
from mailagent.providers.api import TIMES, Answer, Api, Times, wait_of
from mailagent.providers.sendgrid_access import API, access
from mailagent.providers.sendgrid_message import message, recipient_at

__all__ = ["SendGridSender"]

_MOST_BYTES = 30 * 1024 * 1024
_MOST_RECIPIENTS = 1_000


class SendGridSender:
    """One SendGrid account that carries our mail. Belongs to one event loop."""

    def __init__(
        self,
        name: str,
        key: str,
        *,
        base: str = API,
        times: Times = TIMES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._api = Api(base, secret=key, headers={"Authorization": f"Bearer {key}"}, times=times)
        self._now = now

    @classmethod
    def of(cls, account: Account) -> Self:
        """`SENDGRID_API_KEY`; `SENDGRID_REGION` (`global` or `eu`) and `SENDGRID_BASE_URL` where
        set. Raises Misconfigured."""
        key, base = access(account)
        return cls(
            account.name,
            key,
            base=base,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def recipients_at_once(self) -> int:
        return _MOST_RECIPIENTS

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        """Hand one mail over for up to 1,000 recipients, in one request.

        Raises PermanentFailure (too large, 4xx), TransientFailure (429, 500, 503, no connection),
        UncertainDelivery (no answer, or one that says neither).
        """
        if len(to) > _MOST_RECIPIENTS:
            raise PermanentFailure(
                f"SendGrid takes {_MOST_RECIPIENTS} recipients at once", about="message"
            )
        named = addressing(outgoing, to, "SendGrid")
        fields = message(outgoing, named)
        content = json.dumps(fields, ensure_ascii=False).encode()
        if len(content) > _MOST_BYTES:
            raise PermanentFailure(
                f"the mail has {len(content)} bytes as SendGrid's API takes it, its attachments in "
                f"Base64; {_MOST_BYTES} are the most",
                code="5.3.4",
                about="message",
            )
        await committing(to)
        answer = await self._api.post("/v3/mail/send", content)
        return _outcome(answer, to, named, fields, self._now())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()


def _outcome(
    answer: Answer,
    to: Sequence[Recipient],
    named: Addressing,
    fields: dict[str, Any],
    now: datetime,
) -> HandedOver:
    """What one answer says of each recipient. Raises as `send` does."""
    if answer.status == 202:
        message_id = answer.headers.get("X-Message-Id", "").strip()[:255]
        return dict.fromkeys(to, Sent(message_id or None, f"202 {message_id}{named.remark}"))
    errors = _errors(answer)
    words = answer.words("; ".join(one.optional("message") for one in errors) if errors else None)
    reason, code = f"SendGrid: {words or 'no words'}", str(answer.status)
    match answer.status:
        case 408 | 429 | 500 | 503:
            raise TransientFailure(reason, code=code, retry_at=wait_of(answer, now))
        case 400:
            return _refused(reason, code, to, errors, fields)
        case 401:
            # It says "Maximum credits exceeded" with the same status: that key is right.
            is_key = "credits" not in words.lower()
            raise PermanentFailure(reason, code=code, about="account", credentials=is_key)
        case 402 | 403 | 404 | 405:
            raise PermanentFailure(reason, code=code, about="account")
        case status if 300 <= status < 400:
            raise PermanentFailure(reason, code=code, about="account")
        case status if 400 <= status < 500:
            raise PermanentFailure(reason, code=code, about="message")
        case _:
            raise UncertainDelivery(
                f"an answer that SendGrid does not document: {reason}", code=code
            )


def _refused(
    reason: str,
    code: str,
    to: Sequence[Recipient],
    errors: Sequence[JsonObject],
    fields: dict[str, Any],
) -> HandedOver:
    """Nobody was written to. Where recipients alone are at fault, the others may go without."""
    accused = [recipient_at(fields, one.optional("field")) for one in errors]
    wrong = {address.lower() for address in accused if address is not None}
    if None in accused or not wrong.intersection(one.address.lower() for one in to):
        raise PermanentFailure(reason, code=code, about="message")
    refused = Refused(reason, about="recipient", code=code)
    again = Later(f"refused for another recipient; {reason}", code=code)
    return {one: refused if one.address.lower() in wrong else again for one in to}


def _errors(answer: Answer) -> list[JsonObject]:
    try:
        errors = list(json_body.read(answer.body).objects("errors"))
        for one in errors:
            one.optional("message")
            one.optional("field")
    except Malformed:
        return []
    return errors
