"""What text does an attachment have? Text, HTML, calendars as they are, DOCX and PDF by libraries.

Runs in the sandbox, where a document that eats memory or time ends nobody but itself.
"""

from __future__ import annotations

import io
import itertools
import logging
import zipfile
from collections.abc import Iterator
from typing import Any

from mailagent.mime import charset
from mailagent.mime.html import to_text

__all__ = ["MOST_CHARACTERS", "text_of"]

MOST_CHARACTERS = 100_000
_UNPACKED_BYTES = 50 * 1024 * 1024
_PAGES = 500
_JUDGED_BYTES = 4_096
_ODD_SHARE = 0.05


def text_of(octets: bytes, content_type: str, filename: str) -> str | None:
    """The text, at most 100,000 characters; None for what has none."""
    if octets.startswith(b"PK\x03\x04"):
        found = _of_docx(octets)
        return None if found is None else charset.clean(found)[:MOST_CHARACTERS]
    if octets.startswith(b"%PDF-"):
        found = _of_pdf(octets)
        return None if found is None else charset.clean(found)[:MOST_CHARACTERS]
    if not _looks_like_text(octets):
        return None
    # Four octets a character at the most: what is beyond is cut anyway.
    text, _ = charset.decode(octets[: MOST_CHARACTERS * 4], None)
    if content_type == "text/html" or filename.lower().endswith((".html", ".htm")):
        text, _ = to_text(text)
    return charset.clean(text)[:MOST_CHARACTERS]


def _looks_like_text(octets: bytes) -> bool:
    head = octets[:_JUDGED_BYTES]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True  # UTF-16 says so itself
    odd = sum(octet < 9 or 13 < octet < 32 for octet in head)
    return bool(head) and odd <= len(head) * _ODD_SHARE and b"\x00" not in head


def _of_docx(octets: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(octets)) as packed:
            members = packed.infolist()
            if not any(one.filename == "word/document.xml" for one in members):
                return None
            if sum(one.file_size for one in members) > _UNPACKED_BYTES:
                return None
    except zipfile.BadZipFile:
        return None
    try:
        # Half a second to import, and an extra: only for a document.
        import docx
    except ImportError:
        return None
    try:
        return "\n".join(_bounded(_paragraphs(docx.Document(io.BytesIO(octets)))))
    except (ValueError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, OSError):
        return None


def _of_pdf(octets: bytes) -> str | None:
    try:
        # A third of a second to import, and an extra: only for a document.
        import pypdf
    except ImportError:
        return None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every oddity
    try:
        pages = pypdf.PdfReader(io.BytesIO(octets)).pages
        found = "\n\n".join(
            _bounded(page.extract_text().strip() for page in itertools.islice(pages, _PAGES))
        )
    except Exception:  # noqa: BLE001 - what a broken PDF makes of the library has no list
        return None
    # A scan has pages and no text: that is not the same as an empty document.
    return found.strip() or None


def _paragraphs(document: Any) -> Iterator[str]:
    for block in document.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                yield "\t".join(cell.text for cell in row.cells)
        else:
            yield block.text


def _bounded(lines: Iterator[str]) -> Iterator[str]:
    left = MOST_CHARACTERS
    for line in lines:
        yield line
        left -= len(line) + 1
        if left <= 0:
            break
