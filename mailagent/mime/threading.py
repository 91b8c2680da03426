"""Which thread may a mail belong to, and which headers does its answer carry?

RFC 5322 §3.6.4. The subject never threads; ids are looked up only within one workspace and agent,
which is the caller's business.
"""

from __future__ import annotations

import re

from mailagent.mail import Content
from mailagent.mime.outgoing_rules import MESSAGE_ID

__all__ = ["anchors", "references", "reply_subject"]

_ANCHORS = 50
_FIRST, _LAST = 1, 20
"""Kept of a long chain: the id that opened the thread, which clients group by, and the newest."""

_SUBJECT_CHARACTERS = 400
"""What people can read; nothing is looked up by it."""

_PREFIX = re.compile(
    # Re in English, Latin and French, then German, Nordic, Finnish, Dutch, Polish, Portuguese,
    # Greek, Turkish, Hungarian, Welsh, Chinese; "Re[2]:" and "Re^2:" count, "：" is fullwidth.
    r"\s{0,8}(?:re|ré|aw|antw|antwort|sv|vs|vl|odp|res|απ|ynt|vá|atb|r|回复|回覆|答复|答覆)"
    r"\s{0,3}(?:[\[(^]\s{0,3}\d{1,4}\s{0,3}[\])]?)?\s{0,3}[:：]\s{0,8}",
    re.I,
)


def anchors(content: Content) -> tuple[str, ...]:
    """Message-IDs to look the thread up by, best first, at most 50.

    What the mail answers comes first, then its ancestors, the newest first: a thread that was
    split is joined where it is nearest.
    """
    found = dict.fromkeys((*content.in_reply_to, *reversed(content.references)))
    found.pop(content.message_id or "", None)
    return tuple(found)[:_ANCHORS]


def references(content: Content) -> tuple[str | None, tuple[str, ...]]:
    """In-Reply-To and References of an answer to this mail.

    References are the parent's own (or its In-Reply-To when that names one mail only) and the
    parent's id, oldest first: the first and the last 20 of a chain that grew longer. Without a
    usable Message-ID there is nothing to refer to but the ancestors.
    """
    ancestors = content.references
    if not ancestors and len(content.in_reply_to) == 1:
        ancestors = content.in_reply_to
    # Foreign ids are written into our header: one that cannot be is left out.
    parent = content.message_id
    if parent is not None and not MESSAGE_ID.fullmatch(parent):
        parent = None
    chain = tuple(
        id_ for id_ in dict.fromkeys(ancestors) if id_ != parent and MESSAGE_ID.fullmatch(id_)
    )
    if parent:
        chain = (*chain, parent)
    if len(chain) > _FIRST + _LAST:
        chain = (*chain[:_FIRST], *chain[-_LAST:])
    return parent, chain


def reply_subject(subject: str) -> str:
    """`Re: ` once before the subject, whatever signs of an answer stood before it."""
    plain = " ".join(subject[: 4 * _SUBJECT_CHARACTERS].split())
    while found := _PREFIX.match(plain):
        plain = plain[found.end() :]
    return f"Re: {plain[:_SUBJECT_CHARACTERS]}".rstrip()
