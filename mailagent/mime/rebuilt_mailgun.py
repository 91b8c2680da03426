"""How does a mail that Mailgun gave in parts become MIME again?

The form of `forward()` without `mime`: header fields as a JSON list, text and HTML in UTF-8, files.
What is lost is the octets: no signature of the mail can be verified any more. Source: Mailgun
"Receiving, forwarding and storing messages" (read 2026-11).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mailagent.errors import Malformed
from mailagent.mime import form
from mailagent.mime.compose import File, Text, compose
from mailagent.mime.form import Field, Form
from mailagent.mime.parameters import safe_filename

__all__ = ["message_headers", "rebuild"]

_MOST_FIELDS = 5_000
_MOST_CHARACTERS = 64 * 1024
"""Of one header field."""
_FILE = re.compile(r"attachment-([0-9]{1,6})")
_OTHER_TEXT = re.compile(r"body-([a-z0-9.+-]{1,60})")


def rebuild(body: bytes, content_type: str) -> bytes:
    """Write the mail that a form tells of as MIME; the same form gives the same octets.

    `body` and `content_type` are the request's. Raises Malformed, and nothing else.
    """
    posted = form.read(body, content_type)
    plain, html = posted.last("body-plain"), posted.last("body-html")
    ids = _content_ids(posted)
    return compose(
        [
            (name.encode("utf-8", "replace"), value.encode("utf-8", "replace"))
            for name, value in message_headers(posted)
        ],
        text=Text(plain) if plain else None,
        html=Text(html) if html else None,
        files=[
            *_other_texts(posted),
            *(_file(one, ids) for one in sorted(posted.files, key=_number)),
        ],
    )


def message_headers(posted: Form) -> Sequence[tuple[str, str]]:
    """The mail's header in its order, values decoded.

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
                fields.append((name, text[:_MOST_CHARACTERS]))
            case _:
                raise Malformed("message-headers", "holds something that is no name and value")
    return fields


def _other_texts(posted: Form) -> Iterator[File]:
    """Further forms of the text, e.g. `body-calendar`."""
    for name in dict.fromkeys(field.name for field in posted.fields):
        found = _OTHER_TEXT.fullmatch(name)
        value = posted.last(name) if found else None
        if found and value and found[1] not in ("plain", "html", "mime"):
            yield File("", f"text/{found[1]}", value)


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
                ids.setdefault(name, content_id)
    return ids


def _file(file: Field, ids: dict[str, str]) -> File:
    content_id = ids.get(file.name) or file.content_id
    return File(safe_filename(file.filename or ""), file.content_type, file.value, content_id)
