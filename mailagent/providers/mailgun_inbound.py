"""Which mail does a POST of a Mailgun route bring?

`forward()` posts a form with the mail in parts, or whole (`body-mime`) to an address that ends in
`mime`; `store(notify=…)` posts the place where Mailgun keeps it. Source: Mailgun "Receiving,
forwarding and storing messages", "Routes" (read 2026-11).

Every header of the mail is a field of the form too, in Title-Case: `recipient` is Mailgun's word
for the envelope, `Recipient` the sender's. So names are matched to the letter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from mailagent.errors import Malformed, Misconfigured
from mailagent.inbound import Envelope, Inbound, Origin
from mailagent.mime import form, rebuilt_mailgun
from mailagent.mime.form import Field, Form
from mailagent.providers.envelope import forward_paths, reverse_path
from mailagent.providers.mailgun_signature import (
    SIGNED_FIELDS,
    Signature,
    is_event,
    missing_key,
    posted_event,
    status,
)
from mailagent.providers.mailgun_stored import is_stored_at, stored_id
from mailagent.webhook import Answered, WebhookRequest

__all__ = ["MailgunReceiver", "raw_id"]

_SOURCE = "mailgun"
_SPAM_WORDS = {"yes": "FAIL", "no": "PASS"}


class MailgunReceiver:
    """The webhook that brings mail: `/webhook/mailgun`, `/webhook/mailgun/mime`."""

    def __init__(self, signing_key: str) -> None:
        self._key = signing_key

    @property
    def missing(self) -> Misconfigured | None:
        """See `webhook.Receives`."""
        return missing_key(self._key)

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        """One mail. Raises Unauthentic, Malformed; TransientFailure for a stale signature;
        Misconfigured for an event, which has an address of its own.
        """
        if is_event(request):
            self._authenticate(Signature.of_event(posted_event(request)), request)
            raise Misconfigured(
                "/webhook/mailgun",
                "Mailgun sends what became of sent mail here: set the domain's webhooks to "
                "/webhooks/email/mailgun, and only routes to this address",
            )
        posted = form.read(request.body, request.header("content-type"))
        signature = Signature.of_form(posted)
        self._authenticate(signature, request)
        envelope = Envelope(
            reverse_path("sender", _one(posted, "sender")),
            forward_paths("recipient", _one(posted, "recipient")),
        )
        mail_id, raw, origin = _content(posted, request)
        return [
            Inbound(
                envelope=envelope,
                raw=raw,
                source=_SOURCE,
                source_id=mail_id,
                origin=origin,
                replay_token=signature.token if self._key else None,
            )
        ]

    def answer(self, answered: Answered) -> int:
        """See `webhook.Receives`."""
        return status(answered)

    def _authenticate(self, signature: Signature, request: WebhookRequest) -> None:
        if self._key:
            signature.check(self._key, request.received_at)


def _content(posted: Form, request: WebhookRequest) -> tuple[str, bytes, Origin]:
    """What names the mail, its octets, and what is known of it beside them."""
    verdicts = _verdicts(posted)
    # A field by the documentation; nothing is lost should it come as a file.
    mime = next((one.value for one in posted.fields[::-1] if one.name == "body-mime"), b"")
    if mime or request.path == ("mime",):
        if not mime:
            raise Malformed("body-mime", "is missing or empty")
        origin = Origin(received_at=request.received_at, provider_verdicts=verdicts)
        named = ("recipient", "sender", "body-mime")
        return _digest(f for f in posted.fields if f.name in named), mime, origin
    content_type = request.header("content-type")
    url = posted.text("message-url")
    if url:
        if not is_stored_at(url):
            raise Malformed("message-url", "is no address of Mailgun's storage")
        origin = Origin(
            received_at=request.received_at,
            provider_verdicts=verdicts,
            body_format="stored",
            body_type=content_type,
            stored_at=url,
        )
        return stored_id(url), request.body, origin
    # What cannot be made a mail of later is better refused now.
    rebuilt_mailgun.message_headers(posted)
    origin = Origin(
        received_at=request.received_at,
        provider_verdicts=verdicts,
        body_format="parsed",
        body_type=content_type,
        parsed_by=_SOURCE,
    )
    mail_id = _digest(f for f in posted.fields if f.name not in SIGNED_FIELDS)
    return mail_id, request.body, origin


def raw_id(recipient: str, sender: str, mime: bytes) -> str:
    """What names a mail that `forward()` posts whole, to an address that ends in `mime`."""
    values = {"recipient": recipient.encode(), "sender": sender.encode(), "body-mime": mime}
    return _digest(Field(name, value) for name, value in values.items())


def _digest(fields: Iterable[Field]) -> str:
    """A name that Mailgun's next try has too, whatever the order, the boundary, the signature."""
    return hashlib.sha256(b"".join(sorted(map(_field_digest, fields)))).hexdigest()


def _field_digest(field: Field) -> bytes:
    digest = hashlib.sha256(f"{field.name}\0{field.filename or ''}\0".encode("utf-8", "replace"))
    digest.update(field.value)
    return digest.digest()


def _one(posted: Form, name: str) -> str:
    values = set(posted.all(name))
    if len(values) != 1:
        raise Malformed(name, "is said twice" if values else "is missing")
    try:
        return values.pop().decode()
    except UnicodeDecodeError:
        raise Malformed(name, "is not in UTF-8") from None


def _verdicts(posted: Form) -> Mapping[str, str]:
    """Mailgun's words, of the fields that it puts above its own `Received`.

    Below that one is the sender's mail, who can write `X-Mailgun-Spf: Pass` too; and where
    Mailgun's spam filter is off nobody else does.
    """
    try:
        fields = rebuilt_mailgun.message_headers(posted)
    except Malformed:
        return {}  # raw mode need not have them
    on_top: dict[str, str] = {}
    for name, value in fields:
        if name.lower() == "received":
            break
        on_top.setdefault(name.lower(), value.strip()[:100])
    else:
        return {}
    found = {
        "spf": on_top.get("x-mailgun-spf", ""),
        "dkim": on_top.get("x-mailgun-dkim-check-result", ""),
        "spam": _SPAM_WORDS.get(on_top.get("x-mailgun-sflag", "").lower(), ""),
    }
    return {word: said for word, said in found.items() if said}
