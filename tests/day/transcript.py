"""How is the day told? A table of its forty mails: what was proven, where each ended and why."""

from __future__ import annotations

import re
from collections import Counter

from tests.day.audit import breaches
from tests.day.post import Happens, Post
from tests.day.runner import Seen, TheDay

__all__ = ["COMMAND", "told", "unexpected"]

COMMAND = "python -m tests.day"
_HEAD = f"""\
# A day of support

What `{COMMAND}` prints: one day of a workspace with the agent of the template `support`.
Its mail comes in by SMTP; who wrote is proven by DNS and DKIM, or not; a scripted model answers
what it is asked, sometimes wrongly. A test holds that this page is what the command prints, that
each mail ends as the script expects, and that every mail that left is one that the policy gave:
worked out again from evidence, policy, approvals and ledger, not asked of the code that decided.

What left stands beside the mail after which it left. A mail's state and reason are those of the
evening: a later mail may have settled it.
"""


_WELL = "None left twice, and nothing left that the policy did not give."


def told(day: TheDay) -> str:
    """The transcript as Markdown."""
    wide = ("", "time", "who", "subject", "proven", "ends", "why", "what left")
    rows = ["| " + " | ".join(wide) + " |", "|" + "---|" * len(wide)]
    rows += [f"| {' | '.join(_row(day, one))} |" for one in day.seen]
    mails = [one for one in day.seen if isinstance(one.entry, Post)]
    states = Counter(one.state for one in mails)
    left = Counter(words.split(" ")[0] for one in day.seen for words in one.left)
    harms = [*unexpected(day), *breaches(day.facts)]
    return "\n".join(
        [
            _HEAD,
            *rows,
            "",
            f"{len(mails)} mails: {_counted(states)}.",
            "",
            f"{left.total()} mails left: {_counted(left)}.",
            "",
            *(["**Wrong:**", "", *(f"- {one}" for one in harms)] if harms else [_WELL]),
        ]
    )


def unexpected(day: TheDay) -> list[str]:
    """What went another way than the script expects."""
    found = []
    for one in day.seen:
        entry = one.entry
        name = entry.name if isinstance(entry, Post) else entry.what
        if isinstance(entry, Post):
            if one.state != entry.ends:
                found.append(f"{name}: it ended as {one.state} ({one.reason}), not {entry.ends}")
            if entry.because not in one.reason:
                found.append(f"{name}: {one.reason!r} does not say {entry.because!r}")
            if one.kept != entry.kept:
                found.append(f"{name}: {list(one.kept)} were kept back, not {list(entry.kept)}")
        if one.left != tuple(sorted(entry.leaves)):
            found.append(f"{name}: {list(one.left)} left, not {sorted(entry.leaves)}")
    return found


def _row(day: TheDay, one: Seen) -> list[str]:
    left = "<br>".join([*one.left, *(f"*suppressed:* {words}" for words in one.kept)])
    if isinstance(one.entry, Happens):
        return ["", one.entry.at, "", f"*{one.entry.what}*", "", "", "", left]
    who = one.entry.who if one.entry.mail_from is not None else f"{one.entry.who} (empty envelope)"
    reason = _without_ids(day, one.reason)
    subject = one.entry.subject
    cells = [str(one.number), one.entry.at, who, subject, one.proven, one.state, reason, left]
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


def _without_ids(day: TheDay, reason: str) -> str:
    """Ids are others in each run: a mail is named by its number."""
    numbers = {one.delivery_id: one.number for one in day.seen if one.delivery_id}
    reason = re.sub(r"dlv_\w+", lambda at: f"mail {numbers.get(at[0], '?')}", reason)
    words = {"apr": "the draft", "out": "a mail", "thr": "its case"}
    return re.sub(r"(apr|out|thr)_\w+", lambda at: words[at[1]], reason)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())
