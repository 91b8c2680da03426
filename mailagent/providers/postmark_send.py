"""How does a mail leave by Postmark, and what do its answers mean?

`POST /email` takes one mail of at most 10 MB to at most 50 recipients and keeps our Message-ID when
`X-PM-KeepID` asks for it. Source: Postmark "Email API", "API error codes", read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from mailagent.errors import Malformed, PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.mime import json_body
from mailagent.outgoing import (
    Committing,
    Fault,
    HandedOver,
    Later,
    Outgoing,
    Recipient,
    Refused,
    Sent,
)
from mailagent.providers.account import Account
from mailagent.providers.addressing import Addressing, addressing
from mailagent.providers.api import (
    TIMES,
    Answer,
    Api,
    Times,
    base_url,
    check_count,
    json_content,
    wait_of,
)
from mailagent.providers.postmark_message import MESSAGE_ID_KEY, header_id, message, metadata_of

__all__ = ["PostmarkSender"]

_API = "https://api.postmarkapp.com"
_MOST_BYTES = 10 * 1024 * 1024
_MOST_RECIPIENTS = 50

_WRONG_TOKEN = 10
_INVALID_REQUEST = 300
_INACTIVE_RECIPIENT = 406
_FAULTS: Mapping[int, Fault] = {
    _WRONG_TOKEN: "account",
    _INVALID_REQUEST: "message",
    400: "account",  # no such sender signature
    401: "account",  # sender signature not confirmed
    402: "message",
    403: "message",
    405: "account",  # may not send: no credits
    409: "message",
    410: "message",
    411: "message",  # a type of file that it does not carry
    412: "account",  # waits for approval
    413: "account",  # may not send
    1235: "account",  # no such message stream
}
_MAINTENANCE = 100
_FOUND_AFTER = timedelta(minutes=30)
_KEPT = timedelta(days=6)
"""Seven days is the shortest retention that an account can choose."""


class PostmarkSender:
    """One Postmark server that carries our mail. Belongs to one event loop."""

    def __init__(
        self,
        name: str,
        token: str,
        *,
        stream: str = "outbound",
        tag: str = "",
        base: str = _API,
        times: Times = TIMES,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._name = name
        self._stream, self._tag = stream, tag
        self._api = Api(base, secret=token, headers={"X-Postmark-Server-Token": token}, times=times)
        self._now = now

    @classmethod
    def of(cls, account: Account) -> Self:
        """`POSTMARK_SERVER_TOKEN`; `POSTMARK_MESSAGE_STREAM` (else `outbound`), `POSTMARK_TAG` and
        `POSTMARK_BASE_URL` where set. Raises Misconfigured."""
        settings = account.settings
        return cls(
            account.name,
            account.required("POSTMARK_SERVER_TOKEN"),
            stream=settings.get("POSTMARK_MESSAGE_STREAM", "").strip() or "outbound",
            tag=settings.get("POSTMARK_TAG", "").strip(),
            base=base_url("POSTMARK_BASE_URL", settings.get("POSTMARK_BASE_URL", ""), _API),
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
        """Hand one mail over for up to 50 recipients, in one request.

        Raises PermanentFailure (too large, error codes of message and account), TransientFailure
        (429, 500, 503, no connection), UncertainDelivery (no answer, or one that says neither).
        """
        check_count("Postmark", to, _MOST_RECIPIENTS)
        named = addressing(outgoing, to, "Postmark")
        fields = message(outgoing, named, stream=self._stream, tag=self._tag)
        content = json_content("Postmark", fields, _MOST_BYTES)
        await committing(to)
        answer = await self._api.post("/email", content)
        return _outcome(answer, to, named, self._now())

    async def taken(
        self, outgoing: Outgoing, recipient: Recipient, *, tried_at: datetime | None = None
    ) -> bool | None:
        """Whether Postmark has this mail for this recipient, by its search of sent messages.

        Not to find it says no only for a mail that was `tried_at` at least half an hour ago and
        within a week, since messages are kept no longer everywhere. None: it cannot be told, also
        because Postmark cannot be asked, or the mail's Message-ID is too long for its metadata.
        """
        if (name := metadata_of(outgoing)) is None:
            return None
        query = {"count": "1", "offset": "0", "recipient": recipient.address}
        try:
            answer = await self._api.get(
                "/messages/outbound", query | {f"metadata_{MESSAGE_ID_KEY}": name}
            )
            found = json_body.read(answer.body).whole_number("TotalCount")
        except (TransientFailure, Malformed):
            return None
        if answer.status != 200:
            return None
        if found > 0:
            return True
        age = None if tried_at is None else self._now() - tried_at
        return False if age is not None and _FOUND_AFTER <= age <= _KEPT else None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()


def _outcome(
    answer: Answer, to: Sequence[Recipient], named: Addressing, now: datetime
) -> HandedOver:
    """What one answer says of each recipient. Raises as `send` does."""
    try:
        said = json_body.read(answer.body)
        code = said.whole_number("ErrorCode") if "ErrorCode" in said else 0
        words, message_id = answer.words(said.optional("Message")), said.optional("MessageID")[:200]
    except Malformed:
        code, words, message_id = 0, answer.words(), ""
    if answer.status == 200 and code == 0 and message_id:
        return _sent(message_id, words, to, named)
    reason = f"Postmark: {words or 'no words'}"
    shown = f"{answer.status}/{code}" if code else str(answer.status)
    if code == _MAINTENANCE or answer.status in (408, 429, 500, 503):
        raise TransientFailure(reason, code=shown, retry_at=wait_of(answer, now))
    if code in (_INVALID_REQUEST, _INACTIVE_RECIPIENT) and (accused := _accused(words, to)):
        inactive = code == _INACTIVE_RECIPIENT
        refused = Refused(reason, about="recipient", code=shown, suppressed=inactive)
        again = Later(f"refused for another recipient; {reason}", code=shown)
        return {one: refused if one in accused else again for one in to}
    if code == _INACTIVE_RECIPIENT:
        # Whom it means it does not say: of several, none is taken for the one.
        refused = Refused(reason, about="recipient", code=shown, suppressed=len(to) == 1)
        return dict.fromkeys(to, refused)
    if answer.status >= 500 or (answer.status < 300 and not code):
        raise UncertainDelivery(f"an answer that Postmark does not document: {reason}", code=shown)
    raise PermanentFailure(
        reason,
        code=shown,
        about=_FAULTS.get(code) or _fault(answer.status),
        credentials=code == _WRONG_TOKEN or (answer.status == 401 and not code),
    )


def _sent(message_id: str, words: str, to: Sequence[Recipient], named: Addressing) -> HandedOver:
    """Taken, except for those whom Postmark writes to no more and says so in words."""
    sent = Sent(message_id, f"{words}{named.remark}", (header_id(message_id),))
    code = f"200/{_INACTIVE_RECIPIENT}"
    refused = Refused(f"Postmark: {words}", about="recipient", code=code, suppressed=True)
    inactive = _accused(words, to) if "inactive addresses" in words else ()
    return {one: refused if one in inactive else sent for one in to}


_ADDRESS = re.compile(r"[^\s,;:'\"<>()]+@[^\s,;:'\"<>()]+")


def _accused(words: str, to: Sequence[Recipient]) -> Collection[Recipient]:
    """The recipients that an error's sentence names; it writes them in lower case.

    Other errors of the same code name the sender.
    """
    if re.search(r"'(From|Reply-?To)'", words, re.IGNORECASE):
        return ()
    named = {word.rstrip(".").lower() for word in _ADDRESS.findall(words)}
    return [one for one in to if one.address.lower() in named]


def _fault(status: int) -> Fault:
    """401, 403: the token. 3xx, 404, 405: not Postmark's API, so its address is wrong."""
    return "account" if status in (401, 403, 404, 405) or 300 <= status < 400 else "message"
