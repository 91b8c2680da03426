"""How does an outgoing mail look on the wire?

RFC 5322 and MIME (RFC 2045-2047, 2231, 2387) with CRLF, in seven bits except for internationalised
addresses. `check` names what is wrong while somebody can mend it; `render` is for a value that
passed, and still never writes a header that nobody meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from mailagent.errors import Malformed
from mailagent.mime.header_lines import address_line, id_line, text_line
from mailagent.mime.outgoing_rules import check
from mailagent.outgoing import Outgoing, OutgoingAttachment

__all__ = ["check", "needs_smtputf8", "render"]

_POLICY = SMTP.clone(cte_type="7bit")
_LINE_OCTETS = 998


def needs_smtputf8(outgoing: Outgoing) -> bool:
    """Whether a header address has a local part outside ASCII, so that RFC 6531 must be spoken.

    A domain outside ASCII does not count: it is written in its IDNA form. Of a mail that came as
    MIME the header as it is written counts.
    """
    if outgoing.raw is not None:
        return not outgoing.raw.partition(b"\r\n\r\n")[0].isascii()
    everyone = (outgoing.from_, *outgoing.to, *outgoing.cc, *outgoing.reply_to)
    return any(not mailbox.address.rpartition("@")[0].isascii() for mailbox in everyone)


def render(outgoing: Outgoing) -> bytes:
    """The mail as octets: CRLF, no line over 998 octets, Bcc never written.

    The same value gives the same octets; those of a mail that came as MIME are its own. Assumes
    that `check` passed; raises Malformed for what cannot be written without adding or changing a
    header.
    """
    if outgoing.raw is not None:
        return outgoing.raw
    try:
        octets = "".join(_header(outgoing)).encode() + _body(outgoing).as_bytes()
    except (MessageError, ValueError, TypeError, LookupError) as error:
        raise Malformed("mail", "a part of it cannot be written as MIME") from error
    if any(len(line) > _LINE_OCTETS for line in octets.split(b"\r\n")):
        raise Malformed("mail", "a header is too long for a line of 998 octets")
    return octets


def _header(outgoing: Outgoing) -> Iterator[str]:
    yield text_line("Date", format_datetime(outgoing.date))
    yield address_line("From", (outgoing.from_,))
    for name, mailboxes in (
        ("To", outgoing.to),
        ("Cc", outgoing.cc),
        ("Reply-To", outgoing.reply_to),
    ):
        if mailboxes:
            yield address_line(name, mailboxes)
    yield text_line("Subject", outgoing.subject)
    yield id_line("Message-ID", (outgoing.message_id,))
    if outgoing.in_reply_to:
        yield id_line("In-Reply-To", (outgoing.in_reply_to,))
    if outgoing.references:
        yield id_line("References", outgoing.references)
    if outgoing.auto_submitted:
        yield text_line("Auto-Submitted", outgoing.auto_submitted)
        # Keeps Exchange from answering our answer with an absence note.
        yield text_line("X-Auto-Response-Suppress", "OOF, AutoReply")
    for name, value in outgoing.headers:
        yield text_line(name, value)


def _body(outgoing: Outgoing) -> EmailMessage:
    """Text, or its alternative with HTML and that one's inline images, mixed with the files."""
    message = EmailMessage(policy=_POLICY)
    message.set_content(outgoing.text)
    inline: tuple[OutgoingAttachment, ...] = ()
    if outgoing.html is not None:
        message.add_alternative(outgoing.html, subtype="html")
        inline = tuple(file for file in outgoing.attachments if file.content_id)
        html = list(message.iter_parts())[-1]
        for image in inline:
            maintype, subtype = _type_of(image)
            html.add_related(
                image.content,
                maintype,
                subtype,
                disposition="inline",
                filename=image.filename,
                cid=f"<{image.content_id}>",
            )
    for file in outgoing.attachments:
        if file not in inline:
            maintype, subtype = _type_of(file)
            message.add_attachment(file.content, maintype, subtype, filename=file.filename)
    _name_boundaries(message, outgoing.digest())
    return message


def _type_of(file: OutgoingAttachment) -> tuple[str, str]:
    maintype, _, subtype = file.content_type.lower().partition("/")
    # RFC 2046 §5.2.1: message/rfc822 may not be base64, and in another form servers on the way
    # may change it. A mail that goes as a file is a file.
    return ("application", "octet-stream") if maintype == "message" else (maintype, subtype)


def _name_boundaries(message: EmailMessage, digest: str) -> None:
    """Boundaries by the mail's own hash: the octets repeat, and no content can hold them."""
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{digest[:40]}_{number}")
