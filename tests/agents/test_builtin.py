"""The agent without a model: it quotes documents, or says that a person will answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.agents import Passage
from mailagent.agents.builtin import Builtin
from mailagent.agents.words import language_of, share_spoken_of, terms_of
from mailagent.errors import TransientFailure
from mailagent.outgoing import Handoff, Reply, Silence
from tests.agents.turns import OFFICE, PROFILE, RETURNS, Shelf, mail, soon, turn

QUESTION = "Hello, within how many days may goods be returned?"


async def think(
    written: str,
    *passages: Passage,
    languages: tuple[str, ...] = (),
    subject: str = "Re: Question",
) -> Reply | Silence | Handoff:
    return await Builtin().think(
        turn(
            mail(written, subject=subject),
            tools=Shelf(passages),
            profile=replace(PROFILE, languages=languages),
        ),
        deadline=soon(),
    )


async def test_a_question_that_a_document_answers_gets_the_passage_and_its_source() -> None:
    reply = await think(QUESTION, RETURNS, OFFICE)
    assert isinstance(reply, Reply)
    assert "> Goods may be returned within 30 days.\n> Return shipping is free." in reply.text
    assert "Source: returns.md" in reply.text
    assert reply.sources == ("returns.md",)
    assert "office" not in reply.text


async def test_the_same_question_gets_the_same_answer() -> None:
    assert await think(QUESTION, RETURNS, OFFICE) == await think(QUESTION, RETURNS, OFFICE)


@pytest.mark.parametrize("passages", [(), (OFFICE,)])
async def test_a_question_that_no_document_answers_goes_to_a_person_and_the_writer_is_told(
    passages: Sequence[Passage],
) -> None:
    outcome = await think("Can you repair a bicycle from 1950?", *passages)
    assert isinstance(outcome, Handoff)
    assert outcome.notice is not None
    assert "A person will read your message" in outcome.notice


@pytest.mark.parametrize(
    ("written", "passage", "frame"),
    [
        (
            "Guten Tag, wie lange kann ich die Ware zurückgeben?",
            "Die Ware kann 30 Tage lang zurückgegeben werden.",
            "Quelle: faq.md",
        ),
        (
            "Bonjour, quel est le délai de retour pour vos articles ?",
            "Le délai de retour des articles est de 30 jours.",
            "Source : faq.md",
        ),
        ("返品期限は何日ですか。", "返品期限は30日です。", "出典:faq.md"),
    ],
)
async def test_the_answer_is_framed_in_the_writers_language(
    written: str, passage: str, frame: str
) -> None:
    reply = await think(written, Passage("d", "faq.md", passage, 1.0), subject="")
    assert isinstance(reply, Reply)
    assert frame in reply.text
    assert passage in reply.text


@pytest.mark.parametrize(
    ("languages", "frame"),
    [(("de", "en"), "Quelle:"), (("fr-CA", "en"), "Source :"), (("nl", "en"), "Source: "),
     (("nl",), "Source: ")],
)  # fmt: skip
async def test_a_language_that_people_do_not_allow_gives_way_to_the_first_that_is_known(
    languages: tuple[str, ...], frame: str
) -> None:
    written = "Guten Tag, wie lange kann ich die Ware zurückgeben?"
    passage = Passage("d", "faq.md", "Die Ware kann 30 Tage lang zurückgegeben werden.", 1.0)
    reply = await think(written, passage, languages=languages, subject="")
    assert isinstance(reply, Reply)
    assert frame in reply.text


@pytest.mark.parametrize(
    "written", ["A human, please.", "Ich möchte mit einem Menschen schreiben.", "担当者希望"]
)
async def test_who_asks_for_a_person_gets_one(written: str) -> None:
    assert isinstance(await think(written, RETURNS), Handoff)


@pytest.mark.parametrize("written", ["", "   ", "the and of", "???"])
async def test_a_mail_without_words_goes_to_a_person(written: str) -> None:
    assert isinstance(await think(written, RETURNS, subject="Re:"), Handoff)


async def test_what_stands_in_quotes_of_the_mail_is_not_searched_for() -> None:
    tools = Shelf()
    await Builtin().think(turn(mail("returned goods?"), tools=tools), deadline=soon())
    assert "quote" not in tools.queries[0]


async def test_several_mails_of_a_turn_are_one_question() -> None:
    tools = Shelf()
    await Builtin().think(
        turn(mail("goods returned?"), mail("and shipping?"), tools=tools), deadline=soon()
    )
    assert {"goods", "returned", "shipping"} <= set(tools.queries[0].split())


async def test_a_search_that_takes_too_long_is_tried_again_later() -> None:
    class Slow(Shelf):
        async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
            await asyncio.Event().wait()
            return ()

    with pytest.raises(TransientFailure):
        await Builtin().think(turn(mail(QUESTION), tools=Slow()), deadline=soon(0.05))


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_has_terms_a_language_and_a_share(written: str, passage: str) -> None:
    terms = terms_of(written)
    assert len(terms) <= 24
    assert language_of(written, among=["xx"]) in {"en", "de", "fr", "ja"}
    assert 0 <= share_spoken_of(terms, passage) <= 1


@pytest.mark.parametrize(
    ("word", "passage"), [("invoices", "An invoice"), ("Rückgaben", "Rückgabe")]
)
def test_a_word_is_found_in_another_form(word: str, passage: str) -> None:
    assert share_spoken_of(terms_of(word), passage) == 1
