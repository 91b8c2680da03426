"""How does Postmark's JSON of an inbound mail become MIME again?

Postmark takes From, To, Cc, Subject, Date and Reply-To out of `Headers` and gives them as members
of their own. Source: Postmark "Inbound webhook", read 2026-11-21.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from mailagent.errors import Malformed
from mailagent.mail import Address
from mailagent.mime import headers, json_body
from mailagent.mime.compose import File, Text, compose
from mailagent.mime.header_lines import address_line, text_line
from mailagent.mime.json_body import JsonObject

__all__ = ["check", "fields", "rebuild"]

_MOST_MAILBOXES = 10_000


def rebuild(body: bytes, content_type: str) -> bytes:
    """The message that a request body without `RawEmail` stands for. Raises Malformed."""
    mail = json_body.read(body)
    text, html = mail.optional("TextBody"), mail.optional("HtmlBody")
    given = list(fields(mail))
    written = {name.lower() for name, _ in given}
    given += [(name, value) for name, value in _own(mail) if name.lower() not in written]
    return compose(
        [(name.encode("utf-8"), value.encode("utf-8")) for name, value in given],
        text=Text(text.encode()) if text else None,
        html=Text(html.encode()) if html else None,
        files=[_file(one) for one in mail.objects("Attachments")],
    )


def check(mail: JsonObject) -> None:
    """Pass a mail whose members have the types that `rebuild` needs. Raises Malformed."""
    mail.text("From")
    for name in ("TextBody", "HtmlBody", "Subject", "Date", "ReplyTo", "To", "Cc"):
        mail.optional(name)
    for full in ([mail.object("FromFull")], mail.objects("ToFull"), mail.objects("CcFull")):
        for one in full:
            one.optional("Email")
            one.optional("Name")
    for file in mail.objects("Attachments"):
        file.raw(_content_of(file))
        for name in ("Name", "ContentType", "ContentID"):
            file.optional(name)


def fields(mail: JsonObject) -> Iterator[tuple[str, str]]:
    """The entries of `Headers`, in their order. Raises Malformed."""
    for one in mail.objects("Headers"):
        yield one.text("Name"), one.text("Value")


def _own(mail: JsonObject) -> Iterator[tuple[str, str]]:
    yield from _mailboxes("From", mail, [mail.object("FromFull")])
    for name in ("To", "Cc"):
        yield from _mailboxes(name, mail, list(mail.objects(f"{name}Full")))
    if reply_to := mail.optional("ReplyTo"):
        yield "Reply-To", reply_to
    if date := mail.optional("Date"):
        yield "Date", date
    subject = headers.one_line(mail.optional("Subject"))
    if subject:
        yield "Subject", _value(text_line("Subject", subject))


def _mailboxes(name: str, mail: JsonObject, full: list[JsonObject]) -> Iterator[tuple[str, str]]:
    """The field from its taken-apart form; from the form of one string where that says nothing."""
    if len(full) > _MOST_MAILBOXES:
        raise Malformed(f"{name}Full", f"has more than {_MOST_MAILBOXES} entries")
    read = [
        Address(headers.one_line(one.optional("Email")), headers.one_line(one.optional("Name")))
        for one in full
    ]
    named = [one for one in read if one.address]
    whole = mail.optional(name)
    try:
        value = _value(address_line(name, named)) if named else whole
    except Malformed:
        value = whole  # a group, say: `undisclosed-recipients:;`
    if value:
        yield name, value


def _value(line: str) -> str:
    return line.partition(":")[2].replace("\r\n", "").strip()


def _content_of(file: JsonObject) -> str:
    # The test that Postmark's page sends says `Data` where its mails say `Content`.
    return "Data" if "Data" in file and "Content" not in file else "Content"


def _file(one: JsonObject) -> File:
    member = _content_of(one)
    encoded = one.raw(member)
    try:
        content = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise one.wrong(member, "is no Base64") from error
    return File(
        filename=one.optional("Name"),
        content_type=one.optional("ContentType"),
        content=content,
        content_id=one.optional("ContentID").removeprefix("cid:"),
    )
