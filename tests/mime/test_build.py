"""An outgoing mail on the wire: legal, complete, and without a header that nobody meant."""

from __future__ import annotations

import dataclasses
import email
import email.policy
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mail import Address
from mailagent.mime import build, parse
from mailagent.outgoing import Outgoing, OutgoingAttachment

PLAIN = Outgoing(
    message_id="<m1@acme.example>",
    date=datetime(2026, 11, 21, 5, 0, tzinfo=UTC),
    from_=Address("support@acme.example", "Support"),
    to=(Address("anna@customer.example", "Anna"),),
    subject="Your order",
    text="Hello Anna,\n\nit is on its way.\n",
)


def changed(**fields: object) -> Outgoing:
    return dataclasses.replace(PLAIN, **fields)  # type: ignore[arg-type]


def parsed(octets: bytes) -> Any:
    """The stdlib's EmailMessage; its annotations do not know which payloads are parts."""
    return email.message_from_bytes(octets, policy=email.policy.default)


def text_of(part: Any) -> str:
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def rendered(outgoing: Outgoing) -> Any:
    return parsed(build.render(outgoing))


def header_of(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[0] + b"\r\n"


def field_names(octets: bytes) -> list[str]:
    return [name.decode() for name in re.findall(rb"(?m)^([^\s:]+):", header_of(octets))]


def assert_legal(octets: bytes) -> None:
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert b"\r" not in octets.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
    assert octets.endswith(b"\r\n")


def test_a_plain_mail_arrives_as_it_was_written() -> None:
    message = rendered(PLAIN)

    assert message["From"] == "Support <support@acme.example>"
    assert message["To"] == "Anna <anna@customer.example>"
    assert message["Subject"] == "Your order"
    assert message["Date"] == "Sat, 21 Nov 2026 05:00:00 +0000"
    assert message["Message-ID"] == "<m1@acme.example>"
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_type() == "text/plain"
    assert text_of(message) == PLAIN.text


def test_each_header_is_written_once() -> None:
    octets = build.render(
        changed(
            cc=(Address("bert@customer.example"),),
            reply_to=(Address("support+t.abc@acme.example"),),
            in_reply_to="<a@customer.example>",
            references=("<a@customer.example>",),
            auto_submitted="auto-replied",
            headers=(("X-Mailagent-Loop", "acme/support/1"),),
        )
    )

    names = [name.lower() for name in field_names(octets)]
    assert sorted(names) == sorted(set(names))


def test_bcc_is_never_written() -> None:
    octets = build.render(changed(bcc=(Address("secret@customer.example", "Secret"),)))

    assert b"ecret" not in octets
    assert b"bcc:" not in octets.lower()


def test_a_mail_for_bcc_only_has_no_to() -> None:
    octets = build.render(changed(to=(), bcc=(Address("secret@customer.example"),)))

    assert "To" not in field_names(octets)


def test_an_automatic_mail_says_so_and_asks_for_no_absence_note() -> None:
    message = rendered(changed(auto_submitted="auto-replied"))

    assert message["Auto-Submitted"] == "auto-replied"
    assert message["X-Auto-Response-Suppress"] == "OOF, AutoReply"
    assert rendered(PLAIN)["X-Auto-Response-Suppress"] is None


def test_the_date_keeps_its_zone() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))

    message = rendered(changed(date=datetime(2026, 11, 21, 10, 30, tzinfo=zone)))

    assert message["Date"] == "Sat, 21 Nov 2026 10:30:00 +0530"


def test_names_and_subjects_of_any_script_arrive() -> None:
    subject = "Ihre Bestellung über 5 € — 注文の確認 🐈 " * 8
    name = 'Jürgen "der Große" Müller, 株式会社'
    outgoing = changed(
        subject=subject.strip(), to=(Address("j@kunde.example", name),), from_=PLAIN.from_
    )

    octets = build.render(outgoing)

    assert octets.isascii()
    # Read with our own parser: the stdlib's puts a second space between encoded words of a name.
    content = parse.read(octets)
    assert content.subject == subject.strip()
    assert content.to == (Address("j@kunde.example", name),)


@pytest.mark.parametrize(
    "name",
    [
        "Smith, Anna",
        'The "Cat"',
        "back\\slash",
        "a@b",
        "O'Neil (home)",
        "=?utf-8?q?evil?=",
        "J. R.",
    ],
)
def test_a_name_with_special_characters_stays_one_name(name: str) -> None:
    message = rendered(changed(to=(Address("anna@customer.example", name),)))

    (mailbox,) = message["To"].addresses
    assert (mailbox.display_name, mailbox.addr_spec) == (name, "anna@customer.example")


@pytest.mark.parametrize(
    "subject", ["=?utf-8?q?x?=", " two  spaces ", "a\tb".replace("\t", "  "), ""]
)
def test_an_odd_subject_arrives_as_it_is(subject: str) -> None:
    assert (rendered(changed(subject=subject))["Subject"] or "") == subject


def test_many_recipients_are_folded_between_mailboxes() -> None:
    people = tuple(Address(f"person{n}@customer.example", f"Person {n}") for n in range(50))

    octets = build.render(changed(to=people))

    assert_legal(octets)
    assert [str(a.addr_spec) for a in parsed(octets)["To"].addresses] == [p.address for p in people]


def test_forty_long_ids_are_folded_between_ids_and_never_encoded() -> None:
    ids = tuple(f"<{'x' * 180}.{number}@mail.customer.example>" for number in range(40))

    octets = build.render(changed(in_reply_to=ids[-1], references=ids))

    assert_legal(octets)
    assert b"=?" not in header_of(octets)
    found = re.search(rb"(?ms)^References:(.*?)\r\n(?=\S)", octets)
    assert found is not None
    assert tuple(found[1].decode().split()) == ids


def test_text_and_html_are_alternatives_and_the_html_comes_last() -> None:
    message = rendered(changed(html="<p>Hello <b>Änna</b></p>"))

    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert text_of(text) == PLAIN.text
    assert text_of(html).strip() == "<p>Hello <b>Änna</b></p>"


def test_an_inline_image_stands_beside_its_html_and_a_file_beside_both() -> None:
    image = OutgoingAttachment("logo.png", "image/png", b"\x89PNG", content_id="logo@acme")
    file = OutgoingAttachment("bill.pdf", "application/pdf", b"%PDF-1.7")

    message = rendered(changed(html='<img src="cid:logo@acme">', attachments=(image, file)))

    assert message.get_content_type() == "multipart/mixed"
    alternative, attached = message.get_payload()
    assert alternative.get_content_type() == "multipart/alternative"
    _, related = alternative.get_payload()
    assert related.get_content_type() == "multipart/related"
    page, picture = related.get_payload()
    assert page.get_content_type() == "text/html"
    assert picture["Content-ID"] == "<logo@acme>"
    assert picture.get_content_disposition() == "inline"
    assert picture.get_payload(decode=True) == b"\x89PNG"
    assert attached.get_filename() == "bill.pdf"
    assert attached.get_content_disposition() == "attachment"


def test_an_image_without_html_is_a_file() -> None:
    image = OutgoingAttachment("logo.png", "image/png", b"\x89PNG", content_id="logo@acme")

    (attached,) = rendered(changed(attachments=(image,))).iter_attachments()

    assert attached.get_filename() == "logo.png"


def test_two_equal_files_both_arrive() -> None:
    file = OutgoingAttachment("a.bin", "application/octet-stream", b"same")

    assert len(list(rendered(changed(attachments=(file, file))).iter_attachments())) == 2


@pytest.mark.parametrize(
    "filename",
    [
        "Rechnung für März.pdf",
        "領収書.pdf",
        "a;b=c.txt",
        'quote".txt',
        "x" * 180 + ".txt",
        "ü" * 150,
    ],
)
def test_a_files_name_arrives(filename: str) -> None:
    octets = build.render(changed(attachments=(OutgoingAttachment(filename, "text/plain", b"x"),)))

    assert_legal(octets)
    (attached,) = parsed(octets).iter_attachments()
    assert attached.get_filename() == filename


def test_a_mail_as_a_file_keeps_every_octet() -> None:
    inner = b"From: a@b.example\nSubject: \xff\n\nbare lines\n"
    file = OutgoingAttachment("mail.eml", "message/rfc822", inner)

    (attached,) = rendered(changed(attachments=(file,))).iter_attachments()

    assert attached.get_payload(decode=True) == inner
    assert attached.get_filename() == "mail.eml"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no line end",
        "x" * 5_000,
        "ünïcödé\n",
        ".\n..\nFrom here\n",
        "漢字" * 2_000,
        "tab\t and trailing space \nend\n",
    ],
)
def test_any_text_arrives_in_seven_bits(text: str) -> None:
    octets = build.render(changed(text=text))

    assert_legal(octets)
    assert octets.isascii()
    assert text_of(parsed(octets)).rstrip("\n") == text.rstrip("\n")


def test_the_same_mail_is_the_same_octets() -> None:
    outgoing = changed(html="<p>x</p>")

    assert build.render(outgoing) == build.render(outgoing)


def test_a_domain_outside_ascii_is_written_so_that_every_server_takes_it() -> None:
    outgoing = changed(to=(Address("anna@bücher.example"),))

    assert rendered(outgoing)["To"] == "anna@xn--bcher-kva.example"
    assert not build.needs_smtputf8(outgoing)


def test_a_local_part_outside_ascii_asks_for_smtputf8() -> None:
    outgoing = changed(to=(Address("jürgen@kunde.example"),))

    assert build.needs_smtputf8(outgoing)
    assert "jürgen@kunde.example".encode() in header_of(build.render(outgoing))
    assert not build.needs_smtputf8(PLAIN)


def refused(outgoing: Outgoing) -> str:
    with pytest.raises(Malformed) as caught:
        build.check(outgoing)
    return caught.value.field


INJECTION = "x\r\nBcc: thief@evil.example"


@pytest.mark.parametrize(
    "evil", [INJECTION, "x\ny", "x\ry", "x\0y", "x\x1by", "x\u2028y", "\ud800"]
)
def test_a_line_break_is_refused_wherever_it_stands_in_a_header(evil: str) -> None:
    file = OutgoingAttachment("a.txt", "text/plain", b"")

    assert refused(changed(subject=evil)) == "subject"
    assert refused(changed(from_=Address("a@b.example", evil))) == "from"
    assert refused(changed(to=(Address("a@b.example", evil),))) == "to"
    assert refused(changed(cc=(Address(f"{evil}@b.example"),))) == "cc"
    assert refused(changed(bcc=(Address(f"a@{evil}"),))) == "bcc"
    assert refused(changed(reply_to=(Address("a@b.example", evil),))) == "reply_to"
    assert refused(changed(message_id=f"<{evil}@b.example>")) == "message_id"
    assert refused(changed(in_reply_to=f"<{evil}@b.example>")) == "in_reply_to"
    assert refused(changed(references=(f"<{evil}@b.example>",))) == "references"
    assert refused(changed(headers=((evil, "x"),))) == "headers"
    assert refused(changed(headers=(("X-A", evil),))) == "headers"
    for field in ("filename", "content_type", "content_id"):
        fields: dict[str, Any] = {field: evil}
        odd = dataclasses.replace(file, **fields)
        assert refused(changed(attachments=(odd,))) == "attachments"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "anna",
        "@b.example",
        "anna@",
        "a@b@c.example",
        "anna berg@b.example",
        "<anna@b.example>",
        "anna@b.example>",
        "anna@b..example",
        "anna@-b.example",
        "anna@[192.0.2.1]",
        "a,b@c.example",
        "a" * 65 + "@b.example",
        "ü" * 33 + "@b.example",
        "a@" + "b." * 130 + "example",
        "a@" + "b" * 64 + ".example",
    ],
)
def test_what_is_no_address_is_refused_by_the_name_of_its_field(address: str) -> None:
    assert refused(changed(to=(Address(address),))) == "to"
    assert refused(changed(from_=Address(address))) == "from"


@pytest.mark.parametrize(
    "address",
    [
        "a@b.example",
        "a.b+c=d@b.example",
        "jürgen@bücher.example",
        "o'neil@b.example",
        "a@localhost",
    ],
)
def test_real_addresses_pass(address: str) -> None:
    build.check(changed(to=(Address(address),)))


def test_a_mail_for_nobody_is_refused() -> None:
    assert refused(changed(to=())) == "to"


@pytest.mark.parametrize(
    "name",
    [
        "From", "TO", "cc", "Bcc", "Date", "message-id", "Content-Type", "CONTENT-DISPOSITION",
        "MIME-Version", "Received", "Return-Path", "DKIM-Signature", "Auto-Submitted", "Sender",
        "Reply-To", "References", "Subject", "Resent-From", "ARC-Seal", "Authentication-Results",
        "", "X Y", "X:Y", "Ü",
    ],
)  # fmt: skip
def test_a_custom_header_cannot_speak_in_our_name(name: str) -> None:
    assert refused(changed(headers=((name, "x"),))) == "headers"


def test_other_custom_headers_pass_and_arrive() -> None:
    outgoing = changed(headers=(("X-Mailagent-Loop", "acme/support/1"), ("X-Größe", "x")))
    assert refused(outgoing) == "headers"

    fine = changed(headers=(("X-Mailagent-Loop", "acme/1"), ("List-Id", "Käse <k.example>")))
    build.check(fine)

    assert rendered(fine)["X-Mailagent-Loop"] == "acme/1"
    assert rendered(fine)["List-Id"] == "Käse <k.example>"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": "a\0b"}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"html": "\udfff"}, "html"),
        ({"date": datetime(2026, 11, 21)}, "date"),  # noqa: DTZ001
        ({"subject": "x" * 10_000}, "subject"),
        ({"message_id": "m1@acme.example"}, "message_id"),
        ({"headers": (("X-A", "x"),) * 100}, "headers"),
        ({"attachments": (OutgoingAttachment(" ", "text/plain", b""),)}, "attachments"),
        ({"attachments": (OutgoingAttachment("a", "multipart/mixed", b""),)}, "attachments"),
        ({"attachments": (OutgoingAttachment("a", "text", b""),)}, "attachments"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(fields: dict[str, object], field: str) -> None:
    assert refused(changed(**fields)) == field


def test_a_good_mail_passes() -> None:
    build.check(PLAIN)


hostile = st.text(
    st.one_of(st.characters(), st.sampled_from('\r\n\0\t"\\<>,;:@ =?()éあ')), max_size=120
)


def _fields_meant(outgoing: Outgoing) -> Iterable[str]:
    return {
        "Date", "From", "To", "Subject", "Message-ID", "In-Reply-To", "References", "MIME-Version",
        "Content-Type", "Content-Transfer-Encoding", *(name for name, _ in outgoing.headers),
    }  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(name=hostile, address=hostile, subject=hostile, value=hostile, reference=hostile)
def test_hostile_values_never_make_a_header_even_without_the_check(
    name: str, address: str, subject: str, value: str, reference: str
) -> None:
    outgoing = changed(
        from_=Address("a@b.example", name),
        to=(Address(address, name),),
        subject=subject,
        references=(reference,),
        headers=(("X-Custom", value),),
    )
    try:
        octets = build.render(outgoing)
    except Malformed:
        return

    assert_legal(octets)
    assert set(field_names(octets)) <= set(_fields_meant(outgoing))


@settings(max_examples=100, deadline=None)
@given(
    subject=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=300),
    name=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=150),
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=500),
    filename=st.text(
        st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\"),
        min_size=1,
        max_size=150,
    ),
    content=st.binary(max_size=300),
)
@example(subject="", name="", text="", filename='""', content=b"")
def test_whatever_passes_the_check_arrives(
    subject: str, name: str, text: str, filename: str, content: bytes
) -> None:
    outgoing = changed(
        subject=subject,
        to=(Address("anna@customer.example", name),),
        text=text,
        attachments=(OutgoingAttachment(filename, "application/octet-stream", content),),
    )
    build.check(outgoing)

    octets = build.render(outgoing)

    assert_legal(octets)
    assert octets.isascii()
    message = parsed(octets)
    assert (message["Subject"] or "") == subject
    assert message["To"].addresses[0].addr_spec == "anna@customer.example"
    (attached,) = message.iter_attachments()
    assert attached.get_payload(decode=True) == content
    # `get_filename` takes off quotation marks that belong to the name.
    assert attached["Content-Disposition"].params["filename"] == filename
