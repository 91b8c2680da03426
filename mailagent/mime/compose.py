"""How do the pieces of a mail that came in parts make one MIME message again?

Only for our own reader: what comes out is never sent. The same pieces give the same octets, and
nothing in a piece can end its part.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from mailagent.mime.parameters import parameters

__all__ = ["File", "Text", "compose"]

_BREAK = re.compile(rb"[\r\n\x00]+[ \t]*")
_FIELD_NAME = re.compile(rb"[!-9;-~]{1,200}")
_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,90}")
_CHARSET = re.compile(r"[A-Za-z0-9_.:+-]{1,64}")
_FLOW = re.compile(r"; format=flowed(; delsp=(yes|no))?", re.IGNORECASE)
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,250}")
_OF_A_BODY = (b"content-", b"mime-version")
"""Said of a body that is no more."""


_WORD = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_NAMED_BY_HTML = re.compile(rb"cid:([^\"'\s<>)]{1,250})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a mail in one form, and the charset it is said to be in ("": nobody says)."""

    octets: bytes
    charset: str = "utf-8"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the mail; the HTML may name it by its content id."""

    filename: str
    content_type: str
    content: bytes
    content_id: str = ""


def compose(
    fields: Sequence[tuple[bytes, bytes]],
    *,
    text: Text | None,
    html: Text | None,
    files: Sequence[File] = (),
) -> bytes:
    """Put a message together: header fields (name, value) in their order, text, HTML, files.

    Fields that describe the body that is no more are left out; of the original Content-Type stays
    what the parts do not say: a report is a report, flowed text is flowed. Line breaks in a value
    become a space. Never raises.
    """
    declared = next((value for name, value in fields if name.lower() == b"content-type"), b"")
    kind, words = parameters(declared.decode("latin-1"))
    if kind == "text/html" and html:
        text = None  # made by the provider; ours is made of the HTML
    header = b"".join(_line(name, value) for name, value in fields if _is_kept(name))
    boundary = _boundary([header, *(one.octets for one in (text, html) if one)], files)
    forms = []
    if text or not html:
        flow = "".join(f"; {name}={words[name]}" for name in ("format", "delsp") if name in words)
        flowed = flow if kind == "text/plain" and _FLOW.fullmatch(flow) else ""
        forms.append(_text("plain", text or Text(b""), flowed))
    if html:
        forms.append(_text("html", html))
    body = forms[0] if len(forms) == 1 else _multipart("alternative", f"=_a{boundary}", forms)
    report = words.get("report-type", "")
    is_report = kind == "multipart/report" and bool(_WORD.fullmatch(report))
    if files or is_report:
        named = {
            unquote_to_bytes(one) for one in _NAMED_BY_HTML.findall(html.octets if html else b"")
        }
        outermost = f"report; report-type={report}" if is_report else "mixed"
        body = _multipart(outermost, f"=_m{boundary}", [body, *(_file(f, named) for f in files)])
    return header + b"MIME-Version: 1.0\r\n" + body


def _boundary(texts: Iterable[bytes], files: Iterable[File]) -> str:
    """Named by the hash of all there is: what is hashed cannot hold its own hash."""
    digest = hashlib.sha256()
    for octets in (*texts, *(file.content for file in files)):
        digest.update(b"%d:" % len(octets))
        digest.update(octets)
    return digest.hexdigest()[:40]


def _is_kept(name: bytes) -> bool:
    return bool(_FIELD_NAME.fullmatch(name)) and not name.lower().startswith(_OF_A_BODY)


def _line(name: bytes, value: bytes) -> bytes:
    return name + b": " + _BREAK.sub(b" ", value).strip() + b"\r\n"


def _text(subtype: str, text: Text, more: str = "") -> bytes:
    label = f'; charset="{text.charset}"' if _CHARSET.fullmatch(text.charset) else ""
    return _part(f"Content-Type: text/{subtype}{label}{more}\r\n", text.octets)


def _file(file: File, named: Container[bytes]) -> bytes:
    kind, words = parameters(file.content_type)
    if not _CONTENT_TYPE.fullmatch(kind) or kind.startswith("multipart/"):
        kind = "application/octet-stream"
    label = words.get("charset", "")
    lines = f"Content-Type: {kind}"
    lines += f'; charset="{label}"\r\n' if _CHARSET.fullmatch(label) else "\r\n"
    content_id = file.content_id.strip().strip("<>").strip()
    disposition = "attachment"
    if _CONTENT_ID.fullmatch(content_id):
        lines += f"Content-ID: <{content_id}>\r\n"
        # Text that is not said to be a file would be read as the mail's own.
        if content_id.encode() in named and not kind.startswith("text/"):
            disposition = "inline"
    name = quote(file.filename.encode("utf-8", "replace"), safe="")
    lines += f"Content-Disposition: {disposition}"
    lines += f"; filename*=UTF-8''{name}\r\n" if name else "\r\n"
    if kind.startswith("message/"):
        # RFC 2046 §5.2.1: a mail inside a mail has no encoding but the identities.
        return f"{lines}Content-Transfer-Encoding: 8bit\r\n\r\n".encode() + file.content
    return _part(lines, file.content)


def _part(lines: str, octets: bytes) -> bytes:
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return f"{lines}Content-Transfer-Encoding: base64\r\n\r\n".encode() + encoded


def _multipart(subtype: str, boundary: str, parts: Iterable[bytes]) -> bytes:
    opening = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n'.encode()
    delimiter = f"--{boundary}".encode()
    joined = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return opening + joined + delimiter + b"--\r\n"
