"""The text of attachments, and of what only looks like one."""

from __future__ import annotations

import io
import zipfile

import docx
import pytest

from mailagent.mime.attached_text import MOST_CHARACTERS, text_of


def document(*paragraphs: str) -> bytes:
    made = docx.Document()
    for one in paragraphs:
        made.add_paragraph(one)
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Price", "12 EUR"
    written = io.BytesIO()
    made.save(written)
    return written.getvalue()


def test_a_document_of_word_has_its_paragraphs_and_tables() -> None:
    text = text_of(document("Dear all,", "we move."), "application/octet-stream", "a.docx")
    assert text == "Dear all,\nwe move.\nPrice\t12 EUR"


def test_a_long_document_is_cut() -> None:
    text = text_of(document(*["x" * 10_000] * 15), "", "a.docx")
    assert text is not None
    assert len(text) == MOST_CHARACTERS


@pytest.mark.parametrize(
    ("octets", "content_type", "filename", "text"),
    [
        (b"BEGIN:VCALENDAR\r\nSUMMARY:Call\r\n", "text/calendar", "i.ics", "Call"),
        ("Grüße".encode(), "text/plain", "a.txt", "Grüße"),
        ("Grüße".encode("latin-1"), "text/plain", "a.txt", "Grüße"),
        (b"<p>Hello <b>you</b></p><script>x</script>", "text/html", "a.html", "Hello you"),
    ],
)
def test_text_is_decoded_and_html_read(
    octets: bytes, content_type: str, filename: str, text: str
) -> None:
    found = text_of(octets, content_type, filename)
    assert found is not None
    assert text in found
    assert "<script" not in found


def packed(**members: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made:
        for name, octets in members.items():
            made.writestr(name.replace("__", "/").replace("_xml", ".xml"), octets)
    return written.getvalue()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"MZ\x90\x00\x03\x00\x00",
        bytes(range(256)) * 4,
        b"PK\x03\x04broken",
        packed(a_xml=b"<a/>"),
        packed(word__document_xml=b"<not a document"),
        packed(word__document_xml=b"x" * (51 * 1024 * 1024)),
    ],
)
def test_what_has_no_text_has_none(octets: bytes) -> None:
    assert text_of(octets, "application/octet-stream", "a.docx") is None
