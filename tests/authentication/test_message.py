"""The octets of a message are cut and made canonical in linear time, equal to the standard."""

from __future__ import annotations

from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.authentication.message import MAX_FIELDS, Message, relaxed_body, simple_body

BODIES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"x", b"."]), max_size=60).map(
    b"".join
)


@given(BODIES)
@settings(max_examples=500)
def test_bodies_are_made_canonical_as_dkimpy_does(body: bytes) -> None:
    assert relaxed_body(body) == Relaxed.canonicalize_body(body)
    assert simple_body(body) == Simple.canonicalize_body(body)


def test_very_many_empty_lines_at_the_end_are_left_out() -> None:
    assert simple_body(b"x" + b"\r\n" * 50_000) == b"x\r\n"
    assert relaxed_body(b" \r\n" * 50_000) == b""


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_octets_can_be_cut(raw: bytes) -> None:
    message = Message.of(raw)
    assert all(value.endswith(b"\r\n") for _, value in message.fields)


def test_a_folded_field_keeps_its_line_ends() -> None:
    message = Message.of(b"Subject: a\n b\nTo: c\n\nbody\n")
    assert message.fields == ((b"Subject", b" a\r\n b\r\n"), (b"To", b" c\r\n"))
    assert (message.body, message.whole) == (b"body\r\n", True)


def test_a_field_with_blanks_before_its_colon_is_found() -> None:
    assert Message.of(b"From : a\r\n\r\n").all(b"from") == [(b"From", b" a\r\n")]


def test_a_message_without_header_or_without_body_is_cut() -> None:
    assert Message.of(b"\r\nbody").body == b"body"
    assert Message.of(b"From: a") == Message(((b"From", b" a\r\n"),), b"")
    assert Message.of(b"").fields == ()


def test_an_mbox_envelope_line_is_no_field_but_other_lines_make_it_odd() -> None:
    assert Message.of(b"From a@b Sat Nov 21\r\nFrom: a\r\n\r\n").whole
    assert not Message.of(b"From: a\r\nhello\r\n\r\n").whole
    assert not Message.of(b" folded: first\r\n\r\n").whole


def test_too_much_header_is_not_judged() -> None:
    assert not Message.of(b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n").whole
    assert not Message.of(b"X: " + b"y" * 1_100_000 + b"\r\n\r\n").whole
