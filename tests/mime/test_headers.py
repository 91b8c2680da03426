"""Header fields are sliced from the octets and decoded to one harmless line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailagent.errors import Malformed
from mailagent.mime import headers


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_fields_are_sliced_and_unfolded_with_either_line_end(end: bytes) -> None:
    raw = end.join([b"From x@y Mon", b"A: one", b"\ttwo", b"b : three", b"", b"C: body"])
    assert headers.split(raw) == ([(b"A", b"one\ttwo"), (b"b", b"three")], b"C: body")


def test_the_header_ends_at_a_line_that_is_no_field() -> None:
    assert headers.split(b"A: b\r\nno field here\r\nC: d\r\n") == (
        [(b"A", b"b")],
        b"no field here\r\nC: d\r\n",
    )


@pytest.mark.parametrize("raw", [b"A: " + b"x" * 2**20, b"A: b\r\n" * 2**18])
def test_a_header_over_one_mebibyte_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed, match="header"):
        headers.raw_fields(raw)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?utf-8?b?44GT?= =?utf-8?b?44KT?=", "こん"),
        (b"=?utf-8?b?44E=?= =?utf-8?b?kw==?=", "こ"),
        (b"=?iso-2022-jp?B?GyRCJDMbKEI=?= x", "こ x"),
        (b"=?koi8-r?b?8NLJ18XU?=", "Привет"),
        (b"=?utf-8*en?q?a_b?= =?utf-8?q?c?=", "a bc"),
        (b'"=?utf-8?q?in quotes?="', '"in quotes"'),
        (b"=?utf-8?q?really??=", "really?"),
        (b"=?x-unknown?q?plain?=", "plain"),
        (b"=?utf-8?b?!!?=", ""),
        ("caf\u00e9 raw".encode(), "café raw"),
        (b"a=?b", "a=?b"),
    ],
)
def test_encoded_words_and_8_bit_octets_are_decoded(value: bytes, text: str) -> None:
    assert headers.decoded(value) == text


@pytest.mark.parametrize(
    "value",
    [
        b"=?utf-8?q?Hi=0D=0ABcc:_eve=40evil.example?=",
        b"=?utf-8?b?SGkNCkJjYzogZXZlQGV2aWwuZXhhbXBsZQ==?=",
        b"=?utf-7?q?Hi+AA0ACg-Bcc: eve@evil.example?=",
        "Hi\u2028Bcc: eve@evil.example".encode(),
    ],
)
def test_an_encoded_word_cannot_start_a_new_header(value: bytes) -> None:
    assert headers.decoded(value) == "Hi Bcc: eve@evil.example"


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("<a@x>", ("<a@x>",)),
        ("<a@x> (comment <no@x>) <b@x>\t<a@x>", ("<a@x>", "<b@x>")),
        ("<a@x><b@x>", ("<a@x>", "<b@x>")),
        ("a@x, b@x", ("<a@x>", "<b@x>")),
        ("Your message of Monday <a@x>", ("<a@x>",)),
        ("<long-\t id@x>", ("<long-id@x>",)),
        ("<", ()),
        ("", ()),
    ],
)
def test_message_ids_are_found_in_what_programs_write(value: str, ids: tuple[str, ...]) -> None:
    assert headers.message_ids(value) == ids


def test_of_many_references_the_root_and_the_last_99_are_kept() -> None:
    found = headers.message_ids(" ".join(f"<{n}@x>" for n in range(300)))
    assert len(found) == 100
    assert (found[0], found[1], found[-1]) == ("<0@x>", "<201@x>", "<299@x>")


def test_a_date_is_always_aware() -> None:
    noon = datetime(2027, 5, 3, 12, 0, tzinfo=UTC)
    assert headers.date("Mon, 3 May 2027 14:00:00 +0200 (CEST)") == noon
    assert headers.date("3 May 27 12:00 -0000") == noon
    offset = headers.date("Mon, 3 May 2027 14:00:00 +0200")
    assert offset is not None
    assert offset.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("value", ["", "yesterday", "Mon, 32 May 2027 25:00", "1 Jan 1900 00:00"])
def test_a_date_that_cannot_be_is_none(value: str) -> None:
    assert headers.date(value) is None
