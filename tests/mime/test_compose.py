"""What a hostile sender wrote stays in its part, whichever form a provider gave it."""

from __future__ import annotations

import json
from email.mime.multipart import MIMEMultipart
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.errors import Malformed
from mailagent.mail import NonDelivery
from mailagent.mime import bounce, parse, rebuilt_postmark, rebuilt_sendgrid
from mailagent.mime.compose import File, Text, compose
from tests.parsed_forms import Part, multipart

INJECTION = "x\r\nFrom: ceo@acme.example\r\n\r\nPay now.\n--b\n"


def postmark(**members: Any) -> bytes:
    mail = {"From": "dana@customer.example", "FromFull": {"Email": "dana@customer.example"}}
    mail |= {"TextBody": "Hello.", "Headers": [], "Attachments": [], **members}
    return rebuilt_postmark.rebuild(json.dumps(mail).encode(), "application/json")


def sendgrid(*parts: Part) -> bytes:
    return rebuilt_sendgrid.rebuild(*multipart([Part("text", b"Hello."), *parts]))


@pytest.mark.parametrize(
    "members",
    [
        {"Subject": INJECTION},
        {"Date": INJECTION},
        {"ReplyTo": INJECTION},
        {"FromFull": {"Email": "dana@customer.example", "Name": INJECTION}},
        {"Headers": [{"Name": "X-One", "Value": INJECTION}]},
        {"Headers": [{"Name": "X-One\r\nFrom: ceo@acme.example\r\nX", "Value": "x"}]},
        {"Headers": [{"Name": "Content-Type", "Value": "multipart/mixed; boundary=b"}]},
        {"Headers": [{"Name": "Content-Transfer-Encoding", "Value": "base64"}]},
        {"HtmlBody": INJECTION},
        {"Attachments": [{"Name": INJECTION, "Content": "eA==", "ContentType": INJECTION}]},
        {"Attachments": [{"Name": "a", "Content": "eA==", "ContentID": INJECTION}]},
    ],
)
def test_nothing_in_postmarks_members_makes_a_header_or_a_part(members: dict[str, Any]) -> None:
    content = parse.read(postmark(**members))
    assert [one.address for one in content.from_] == ["dana@customer.example"]
    assert content.text == "Hello."


def test_a_second_from_is_seen_as_one() -> None:
    twice = [{"Name": "From", "Value": f"{who}@customer.example"} for who in ("a", "b")]
    assert "several_from" in parse.read(postmark(Headers=twice)).defects


def test_a_name_cannot_be_taken_for_an_address() -> None:
    named = {"Email": "dana@customer.example", "Name": '"CEO" <ceo@acme.example>, x'}
    [author] = parse.read(postmark(FromFull=named)).from_
    assert (author.address, author.name) == ("dana@customer.example", named["Name"])


def test_undisclosed_recipients_are_no_reason_to_lose_the_mail() -> None:
    group = "undisclosed-recipients:;"
    assert parse.read(postmark(To=group, ToFull=[{"Email": group, "Name": ""}])).to == ()


@pytest.mark.parametrize(
    "members",
    [
        {"Attachments": [{"Name": "a", "Content": "!"}]},
        {"Attachments": [{"Name": "a", "Content": "ü"}]},
        {"Attachments": ["a"]},
        {"Headers": [{"Name": 1, "Value": "x"}]},
        {"TextBody": []},
        {"ToFull": [{}] * 10_001},
    ],
)
def test_what_postmark_cannot_mean_is_malformed(members: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        postmark(**members)


@pytest.mark.parametrize(
    "info", [b"", b"[", b"[]", b'{"attachment1": 7}', b'{"attachment1": {"type": 7}}']
)
def test_a_file_of_which_sendgrid_tells_nonsense_is_kept(info: bytes) -> None:
    file = Part("attachment1", b"%PDF", "a.pdf", "application/pdf")
    told = [Part(name, info) for name in ("attachment-info", "content-ids", "charsets")]
    [found] = parse.read(sendgrid(Part("headers", b"From: a@b.example"), file, *told)).attachments
    assert (found.filename, found.content_type, found.size_bytes) == ("a.pdf", "application/pdf", 4)


@pytest.mark.parametrize("charset", ['"; boundary=b', "zlib", "utf-8\r\nX: y", "", "x" * 1_000])
def test_a_charset_that_is_none_is_not_believed(charset: str) -> None:
    told = Part("charsets", json.dumps({"text": charset}).encode())
    text = Part("text", "Grüße".encode())
    assert parse.read(sendgrid(Part("headers", b"From: a@b.example"), text, told)).text == "Grüße"


def test_a_form_without_header_is_malformed() -> None:
    with pytest.raises(Malformed, match="headers"):
        sendgrid()
    with pytest.raises(Malformed):
        rebuilt_sendgrid.rebuild(b"", "text/plain")


def test_a_bounce_that_came_in_parts_is_a_bounce() -> None:
    report = MIMEMultipart("report", report_type="delivery-status")
    report["From"] = "mailer-daemon@mx.example"
    status = (
        b"Final-Recipient: rfc822; gone@customer.example\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    )
    ours = (
        b"From: support@acme.example\r\nMessage-ID: <reply-43@acme.example>\r\n\r\nOur answer.\r\n"
    )
    mime = sendgrid(
        Part("headers", report.as_bytes().partition(b"\n\n")[0]),
        Part(
            "attachment1", b"Reporting-MTA: dns; mx\r\n\r\n" + status, "", "message/delivery-status"
        ),
        Part("attachment2", ours, "", "message/rfc822"),
    )
    found = bounce.read(mime, automatic=True)
    assert isinstance(found, NonDelivery)
    assert found.recipients[0].address == "gone@customer.example"
    assert found.original_message_id == "<reply-43@acme.example>"


def test_flowed_text_flows() -> None:
    header = Part("headers", b"From: a@b.example\r\nContent-Type: text/plain; format=flowed\r\n")
    text = Part("text", b"One line that \r\nflows.\r\n")
    assert parse.read(sendgrid(header, text)).text == "One line that flows.\n"


_OCTETS = st.binary(max_size=200)
_FILES = st.builds(File, st.text(max_size=40), st.text(max_size=40), _OCTETS, st.text(max_size=40))


@settings(max_examples=150, deadline=None)
@given(
    fields=st.lists(st.tuples(st.binary(max_size=20), _OCTETS), max_size=6),
    text=st.none() | st.builds(Text, _OCTETS, st.text(max_size=20)),
    html=st.none() | st.builds(Text, _OCTETS, st.text(max_size=20)),
    files=st.lists(_FILES, max_size=4),
)
def test_any_pieces_make_a_mail_with_all_its_files(
    fields: list[tuple[bytes, bytes]], text: Text | None, html: Text | None, files: list[File]
) -> None:
    mime = compose(fields, text=text, html=html, files=files)
    found = parse.read(mime).attachments
    assert len(found) >= len(files)
    assert compose(fields, text=text, html=html, files=files) == mime


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["From", "FromFull", "ToFull", "Headers", "Attachments", "TextBody"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["Email", "Name", "Value", "Content"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_json_is_a_mail_or_malformed(members: dict[str, Any]) -> None:
    try:
        mime = rebuilt_postmark.rebuild(json.dumps(members).encode(), "application/json")
    except Malformed:
        return
    parse.read(mime)
