"""How is a mail answered without a model and without an account?

From the workspace's documents: the passages that speak of what was asked are quoted with their
source. Where none does, the agent says so and a person answers. It never invents and is the same
every time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

from mailagent.agents.deadline import until
from mailagent.agents.turn import Passage, Turn
from mailagent.agents.words import Language, language_of, share_spoken_of, terms_of
from mailagent.mail import Mail
from mailagent.outgoing import Handoff, Reply, Silence

__all__ = ["Builtin"]

_ENOUGH = 0.34
"""A passage that speaks of a third of what was asked is worth quoting."""
_MOST_QUOTED = 2
_QUOTED_CHARACTERS = 1_500
_SEARCHED = 8
_ASKS_FOR_PERSON = re.compile(
    r"\b(?:human|real person|to a person|mensch(?:en)?|mitarbeiter(?:in)?|une personne)\b"
    r"|担当者|人間",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What stands around the quotes, in one language."""

    opening: str
    source: str
    closing: str
    nothing: str


_FRAMES: dict[Language, _Frame] = {
    "en": _Frame(
        opening="Hello,\n\nthis is what our documents say about your question:",
        source="Source: {name}",
        closing="If this does not answer it, reply that you would like to write to a person.",
        nothing="Hello,\n\nI did not find an answer to your question in our documents."
        " A person will read your message and answer you.",
    ),
    "de": _Frame(
        opening="Guten Tag,\n\ndas sagen unsere Unterlagen zu Ihrer Frage:",
        source="Quelle: {name}",
        closing="Wenn das nicht reicht, antworten Sie, dass Sie einen Menschen wünschen.",
        nothing="Guten Tag,\n\nin unseren Unterlagen steht keine Antwort auf Ihre Frage."
        " Ein Mensch wird Ihre Nachricht lesen und Ihnen antworten.",
    ),
    "fr": _Frame(
        opening="Bonjour,\n\nvoici ce que disent nos documents au sujet de votre question :",
        source="Source : {name}",
        closing="Si cela ne suffit pas, répondez que vous souhaitez écrire à une personne.",
        nothing="Bonjour,\n\nje n'ai pas trouvé de réponse à votre question dans nos documents."
        " Une personne lira votre message et vous répondra.",
    ),
    "ja": _Frame(
        opening="お問い合わせありがとうございます。\n\n資料には次のように記載されています。",
        source="出典:{name}",
        closing="ご質問の答えになっていない場合は、「担当者希望」とご返信ください。",
        nothing="お問い合わせありがとうございます。\n\n資料の中に回答が見つかりませんでした。"
        "担当者が内容を確認し、ご返信いたします。",
    ),
}


class Builtin:
    """An agent that quotes documents."""

    kind: ClassVar[str] = "builtin"

    @classmethod
    def open(cls, settings: Mapping[str, str]) -> Self:
        return cls()

    @classmethod
    def unpriced(cls, settings: Mapping[str, str]) -> str | None:
        """It asks no model."""
        return None

    async def close(self) -> None:
        """Nothing is held."""

    async def think(self, turn: Turn, *, deadline: datetime) -> Reply | Silence | Handoff:
        """Quote what was found, or hand over. Raises TransientFailure at the deadline."""
        written = "\n".join(mail.content.written for mail in turn.mails)
        question = "\n".join([*_subjects(turn.mails), written])
        language = language_of(question, among=turn.profile.languages)
        frame = _FRAMES[language]
        if _ASKS_FOR_PERSON.search(written):
            return Handoff("the writer asks for a person", notice=frame.nothing)
        terms = terms_of(question)
        if not terms:
            return Handoff("the mail has no words to search for", notice=frame.nothing)
        async with until(deadline):
            found = await turn.tools.search_documents(" ".join(terms), limit=_SEARCHED)
        good = _good(found, terms)
        if not good:
            return Handoff("no document speaks of what was asked", notice=frame.nothing)
        quotes = [
            f"{_quoted(passage.text)}\n{frame.source.format(name=passage.document_name)}"
            for passage in good
        ]
        return Reply(
            text="\n\n".join([frame.opening, *quotes, frame.closing, turn.profile.name]) + "\n",
            sources=tuple(dict.fromkeys(passage.document_name for passage in good)),
        )


def _subjects(mails: Sequence[Mail]) -> list[str]:
    return [re.sub(r"^\s*(?:\w{1,4}\s*:\s*)+", "", mail.content.subject) for mail in mails]


def _good(found: Sequence[Passage], terms: Sequence[str]) -> list[Passage]:
    """Passages that speak of enough of the question, the fullest first, the search's order next."""
    shares = [(share_spoken_of(terms, passage.text), passage) for passage in found]
    good = sorted((pair for pair in shares if pair[0] >= _ENOUGH), key=lambda pair: -pair[0])
    # One that says half as much as the best only dilutes it.
    return [p for share, p in good[:_MOST_QUOTED] if share * 2 > good[0][0]]


def _quoted(text: str) -> str:
    cut = text.strip()[:_QUOTED_CHARACTERS]
    return "\n".join(f"> {line}".rstrip() for line in cut.splitlines())
