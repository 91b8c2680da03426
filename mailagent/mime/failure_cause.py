"""What is a delivery failure about: the address, its host, the mailbox, the mail, or us?

Suppression hangs on the answer: a wrong `no_such_address` silences a living correspondent, a
missed one harms our reputation. Statuses are RFC 3463's, the wording is in `failure_phrases`.
"""

from __future__ import annotations

import re

from mailagent.mail import FailureCause
from mailagent.mime.failure_phrases import PHRASES

__all__ = [
    "cause_of",
    "has_reply_code",
    "is_answer_to_data",
    "precise_status",
    "status_for",
    "worded_cause",
]

_CHARACTERS = 8_000

_STATUS_CAUSES: dict[str, FailureCause] = {
    # RFC 3463 §3 and the IANA registry; class 5 where the detail differs by class.
    "1.1": "no_such_address",
    "1.2": "no_such_host",
    "1.3": "no_such_address",
    "1.6": "no_such_address",
    "1.7": "policy",  # the sender's own address
    "1.8": "policy",
    "1.10": "no_such_host",  # RFC 7505: null MX
    "2.0": "policy",  # §3.3: the mailbox exists, but something about it refuses
    "2.2": "mailbox_full",
    "2.3": "message",
    "3.2": "no_such_host",  # the system accepts no mail at all
    "7.13": "disabled",
}
_UNLESS_WORDED: dict[str, FailureCause] = {
    "4.4": "no_such_host",  # "unable to route": no such name, but also a name server at fault
    "7.27": "policy",  # RFC 7505: our domain's null MX; sendmail means the recipient's and says so
}
_MORE_TELLING: dict[FailureCause, tuple[FailureCause, ...]] = {
    # X.1.z is what many servers say of every refused recipient; Exchange uses 5.1.10 for a name.
    "no_such_address": ("mailbox_full", "no_such_host"),
    "no_such_host": ("mailbox_full", "no_such_address"),
}
_SUBJECT_CAUSES: dict[str, FailureCause] = {"4": "route", "6": "message", "7": "policy"}

_STATUSES: dict[FailureCause, str] = {
    "no_such_address": "5.1.1",
    "no_such_host": "5.1.2",
    "mailbox_full": "4.2.2",
    "disabled": "5.2.1",
    "message": "5.6.0",
    "policy": "5.7.0",
    "route": "4.4.0",
}

_ENHANCED = re.compile(r"(?<![\w.])([245])\.([0-7])\.(\d{1,3})(?!\d|\.\d)")
_REPLY = re.compile(r"(?<![\w.])([45])[0-5]\d(?=[\s-])(?![\s-]{1,2}(?:bytes|octets))")
_HOST_NOT_FOUND = re.compile(r"\bhost [^\s]{1,255} (?:was )?not found")
_UNSPECIFIC = frozenset({"0.0", "1.0", "3.0"})


def worded_cause(words: str) -> FailureCause | None:
    """The cause that a far side's wording names, in any of the languages of the table."""
    text = " ".join(words[:_CHARACTERS].casefold().replace("’", "'").split())
    found = (cause for cause, phrases in PHRASES if any(phrase in text for phrase in phrases))
    return next(found, "no_such_host" if _HOST_NOT_FOUND.search(text) else None)


def cause_of(status: str | None, words: str) -> FailureCause | None:
    """The cause of a failure with this enhanced status and this wording; None when neither tells.

    RFC 3463 §3.7, §3.8 (X.6, X.7) speak of the content and of policy whatever the words around them
    are, X.1.1 and its like of the address, unless the words say that its mailbox is full.
    """
    worded = worded_cause(words)
    if status is None:
        return worded
    klass, _, detail = status.partition(".")
    subject = detail.partition(".")[0]
    by_status = _STATUS_CAUSES.get(detail) if klass == "5" or detail == "2.2" else None
    if by_status:
        return worded if worded in _MORE_TELLING.get(by_status, ()) else by_status
    if detail in _UNLESS_WORDED:
        return worded or _UNLESS_WORDED[detail]
    if subject in ("6", "7"):
        return worded if worded in ("disabled", "mailbox_full") else _SUBJECT_CAUSES[subject]
    return worded or _SUBJECT_CAUSES.get(subject)


def precise_status(texts: tuple[str, ...]) -> str | None:
    """The most telling enhanced status in texts, first come first; `5.0.0` only if alone."""
    found: list[str] = []
    for text in texts:
        found += [
            f"{code[1]}.{int(code[2])}.{int(code[3])}"
            for code in _ENHANCED.finditer(text[:_CHARACTERS])
        ]
    telling = (code for code in found if code.partition(".")[2] not in _UNSPECIFIC)
    return next(telling, found[0] if found else None)


def status_for(cause: FailureCause | None, words: str) -> str:
    """A status for a failure that was reported without one.

    An SMTP reply code in the words gives the class (RFC 3463 §3: 5yz is class 5), else the cause.
    """
    reply = _REPLY.search(words[:_CHARACTERS])
    usual = _STATUSES[cause] if cause else "5.0.0"
    return f"{reply[1]}{usual[1:]}" if reply else usual


def is_answer_to_data(words: str) -> bool:
    """Whether the words say that the refusal came after the mail itself, as Postfix's do.

    sendmail's transcript is no evidence: it pipelines, so `>>> DATA` may stand before answers to
    RCPT.
    """
    return "in reply to end of data" in " ".join(words[:_CHARACTERS].casefold().split())


def has_reply_code(words: str) -> bool:
    """Whether the words hold an SMTP reply of class 4 or 5, e.g. `550 `."""
    return _REPLY.search(words[:_CHARACTERS]) is not None
