"""What only Mailgun's form has is put in its place, and nothing in it breaks the mail."""

from __future__ import annotations

import json
from email.mime.multipart import MIMEMultipart

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mail import NonDelivery
from mailagent.mime import bounce, parse
from mailagent.mime.rebuilt_mailgun import rebuild
from tests.providers.mailgun_posts import Fields, Files, fixture, multipart, urlencoded

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ORIGINAL = b"From: support@acme.example\nMessage-ID: <reply-43@acme.example>\n\nOur answer.\n"


def test_an_invitation_beside_the_text_is_a_file() -> None:
    fields: Fields = [
        ("message-headers", "[]"),
        ("body-plain", "Come!"),
        ("body-calendar", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"),
    ]
    content = parse.read(rebuild(*urlencoded(fields)))
    (file,) = content.attachments
    assert content.text == "Come!"
    assert (file.filename, file.content_type) == ("invite.ics", "text/calendar")


def test_a_bounce_that_came_in_parts_is_a_bounce() -> None:
    report = MIMEMultipart("report", report_type="delivery-status")
    for name, value in (("From", "mailer-daemon@mx.example"), ("Message-ID", "<dsn@mx.example>")):
        report[name] = value
    status = (
        "Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; gone@customer.example\n"
        "Action: failed\nStatus: 5.1.1\n"
    )
    fields: Fields = [
        ("body-plain", "It could not be delivered.\n"),
        ("message-headers", json.dumps([[n, str(v)] for n, v in report.items()])),
    ]
    files: Files = [
        ("attachment-2", "", "message/rfc822", ORIGINAL),
        ("attachment-1", "", "message/delivery-status", status.encode()),
    ]
    found = bounce.read(rebuild(*multipart(fields, files)), automatic=True)
    assert isinstance(found, NonDelivery)
    assert found.recipients[0].address == "gone@customer.example"
    assert found.recipients[0].hard


def test_files_stand_in_their_numbers_order_whatever_the_forms() -> None:
    fields: Fields = [("message-headers", "[]"), ("body-plain", "x")]
    files: Files = [(f"attachment-{n}", f"{n}.txt", "text/plain", b"%d" % n) for n in range(1, 12)]
    content = parse.read(rebuild(*multipart(fields, files[::-1])))
    assert [one.filename for one in content.attachments] == [f"{n}.txt" for n in range(1, 12)]


def test_the_mail_of_the_documentation_keeps_its_thread_and_its_image() -> None:
    body, _ = urlencoded(fixture("inbound-parsed.json"))
    content = parse.read(rebuild(body, "application/x-www-form-urlencoded"))
    assert content.subject == "Rechnung für März"
    assert content.references == ("<root@acme.aexy.email>", "<reply-42@acme.aexy.email>")
    assert content.written == "Hallo, wo ist die Rechnung?"
    files: Files = [("attachment-1", "logo.png", "image/png", PNG)]
    content = parse.read(rebuild(*multipart(fixture("inbound-parsed.json"), files)))
    (logo,) = content.attachments
    assert (logo.content_id, logo.inline) == ("logo@customer.example", True)


HOSTILE_HEADERS = [
    [["X", "a\r\nBcc: b@c"], ["Y\r\nZ", "1"], ["", "x"], ["Ü", "x"], ["From", "a@b\x00\ud800"]],
    [["Content-Type", "multipart/mixed; boundary=b"], ["MIME-Version", "2.0"]],
    [["Content-Type", 'multipart/report; report-type="a\r\nb: c"']],
    [
        ["content-transfer-encoding", "base64"],
        ["Content-Type", "text/plain; format=flowed\r\nX: y"],
    ],
]


@pytest.mark.parametrize("listed", HOSTILE_HEADERS)
def test_a_header_value_adds_no_header_and_no_encoding(listed: list[list[str]]) -> None:
    form: Fields = [("message-headers", json.dumps(listed)), ("body-plain", "the text")]
    content = parse.read(rebuild(*urlencoded(form)))
    assert content.text == "the text"
    assert {name.lower() for name, _ in content.headers} <= {
        *("x", "from", "mime-version", "content-type", "content-transfer-encoding")
    }


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("..\\..\\a.msg", "application/octet-stream"),
        ("/etc/passwd", "multipart/mixed; boundary=x"),
        ("", "x" * 300),
        ('a"\u202e\r\n.txt', "text/plain; charset=a\r\nX: y"),
    ],
)
def test_a_file_with_a_hostile_name_or_type_is_a_file(filename: str, content_type: str) -> None:
    fields: Fields = [("message-headers", "[]"), ("body-plain", "the text")]
    name = filename.replace("\r\n", "%0D%0A")
    files: Files = [("attachment-1", name, content_type.replace("\r\n", " "), b"--x\r\n\r\nabc")]
    content = parse.read(rebuild(*multipart(fields, files)))
    (file,) = content.attachments
    assert not {"/", "\\"} & set(file.filename)
    assert file.size_bytes == len(b"--x\r\n\r\nabc")
    assert content.text == "the text"


@pytest.mark.parametrize("map_", ["", "x", "[]", '{"": "attachment-1"}', '{"a": 1}', "[" * 99_999])
def test_an_unreadable_map_of_content_ids_costs_no_file(map_: str) -> None:
    fields: Fields = [("message-headers", "[]"), ("content-id-map", map_)]
    files: Files = [("attachment-1", "a.png", "image/png", PNG)]
    (file,) = parse.read(rebuild(*multipart(fields, files))).attachments
    assert file.content_id is None


@settings(max_examples=60, deadline=None)
@given(st.binary(), st.binary(), st.binary(), st.text())
def test_nothing_but_malformed_is_ever_raised(
    headers: bytes, plain: bytes, map_: bytes, filename: str
) -> None:
    fields: Fields = [("body-plain", plain), ("body-html", plain), ("content-id-map", map_)]
    files: Files = [("attachment-1", filename, filename, plain)]
    for listed in (headers, json.dumps([[filename, filename]]).encode()):
        try:
            parse.read(rebuild(*multipart([("message-headers", listed), *fields], files)))
        except Malformed:
            continue
