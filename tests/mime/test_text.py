"""The writer's own words are told from what they quote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.mime import text
from tests.mime.messages import CORPORA


@pytest.mark.parametrize(
    ("whole", "own"),
    [
        ("Danke!\n\nAm 3. Mai 2027 um 10:12 schrieb Max <m@x.de>:\n\n> hallo\n", "Danke!"),
        ("Hoi\n\nOp ma 3 mei 2027 om 10:12 schreef Jan <j@x.nl>:\n> x", "Hoi"),
        ("了解です\n\n2027年5月3日(月) 10:12 山田 <y@x.jp>:\n\n> こんにちは\n", "了解です"),
        ("Fine.\n\nOn Mon, 3 May 2027 at 10:12, Ada Lovelace <\nada@x.org> wrote:\n\n> ?", "Fine."),
        ("Ja\n\nVon: A <a@x>\nGesendet: Montag\nAn: B\nBetreff: x\n\nalt", "Ja"),
        ("Oui\n\n-----Message d'origine-----\nDe : A\nEnvoyé : lundi\n\nvieux", "Oui"),
        ("Yes.\n\n_____________\nFrom: A\nSent: Monday\nTo: B\n\nold", "Yes."),
        ("On 3 May 2027, A <a@x> wrote:\n> When?\n\nTuesday.", "Tuesday."),
        ("Hello\n-- \nBob\nBob Ltd", "Hello"),
        ("Agreed\n\nSent from my iPhone\n\n> On 3 May 2027, at 10:12, B wrote:\n> x", "Agreed"),
        ("> On 3 May 2027 at 10:12, A wrote:\n> all of it", ""),
    ],
)
def test_quotes_attributions_and_signatures_are_left_out(whole: str, own: str) -> None:
    assert text.written(whole) == own


@pytest.mark.parametrize(
    "whole",
    [
        "In 2019 I wrote:\n\nSomething of mine.",
        "From: tomorrow on I am away.\nTo: you I say hello.",
        "> a line that I like",
        "Dear all,\n--\nfirst\n" + "line\n" * 20 + "last",
        "Times:\n- 10:12\n- 11:30",
    ],
)
def test_nothing_of_the_writers_own_is_lost(whole: str) -> None:
    assert text.written(whole) == whole.strip()


def test_answers_between_quotes_keep_the_quotes_they_answer() -> None:
    whole = (
        "On Mon, 3 May 2027 at 10:12, A <a@x> wrote:\n> When?\n\nTuesday.\n\n> Where?\n\nBerlin."
    )
    assert text.written(whole) == "> When?\n\nTuesday.\n\n> Where?\n\nBerlin."


@pytest.mark.parametrize(
    ("whole", "subject"),
    [
        ("See below.\n\n---------- Forwarded message ---------\nFrom: A\nDate: x\n\nhi", "Fwd: x"),
        ("Begin forwarded message:\n\nFrom: A\n\nhi", ""),
        ("FYI\n\nVon: A\nGesendet: Montag\nAn: B\nBetreff: x\n\nhi", "WG: x"),
        ("From: A\nSent: Monday\nTo: B\nSubject: x\n\nhi", "x"),
    ],
)
def test_a_forward_is_recognised(whole: str, subject: str) -> None:
    assert text.is_forward(whole, subject)


def test_a_forward_is_kept_whole() -> None:
    whole = "See below.\n\n---------- Forwarded message ---------\nFrom: A\n\nhi"
    assert text.written(whole) == whole


def test_a_reply_above_an_old_forward_is_a_reply() -> None:
    whole = "Thanks\n\nOn 3 May 2027 at 10:12, A wrote:\n\n---------- Forwarded message ----------"
    assert not text.is_forward(whole, "Re: Fwd: x")
    assert text.written(whole) == "Thanks"


@pytest.mark.parametrize(
    ("flowed", "delsp", "plain"),
    [
        ("one \ntwo\nthree", False, "one two\nthree"),
        ("日本 \n語", True, "日本語"),
        (">> a \n>> b\n> c", False, ">> a b\n> c"),
        (" From x\n-- \nBob", False, "From x\n-- \nBob"),
        ("a \n-- \nb", False, "a \n-- \nb"),
        ("ends soft ", False, "ends soft "),
    ],
)
def test_flowed_lines_are_joined(flowed: str, delsp: bool, plain: str) -> None:
    assert text.unflowed(flowed, delsp=delsp) == plain


@pytest.mark.parametrize(
    "hostile",
    [
        "\n" * 200_000,
        "On " * 20_000,
        "Le :\n" * 50_000,
        "--\n" * 100_000,
        "From: a\n" * 50_000,
        "On 1 a@b wrote:\n" * 20_000,
        ("-----\n" * 3 + "x\n") * 20_000,
        ">" * 500_000,
        "a " * 500_000 + ":",
    ],
)
def test_hostile_texts_end(hostile: str) -> None:
    assert len(text.written(hostile)) <= len(hostile)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="On wrote:>-\nFrom@1 ", max_size=200))
def test_what_is_written_is_a_part_of_the_text(whole: str) -> None:
    lines = [line.strip() for line in text.written(whole).split("\n")]
    assert set(lines) <= {line.strip() for line in whole.split("\n")} | {""}


def test_real_replies_are_cut_as_their_writers_would() -> None:
    received = sorted((CORPORA / "replies" / "received").glob("*.txt"))
    misses = [
        file.name
        for file in received
        if "".join(text.written(file.read_text("utf-8")).split())
        != "".join((file.parents[1] / "expected" / file.name).read_text("utf-8").split())
    ]
    print(f"{len(received) - len(misses)} of {len(received)}; missed:", *misses)
    assert len(misses) <= 0.3 * len(received)
