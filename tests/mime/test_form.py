"""A posted form is read field by field, in octets; a hostile one costs no more than its size."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mime import form
from mailagent.mime.form import Field

MULTIPART = "multipart/form-data; boundary=xYz"
URLENCODED = "application/x-www-form-urlencoded"


def part(name: str, value: bytes, more: str = "", header: str = "") -> bytes:
    return (
        f'--xYz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{header}\r\n'.encode()
        + value
        + b"\r\n"
    )


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xYz--\r\n"


def test_repeated_names_are_kept_in_order_and_the_last_counts() -> None:
    read = form.read(body(part("To", b"1"), part("to", b"x"), part("To", b"2")), MULTIPART)
    assert read.all("To") == (b"1", b"2")
    assert read.last("To") == b"2"
    assert read.last("TO") is None


def test_a_file_is_told_from_a_field() -> None:
    read = form.read(
        body(
            part("a", b"text"),
            part(
                "a",
                b"\x00\r\n\r\n--xY",
                '; filename="b \\"c\\".bin"',
                "content-type: image/png\r\nContent-ID: <logo>\r\n",
            ),
        ),
        'Multipart/Form-Data; charset=utf-8; boundary="xYz"',
    )
    file = Field("a", b"\x00\r\n\r\n--xY", 'b "c".bin', "image/png", "<logo>")
    assert read.files == (file,)
    assert read.all("a") == (b"text",)


def test_octets_outside_utf_8_survive_and_are_read_with_the_charset_that_is_named() -> None:
    read = form.read(body(part("subject", "pidió".encode("cp850"))), MULTIPART)
    assert read.last("subject") == b"pidi\xa2"
    assert read.text("subject", "cp850") == "pidió"


def test_a_field_of_several_megabytes_is_read() -> None:
    large = b"0123456789abcdef\r\n" * 200_000
    assert form.read(body(part("body-mime", large)), MULTIPART).last("body-mime") == large
    encoded = b"body-mime=" + quote_plus(large).encode()
    assert form.read(encoded, URLENCODED).last("body-mime") == large


def test_a_preamble_and_white_space_after_a_boundary_are_skipped() -> None:
    raw = b"hello\r\n" + body(part("a", b"1")).replace(b"--xYz\r\n", b"--xYz \t\r\n")
    assert form.read(raw, MULTIPART).all("a") == (b"1",)


def test_an_empty_form_has_no_fields() -> None:
    assert form.read(b"--xYz--\r\n", MULTIPART).fields == ()
    assert form.read(b"", URLENCODED).fields == ()


def test_a_percent_sign_that_is_no_escape_is_malformed() -> None:
    with pytest.raises(Malformed):
        form.read(b"a=100%25&b=100%", URLENCODED)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.binary())))
def test_urlencoded_fields_come_back_as_they_were(pairs: list[tuple[str, bytes]]) -> None:
    encoded = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    read = form.read(encoded.encode(), URLENCODED)
    assert [(field.name, field.value) for field in read.fields] == pairs


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no boundary at all",
        body(part("a", b"1"))[:-11],
        part("a", b"1"),
        b"--xYz\r\n\r\n\r\n--xYz--",
        b"--xYz\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--xYz--",
        b"--xYz\r\nContent-Disposition: form-data\r\n\r\n1\r\n--xYz--",
        b"--xYzz\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--xYz--",
        body(part("a" * 20_000, b"1")),
        body(part("a" * 5_000, b"1")),
        body(*[part("a", b"")] * 10_002),
    ],
)
def test_what_is_no_whole_form_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        form.read(raw, MULTIPART)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=" + "b" * 300,
     "multipart/form-data; boundary=é", "multipart/mixed; boundary=xYz", "\x00;;;=\"\\"],
)  # fmt: skip
def test_another_type_than_a_forms_is_malformed(content_type: str) -> None:
    with pytest.raises(Malformed):
        form.read(body(part("a", b"1")), content_type)


@settings(deadline=None)
@given(st.binary(), st.text())
@example(b"%", URLENCODED)
@example(b"\r\n--xYz", MULTIPART)
def test_nothing_but_malformed_is_ever_raised(raw: bytes, content_type: str) -> None:
    for kind in (content_type, URLENCODED, MULTIPART):
        for octets in (raw, body(part("a", raw)), b"--xYz\r\n" + raw + b"\r\n--xYz--"):
            try:
                form.read(octets, kind)
            except Malformed:
                continue
