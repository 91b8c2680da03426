"""What may an outgoing mail not contain?

Header injection, addresses that no server takes, and custom headers that would speak in our name
are refused here, with the name of the field, while the one who gave it can still mend it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mailagent.errors import Malformed
from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment

__all__ = ["MESSAGE_ID", "check", "check_address"]

MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
"""Printable ASCII between brackets; with its field's name it must fit a line of 998 octets."""

_LOCAL_OCTETS, _DOMAIN_OCTETS, _PATH_OCTETS = 64, 255, 254
"""RFC 5321 §4.5.3.1.1-3; a path of 256 holds the address and its two brackets."""
_NAME_CHARACTERS = 200
_SUBJECT_CHARACTERS = 2_000
_HEADER_CHARACTERS = 8_000
_HEADERS = 50
_FILENAME_CHARACTERS = 200
_CONTENT_ID_CHARACTERS = 60
"""Must stand unfolded: a folded one is written as encoded words, which no mail program resolves."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NUL = re.compile(r"\x00")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LOCAL_PART = re.compile(r"[^\s\"(),:;<>@\[\\\]]{1,64}|\"[^\s\"<>@\\]{1,62}\"")
_DOMAIN = re.compile(r"(?:[\w](?:[\w-]{0,61}[\w])?\.){0,126}[\w](?:[\w-]{0,61}[\w])?")
_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,90}", re.I)
_CONTENT_ID = re.compile(r"[!-;=?-~]+")
_FIELD_NAME = re.compile(r"[!-9;-~]{1,70}")

_OURS = frozenset(
    {
        "authentication-results",
        "auto-submitted",
        "bcc",
        "cc",
        "date",
        "dkim-signature",
        "domainkey-signature",
        "from",
        "in-reply-to",
        "message-id",
        "mime-version",
        "received",
        "received-spf",
        "references",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
        "x-auto-response-suppress",
    }
)
_OUR_FAMILIES = ("content-", "resent-", "arc-")


def check(outgoing: Outgoing) -> None:
    """Pass a mail that can be sent as it stands.

    Raises Malformed with the field's name (`to`, `subject`, `headers`, `attachments`, …) and the
    mend. `render` and every provider rely on it.
    """
    if not (outgoing.to or outgoing.cc or outgoing.bcc):
        raise Malformed("to", "the mail has no recipient: name one in to, cc or bcc")
    for field, mailbox in _mailboxes(outgoing):
        _check_line(field, mailbox.name, at_most=_NAME_CHARACTERS)
        check_address(field, mailbox.address)
    _check_line("subject", outgoing.subject, at_most=_SUBJECT_CHARACTERS)
    for field, text in (("text", outgoing.text), ("html", outgoing.html or "")):
        if _NUL.search(text):
            raise Malformed(field, "holds a NUL character: remove it")
        _check_encodable(field, text)
    _check_identity(outgoing)
    for attachment in outgoing.attachments:
        _check_attachment(attachment)
    _check_headers(outgoing.headers)


def check_address(field: str, address: str) -> None:
    """Pass an address that SMTP can carry. Raises Malformed for `field` otherwise.

    One `@`, no space, bracket or control character; local part <= 64, domain <= 255, whole <= 254
    octets (RFC 5321 §4.5.3.1). An address literal (`a@[192.0.2.1]`) is refused.
    """
    _check_encodable(field, address)
    local, _, domain = address.rpartition("@")
    shown = ascii(address[:80])
    if not _LOCAL_PART.fullmatch(local) or _CONTROL.search(local):
        raise Malformed(field, f"{shown} is no address: it needs one local part before one @")
    if not _DOMAIN.fullmatch(domain):
        raise Malformed(field, f"{shown} is no address: what follows the @ is no domain")
    if (
        len(local.encode()) > _LOCAL_OCTETS
        or len(domain.encode()) > _DOMAIN_OCTETS
        or len(address.encode()) > _PATH_OCTETS
    ):
        raise Malformed(field, f"{shown} is longer than SMTP allows (64 octets @ 255, 254 in all)")


def _mailboxes(outgoing: Outgoing) -> Iterator[tuple[str, Address]]:
    yield "from", outgoing.from_
    for field in ("to", "cc", "bcc", "reply_to"):
        mailboxes: tuple[Address, ...] = getattr(outgoing, field)
        yield from ((field, mailbox) for mailbox in mailboxes)


def _check_identity(outgoing: Outgoing) -> None:
    if not MESSAGE_ID.fullmatch(outgoing.message_id):
        raise Malformed("message_id", "is no Message-ID: write <unique@domain> in ASCII")
    if outgoing.in_reply_to is not None and not MESSAGE_ID.fullmatch(outgoing.in_reply_to):
        raise Malformed("in_reply_to", "is no Message-ID: write <unique@domain> in ASCII")
    for reference in outgoing.references:
        if not MESSAGE_ID.fullmatch(reference):
            raise Malformed("references", "holds something that is no Message-ID in ASCII")
    if outgoing.date.utcoffset() is None:
        raise Malformed("date", "has no time zone")


def _check_attachment(attachment: OutgoingAttachment) -> None:
    if not attachment.filename.strip():
        raise Malformed("attachments", "a file has no name")
    _check_line("attachments", attachment.filename, at_most=_FILENAME_CHARACTERS)
    name = ascii(attachment.filename[:80])
    if not _CONTENT_TYPE.fullmatch(attachment.content_type):
        raise Malformed("attachments", f"{name}: the content type must be type/subtype")
    if attachment.content_type.lower().startswith("multipart/"):
        raise Malformed("attachments", f"{name}: a file cannot be multipart")
    if attachment.content_id is not None and not (
        len(attachment.content_id) <= _CONTENT_ID_CHARACTERS
        and _CONTENT_ID.fullmatch(attachment.content_id)
    ):
        raise Malformed(
            "attachments",
            f"{name}: a content id has up to {_CONTENT_ID_CHARACTERS} ASCII characters, "
            "no space, no brackets",
        )


def _check_headers(headers: tuple[tuple[str, str], ...]) -> None:
    if len(headers) > _HEADERS:
        raise Malformed("headers", f"more than {_HEADERS} are given")
    for name, value in headers:
        shown = ascii(name[:80])
        if not _FIELD_NAME.fullmatch(name):
            raise Malformed("headers", f"{shown} is no header name")
        if name.lower() in _OURS or name.lower().startswith(_OUR_FAMILIES):
            raise Malformed("headers", f"{shown} is set by the mail itself: leave it out")
        _check_line("headers", value, at_most=_HEADER_CHARACTERS)


def _check_line(field: str, value: str, *, at_most: int) -> None:
    if _CONTROL.search(value):
        raise Malformed(field, "holds a line break or another control character: remove it")
    if len(value) > at_most:
        raise Malformed(field, f"is longer than {at_most} characters")
    _check_encodable(field, value)


def _check_encodable(field: str, value: str) -> None:
    if _SURROGATE.search(value):
        raise Malformed(field, "holds half a character (a lone surrogate): it has no encoding")
