"""How is one header field written so that every server and mail program reads it?

The stdlib's writer folds a long References or In-Reply-To into encoded words (RFC 2047 forbids it
there and threads break), so fields are folded here: at spaces between words, between ids, between
mailboxes. Lines stay under 78 octets where a word allows it and always under 998 (RFC 5322 §2.1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.header import Header

import idna

from mailagent.errors import Malformed
from mailagent.mail import Address

__all__ = ["address_line", "id_line", "text_line"]

_LINE = 76
_WORD = 900
"""A longer word in ASCII is written as encoded words: no line may have more than 998 octets."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def text_line(name: str, value: str) -> str:
    """An unstructured field (RFC 5322 §3.2.5), in encoded words (RFC 2047) where needed."""
    _refuse_control(name, value)
    if _is_plain(value):
        return _packed(name, value.split(" "))
    return f"{name}: {_encoded(value, column=len(name) + 2)}\r\n"


def id_line(name: str, ids: Sequence[str]) -> str:
    """A field of Message-IDs, folded between them and nowhere else."""
    for id_ in ids:
        _refuse_control(name, id_)
        if not id_.isascii() or len(id_) > _WORD + 2:
            raise Malformed(name.lower(), "a Message-ID is not ASCII or too long")
    return _packed(name, ids)


def address_line(name: str, mailboxes: Sequence[Address]) -> str:
    """A field of mailboxes (RFC 5322 §3.4), one a line when they do not fit one line."""
    written = [_mailbox(name, mailbox) for mailbox in mailboxes]
    return _packed(name, [f"{text}," for text in written[:-1]] + written[-1:])


def _mailbox(name: str, mailbox: Address) -> str:
    _refuse_control(name, mailbox.name)
    _refuse_control(name, mailbox.address)
    address = _address_in_ascii_domain(name, mailbox.address)
    if any(character in address for character in "<>,; "):
        raise Malformed(name.lower(), f"{mailbox.address[:80]!a} is no address")
    if not mailbox.name:
        return address
    return f"{_phrase(mailbox.name)} <{address}>"


def _phrase(text: str) -> str:
    if _ATOMS.fullmatch(text) and "=?" not in text:
        return text
    if text.isascii() and "=?" not in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encoded(text, column=20)


def _address_in_ascii_domain(name: str, address: str) -> str:
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode('ascii')}"
    except idna.IDNAError as error:
        raise Malformed(name.lower(), f"{domain[:80]!a} is no domain") from error


def _is_plain(value: str) -> bool:
    """ASCII that may be folded at its spaces: each stands alone, and nothing looks encoded."""
    return (
        value.isascii()
        and "=?" not in value
        and "  " not in value
        and value == value.strip(" ")
        and all(len(word) <= _WORD for word in value.split(" "))
    )


def _encoded(value: str, *, column: int) -> str:
    # The writer breaks between characters, never inside one, and puts its lines under 76 octets.
    header = Header(value, "utf-8", maxlinelen=_LINE, header_name="x" * column)
    return header.encode(linesep="\r\n")


def _packed(name: str, words: Iterable[str]) -> str:
    lines, current = [], f"{name}:"
    for word in words:
        if len(current) + 1 + len(word) > _LINE and current != f"{name}:":
            lines.append(current)
            current = ""
        current = f"{current} {word}"
    return "\r\n".join((*lines, current)) + "\r\n"


def _refuse_control(name: str, value: str) -> None:
    if _CONTROL.search(value):
        raise Malformed(name.lower(), "holds a line break or another control character")
