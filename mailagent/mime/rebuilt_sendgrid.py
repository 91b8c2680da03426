"""How does the form of SendGrid's Inbound Parse become MIME again?

Without "POST the raw, full MIME message" the header comes as it was, text and HTML come as octets
in the charsets that `charsets` names, files as files. Source: Twilio SendGrid "Setting up the
Inbound Parse Webhook", read 2026-11-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailagent.errors import Malformed
from mailagent.mime import form, headers, json_body
from mailagent.mime.compose import File, Text, compose
from mailagent.mime.form import Field, Form
from mailagent.mime.json_body import JsonObject

__all__ = ["rebuild"]

_FILE = re.compile(r"attachment([0-9]{1,6})")


def rebuild(body: bytes, content_type: str) -> bytes:
    """The message that a parsed form stands for. Raises Malformed, and nothing else."""
    posted = form.read(body, content_type)
    header = posted.last("headers")
    if header is None:
        raise Malformed("headers", "is missing")
    charsets = _told(posted, "charsets")
    told = _told(posted, "attachment-info")
    by_content_id = _told(posted, "content-ids").members
    ids = {name: content_id for content_id, name in by_content_id.items() if isinstance(name, str)}
    return compose(
        headers.raw_fields(header),
        text=_text(posted, "text", charsets),
        html=_text(posted, "html", charsets),
        files=[_file(one, told, ids) for one in sorted(posted.files, key=_number)],
    )


def _told(posted: Form, name: str) -> JsonObject:
    """A field that is JSON. What it tells has a place elsewhere too: an unreadable one is empty."""
    try:
        return json_body.read(posted.last(name) or b"{}", name)
    except Malformed:
        return JsonObject({})


def _text(posted: Form, name: str, charsets: JsonObject) -> Text | None:
    octets = posted.last(name)
    return Text(octets, _said(charsets, name)) if octets else None


def _number(file: Field) -> int:
    """Their own order, whatever the order of the form."""
    found = _FILE.fullmatch(file.name)
    return int(found[1]) if found else 1_000_000


def _file(file: Field, told: JsonObject, ids: Mapping[str, str]) -> File:
    about = told.members.get(file.name)
    own = JsonObject(about if isinstance(about, dict) else {})
    return File(
        filename=_said(own, "filename") or file.filename or "",
        content_type=file.content_type or _said(own, "type"),
        content=file.value,
        content_id=_said(own, "content-id") or ids.get(file.name, "") or file.content_id,
    )


def _said(told: JsonObject, name: str) -> str:
    value = told.members.get(name)
    return value if isinstance(value, str) else ""
