"""Bounces and complaints: whoever sends them, however they are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.mail import Complaint, FailedRecipient, NonDelivery
from mailagent.mime import bounce

SAMPLES = Path(__file__).parents[1] / "data" / "bounces"
CORPUS = (
    Path(os.environ.get("MAILAGENT_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))
    / "bounces"
)


def crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def sample(name: str) -> bytes:
    return crlf((SAMPLES / f"{name}.eml").read_bytes())


def non_delivery(raw: bytes, *, automatic: bool = False) -> NonDelivery:
    report = bounce.read(raw, automatic=automatic)
    assert isinstance(report, NonDelivery)
    return report


def complaint(raw: bytes) -> Complaint:
    report = bounce.read(raw)
    assert isinstance(report, Complaint)
    return report


def text_mail(
    body: str, *, sender: str = "Mail Delivery System <MAILER-DAEMON@mx.example>"
) -> bytes:
    return crlf(
        f"From: {sender}\nTo: support@acme.example\nSubject: failure notice\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{body}".encode()
    )


def test_a_dsn_names_recipient_status_and_the_mail_it_is_about() -> None:
    report = non_delivery(sample("dsn"))

    (failed,) = report.recipients
    assert failed.address == "gone@customer.example"
    assert (failed.action, failed.status, failed.cause) == ("failed", "5.1.1", "no_such_address")
    assert failed.diagnostic.startswith("550 5.1.1 <gone@customer.example>: Recipient address rej")
    assert failed.hard
    assert report.original_message_id == "<reply-42@acme.example>"
    assert report.original_envelope_id == "env-4711"
    assert report.reporting_mta == "mx.customer.example"


def test_each_recipient_of_a_dsn_is_judged_by_its_own_fields() -> None:
    report = non_delivery(sample("dsn-two-recipients"))

    gone, slow = report.recipients
    assert (gone.address, gone.action, gone.hard) == ("sales+eu@customer.example", "failed", True)
    assert (slow.address, slow.action, slow.hard) == ("slow@customer.example", "delayed", False)
    assert report.original_message_id == "<two-recipients@acme.example>"


def test_addresses_outside_ascii_are_read_in_both_forms() -> None:
    report = non_delivery(sample("dsn-utf8"))

    assert [failed.address for failed in report.recipients] == [
        "jürgen@kunde.example",
        "jürgen2@kunde.example",
    ]
    assert [failed.hard for failed in report.recipients] == [True, False]
    assert report.original_message_id == "<utf8-7@acme.example>"


def test_status_fields_count_when_their_part_is_mislabelled_and_encoded() -> None:
    (failed,) = non_delivery(sample("dsn-in-text")).recipients

    assert (failed.address, failed.status) == ("gone@old.example", "5.1.1")


def test_a_report_without_status_gets_one_from_the_answer() -> None:
    (failed,) = non_delivery(sample("dsn-no-status")).recipients

    assert (failed.address, failed.action, failed.status) == (
        "gone@customer.example",
        "failed",
        "5.1.1",
    )
    assert failed.hard


def test_a_delay_is_no_failure() -> None:
    report = non_delivery(sample("dsn-delayed"))

    assert report.recipients[0].action == "delayed"
    assert not report.recipients[0].hard
    assert report.original_message_id == "<slow-1@acme.example>"


def test_an_exchange_report_is_read_from_its_fields() -> None:
    report = non_delivery(sample("exchange"))

    (failed,) = report.recipients
    assert (failed.address, failed.status) == ("anna@customer.example", "5.1.10")
    assert (failed.cause, failed.hard) == ("no_such_address", True)
    assert report.original_message_id == "<order-7@acme.example>"


def test_qmails_prose_is_read_and_the_copy_below_is_not_taken_for_the_answer() -> None:
    report = non_delivery(sample("qmail"))

    (failed,) = report.recipients
    assert failed.address == "gone@customer.example"
    assert (failed.status, failed.cause, failed.hard) == ("5.1.1", "no_such_address", True)
    assert report.original_message_id == "<qmail-9@acme.example>"


def test_exims_recipients_each_get_the_answer_beside_their_name() -> None:
    report = non_delivery(sample("exim"))

    gone, full = report.recipients
    assert (gone.address, gone.hard) == ("gone@customer.example", True)
    assert (full.address, full.cause, full.hard) == ("full@customer.example", "mailbox_full", False)
    assert report.original_message_id == "<exim-3@acme.example>"


def test_a_full_mailbox_is_a_soft_failure_in_german_too() -> None:
    (failed,) = non_delivery(sample("mailbox-full")).recipients

    assert (failed.address, failed.cause) == ("voll@kunde.example", "mailbox_full")
    assert not failed.hard


@pytest.mark.parametrize(
    ("answer", "cause", "hard"),
    [
        ("550 5.1.1 User unknown", "no_such_address", True),
        ("550 Utilisateur inconnu", "no_such_address", True),
        ("550 Usuario desconocido", "no_such_address", True),
        ("550 пользователь не найден", "no_such_address", True),
        ("Host or domain name not found. Name service error for name=x", "no_such_host", True),
        ("556 5.1.10 Recipient address has null MX", "no_such_host", True),
        ("552 5.2.2 Mailbox is full", "mailbox_full", False),
        ("550 5.2.1 The email account that you tried to reach is disabled", "disabled", False),
        ("554 5.7.1 blocked using dnsbl.example", "policy", False),
        ("550 5.7.26 this mail is unauthenticated", "policy", False),
        ("552 5.3.4 message too large", "message", False),
        ("421 4.4.1 connection timed out", "route", False),
    ],
)
def test_only_a_dead_address_is_a_hard_failure(answer: str, cause: str, hard: bool) -> None:
    (failed,) = non_delivery(text_mail(f"<gone@customer.example>:\n{answer}\n")).recipients

    assert (failed.address, failed.cause, failed.hard) == ("gone@customer.example", cause, hard)


def test_user_unknown_after_the_mail_itself_is_filtering_and_not_a_dead_address() -> None:
    raw = text_mail("<a@carrier.example>: 550 User unknown (in reply to end of DATA command)\n")

    assert not non_delivery(raw).recipients[0].hard


def test_a_failure_that_nobody_explains_does_not_condemn_the_address() -> None:
    (failed,) = non_delivery(text_mail("<gone@customer.example>:\n550 no.\n")).recipients

    assert failed.status == "5.0.0"
    assert not failed.hard


@pytest.mark.parametrize("status", ["5.1.1", "5.1.2", "5.1.6", "5.1.10"])
def test_a_status_alone_can_say_that_an_address_is_dead(status: str) -> None:
    assert FailedRecipient("a@b.example", "failed", status).hard
    assert not FailedRecipient("a@b.example", "delayed", status).hard


@pytest.mark.parametrize("status", ["5.0.0", "5.2.2", "5.7.1", "4.1.1", None])
def test_other_statuses_leave_the_address_alone(status: str | None) -> None:
    assert not FailedRecipient("a@b.example", "failed", status).hard


def test_a_complaint_names_who_complained_about_what() -> None:
    report = complaint(sample("arf-abuse"))

    assert report.feedback_type == "abuse"
    assert report.original_recipients == ("anna@isp.example", "bert@isp.example")
    assert report.original_message_id == "<offer-1@acme.example>"
    assert report.source_ip == "192.0.2.1"


def test_not_spam_is_told_apart_from_a_complaint_by_its_type() -> None:
    assert complaint(sample("arf-not-spam")).feedback_type == "not-spam"


def test_an_absence_note_with_a_null_sender_is_no_bounce() -> None:
    assert bounce.read(sample("null-sender-note"), automatic=True) is None


def test_a_null_sender_lets_an_answer_in_figures_count_whoever_wrote_it() -> None:
    raw = text_mail(
        "gone@customer.example: 550 5.1.1 user unknown\n", sender="robot@mx.example"
    ).replace(b"failure notice", b"Sorry")

    assert bounce.read(raw) is None
    assert non_delivery(raw, automatic=True).recipients[0].hard


@pytest.mark.parametrize(
    "subject", ["Re: failure notice", "Undeliverable: what does that mean?", "Hello"]
)
def test_a_person_who_writes_about_a_bounce_is_a_person(subject: str) -> None:
    raw = crlf(
        f"From: Anna <anna@customer.example>\nSubject: {subject}\n\n"
        "I got 550 5.1.1 user unknown for bert@customer.example. Why?\n".encode()
    )

    assert bounce.read(raw) is None


def test_a_person_who_forwards_a_bounce_is_a_person() -> None:
    raw = (
        b"From: Anna <anna@customer.example>\r\nSubject: Fwd: Undelivered Mail\r\n"
        b"Content-Type: multipart/mixed; boundary=fw\r\n\r\n--fw\r\n\r\nWhat is this?\r\n"
        b"--fw\r\nContent-Type: message/rfc822\r\n\r\n" + sample("dsn") + b"\r\n--fw--\r\n"
    )

    assert bounce.read(raw) is None


def test_a_person_who_pastes_the_fields_of_a_bounce_is_a_person() -> None:
    fields = "Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n"

    assert bounce.read(text_mail(f"Look:\n\n{fields}", sender="anna@customer.example")) is None
    assert non_delivery(text_mail(f"Sorry.\n\n{fields}")).recipients[0].hard


def test_a_report_that_a_gateway_wrapped_is_unwrapped() -> None:
    raw = (
        b"From: MAILER-DAEMON@gateway.example\r\nSubject: Returned mail\r\n"
        b"Content-Type: multipart/mixed; boundary=gw\r\n\r\n--gw\r\n\r\nSee below.\r\n"
        b"--gw\r\nContent-Type: message/rfc822\r\n\r\n" + sample("dsn") + b"\r\n--gw--\r\n"
    )

    assert non_delivery(raw).original_message_id == "<reply-42@acme.example>"


def test_a_reading_receipt_is_no_bounce() -> None:
    raw = (
        b"From: Anna <anna@customer.example>\r\nSubject: Read: Your order\r\n"
        b"Content-Type: multipart/report; report-type=disposition-notification; boundary=r\r\n\r\n"
        b"--r\r\n\r\nYour mail was displayed.\r\n--r\r\n"
        b"Content-Type: message/disposition-notification\r\n\r\n"
        b"Final-Recipient: rfc822; anna@customer.example\r\nDisposition: manual-action\r\n"
        b"--r--\r\n"
    )

    assert bounce.read(raw, automatic=True) is None


def test_addresses_and_versions_in_figures_are_no_status() -> None:
    raw = text_mail(
        "<gone@customer.example>: host 5.1.1.9 (v5.1.12.3, Mailer 4.8.2) said: 550 no\n"
    )

    assert non_delivery(raw).recipients[0].status == "5.0.0"


def test_a_postmaster_who_writes_about_something_else_is_no_bounce() -> None:
    raw = text_mail("Please call anna@customer.example.\n", sender="postmaster@customer.example")

    assert bounce.read(raw.replace(b"failure notice", b"Your question")) is None


@pytest.mark.parametrize("end", ["f451", "_550", "a554"])
def test_a_name_that_ends_in_figures_is_no_reply_of_a_server(end: str) -> None:
    # An owner's notice names the mail that waits, by an id that any figures may end.
    name = f"dlv_01a22dda2b0776b19a05931b74f7{end}"
    words = f"A mail waits for a person.\n  mailagent reply {name}\nor in its thread.\n"
    raw = text_mail(words, sender="postmaster@customer.example")

    assert bounce.read(raw.replace(b"failure notice", b"Needs you")) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"no header at all",
        b"Content-Type: multipart/report\r\n\r\nnothing",
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\n--x--\r\n",
        (
            b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n"
            b"Content-Type: message/delivery-status\r\n\r\n\r\n\r\n--x--\r\n"
        ),
    ],
)
def test_a_report_with_nothing_in_it_is_none(raw: bytes) -> None:
    assert bounce.read(raw, automatic=True) is None


def test_an_empty_feedback_report_is_a_complaint_of_type_other() -> None:
    raw = (
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: message/feedback-report\r\n\r\n--x--\r\n"
    )

    assert complaint(raw) == Complaint("other", ())


def test_control_characters_of_a_report_are_gone() -> None:
    raw = sample("dsn").replace(b"smtp; 550", b"smtp; \x1b[2J\x00\x07550")
    raw = raw.replace(b"env-4711", b"env\x1b-4711")

    report = non_delivery(raw)

    assert report.recipients[0].diagnostic.startswith("[2J550")
    assert report.original_envelope_id == "env-4711"


def test_values_of_a_report_are_capped() -> None:
    raw = sample("dsn").replace(b"Status: 5.1.1", b"Status: 5.1.1" + b" x" * 50_000)
    raw = raw.replace(b"smtp; 550", b"smtp; " + b"long " * 20_000 + b"550")

    report = non_delivery(raw)

    assert all(len(failed.diagnostic) <= 500 for failed in report.recipients)


def test_a_report_about_thousands_is_cut() -> None:
    block = b"Final-Recipient: rfc822; a@b.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    raw = sample("dsn").replace(b"Reporting-MTA:", block * 5_000 + b"Reporting-MTA:")

    assert len(non_delivery(raw).recipients) == 50


@pytest.mark.parametrize(
    "body",
    [
        "@" * 200_000,
        "a@" * 100_000,
        "<" * 200_000,
        "550 " * 50_000,
        "5.1." * 50_000,
        "a." * 100_000 + "@x",
        "Message-ID: <" * 20_000,
        "Final-Recipient: " + "\\x{" * 60_000,
        "host " * 40_000,
        ">" * 200_000,
    ],
)
def test_hostile_prose_gives_an_answer(body: str) -> None:
    report = bounce.read(text_mail(body), automatic=True)

    assert report is None or isinstance(report, NonDelivery)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["dsn", "dsn-utf8", "dsn-in-text", "exim", "qmail", "arf-abuse"]),
    at=st.integers(0, 2_000),
    noise=st.binary(max_size=60),
    cut=st.integers(0, 200),
)
def test_a_damaged_report_never_raises(name: str, at: int, noise: bytes, cut: int) -> None:
    raw = sample(name)

    report = bounce.read(raw[:at] + noise + raw[at + cut :], automatic=True)

    assert report is None or isinstance(report, NonDelivery | Complaint)


def _expected_kind(reason: str) -> str:
    return {"feedback": "complaint", "vacation": "other", "delivered": "other"}.get(
        reason, "bounce"
    )


def _found(raw: bytes, status: str | None) -> tuple[str, bool]:
    match bounce.read(raw):
        case Complaint():
            return "complaint", False
        case NonDelivery(recipients=recipients):
            # The table has one recipient of each report: the one with its status, else the first.
            same = [found for found in recipients if found.status == status] or recipients[:1]
            return "bounce", any(found.hard for found in same)
        case None:
            return "other", False


if CORPUS.is_dir():

    def test_nine_of_ten_real_bounces_are_judged_as_the_corpus_says() -> None:
        expected = json.loads((CORPUS / "expected.json").read_text())
        differing = []
        for name, row in expected.items():
            found = _found(crlf((CORPUS / name).read_bytes()), row["status"])
            wanted = (_expected_kind(row["reason"]), row["hard"])
            if found != wanted:
                differing.append(f"{name}: {row['status']} {row['reason']} {wanted} but {found}")

        share = 1 - len(differing) / len(expected)
        print(f"{share:.1%} of {len(expected)} agree", *differing, sep="\n  ")

        assert share >= 0.90

    def test_nearly_every_real_bounce_names_an_address() -> None:
        reports = [bounce.read(crlf(path.read_bytes())) for path in sorted(CORPUS.glob("*.eml"))]
        bounces = [report for report in reports if isinstance(report, NonDelivery)]

        named = [report for report in bounces if any(found.address for found in report.recipients)]

        assert len(bounces) >= 0.9 * len(reports)
        assert len(named) >= 0.97 * len(bounces)
