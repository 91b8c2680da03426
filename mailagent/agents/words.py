"""Which words of a mail say what it is about, and does a passage speak of them?

For an agent without a model: a word counts by its beginning (so "invoices" finds "invoice"), and a
script without spaces by its pairs of characters. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

__all__ = ["Language", "language_of", "share_spoken_of", "terms_of"]

Language: TypeAlias = Literal["en", "de", "fr", "ja"]

_MOST_TERMS = 24
_MOST_CHARACTERS = 4_000
_WORD = re.compile(r"[^\W_]+")
_KANA = re.compile(r"[\u3040-\u30ff]")
_GRAMMAR = re.compile(r"[\u3040-\u309f]")
_NO_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")

# Words that every letter has; a question is never about them.
_COMMON_WORDS: dict[Language, str] = {
    "en": """a about all also am an and any are as at be been but by can could dear did do does for
        from get good had has have hello hi how i if in into is it its just know let like many may
        me morning much my need no not of on or our out please regards send should so some tell than
        thank thanks that the their them then there these they this to up us want was we were what
        when where which who why will with would yes you your""",
    "de": """aber alle als am an auch auf aus bei bin bis bitte da danke das dass dem den der des
        die durch ein eine einen einer er es freundliche für gibt grüße guten habe haben hallo hat
        ich ihr ihre ihnen im in ist ja kann können man mein meine mich mir mit möchte nach nicht
        noch nur oder sehr sich sie sind so tag über um und uns unser viel von vor war was wann wenn
        wer werden wie wir wird wo zu zum zur""",
    "fr": """à au aux avec avez bonjour ce ces cet cette comment cordialement dans de des du elle en
        est et être faire il ils je la le les leur lui ma mais me merci mes moi mon ne nos notre
        nous on ou où par pas peut plus pour pouvez puis quand que quel quelle qui sa sans se ses si
        son sont sur ta te tes ton tu un une vos votre vous y""",
    "ja": "",
}
_COMMON = {language: frozenset(words.split()) for language, words in _COMMON_WORDS.items()}
_EVERY_COMMON = frozenset().union(*_COMMON.values())


def language_of(text: str, *, among: Sequence[str] = ()) -> Language:
    """The language that a text shows by its script or its common words; where that is none, or none
    of the tags `among` (RFC 5646), the first of those that we know, else English.
    """
    spoken = [one for tag in among for one in _COMMON if one == tag.lower().partition("-")[0]]
    shown = _shown(text[:_MOST_CHARACTERS])
    if shown is not None and (shown in spoken or not among):
        return shown
    return spoken[0] if spoken else "en"


def _shown(text: str) -> Language | None:
    if _KANA.search(text):
        return "ja"
    words = _WORD.findall(text.casefold())
    hits = {language: sum(word in common for word in words) for language, common in _COMMON.items()}
    best: Language = max(hits, key=lambda language: hits[language])
    certain = hits[best] >= 2 and list(hits.values()).count(hits[best]) == 1
    return best if certain else None


def terms_of(text: str) -> tuple[str, ...]:
    """The distinct words that say what a text is about, in order, at most 24, case folded."""
    terms: dict[str, None] = {}
    for word in _WORD.findall(text[:_MOST_CHARACTERS].casefold()):
        if _NO_SPACES.fullmatch(word):
            pairs = (word[at : at + 2] for at in range(len(word) - 1))
            # Hiragana is mostly grammar; what a sentence is about has kanji or katakana.
            terms.update(dict.fromkeys(pair for pair in pairs if not _GRAMMAR.search(pair)))
            continue
        if word not in _EVERY_COMMON and (len(word) > 2 or word.isdecimal()):
            terms[word] = None
    return tuple(terms)[:_MOST_TERMS]


def share_spoken_of(terms: Sequence[str], passage: str) -> float:
    """Which share (0 to 1) of the terms a passage has."""
    if not terms:
        return 0.0
    text = passage.casefold()
    return sum(_beginning(term) in text for term in terms) / len(terms)


def _beginning(term: str) -> str:
    return term if len(term) < 5 else term[: max(4, len(term) - 2)]
