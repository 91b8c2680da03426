"""How would a provider post a mail that it has taken apart?

Each function makes, of one of our `.eml`, the body and Content-Type of the request in which the
provider brings it without raw MIME. The shapes are those of the providers' documentation: SendGrid
"Setting up the Inbound Parse Webhook" (default, parsed), Mailgun "Receiving, forwarding and storing
messages" (`forward()`), Postmark "Inbound webhook" (without `RawEmail`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Final

__all__ = ["FORMS", "MAILS", "Part", "mailgun", "multipart", "postmark", "sendgrid"]

MAILS: Final = sorted((Path(__file__).parent / "data" / "parsed").glob("*.eml"))
BOUNDARY: Final = "xYzZY-of-the-tests"


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; with a file name it is a file."""

    name: str
    value: bytes
    filename: str | None = None
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    filename: str
    content_type: str
    content: bytes
    content_id: str


@dataclass(frozen=True, slots=True)
class _Taken:
    """A mail taken apart: text and HTML as octets with their charset, and its files."""

    header: Sequence[tuple[str, str]]
    text: tuple[bytes, str] | None
    html: tuple[bytes, str] | None
    files: Sequence[_File]

    def field(self, name: str) -> str:
        return next((value for other, value in self.header if other.lower() == name), "")


def sendgrid(eml: bytes, *, mail_from: str, rcpt_to: str) -> tuple[bytes, str]:
    """The header as it was; text and HTML in the charsets that they came in."""
    taken = _taken(eml)
    parts = [Part("headers", eml.partition(b"\r\n\r\n")[0] + b"\r\n")]
    charsets = {"to": "UTF-8", "from": "UTF-8", "subject": "UTF-8"}
    for name, form in (("text", taken.text), ("html", taken.html)):
        if form:
            parts.append(Part(name, form[0]))
            charsets[name] = form[1]
    info: dict[str, dict[str, str]] = {}
    ids: dict[str, str] = {}
    for number, file in enumerate(taken.files, start=1):
        field = f"attachment{number}"
        parts.append(Part(field, file.content, file.filename, file.content_type))
        info[field] = {"filename": file.filename, "name": file.filename, "type": file.content_type}
        if file.content_id:
            info[field]["content-id"] = file.content_id
            ids[file.content_id] = field
    envelope = {"to": [rcpt_to], "from": mail_from}
    said = {
        "to": taken.field("to"),
        "from": taken.field("from"),
        "subject": str(make_header(decode_header(taken.field("subject")))),
        "dkim": "{@customer.example : pass}",
        "SPF": "pass",
        "sender_ip": "192.0.2.10",
        "envelope": json.dumps(envelope),
        "charsets": json.dumps(charsets),
        "attachments": str(len(taken.files)),
    }
    if taken.files:
        said |= {"attachment-info": json.dumps(info), "content-ids": json.dumps(ids)}
    return multipart([*parts, *(Part(name, value.encode()) for name, value in said.items())])


def mailgun(eml: bytes, *, mail_from: str, rcpt_to: str) -> tuple[bytes, str]:
    """Header fields as a JSON list, text and HTML in UTF-8. Unsigned: `token` and the like are the
    caller's to add."""
    taken = _taken(eml)
    header = [[name, str(make_header(decode_header(value)))] for name, value in taken.header]
    said = {
        "recipient": rcpt_to,
        "sender": mail_from,
        "from": taken.field("from"),
        "subject": str(make_header(decode_header(taken.field("subject")))),
        "message-headers": json.dumps(header),
    }
    for name, form in (("body-plain", taken.text), ("body-html", taken.html)):
        if form:
            said[name] = _decoded(form)
    parts = [Part(name, value.encode()) for name, value in said.items()]
    ids: dict[str, str] = {}
    for number, file in enumerate(taken.files, start=1):
        field = f"attachment-{number}"
        parts.append(Part(field, file.content, file.filename, file.content_type))
        if file.content_id:
            ids[f"<{file.content_id}>"] = field
    if taken.files:
        parts.append(Part("attachment-count", str(len(taken.files)).encode()))
    if ids:
        parts.append(Part("content-id-map", json.dumps(ids).encode()))
    return multipart(parts)


_OWN_MEMBERS = frozenset(
    {"from", "to", "cc", "bcc", "subject", "date", "reply-to", "content-type"}
    | {"content-transfer-encoding", "mime-version"}
)


def postmark(eml: bytes, *, mail_from: str, rcpt_to: str) -> tuple[bytes, str]:
    """One JSON object. What Postmark's own server writes stands on top of `Headers`."""
    taken = _taken(eml)
    on_top = [
        ("Return-Path", f"<{mail_from}>"),
        ("Received", "by p-pm-inbound01.inbound.postmarkapp.com (Postfix) id 0ABC"),
        ("X-Spam-Status", "No"),
        ("X-Spam-Tests", "DKIM_SIGNED,DKIM_VALID,SPF_PASS"),
        ("Received-SPF", "Pass (sender SPF authorized) identity=mailfrom; client-ip=192.0.2.10;"),
    ]
    header = [
        (name, str(make_header(decode_header(value))))
        for name, value in taken.header
        if name.lower() not in _OWN_MEMBERS
    ]
    full = {name: _mailboxes(taken.field(name)) for name in ("from", "to", "cc")}
    mail: dict[str, Any] = {
        "MessageStream": "inbound",
        "From": full["from"][0]["Email"],
        "FromName": full["from"][0]["Name"],
        "FromFull": full["from"][0],
        "To": taken.field("to"),
        "ToFull": full["to"],
        "Cc": taken.field("cc"),
        "CcFull": full["cc"],
        "OriginalRecipient": rcpt_to,
        "Subject": str(make_header(decode_header(taken.field("subject")))),
        "MessageID": "22c74902-a0c1-4511-804f-341342852c90",
        "ReplyTo": taken.field("reply-to"),
        "Date": taken.field("date"),
        "TextBody": _decoded(taken.text) if taken.text else "",
        "HtmlBody": _decoded(taken.html) if taken.html else "",
        "StrippedTextReply": "",
        "Headers": [{"Name": name, "Value": value} for name, value in (*on_top, *header)],
        "Attachments": [
            {
                "Name": file.filename,
                "Content": base64.b64encode(file.content).decode(),
                "ContentType": file.content_type,
                "ContentLength": len(file.content),
                "ContentID": file.content_id,
            }
            for file in taken.files
        ],
    }
    return json.dumps(mail).encode(), "application/json"


FORMS: Final[dict[str, Callable[..., tuple[bytes, str]]]] = {
    "sendgrid": sendgrid,
    "mailgun": mailgun,
    "postmark": postmark,
}


def multipart(parts: Sequence[Part]) -> tuple[bytes, str]:
    """The body of a form, and its Content-Type."""
    written = []
    for part in parts:
        lines = f'Content-Disposition: form-data; name="{part.name}"'
        if part.filename is not None:
            lines += f'; filename="{part.filename}"'
        if part.content_type:
            lines += f"\r\nContent-Type: {part.content_type}"
        written.append(f"--{BOUNDARY}\r\n{lines}\r\n\r\n".encode() + part.value + b"\r\n")
    body = b"".join(written) + f"--{BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={BOUNDARY}"


def _taken(eml: bytes) -> _Taken:
    mail = message_from_bytes(eml)
    texts: dict[str, tuple[bytes, str]] = {}
    files: list[_File] = []
    for part in _leaves(mail):
        kind = part.get_content_type()
        is_file = part.get_filename() is not None or kind not in ("text/plain", "text/html")
        if is_file or kind in texts:
            files.append(_file(part))
        else:
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            texts[kind] = (content, part.get_content_charset("us-ascii"))
    header = [
        (name, "".join(str(value).split("\r\n")).replace("\n", "")) for name, value in mail.items()
    ]
    return _Taken(header, texts.get("text/plain"), texts.get("text/html"), files)


def _leaves(part: Message) -> Iterator[Message]:
    if part.get_content_maintype() != "multipart":
        yield part
        return
    for child in part.get_payload():
        assert isinstance(child, Message)
        yield from _leaves(child)


def _file(part: Message) -> _File:
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload(0)
        assert isinstance(inner, Message)
        content: object = inner.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    else:
        content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    name = part.get_filename() or ""
    content_id = str(part.get("Content-ID", "")).strip("<>")
    return _File(name, part.get_content_type(), content, content_id)


def _decoded(form: tuple[bytes, str]) -> str:
    return form[0].decode(form[1])


def _mailboxes(value: str) -> list[dict[str, str]]:
    return [
        {"Email": address, "Name": str(make_header(decode_header(name))), "MailboxHash": ""}
        for name, address in getaddresses([value])
        if address
    ]
