"""A handed-in mail gets what it lacks, loses its Bcc, and is else octet for octet what it was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mime.submitted import HandedIn, prepare

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
FRESH = "<fresh@shop.example>"
WHOLE = (
    b"Date: Mon, 04 May 2026 09:00:00 +0200\r\n"
    b"Message-ID: <own@shop.example>\r\n"
    b"From: Shop <hello@shop.example>\r\n"
    b"To: ann@customer.example\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"\r\n"
    b"Dear Ann,\r\n.\r\n"
)


def prepared(raw: bytes) -> tuple[HandedIn, bytes, bytes]:
    return prepare(raw, message_id=FRESH, now=NOW)


def test_a_whole_mail_stays_as_it_is() -> None:
    handed_in, mail, _ = prepared(WHOLE)
    assert mail == WHOLE
    assert handed_in.message_id == "<own@shop.example>"
    assert handed_in.from_.address == "hello@shop.example"
    assert handed_in.subject == "Grüße"
    assert handed_in.text.startswith("Dear Ann,")


def test_a_date_and_a_message_id_are_added_where_they_are_missing() -> None:
    bare = b"From: hello@shop.example\r\nSubject: x\r\n\r\nx\r\n"
    handed_in, mail, given_ = prepared(bare)
    added = b"Date: Mon, 04 May 2026 12:00:00 +0000\r\nMessage-ID: <fresh@shop.example>\r\n"
    assert mail == added + bare
    assert given_ == bare
    assert (handed_in.message_id, handed_in.date) == (FRESH, NOW)


@pytest.mark.parametrize("name", [b"Bcc", b"bCC", b"Resent-Bcc", b"BCC "])
def test_hidden_recipients_are_taken_out_with_their_folded_lines(name: bytes) -> None:
    raw = name + b": eve@x.example,\r\n mallory@x.example,\r\n\tdave@x.example\r\n" + WHOLE
    assert prepared(raw)[1] == WHOLE


def test_a_line_of_the_body_that_looks_like_bcc_stays() -> None:
    raw = WHOLE + b"Bcc: is how one hides\r\n"
    assert prepared(raw)[1] == raw


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"To: ann@customer.example\r\n\r\nx\r\n", "From: is missing"),
        (b"", "From: is missing"),
        (b"From: a@shop.example\r\n" + WHOLE, "From: is there twice"),
        (b"Subject: other\r\n" + WHOLE, "Subject: is there twice"),
        (b"MESSAGE-ID: <b@c>\r\n" + WHOLE, "Message-Id: is there twice"),
        (b"From: a@shop.example, b@shop.example\r\n\r\nx\r\n", "From: must hold exactly one"),
        (b"From: The shop\r\n\r\nx\r\n", "From: must hold exactly one"),
        (b"From: a@shop.example\r\nMessage-ID: my mail\r\n\r\nx\r\n", "Message-ID: is no <unique"),
        (b"From: a@shop.example\r\nno field\r\n\r\nx\r\n", "header: holds a line that is no field"),
        (b"From a@shop.example Mon May  4\r\n" + WHOLE, "header: holds a line that is no field"),
        (b" folded\r\n" + WHOLE, "header: begins with a folded line"),
    ],
)
def test_what_cannot_be_sent_as_it_stands_is_refused_with_the_mend(raw: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        prepared(raw)


@given(st.binary(max_size=300))
def test_any_octets_are_prepared_or_malformed_and_never_keep_a_bcc(raw: bytes) -> None:
    try:
        _, mail, _ = prepared(b"From: a@shop.example\r\nBcc: eve@x.example\r\n" + raw)
    except Malformed:
        return
    assert b"eve@x.example" not in mail
