"""What is mended in a mail that a client of ours handed in, and what is refused?

RFC 6409 §8 lets a submission server add what is missing; all else stays octet for octet, because
the client may have signed it. Pure: the fresh Message-ID and the time are handed in.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from mailagent.errors import Malformed
from mailagent.mail import Address
from mailagent.mime import parse
from mailagent.mime.outgoing_rules import MESSAGE_ID

__all__ = ["HandedIn", "prepare"]

_FIELD = re.compile(rb"([!-9;-~]{1,998})[ \t]*:")
_ONCE = frozenset(
    {
        *(b"from", b"sender", b"reply-to", b"to", b"cc", b"message-id", b"in-reply-to"),
        *(b"references", b"subject", b"date"),
    }
)
"""RFC 5322 §3.6: with two of them, two readers see two mails."""
_HIDDEN = frozenset({b"bcc", b"resent-bcc"})
_NAME_CHARACTERS = 200
_SUBJECT_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class HandedIn:
    """What the mail says that it will be sent, queued and shown by."""

    message_id: str
    date: datetime
    from_: Address
    sender: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    subject: str
    text: str
    in_reply_to: str | None
    references: tuple[str, ...]


def prepare(raw: bytes, *, message_id: str, now: datetime) -> tuple[HandedIn, bytes, bytes]:
    """The mail's facts, its octets as they are sent, and those that were given, without Bcc.

    `message_id` and `now` stand in where the mail has none. Lines end in CRLF. Raises Malformed
    with the header field's name and the mend.
    """
    lines = list(_header(raw))
    names = Counter(name for name, _ in lines)
    if not names[b"from"]:
        raise Malformed("From", "is missing (RFC 5322 section 3.6): name the mail's author")
    if twice := next((name for name in names if name in _ONCE and names[name] > 1), None):
        raise Malformed(twice.decode().title(), "is there twice (RFC 5322 section 3.6): leave one")
    body = raw[sum(len(octets) for _, octets in lines) :]
    given = b"".join(octets for name, octets in lines if name not in _HIDDEN) + body
    added = b""
    if not names[b"date"]:
        added += b"Date: " + format_datetime(now).encode() + b"\r\n"
    if not names[b"message-id"]:
        added += b"Message-ID: " + message_id.encode() + b"\r\n"
    content = parse.read(given)
    if len(content.from_) != 1:
        raise Malformed("From", "must hold exactly one address that can be read")
    own = content.message_id if names[b"message-id"] else message_id
    if own is None or not MESSAGE_ID.fullmatch(own):
        raise Malformed("Message-ID", "is no <unique@domain> in ASCII: mend it or leave it out")
    in_reply_to = next((one for one in content.in_reply_to if MESSAGE_ID.fullmatch(one)), None)
    handed_in = HandedIn(
        message_id=own,
        date=content.date or now,
        from_=_cut(content.from_[0]),
        sender=content.sender,
        to=tuple(map(_cut, content.to)),
        cc=tuple(map(_cut, content.cc)),
        subject=content.subject[:_SUBJECT_CHARACTERS],
        text=content.text,
        in_reply_to=in_reply_to,
        references=tuple(one for one in content.references if MESSAGE_ID.fullmatch(one)),
    )
    return handed_in, added + given, given


def _header(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each field: its name in lower case, and its octets with folded lines and line ends."""
    name, begin, position = b"", 0, 0
    while position < len(raw):
        end = raw.find(b"\n", position) + 1 or len(raw)
        line = raw[position:end]
        if not line.rstrip(b"\r\n"):
            break
        if line[:1] not in (b" ", b"\t"):
            found = _FIELD.match(line)
            if found is None:
                raise Malformed("header", "holds a line that is no field: end it by an empty line")
            if name:
                yield name, raw[begin:position]
            name, begin = found[1].lower(), position
        elif not name:
            raise Malformed("header", "begins with a folded line")
        position = end
    if name:
        yield name, raw[begin:position]


def _cut(mailbox: Address) -> Address:
    return Address(mailbox.address, mailbox.name[:_NAME_CHARACTERS])
