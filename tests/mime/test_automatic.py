"""Machines, lists and reports are told from persons, each with its evidence."""

from __future__ import annotations

import dataclasses

import pytest

from mailagent.mail import Address, Attachment, Content, Kind
from mailagent.mime import automatic

PERSON = Content(
    message_id="<a@customer.example>",
    in_reply_to=(),
    references=(),
    date=None,
    subject="Question about my order",
    from_=(Address("anna@customer.example", "Anna"),),
    sender=(),
    reply_to=(),
    to=(Address("support@acme.example"),),
    cc=(),
    text="Where is it?",
    written="Where is it?",
    html=None,
    hidden_text=False,
    is_forward=False,
    attachments=(),
    headers=(("From", "Anna <anna@customer.example>"), ("Subject", "Question about my order")),
    content_sha256="",
)


def with_headers(*headers: tuple[str, str]) -> Content:
    return dataclasses.replace(PERSON, headers=(*PERSON.headers, *headers))


def with_subject(subject: str) -> Content:
    return dataclasses.replace(PERSON, subject=subject)


def with_file(filename: str) -> Content:
    attached = Attachment("1", filename, "application/gzip", 10, "")
    return dataclasses.replace(PERSON, attachments=(attached,))


def kind_of(content: Content, mail_from: str | None = "anna@customer.example") -> Kind:
    return automatic.classify(content, mail_from=mail_from)[0]


def test_a_plain_mail_is_a_persons() -> None:
    assert kind_of(PERSON) is Kind.PERSON


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("Auto-Submitted", "auto-replied", Kind.AUTOMATIC),
        ("auto-submitted", "auto-generated; owner-email=x@y.example", Kind.AUTOMATIC),
        ("Auto-Submitted", "auto-notified", Kind.AUTOMATIC),
        ("Auto-Submitted", "no", Kind.PERSON),
        ("Auto-Submitted", "No (typed by hand)", Kind.PERSON),
        ("Precedence", "bulk", Kind.AUTOMATIC),
        ("Precedence", "JUNK", Kind.AUTOMATIC),
        ("Precedence", "auto_reply", Kind.AUTOMATIC),
        ("Precedence", "list", Kind.LIST),
        ("Precedence", "first-class", Kind.PERSON),
        ("List-Id", "Cats <cats.example.org>", Kind.LIST),
        ("List-Unsubscribe", "<mailto:u@example.org>", Kind.LIST),
        ("List-Post", "NO", Kind.LIST),
        ("X-Auto-Response-Suppress", "All", Kind.AUTOMATIC),
        ("X-Auto-Response-Suppress", "DR, OOF, AutoReply", Kind.AUTOMATIC),
        ("X-Auto-Response-Suppress", "None", Kind.PERSON),
        ("X-Auto-Response-Suppress", "DR, RN, NRN", Kind.PERSON),
        ("X-Autoreply", "yes", Kind.AUTOMATIC),
        ("X-Autorespond", "away", Kind.AUTOMATIC),
        ("X-Loop", "robot@example.org", Kind.AUTOMATIC),
        ("Content-Type", "multipart/report; report-type=disposition-notification", Kind.AUTOMATIC),
        ("Content-Type", "multipart/mixed; boundary=multipart/report", Kind.PERSON),
        ("X-Spam-Flag", "YES", Kind.SPAM),
        ("X-Spam-Flag", "NO", Kind.PERSON),
    ],
)
def test_a_header_tells_what_wrote_the_mail(name: str, value: str, kind: Kind) -> None:
    assert kind_of(with_headers((name, value))) is kind


def test_the_evidence_is_the_header_itself() -> None:
    content = with_headers(("Auto-Submitted", "auto-replied"))

    _, evidence = automatic.classify(content, mail_from="anna@customer.example")

    assert evidence == "Auto-Submitted: auto-replied"


def test_evidence_is_short_whatever_the_header_holds() -> None:
    content = with_headers(("List-Id", "x" * 100_000))

    _, evidence = automatic.classify(content, mail_from="anna@customer.example")

    assert len(evidence) < 200


def test_a_null_sender_is_never_a_person() -> None:
    assert automatic.classify(PERSON, mail_from=None) == (Kind.AUTOMATIC, "null envelope sender")
    assert kind_of(PERSON, mail_from="") is Kind.AUTOMATIC


@pytest.mark.parametrize(
    "address",
    [
        "MAILER-DAEMON@mx.example",
        "postmaster@example.org",
        "noreply@example.org",
        "no-reply@example.org",
        "no-reply+abc@example.org",
        "DoNotReply@example.org",
        "owner-cats@example.org",
        "cats-owner@example.org",
        "cats-request@example.org",
        "cats-bounces@example.org",
        "bounce+42@example.org",
        "bounces-7@example.org",
        "listserv@example.org",
        "majordomo@example.org",
        "prvs=1234abcdef=noreply@example.org",
    ],
)
def test_a_role_in_the_envelope_or_in_from_is_no_person(address: str) -> None:
    from_role = dataclasses.replace(PERSON, from_=(Address(address),))

    assert kind_of(PERSON, mail_from=address) is Kind.AUTOMATIC
    assert kind_of(from_role) is Kind.AUTOMATIC


@pytest.mark.parametrize(
    "address",
    [
        "anna+noreply@example.org",
        "prvs=1234abcdef=anna@example.org",
        "norepley@example.org",
        "homeowner@example.org",
        "request@example.org",
    ],
)
def test_a_person_with_a_similar_name_stays_a_person(address: str) -> None:
    assert kind_of(PERSON, mail_from=address) is Kind.PERSON


@pytest.mark.parametrize(
    "subject",
    [
        "Automatic reply: Order 7",
        "Out of Office",
        "Out of office: Re: Order 7",
        "Auto: Order",
        "Automatische Antwort: Bestellung",
        "Abwesenheitsnotiz: Bestellung",
        "Réponse automatique : commande",
        "Respuesta automática: pedido",
        "Risposta automatica: ordine",
        "Resposta automática: pedido",
        "Автоматический ответ: заказ",
        "自動応答: 注文",
        "自动回复: 订单",
    ],
)
def test_an_absence_note_is_known_by_its_subject_when_nothing_else_tells(subject: str) -> None:
    assert kind_of(with_subject(subject)) is Kind.AUTOMATIC


@pytest.mark.parametrize(
    "subject",
    [
        "Re: out of office policy",
        "Out of office policy",
        "Re: Automatic reply: Order 7",
        "AW: Abwesenheitsnotiz",
        "How do I set up an automatic reply?",
        "Question on vacation days",
        "Automobile",
        "My order, I am out of the office tomorrow",
    ],
)
def test_a_person_may_write_about_absence(subject: str) -> None:
    assert kind_of(with_subject(subject)) is Kind.PERSON


def test_dmarc_reports_are_known_by_subject_or_by_file_name() -> None:
    subject = "Report Domain: acme.example Submitter: google.com Report-ID: 123"

    assert kind_of(with_subject(subject)) is Kind.REPORT
    assert kind_of(with_file("google.com!acme.example!1763596800!1763683199.zip")) is Kind.REPORT
    assert (
        kind_of(with_file("mx.example!acme.example!1763596800!1763683199!77.xml.gz")) is Kind.REPORT
    )
    assert (
        kind_of(with_file("mx.example!acme.example!1763596800!1763683199!1.json.gz")) is Kind.REPORT
    )


@pytest.mark.parametrize("filename", ["order.zip", "a!b!c.zip", "report.xml.gz"])
def test_an_archive_from_a_person_is_no_report(filename: str) -> None:
    assert kind_of(with_file(filename)) is Kind.PERSON


def test_spam_is_named_before_anything_else() -> None:
    assert kind_of(with_headers(("List-Id", "x"), ("X-Spam-Flag", "YES"))) is Kind.SPAM


def test_hops_are_our_loop_fields_and_our_received_lines() -> None:
    content = with_headers(
        ("Received", "from a.example by mx.acme.example with ESMTPS; now"),
        ("Received", "from mx.acme.example by other.example with ESMTP; now"),
        ("Received", "from a.example by mx.acme.example.evil.example; now"),
        ("Received", "from a.example by not-mx.acme.example; now"),
        ("X-Mailagent-Loop", "acme/support/1"),
        ("x-mailagent-loop", "acme/support/2"),
    )

    assert automatic.loop_hops(content, host="MX.acme.example") == 3
    assert automatic.loop_hops(PERSON, host="mx.acme.example") == 0
