"""Does a mail look as if it spoke to the agent rather than to its people? A hint, and no more.

Words that attacks on models have in common are found and shown to people beside the mail. Nothing
is allowed because nothing was found: what an agent may do is `trust`'s to say. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailagent.mail import Content

__all__ = ["PATTERNS", "Finding", "Pattern", "screen"]

_JUDGED_CHARACTERS = 20_000
_QUOTED = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that people should know, and the words that tell it."""

    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a kind of finding looks like: no text without any of `words`, where there are some."""

    kind: str
    pattern: re.Pattern[str]
    words: tuple[str, ...]

    def search(self, text: str, folded: str) -> re.Match[str] | None:
        """Where it is in a text; `folded` is the text's `casefold`."""
        # To look for plain words takes a fiftieth of the time that the pattern takes.
        if self.words and not any(word in folded for word in self.words):
            return None
        return self.pattern.search(text)


# Each in the languages that mails come in most; a pattern is linear: no nested repetition.
PATTERNS: tuple[Pattern, ...] = tuple(
    Pattern(kind, re.compile(pattern, re.IGNORECASE), tuple(words.split("|")) if words else ())
    for kind, pattern, words in (
        (
            "it tells the agent to forget its instructions",
            (
                r"\b(?:ignore|disregard|forget|override|vergiss|ignoriere|oubliez?|ignorez)\b.{0,40}"
                r"\b(?:previous|prior|above|earlier|all|your|bisherigen?|vorherigen?|alle|deine"
                r"|précédentes|toutes|vos)\b.{0,40}"
                r"\b(?:instructions?|rules?|prompts?|guidelines|anweisungen|regeln|consignes)\b"
            ),
            "instruction|rule|prompt|guidelines|anweisungen|regeln|consignes",
        ),
        (
            "it speaks as a system or another role",
            (
                r"(?:^|\n)\s*(?:system|assistant|developer|human)\s*:|<\|?(?:im_start|system|/?inst)\b"
                r"|\[/?(?:inst|system)\]|</?(?:system|instructions|tool_result|mail)>"
            ),
            "system|assistant|developer|human|im_start|inst|tool_result|mail>",
        ),
        (
            "it gives the agent another role",
            (
                r"\byou are (?:now|no longer)\b|\bact as (?:an? )?(?:unrestricted|admin|developer)"
                r"|\b(?:jailbreak|dan mode|developer mode)\b|\bdu bist (?:jetzt|nun)\b"
            ),
            "you are no|act as |jailbreak|dan mode|developer mode|du bist ",
        ),
        (
            "it asks for what the agent was told",
            (
                r"\b(?:reveal|print|show|repeat|output|send|zeige|gib)\b.{0,40}"
                r"\b(?:(?:system|hidden|initial) prompt|your (?:instructions|rules|prompt)"
                r"|api[ _-]?keys?|secrets|passwords|(?:deine|ihre) anweisungen|passwörter)\b"
            ),
            "prompt|your instructions|your rules|api|secrets|passwords|anweisungen|passwörter",
        ),
        (
            "it names a tool of the agent",
            (
                r"\b(?:search_documents|send_mail|create_task|ask_colleague|note_contact|read_thread"
                r"|schedule_follow_up|tool_use|function_call)\b"
            ),
            "_",
        ),
        (
            "it claims a permission",
            (
                r"\b(?:pre-?approved|already (?:approved|authori[sz]ed)|authori[sz]ed by (?:the )?"
                r"(?:ceo|admin|owner|security team)|no approval (?:is )?(?:needed|required))\b"
            ),
            "approved|authori|approval",
        ),
        (
            "it asks to keep this from people",
            r"\bdo not (?:tell|notify|inform|escalate|mention)\b|\bwithout (?:telling|informing)\b",
            "do not |without ",
        ),
        (
            "it holds a long run of encoded text",
            r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{300}",  # looked for at the start of a run alone
            "",
        ),
    )
)
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")


def screen(content: Content) -> tuple[Finding, ...]:
    """What is odd about a mail, each kind once."""
    found = dict(_findings(content))
    return tuple(Finding(kind, words) for kind, words in found.items())


def _findings(content: Content) -> Iterator[tuple[str, str]]:
    text = content.text[:_JUDGED_CHARACTERS]
    names = [one.filename for one in content.attachments]
    display = [one.name for one in (*content.from_, *content.reply_to)]
    for where, said in (
        ("the text", text),
        ("the subject", content.subject),
        ("a name", "\n".join(display)),
        ("a file's name", "\n".join(names)),
    ):
        plain = said if said.isascii() else _INVISIBLE.sub("", said)
        folded = plain.casefold()
        for one in PATTERNS:
            if (match := one.search(plain, folded)) is not None:
                yield one.kind, f"{where}: {' '.join(match[0].split())[:_QUOTED]}"
        if len(said) - len(plain) > 5:
            yield "it holds signs that nobody sees", f"{where}: {len(said) - len(plain)} of them"
    if content.hidden_text:
        yield "it has text that a person would not see", "the HTML: left out of what the agent gets"
