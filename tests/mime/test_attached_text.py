"""The text of attachments, and of what only looks like one."""

from __future__ import annotations

import base64
import contextlib
import io
import zipfile
import zlib
from datetime import timedelta

import docx
import pytest

from mailagent.errors import SandboxFailure
from mailagent.mime import parse
from mailagent.mime.attached_text import MOST_CHARACTERS, text_of
from mailagent.sandbox import Sandbox


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


# --- PDF (ISO 32000) --------------------------------------------------------------------------


def pdf(*pages: str, stream: bytes | None = None) -> bytes:
    """A PDF with a line of text a page; `stream` stands for the content of all of them."""
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages)))
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        font,
    ]
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b""
        body, kind = (content, b"") if stream is None else (stream, b" /Filter /FlateDecode")
        parts += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number),
            b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(body), kind, body),
        ]
    written = b"%PDF-1.7\n"
    places = []
    for number, part in enumerate(parts, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return written + (
        b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(parts) + 1, table)
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(parts) + 1, len(written))
    )  # fmt: skip


def test_a_pdf_has_the_text_of_its_pages() -> None:
    found = text_of(pdf("Invoice 17", "Due in May"), "application/octet-stream", "invoice")
    assert found == "Invoice 17\n\nDue in May"


def test_a_long_pdf_is_cut() -> None:
    found = text_of(pdf(*["word " * 3_000] * 12), "application/pdf", "a.pdf")
    assert found is not None
    assert len(found) == MOST_CHARACTERS


def test_a_scan_has_no_text() -> None:
    assert text_of(pdf("", ""), "application/pdf", "scan.pdf") is None


def test_a_broken_pdf_breaks_nothing() -> None:
    whole = pdf("Invoice 17", "Due in May")
    broken = [whole[:end] for end in range(5, len(whole), 37)]
    broken += [whole[:at] + b"\xff" + whole[at + 1 :] for at in range(5, len(whole), 29)]
    broken += [b"%PDF-", b"%PDF-1.7\n" + b"(" * 100_000, b"%PDF-1.7\n" + b"[" * 100_000]
    for octets in broken:
        found = text_of(octets, "application/pdf", "a.pdf")
        assert found is None or len(found) < 100


async def test_a_pdf_that_unpacks_to_gigabytes_ends_nobody_but_its_reader() -> None:
    bomb = pdf("x", stream=zlib.compress(b"(x) Tj " * 40_000_000, 9))
    raw = (
        b"From: a@customer.example\r\nMIME-Version: 1.0\r\nContent-Type: application/pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename=a.pdf\r\n\r\n" + base64.encodebytes(bomb)
    )
    good = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + base64.encodebytes(pdf("Invoice 17"))
    sandbox = Sandbox(workers=1, allowed=("mailagent.reading",))
    try:
        (attached,) = parse.read(raw).attachments
        job, asked = "mailagent.reading:attachment_text", {"part": attached.part}
        with contextlib.suppress(SandboxFailure):
            assert await sandbox.run(job, raw, asked, deadline=timedelta(seconds=10)) == b""
        assert await sandbox.run(job, good, asked) == b"Invoice 17"
    finally:
        await sandbox.close()
