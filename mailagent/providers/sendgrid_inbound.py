"""Which mail does SendGrid's Inbound Parse bring?

With "POST the raw, full MIME message" the octets stand in `email`; without it the form is the mail
and `mime.rebuilt_sendgrid` makes MIME of it. Source: Twilio SendGrid "Setting up the Inbound Parse
Webhook", read 2026-11-21.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from ipaddress import ip_address

from mailagent.errors import Malformed, Misconfigured
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.mime import form, json_body
from mailagent.mime.form import Form
from mailagent.mime.json_body import JsonObject
from mailagent.providers.sendgrid_signature import Signature, answer
from mailagent.webhook import Answered, WebhookRequest, WebhookSettings

__all__ = ["SendGridInbound"]

_LONGEST_ADDRESS = 320
_LONGEST_WORDS = 500


class SendGridInbound:
    """`/webhook/sendgrid`."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._signature = Signature(settings)

    @property
    def missing(self) -> Misconfigured | None:
        return self._signature.missing

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        """The one mail of a request, for all recipients of its envelope."""
        self._signature.check(request)
        content_type = request.header("content-type")
        if content_type.lower().startswith("application/json") or request.body[:1] == b"[":
            raise Misconfigured(
                "webhook",
                "SendGrid sends events here: set the Event Webhook's URL to "
                "/webhooks/email/sendgrid",
            )
        posted = form.read(request.body, content_type)
        envelope = _envelope(posted)
        raw, header = posted.last("email"), posted.last("headers")
        if raw is None and header is None:
            raise Malformed("email", "is missing, and headers too")
        content = header if raw is None else raw
        if not content or not content.strip():
            raise Malformed("headers" if raw is None else "email", "is empty")
        origin = Origin(
            received_at=request.received_at,
            client_ip=_client_ip(posted),
            provider_verdicts=_verdicts(posted),
            body_format="parsed" if raw is None else "raw",
            body_type=content_type if raw is None else "",
            parsed_by="sendgrid" if raw is None else "",
        )
        return [
            Inbound(
                envelope=envelope,
                raw=request.body if raw is None else raw,
                source="sendgrid",
                source_id=_name_of(envelope, content),
                origin=origin,
            )
        ]

    def answer(self, answered: Answered) -> int:
        return answer(answered)


def _envelope(posted: Form) -> Envelope:
    octets = posted.last("envelope")
    if octets is None:
        raise Malformed("envelope", "is missing")
    said = json_body.read(octets, "envelope")
    sender = _path(said.text("from"))
    if sender and ("@" not in sender or len(sender) > _LONGEST_ADDRESS):
        raise said.wrong("from", "is no address")
    to = said.members.get("to")
    if not isinstance(to, list) or not to or not all(isinstance(one, str) for one in to):
        raise said.wrong("to", "is no array of addresses")
    return Envelope(sender or None, tuple(dict.fromkeys(_recipient(said, one) for one in to)))


def _recipient(said: JsonObject, value: str) -> str:
    address = _path(JsonObject({"to": value}, said.path).text("to"))
    if "@" not in address or len(address) > _LONGEST_ADDRESS:
        raise said.wrong("to", "holds something that is no address")
    return address


def _path(value: str) -> str:
    return value.strip().removeprefix("<").removesuffix(">").strip()


def _name_of(envelope: Envelope, content: bytes) -> str:
    """SendGrid names no hand-over: what it tries again has the same envelope and content.

    Of a parsed mail the header will do: its topmost Received has SendGrid's own number.
    """
    digest = hashlib.sha256(repr((envelope.mail_from, sorted(envelope.rcpt_to))).encode())
    digest.update(content)
    return digest.hexdigest()


def _client_ip(posted: Form) -> str | None:
    try:
        return str(ip_address(posted.text("sender_ip").strip()))
    except ValueError:
        return None


_DKIM = re.compile(r"@[^\s:,{}]+\s*:\s*([a-z]+)", re.IGNORECASE)
_POINTS = re.compile(r"\((-?\d{1,4}(?:\.\d{1,4})?) points?, (-?\d{1,4}(?:\.\d{1,4})?) required\)")


def _verdicts(posted: Form) -> dict[str, str]:
    """SendGrid tells of SPF and DKIM, of DMARC nothing; of spam where its check is on."""
    dkim = posted.text("dkim").strip()
    results = {word.lower() for word in _DKIM.findall(dkim)}
    points = _POINTS.search(posted.text("spam_report"))
    said = {
        "spf": posted.text("SPF").strip().lower(),
        "dkim": results.pop() if len(results) == 1 else dkim,
        "spam": ("FAIL" if float(points[1]) >= float(points[2]) else "PASS") if points else "",
    }
    return {name: word[:_LONGEST_WORDS] for name, word in said.items() if word}
