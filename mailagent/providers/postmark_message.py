"""How does a mail look as Postmark's JSON?

Source: Postmark "Email API", "Custom headers", "Metadata", read 2026-11-21.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

from mailagent.errors import PermanentFailure
from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment
from mailagent.providers.addressing import Addressing, in_ascii

__all__ = ["MESSAGE_ID_KEY", "header_id", "message", "metadata_of"]

MESSAGE_ID_KEY = "message_id"
"""The key in a mail's `Metadata` under which events bring our Message-ID back."""

_MOST_METADATA = 80
"""Characters of one value in `Metadata`."""
_OF_POSTMARK = "x-pm-"


def message(outgoing: Outgoing, named: Addressing, *, stream: str, tag: str) -> dict[str, Any]:
    """The body of `POST /email`. Raises PermanentFailure for what it cannot carry."""
    if not (outgoing.text or outgoing.html):
        raise PermanentFailure("Postmark carries no mail without a text", about="message")
    fields: dict[str, Any] = {
        "From": _mailboxes([in_ascii(outgoing.from_, "Postmark")]),
        "To": _mailboxes(named.to),
        "Cc": _mailboxes(named.cc),
        "Bcc": _mailboxes(named.bcc),
        "ReplyTo": _mailboxes([in_ascii(one, "Postmark") for one in outgoing.reply_to]),
        "Subject": outgoing.subject,
        "TextBody": outgoing.text,
        "HtmlBody": outgoing.html,
        "Headers": [{"Name": name, "Value": value} for name, value in _headers(outgoing)],
        "Attachments": [_file(one) for one in outgoing.attachments],
        "MessageStream": stream,
        "Tag": tag,
    }
    if name := metadata_of(outgoing):
        fields["Metadata"] = {MESSAGE_ID_KEY: name}
    # A letter to a person is not watched.
    watching = {"TrackOpens": False, "TrackLinks": "None"}
    return {name: value for name, value in fields.items() if value} | watching


def metadata_of(outgoing: Outgoing) -> str | None:
    """Our Message-ID as a mail's metadata holds it; None when it is too long for that."""
    return outgoing.message_id if len(outgoing.message_id) <= _MOST_METADATA else None


def header_id(message_id: str) -> str:
    """The Message-ID that Postmark writes where ours is not kept."""
    return f"<{message_id}@mtasv.net>"


def _headers(outgoing: Outgoing) -> Iterator[tuple[str, str]]:
    yield "Message-ID", outgoing.message_id
    yield "X-PM-KeepID", "true"
    if outgoing.in_reply_to:
        yield "In-Reply-To", outgoing.in_reply_to
    if outgoing.references:
        yield "References", " ".join(outgoing.references)
    if outgoing.auto_submitted:
        yield "Auto-Submitted", outgoing.auto_submitted
        yield "X-Auto-Response-Suppress", "OOF, AutoReply"
    for name, value in outgoing.headers:
        if name.lower().startswith(_OF_POSTMARK):
            raise PermanentFailure(f"Postmark reads the header {name} itself", about="message")
        yield name, value


def _mailboxes(mailboxes: Sequence[Address]) -> str:
    return ", ".join(map(_mailbox, mailboxes))


def _mailbox(mailbox: Address) -> str:
    if not mailbox.name:
        return mailbox.address
    quoted = mailbox.name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{mailbox.address}>'


def _file(file: OutgoingAttachment) -> dict[str, str]:
    fields = {
        "Name": file.filename,
        "Content": base64.b64encode(file.content).decode(),
        "ContentType": file.content_type,
    }
    return fields | ({"ContentID": f"cid:{file.content_id}"} if file.content_id else {})
