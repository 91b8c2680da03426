"""What do the outside world's mails to the two workspaces look like, octet by octet?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailagent.store.transaction import AnyRow
from tests.flow.test_bounces import arf, dsn
from tests.properties.outside import Offered

__all__ = ["REPORTS", "SENDERS", "Letter", "follow_up", "letter", "report"]

_MESSAGE_ID = re.compile(rb"Message-ID: (<\d+@customer\.example>)")
_FROM = re.compile(rb"^From: .+(?=\r$)", re.MULTILINE)
_REPORTS = {
    "is gone": ("failed", "5.1.1"),
    "is full": ("failed", "5.2.2"),
    "comes late": ("delayed", "4.4.1"),
    "has arrived": ("delivered", "2.0.0"),
}
REPORTS = (*_REPORTS, "is unwanted")

SENDERS = {
    "ann": ("ann@customer.example", "192.0.2.1"),
    "ben": ("ben@customer.example", "192.0.2.1"),
    "a forger of ann": ("ann@customer.example", "198.51.100.7"),
    "nobody knows whom": ("who@nowhere.example", "198.51.100.7"),
}
"""From address and client address: DNS vouches for 192.0.2.1 alone."""


@dataclass(frozen=True)
class Letter:
    """One mail as it is handed in, and handed in again."""

    raw: bytes
    to: tuple[str, ...]
    mail_from: str | None
    ip: str
    source_id: str
    source: str = "webhook"


def letter(
    number: int,
    sender: str,
    to: tuple[str, ...],
    text: str,
    *,
    answers: AnyRow | None = None,
    header: str = "",
) -> Letter:
    """The `number`th mail of this run; `answers` is the outbound mail that it answers."""
    address, ip = SENDERS[sender]
    refers = f"In-Reply-To: {answers.message_id}\r\n" if answers is not None else ""
    raw = (
        f"From: {address}\r\nTo: {to[0]}\r\nSubject: mail {number}\r\n"
        f"Message-ID: <{number}@customer.example>\r\n{refers}{header}\r\n{text}\r\n"
    )
    return Letter(raw.encode(), to, address, ip, f"letter-{number}")


def follow_up(number: int, before: Letter, sender: str | None) -> Letter:
    """A second mail to the same, in answer to `before`, by its writer (None) or another."""
    raw = before.raw
    old = _MESSAGE_ID.search(raw)
    if old is not None:
        own = f"Message-ID: <{number}@customer.example>".encode()
        raw = b"In-Reply-To: " + old[1] + b"\r\n" + raw.replace(old[0], own)
    mail_from, ip = (before.mail_from, before.ip) if sender is None else SENDERS[sender]
    if sender is not None:
        raw = _FROM.sub(f"From: {mail_from}".encode(), raw)
    return Letter(raw, before.to, mail_from, ip, f"letter-{number}")


def report(number: int, of: Offered, says: str, *, to: str | None = None) -> Letter:
    """A report about a mail that was offered, to its return path or to another address."""
    address = of.recipient.address
    if says == "is unwanted":
        raw = arf("abuse", address, of.outgoing.message_id)
    else:
        action, status = _REPORTS[says]
        raw = dsn(address, action=action, status=status, about=of.outgoing.message_id)
    to = to or of.recipient.return_path
    assert to is not None
    return Letter(raw, (to,), None, "192.0.2.1", f"report-{number}")
