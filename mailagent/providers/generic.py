"""How does any program hand us mail by HTTP? Raw MIME, the envelope in headers, a signature.

    POST /webhook/inbound
    X-Mailagent-Timestamp: 1795250000        Unix seconds, at most five minutes off
    X-Mailagent-Mail-From: ann@x.example     empty for <>
    X-Mailagent-Rcpt-To: a@acme.example, b@acme.example
    X-Mailagent-Id: 4711                     optional; the same again is the same mail
    X-Mailagent-Client-Ip: 192.0.2.1         optional; who sent it, for SPF
    X-Mailagent-Signature: 64 hexadecimal digits

The signature is HMAC-SHA256 with `INBOUND_WEBHOOK_SECRET` over `SIGNED_HEADERS`, each value with a
line feed after it, in this order, "" for an absent one, and then the body: no header can hold a
line feed, so nothing can move from one to the next. A form at the same address is Mailgun's
`forward()`. Written by us; docs/providers/inbound.md has a client.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import ClassVar

from mailagent.errors import Malformed, Misconfigured, Unauthentic
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.providers.envelope import forward_paths, reverse_path
from mailagent.providers.mailgun_inbound import MailgunReceiver
from mailagent.providers.mailgun_signature import SIGNING_KEY, status
from mailagent.webhook import Answered, Fetch, WebhookRequest, WebhookSettings

__all__ = ["SECRET", "SIGNED_HEADERS", "Generic", "GenericReceiver", "signature"]

SECRET = "INBOUND_WEBHOOK_SECRET"  # noqa: S105 - the setting's name
SIGNATURE = "X-Mailagent-Signature"
SIGNED_HEADERS = (
    "X-Mailagent-Timestamp",
    "X-Mailagent-Id",
    "X-Mailagent-Mail-From",
    "X-Mailagent-Rcpt-To",
    "X-Mailagent-Client-Ip",
)

_WINDOW = timedelta(minutes=5)
_TIMESTAMP = re.compile(r"[0-9]{10}")
_ID = re.compile(r"[!-~]{1,128}")


def signature(secret: str, values: Sequence[bytes], body: bytes) -> str:
    """The signature (hex) of a mail; `values` are those of `SIGNED_HEADERS`, in their order."""
    signed = hmac.new(secret.encode(), digestmod=hashlib.sha256)
    for value in values:
        signed.update(value + b"\n")
    signed.update(body)
    return signed.hexdigest()


class Generic:
    """The door for programs of one's own, and for Mailgun's routes."""

    kind: ClassVar[str] = "inbound"

    @classmethod
    def receiver(cls, settings: WebhookSettings, fetch: Fetch) -> GenericReceiver:
        return GenericReceiver(settings.value(SECRET), settings.value(SIGNING_KEY))


class GenericReceiver:
    """The webhook that brings mail: `/webhook/inbound`, and `/webhook/inbound/mime` for Mailgun."""

    def __init__(self, secret: str, mailgun_key: str) -> None:
        self._secret = secret
        self._mailgun_key = mailgun_key

    @property
    def missing(self) -> Misconfigured | None:
        """See `webhook.Receives`; Mailgun's own key is enough for Mailgun's forms."""
        return None if self._secret or self._mailgun_key else _missing_secret()

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        """One mail for each recipient. Raises Unauthentic, Malformed, TransientFailure,
        Misconfigured.
        """
        if not request.header(SIGNATURE) and _is_form(request):
            return await self._mailgun(request).inbound(request)
        self._authenticate(request)
        return [_mail(request)]

    def answer(self, answered: Answered) -> int:
        """See `webhook.Receives`. Mailgun's statuses, since Mailgun may be who asks."""
        return status(answered)

    def _mailgun(self, request: WebhookRequest) -> MailgunReceiver:
        # Who set only our secret may have put Mailgun's key there: it is the key of this address.
        vouched = "" if request.secret_in_path else self._secret
        return MailgunReceiver(self._mailgun_key or vouched)

    def _authenticate(self, request: WebhookRequest) -> None:
        given = request.header(SIGNATURE)
        if request.secret_in_path and not (given and self._secret):
            return
        if not given:
            raise Unauthentic(f"{SIGNATURE} is missing")
        if not self._secret:
            raise _missing_secret()
        values = [request.header(name).encode("latin-1") for name in SIGNED_HEADERS]
        right = signature(self._secret, values, request.body)
        if any(b"\n" in value or b"\r" in value for value in values):
            raise Unauthentic("a header holds a line break")
        if not hmac.compare_digest(given.encode("latin-1"), right.encode()):
            raise Unauthentic(f"{SIGNATURE} does not hold")
        timestamp = request.header(SIGNED_HEADERS[0])
        if not _TIMESTAMP.fullmatch(timestamp):
            raise Unauthentic(f"{SIGNED_HEADERS[0]} is no time in Unix seconds")
        signed_at = datetime.fromtimestamp(int(timestamp), UTC)
        if abs(request.received_at - signed_at) > _WINDOW:
            raise Unauthentic(f"{SIGNED_HEADERS[0]} is more than five minutes off: sign it anew")


def _missing_secret() -> Misconfigured:
    return Misconfigured(
        SECRET, "is empty: set it here and in the program that posts mail to /webhook/inbound"
    )


def _is_form(request: WebhookRequest) -> bool:
    kind = request.header("content-type").partition(";")[0].strip().lower()
    return kind in ("application/x-www-form-urlencoded", "multipart/form-data", "application/json")


def _mail(request: WebhookRequest) -> Inbound:
    if not request.body:
        raise Malformed("body", "is empty: it is the mail")
    if "x-mailagent-mail-from" not in request.headers:
        raise Malformed("X-Mailagent-Mail-From", "is missing; it is empty for <>")
    mail_from = reverse_path("X-Mailagent-Mail-From", _text(request, "X-Mailagent-Mail-From"))
    rcpt_to = forward_paths("X-Mailagent-Rcpt-To", _text(request, "X-Mailagent-Rcpt-To"))
    named = _text(request, "X-Mailagent-Id")
    if named and not _ID.fullmatch(named):
        raise Malformed("X-Mailagent-Id", "is no word of at most 128 characters in ASCII")
    return Inbound(
        envelope=Envelope(mail_from, rcpt_to),
        raw=request.body,
        source=Generic.kind,
        source_id=named or _digest(mail_from, request.body),
        origin=Origin(received_at=request.received_at, client_ip=_client_ip(request)),
        # Another mail under an id that was used would pass for the first one.
        replay_token=named or None,
    )


def _digest(mail_from: str | None, body: bytes) -> str:
    digest = hashlib.sha256(f"{mail_from or ''}\n".encode())
    digest.update(body)
    return digest.hexdigest()


def _client_ip(request: WebhookRequest) -> str | None:
    text = _text(request, "X-Mailagent-Client-Ip")
    try:
        return str(ip_address(text)) if text else None
    except ValueError:
        raise Malformed("X-Mailagent-Client-Ip", "is no address of a computer") from None


def _text(request: WebhookRequest, name: str) -> str:
    try:
        return request.header(name).encode("latin-1").decode().strip()
    except UnicodeDecodeError:
        raise Malformed(name, "is not in UTF-8") from None
