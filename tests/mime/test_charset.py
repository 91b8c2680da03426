"""Octets become the text that was meant, whatever the label says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.mime import charset

RUSSIAN = "Здравствуйте, когда вы сможете приехать? Спасибо за ответ."


@pytest.mark.parametrize(
    ("text", "codec", "label"),
    [
        ("こんにちは、元気ですか", "iso2022_jp", "ISO-2022-JP"),
        ("こんにちは", "utf-8", "utf-8"),
        ("日程①のご案内", "cp932", "Shift_JIS"),
        (RUSSIAN, "koi8-r", "koi8-r"),
        ("朱镕基", "gbk", "gb2312"),
        ("똠방각하", "cp949", "ks_c_5601-1987"),
        ("Grüße an £", "utf-7", "utf-7"),
        ("preis 5 €", "cp1252", "iso-8859-1"),
        ("caf\u00e9", "cp850", "cp-850"),
    ],
)
def test_a_declared_charset_is_read_as_its_senders_mean_it(
    text: str, codec: str, label: str
) -> None:
    assert charset.decode(text.encode(codec), label) == (text, False)


@pytest.mark.parametrize("label", [None, "x-unknown", "us-ascii", "koi8-r\x00", "zlib", "rot13"])
def test_utf_8_is_recognised_under_a_wrong_or_missing_label(label: str | None) -> None:
    assert charset.decode("Grüße".encode(), label) == ("Grüße", False)


def test_a_missing_label_is_guessed_from_the_text() -> None:
    assert charset.decode(RUSSIAN.encode("koi8-r"), "x-unknown") == (RUSSIAN, False)


def test_characters_that_no_charset_explains_are_replaced_and_said_to_be() -> None:
    broken = "これは壊れた日本語のテキストです".encode("cp932") * 5 + b"\x81"
    text, replaced = charset.decode(broken, "shift_jis")
    assert text.startswith("これは壊れた日本語")
    assert replaced


@pytest.mark.parametrize(
    "label", ["rot13", "zlib", "idna", "punycode", "unicode_escape", "hex", "a\x00b", "", "é"]
)
def test_a_codec_that_is_no_charset_is_never_used(label: str) -> None:
    assert charset.codec(label) is None


def test_nul_and_lone_surrogates_are_removed() -> None:
    assert charset.clean("a\x00b\ud800c\U0001f600") == "abc\U0001f600"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([None, "utf-7", "utf-16", "hz", "gb2312", "big5"]))
def test_any_octets_become_a_text_that_can_be_stored(data: bytes, label: str | None) -> None:
    text, _ = charset.decode(data, label)
    assert "\x00" not in text
    text.encode("utf-8")
