"""A mail that Mailgun gave in parts is read as the mail itself would be."""

from __future__ import annotations

import json
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mail import Content, NonDelivery
from mailagent.mime import bounce, parse
from mailagent.mime.rebuilt_mailgun import rebuild
from tests.providers.mailgun_posts import (
    Fields,
    Files,
    fixture,
    multipart,
    parsed,
    urlencoded,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.7\n\x00\xff--mg\r\n"


def message(subject: str = "Rechnung für März", text: str = "Grüße\n\nDana\n") -> EmailMessage:
    made = EmailMessage()
    made["From"] = '"Reyes, Dana" <dana@customer.example>'
    made["To"] = "support@acme.aexy.email, Ann Löwe <ann@customer.example>"
    made["Cc"] = "bob@customer.example"
    made["Subject"] = subject
    made["Message-ID"] = "<CAF9x-0001@mail.customer.example>"
    made["In-Reply-To"] = "<reply-42@acme.aexy.email>"
    made["References"] = "<root@acme.aexy.email> <reply-42@acme.aexy.email>"
    made["Date"] = "Sat, 21 Nov 2026 09:33:17 +0100"
    made.set_content(text)
    return made


def in_latin_1() -> EmailMessage:
    made = message()
    made.set_content("Grüße aus Köln\n", charset="iso-8859-1", cte="quoted-printable")
    return made


def flowed() -> EmailMessage:
    made = message()
    made.set_content("One paragraph that is \nwritten on two lines.\n> quoted\n")
    made.set_param("format", "flowed")
    return made


def html_alone() -> EmailMessage:
    made = message()
    made.set_content("<p>Hello <b>you</b></p><p>two</p>", subtype="html")
    return made


def alternative() -> EmailMessage:
    made = message()
    made.add_alternative("<p>Gr&uuml;&szlig;e</p>", subtype="html")
    return made


def with_inline_image() -> EmailMessage:
    made = alternative()
    html = list(made.iter_parts())[-1]
    html.set_content('<p>Grüße <img src="cid:logo@x"></p>', subtype="html")
    html.add_related(PNG, "image", "png", cid="<logo@x>", filename="logo.png", disposition="inline")
    return made


def with_files() -> EmailMessage:
    made = with_inline_image()
    made.add_attachment(PDF, "application", "pdf", filename='März 2026; "final".pdf')
    made.add_attachment("a;b\nü;2\n", "csv", filename="zahlen.csv")
    return made


def with_a_mail_inside() -> EmailMessage:
    made = message()
    inner = message("the inner one", "inner text\n")
    inner.add_attachment(PDF, "application", "pdf", filename="inner.pdf")
    made.add_attachment(inner)
    return made


def with_an_invitation() -> EmailMessage:
    made = alternative()
    made.add_alternative("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", subtype="calendar")
    return made


def a_file_alone() -> EmailMessage:
    made = message()
    made.clear_content()
    made.set_content(PDF, "application", "pdf", filename="scan.pdf", disposition="attachment")
    return made


MAILS = {
    "plain": message(),
    "empty": message(text=""),
    "long subject": message("Rechnung " * 40 + "東京"),
    "dots and boundaries": message(text=".\n--mg\n--mg--\n=20\n%41+&a=b\n"),
    "iso-8859-1": in_latin_1(),
    "flowed": flowed(),
    "html alone": html_alone(),
    "alternative": alternative(),
    "inline image": with_inline_image(),
    "files": with_files(),
    "a mail inside": with_a_mail_inside(),
    "an invitation": with_an_invitation(),
    "a file alone": a_file_alone(),
}


def essence(content: Content) -> tuple[object, ...]:
    """What agent, thread and routing see."""
    files = [
        (one.filename, one.content_type, one.sha256, one.content_id, one.inline)
        for one in content.attachments
        if one.part.count(".") < 3
    ]
    return (
        content.text.strip(),
        content.written,
        content.subject,
        content.message_id,
        content.in_reply_to,
        content.references,
        content.date,
        content.from_,
        content.to,
        content.cc,
        files,
    )


@pytest.mark.parametrize("name", MAILS)
def test_a_rebuilt_mail_reads_as_the_mail_itself(name: str) -> None:
    raw = MAILS[name].as_bytes()
    rebuilt = rebuild(*parsed(raw))
    assert essence(parse.read(rebuilt)) == essence(parse.read(raw))


def test_each_file_is_found_by_its_part_again() -> None:
    body, content_type = parsed(with_files().as_bytes())
    for file in parse.read(rebuild(body, content_type)).attachments:
        assert parse.attachment(rebuild(body, content_type), file.part) in (
            PNG, PDF, "a;b\nü;2\n".encode()
        )  # fmt: skip


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
        ("attachment-2", "", "message/rfc822", message("our own").as_bytes()),
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


def test_the_same_form_gives_the_same_octets() -> None:
    form = parsed(with_files().as_bytes())
    assert rebuild(*form) == rebuild(*form)


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
