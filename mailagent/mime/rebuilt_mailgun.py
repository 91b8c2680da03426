"""How does a mail that Mailgun gave in parts become MIME again?

The form of `forward()` without `mime`: header fields as a JSON list, text and HTML in UTF-8, files.
What is lost is the octets: no signature of the mail can be verified any more. Source: Mailgun
"Receiving, forwarding and storing messages" (read 2026-11).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from mailagent.errors import Malformed
from mailagent.mime import form, headers
from mailagent.mime.form import Field, Form
from mailagent.mime.parameters import parameters, safe_filename

__all__ = ["message_headers", "rebuild"]

_MOST_FIELDS = 5_000
_MOST_CHARACTERS = 64 * 1024
"""Of one header field."""
_FIELD_NAME = re.compile(r"[!-9;-~]{1,200}")
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_FILE = re.compile(r"attachment-([0-9]{1,6})")
_OTHER_TEXT = re.compile(r"body-([a-z0-9.+-]{1,60})")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,250}")
_NAMED_BY_HTML = re.compile(rb"cid:([^\"'\s<>)]{1,250})")


def rebuild(body: bytes, content_type: str) -> bytes:
    """Write the mail that a form tells of as MIME; the same form gives the same octets.

    `body` and `content_type` are the request's. Raises Malformed, and nothing else.
    """
    posted = form.read(body, content_type)
    fields = message_headers(posted)
    lines = [
        f"{name}: {headers.one_line(value)}\r\n"
        for name, value in fields
        if not name.lower().startswith("content-") and name.lower() != "mime-version"
    ]
    declared = next((value for name, value in fields if name.lower() == "content-type"), "")
    boundaries = _Boundaries(hashlib.sha256(body).hexdigest()[:40])
    content = _content(posted, *parameters(declared), boundaries)
    return "".join(lines).encode("utf-8", "replace") + b"MIME-Version: 1.0\r\n" + content


def message_headers(posted: Form) -> Sequence[tuple[str, str]]:
    """The mail's header in its order, values decoded; names that no field can have are left out.

    Raises Malformed when it is missing, no list of pairs, or longer than any mail's.
    """
    value = posted.last("message-headers")
    if value is None:
        raise Malformed("message-headers", "is missing")
    try:
        listed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Malformed("message-headers", "is no JSON") from error
    if not isinstance(listed, list) or len(listed) > _MOST_FIELDS:
        raise Malformed("message-headers", f"is no list of at most {_MOST_FIELDS} fields")
    fields: list[tuple[str, str]] = []
    for pair in listed:
        match pair:
            case [str(name), str(text)]:
                if _FIELD_NAME.fullmatch(name):
                    fields.append((name, text[:_MOST_CHARACTERS]))
            case _:
                raise Malformed("message-headers", "holds something that is no name and value")
    return fields


@dataclass(slots=True)
class _Boundaries:
    """Named by the hash of all there is, so that no content can hold one."""

    stem: str
    used: int = 0

    def join(self, kind: str, entities: Sequence[bytes]) -> bytes:
        """A multipart of entities; of a single one just that."""
        if len(entities) == 1 and not kind.startswith("multipart/report"):
            return entities[0]
        boundary = f"=_{self.stem}_{self.used}"
        self.used += 1
        delimiter = f"\r\n--{boundary}".encode()
        pieces = [f'Content-Type: {kind}; boundary="{boundary}"\r\n'.encode()]
        for entity in entities:
            pieces += [delimiter, b"\r\n", entity]
        return b"".join([*pieces, delimiter, b"--\r\n"])


def _content(
    posted: Form, kind: str, declared: Mapping[str, str], boundaries: _Boundaries
) -> bytes:
    """Everything below the header; `kind` and `declared` are the original's Content-Type."""
    plain, html = posted.last("body-plain"), posted.last("body-html")
    if kind == "text/html" and html:
        plain = None  # Mailgun makes one where the mail has none; ours is made of the HTML
    named = {unquote_to_bytes(found) for found in _NAMED_BY_HTML.findall(html or b"")}
    inline, attached = _files(posted, named)
    forms: list[bytes] = []
    if plain:
        forms.append(_text("plain", plain, _flow(kind, declared)))
    if html:
        forms.append(boundaries.join("multipart/related", [_text("html", html), *inline]))
    forms += [_text(subtype, text) for subtype, text in _other_texts(posted)]
    parts = attached if html else [*inline, *attached]
    if forms or not parts:
        # An empty mail has an empty text.
        parts = [boundaries.join("multipart/alternative", forms or [_text("plain", b"")]), *parts]
    return boundaries.join(_outermost(kind, declared), parts)


def _outermost(kind: str, declared: Mapping[str, str]) -> str:
    report = declared.get("report-type", "")
    if kind == "multipart/report" and _WORD.fullmatch(report):
        return f"multipart/report; report-type={report}"
    return "multipart/mixed"


def _flow(kind: str, declared: Mapping[str, str]) -> str:
    """RFC 3676: the text of a mail that is nothing else still has its soft line ends."""
    if kind != "text/plain" or declared.get("format", "").lower() != "flowed":
        return ""
    return "; format=flowed" + ("; delsp=yes" if declared.get("delsp", "").lower() == "yes" else "")


def _text(subtype: str, text: bytes, more: str = "") -> bytes:
    header = f"Content-Type: text/{subtype}; charset=utf-8{more}\r\n"
    return header.encode() + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + text


def _other_texts(posted: Form) -> Iterator[tuple[str, bytes]]:
    """Further forms of the text, e.g. `body-calendar`."""
    for name in dict.fromkeys(field.name for field in posted.fields):
        found = _OTHER_TEXT.fullmatch(name)
        value = posted.last(name) if found else None
        if found and value and found[1] not in ("plain", "html", "mime"):
            yield found[1], value


def _files(posted: Form, named: Collection[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The files as entities: those that the HTML names, and the others."""
    ids = _content_ids(posted)
    inline: list[bytes] = []
    attached: list[bytes] = []
    for file in sorted(posted.files, key=_number):
        content_id = ids.get(file.name) or file.content_id.strip().strip("<>")
        if not _CONTENT_ID.fullmatch(content_id):
            content_id = ""
        if content_id.encode() in named:
            inline.append(_file(file, "inline", content_id))
        else:
            attached.append(_file(file, "attachment", content_id))
    return inline, attached


def _number(file: Field) -> int:
    """Their own order, whatever the order of the form."""
    found = _FILE.fullmatch(file.name)
    return int(found[1]) if found else 1_000_000


def _content_ids(posted: Form) -> dict[str, str]:
    """Content-ID by the name of a file's field. Equal and empty ids occur in the JSON."""
    try:
        pairs: Any = json.loads(posted.last("content-id-map") or b"{}", object_pairs_hook=list)
    except (ValueError, RecursionError):
        return {}
    ids: dict[str, str] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        match pair:
            case (str(content_id), str(name)) if content_id.strip("<> "):
                ids.setdefault(name, content_id.strip().strip("<>"))
    return ids


def _file(file: Field, disposition: str, content_id: str) -> bytes:
    kind, declared = parameters(file.content_type)
    if not _TYPE.fullmatch(kind) or kind.startswith("multipart/"):
        kind = "application/octet-stream"
    kept = "".join(
        f"; {word}={declared[word]}"
        for word in ("charset", "method")
        if _WORD.fullmatch(declared.get(word, ""))
    )
    lines = [f"Content-Type: {kind}{kept}"]
    name = safe_filename(file.filename or "")
    lines.append(
        f"Content-Disposition: {disposition}"
        + (f"; filename*=UTF-8''{quote(name, safe='')}" if name else "")
    )
    if content_id:
        lines.append(f"Content-ID: <{content_id}>")
    # RFC 2046 §5.2.1: a mail or a report inside a mail has no base64.
    as_it_is = kind.startswith("message/")
    lines.append(f"Content-Transfer-Encoding: {'8bit' if as_it_is else 'base64'}")
    content = file.value if as_it_is else base64.encodebytes(file.value).replace(b"\n", b"\r\n")
    return "\r\n".join([*lines, "", ""]).encode() + content
