"""What did the writer of this mail write, and what is quoted from others?

Rules of our own, each for a habit of mail programs in general and each linear in the text; the
library mail-parser-reply knows more languages and is asked, within measured bounds, when they
find nothing. The result is a hint: the whole text is always kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from mailparser_reply import EmailReplyParser

from mailagent.mime import phrases

__all__ = ["is_forward", "normalised", "quoted", "unflowed", "written"]

_LONGEST_LINE_READ = 500
_ATTRIBUTION_LINES = 4
_HEADER_BLOCK_LINES = 12
_SIGNATURE_LINES = 15
_LINES_JUDGED = 5_000
"""Below, only quote signs count: nobody's reply begins there, and patterns cost time."""

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
_QUOTED = re.compile(r"\s{0,3}>")
_QUOTE_SIGNS = re.compile(r"^(?:\s{0,3}>){1,20} ?")


class _Role(Enum):
    """What a line is for a reader."""

    OWN = "own"
    BLANK = "blank"
    QUOTE = "quote"
    ATTRIBUTION = "attribution"
    """`On …, … wrote:`; what follows is another's, quoted or not."""
    DIVIDER = "divider"
    """`-----Original Message-----` or a block of From/Sent/To: all below is another's."""
    FORWARD = "forward"
    """`---------- Forwarded message`: all below was sent along on purpose."""


def normalised(text: str) -> str:
    """Make every line end LF and drop control characters other than tab (a terminal obeys them)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub(lambda m: "\n" if m[0] in "\x85\u2028\u2029\x0b\x0c" else "", text)


def unflowed(text: str, *, delsp: bool) -> str:
    """Join the soft-broken lines of format=flowed (RFC 3676 §4), lines ending in LF.

    `delsp`: the space that marks a soft break is not part of the text (languages without spaces).
    """
    joined: list[str] = []
    open_depth: int | None = None
    paragraph: list[str] = []
    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")  # §4.4 space-stuffing
        flows = content.endswith(" ") and content != "-- "
        if open_depth is not None and (open_depth != depth or content == "-- "):
            # §4.5: a soft break before another quote depth is an error and ends the paragraph.
            joined.append("".join(paragraph))
            open_depth = None
        if open_depth is None:
            paragraph = [">" * depth + " " if depth else ""]
        paragraph.append(content[:-1] if flows and delsp else content)
        open_depth = depth if flows else None
        if not flows:
            joined.append("".join(paragraph))
    if open_depth is not None:
        joined.append("".join(paragraph))
    return "\n".join(joined)


def is_forward(text: str, subject: str) -> bool:
    """Say whether the mail passes another mail on, so that what is below belongs to its message.

    The first thing in `text` that is not the writer's own decides: a forward marker; or a bare
    header block when the subject says `Fwd:`, or when nothing of the writer's own stands above.
    """
    return _passes_on(_roles(normalised(text).split("\n")), subject)


def _passes_on(roles: Sequence[_Role], subject: str) -> bool:
    for position, role in enumerate(roles):
        match role:
            case _Role.FORWARD:
                return True
            case _Role.DIVIDER:
                if phrases.is_forward_subject(subject):
                    return True
                return not any(r in (_Role.OWN, _Role.QUOTE) for r in roles[:position])
            case _Role.ATTRIBUTION:
                return False
            case _:
                continue
    return False


def written(text: str) -> str:
    """Return the writer's own words: without quotes, attribution lines and signature.

    A reply below the quote is kept alone; answers between quotes are kept with the quotes they
    answer; a forward is kept whole. A text of nothing but quoted lines under no attribution is
    its writer's choice and stays; one with an attribution gives the empty string.
    """
    text = normalised(text).strip("\n")
    lines = text.split("\n")
    roles = _roles(lines)
    if _passes_on(roles, ""):
        return text.strip()
    foreign = {_Role.ATTRIBUTION, _Role.DIVIDER}
    own = _own_lines(lines, roles)
    result = "\n".join(_without_signature(own)).strip()
    if result and foreign.isdisjoint(roles):
        return _second_opinion(result)
    if not result and foreign.isdisjoint(roles) and not _names_a_writer(lines):
        return text.strip()
    return result


def quoted(text: str) -> list[tuple[str, str]]:
    """What a text quotes or passes on: the line that names its author, "" where none does, and it.

    Both are words of this mail's sender, who may have made them up.
    """
    lines = normalised(text).strip("\n").split("\n")
    found: list[tuple[str, str]] = []
    attribution = ""
    for role, start, stop in _runs(_roles(lines)):
        match role:
            case _Role.ATTRIBUTION:
                attribution = " ".join(line.strip() for line in lines[start:stop]).lstrip("> ")
            case _Role.QUOTE:
                words = "\n".join(_QUOTE_SIGNS.sub("", line) for line in lines[start:stop])
                found.append((attribution, words.strip()))
                attribution = ""
            case _Role.DIVIDER | _Role.FORWARD:
                # All below is another's, and its own header tells whose.
                found.append((lines[start].strip(), "\n".join(lines[stop:]).strip()))
                break
            case _Role.OWN:
                if attribution:
                    found.append((attribution, "\n".join(lines[start:stop]).strip()))
                    attribution = ""
            case _Role.BLANK:
                pass
    return [(by[:_LONGEST_LINE_READ], words) for by, words in found if words]


def _roles(lines: Sequence[str]) -> list[_Role]:
    roles = [
        _Role.BLANK if not line.strip() else _Role.QUOTE if _QUOTED.match(line) else _Role.OWN
        for line in lines
    ]
    for position, line in enumerate(lines[:_LINES_JUDGED]):
        if roles[position] is not _Role.OWN:
            continue
        short = line[:_LONGEST_LINE_READ].strip().strip("*_").strip()
        if phrases.is_forward_marker(short):
            roles[position] = _Role.FORWARD
            break
        if phrases.is_original_marker(short) or _starts_header_block(lines, position):
            start = position
            while start > 0 and phrases.is_rule(lines[start - 1][:_LONGEST_LINE_READ]):
                start -= 1
            roles[start : position + 1] = [_Role.DIVIDER] * (position + 1 - start)
            break
        if start := _attribution_start(lines, roles, position):
            roles[start - 1 : position + 1] = [_Role.ATTRIBUTION] * (position + 2 - start)
    return roles


def _attribution_start(lines: Sequence[str], roles: Sequence[_Role], end: int) -> int:
    """Return the 1-based line where the attribution that ends at line `end` begins, or 0."""
    if not phrases.may_end_attribution(lines[end][-_LONGEST_LINE_READ:]):
        return 0
    shortest = 0
    joined = ""
    for start in range(end, max(-1, end - _ATTRIBUTION_LINES), -1):
        if roles[start] is not _Role.OWN or len(lines[start]) > _LONGEST_LINE_READ:
            break
        joined = f"{lines[start].strip()} {joined}".strip()
        quote_follows = _next_role(roles, end) is _Role.QUOTE
        if phrases.is_attribution(joined, quote_follows=quote_follows):
            if phrases.opens_attribution(joined):
                return start + 1
            shortest = shortest or start + 1
    return shortest


def _next_role(roles: Sequence[_Role], position: int) -> _Role | None:
    return next((r for r in roles[position + 1 : position + 4] if r is not _Role.BLANK), None)


def _starts_header_block(lines: Sequence[str], position: int) -> bool:
    """Outlook's way to quote: `From:` with at least two of its kind below."""
    if not phrases.is_from_label(lines[position][:_LONGEST_LINE_READ]):
        return False
    labels = blanks = 0
    for line in lines[position + 1 : position + _HEADER_BLOCK_LINES]:
        if not line.strip():
            blanks += 1
            if blanks > 1 and labels == 0:
                return False
            continue
        if phrases.is_header_label(line[:_LONGEST_LINE_READ]):
            labels += 1
            if labels == 2:
                return True
    return False


def _own_lines(lines: Sequence[str], roles: Sequence[_Role]) -> list[str]:
    """Drop what is another's by the shape of the whole: top, bottom or interleaved reply."""
    end = next((i for i, r in enumerate(roles) if r is _Role.DIVIDER), len(lines))
    keep: list[str] = []
    attributed = False
    runs = _runs(roles[:end])
    answers = sum(
        1 for role, start, _ in runs if role is _Role.OWN and _follows_quote(roles, start)
    )
    interleaved = answers > 1
    last_own = max((stop for role, _, stop in runs if role is _Role.OWN), default=0)
    for role, start, stop in runs:
        match role:
            case _Role.ATTRIBUTION:
                attributed = True
                if _next_role(roles, stop - 1) is not _Role.QUOTE and _Role.QUOTE not in roles:
                    break  # the other's text stands below without any quote signs
            case _Role.QUOTE:
                ends_the_text = start >= last_own
                if not ends_the_text and (interleaved or not attributed):
                    keep.extend(lines[start:stop])
                attributed = False
            case _:
                keep.extend(lines[start:stop])
    return keep


def _runs(roles: Sequence[_Role]) -> list[tuple[_Role, int, int]]:
    runs: list[tuple[_Role, int, int]] = []
    for position, role in enumerate(roles):
        if runs and runs[-1][0] is role:
            runs[-1] = (role, runs[-1][1], position + 1)
        else:
            runs.append((role, position, position + 1))
    return runs


def _follows_quote(roles: Sequence[_Role], start: int) -> bool:
    before = next(
        (r for r in reversed(roles[max(0, start - 4) : start]) if r is not _Role.BLANK), None
    )
    return before is _Role.QUOTE


def _without_signature(lines: Sequence[str]) -> list[str]:
    """Cut at `-- ` (RFC 3676 §4.3) and drop "Sent from my phone" at the end."""
    kept = list(lines)
    below = sum(1 for line in lines if line.strip())
    for position, line in enumerate(lines):
        below -= bool(line.strip())
        if line == "-- " or (line.rstrip() == "--" and below <= _SIGNATURE_LINES):
            kept = kept[:position]
            break
    while kept and (not kept[-1].strip() or phrases.is_sent_from(kept[-1][:_LONGEST_LINE_READ])):
        kept.pop()
    return kept


def _names_a_writer(lines: Sequence[str]) -> bool:
    """A quote may hold its attribution as its own first lines."""
    quoted = [line.lstrip("> \t")[:_LONGEST_LINE_READ] for line in lines if _QUOTED.match(line)]
    head = quoted[:_ATTRIBUTION_LINES]
    return any(
        phrases.is_attribution(" ".join(head[:count]).strip(), quote_follows=True)
        for count in range(1, len(head) + 1)
    )


_PRE_PASS = (
    (re.compile(r"[ \t]{9,}"), " " * 8),
    (re.compile(r"\n{4,}"), "\n\n\n"),
)
_SECOND_OPINION_CHARACTERS = 32_000


def _second_opinion(text: str) -> str:
    """Ask mail-parser-reply; it hangs on long runs and long texts, hence libraries.md's pre-pass.

    Taken only when it cuts at a line that looks like an attribution: its rules for signatures
    and headers remove whole mails of people who write "From:" or a dash.
    """
    bounded = text[:_SECOND_OPINION_CHARACTERS]
    for pattern, replacement in _PRE_PASS:
        bounded = pattern.sub(replacement, bounded)
    lines = [line[:_LONGEST_LINE_READ] for line in bounded.split("\n")]
    if not any(line.rstrip().endswith((":", "：")) for line in lines):
        return text
    replies = (
        EmailReplyParser(languages=list(phrases.LIBRARY_LANGUAGES)).read("\n".join(lines)).replies
    )
    if len(replies) < 2 or not (header := str(replies[1].headers).strip()):
        return text
    first = header.split("\n")[0].strip()
    if not first or not header.endswith((":", "：")) or "@" not in header:
        return text
    cut = text.find(first)
    return text[:cut].strip() if cut > 0 and text[:cut].strip() else text
