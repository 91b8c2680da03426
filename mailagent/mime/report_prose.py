"""What does the prose of a report say of whom, and which mail does it bring back?"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mailagent.mime.report_parts import Part

__all__ = ["Prose", "answer_about", "original_message_id", "prose_in", "prose_of"]

_COPY_TYPES = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/global-headers",
        "message/rfc822-headers",
        "text/rfc822-header",
        "text/rfc822-headers",
    }
)
"""RFC 6522 §3, RFC 6533 §5 and the misspellings in use."""

_CHARACTERS = 32_000
_ANSWER = 700
"""How far behind its address an answer is looked for when no other address ends it."""
_MESSAGE_ID = re.compile(
    r"^[ \t>|]{0,8}Message-ID:\s{0,20}(<[^<>\s\x00-\x1f\x7f]{1,500}>)", re.I | re.M
)
_TRACE_FIELD = re.compile(
    r"(?:[>|][ \t>|]{0,8})?(?:received|return-path|mime-version|dkim-signature|message-id):", re.I
)
_MARKERS = (
    "attached message",
    "below this line is a copy",
    "beginning of the original",
    "body of message generated",
    "content of the message",
    "copy of the message",
    "copy of your message",
    "message header",
    "original mail",
    "original message",
    "returned message",
    "text of your message",
    "undelivered message",
    "unsent message",
)


@dataclass(frozen=True, slots=True)
class Prose:
    """The report proper, and the copy of the mail that follows it in the same text."""

    report: str
    copy: str


def prose_of(text: str) -> Prose:
    """Cut a text where the returned mail begins: at a marker line or at its first trace field."""
    lines = text[:_CHARACTERS].split("\n")
    for number, line in enumerate(lines):
        if _TRACE_FIELD.match(line) or (number and _is_marker(line)):
            return Prose("\n".join(lines[:number]), "\n".join(lines[number:]))
    return Prose("\n".join(lines), "")


def _is_marker(line: str) -> bool:
    """A ruled-off or announcing line (`----- Original message -----`, `Original mail follows:`)."""
    bare = line.strip().casefold()
    ruled = bare.startswith(("-", "=", "_", "*")) or bare.endswith((":", "-"))
    return ruled and any(marker in bare for marker in _MARKERS)


def prose_in(parts: Sequence[Part]) -> str:
    """The text written for people, without the returned mail."""
    texts = (part.text for part in parts if part.content_type.startswith("text/plain"))
    return next((found for text in texts if (found := prose_of(text).report.strip())), "")


def answer_about(address: str, prose: str, *, others: Collection[str]) -> str:
    """The words from an address on, up to the next failed one's: what was said about it."""
    text = prose.casefold()
    start = text.find(address.casefold())
    if start < 0:
        return ""
    from_here = start + len(address)
    ends = [text.find(other.casefold(), from_here) for other in others if other != address]
    return prose[start : min((end for end in ends if end >= 0), default=from_here + _ANSWER)]


def _message_id_in(text: str) -> str | None:
    """The Message-ID, with brackets, of the first mail quoted in a text."""
    found = _MESSAGE_ID.search(text)
    return found[1] if found else None


def original_message_id(parts: Sequence[Part]) -> str | None:
    """Message-ID of the returned mail: from its own part, else quoted in the text of the report."""
    for part in parts:
        if part.content_type in _COPY_TYPES:
            header = part.text.lstrip("\n").partition("\n\n")[0]
            if found := _message_id_in(header):
                return found
    for part in parts:
        if part.content_type.startswith("text/") and (found := _message_id_in(part.text)):
            return found
    return None
