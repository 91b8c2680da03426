"""Threads are found by ids and answers carry them on."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailagent.mail import Content
from mailagent.mime import threading

EMPTY = Content(
    message_id=None,
    in_reply_to=(),
    references=(),
    date=None,
    subject="",
    from_=(),
    sender=(),
    reply_to=(),
    to=(),
    cc=(),
    text="",
    written="",
    html=None,
    hidden_text=False,
    is_forward=False,
    attachments=(),
    headers=(),
    content_sha256="",
)


def mail(
    message_id: str | None = None,
    in_reply_to: tuple[str, ...] = (),
    references: tuple[str, ...] = (),
) -> Content:
    return dataclasses.replace(
        EMPTY, message_id=message_id, in_reply_to=in_reply_to, references=references
    )


def ids(count: int) -> tuple[str, ...]:
    return tuple(f"<{number}@example.org>" for number in range(count))


def test_what_a_mail_answers_is_looked_up_first_then_its_ancestors_from_the_newest() -> None:
    content = mail("<d@x>", in_reply_to=("<c@x>",), references=("<a@x>", "<b@x>", "<c@x>"))

    assert threading.anchors(content) == ("<c@x>", "<b@x>", "<a@x>")


def test_a_mail_without_ancestors_has_no_anchor() -> None:
    assert threading.anchors(mail("<a@x>")) == ()


def test_a_mail_that_names_itself_is_not_its_own_anchor() -> None:
    assert threading.anchors(mail("<a@x>", references=("<a@x>", "<b@x>"))) == ("<b@x>",)


def test_at_most_fifty_anchors_are_looked_up() -> None:
    found = threading.anchors(mail(references=ids(100)))

    assert len(found) == 50
    assert found[0] == "<99@example.org>"


def test_an_answer_refers_to_the_mail_and_to_all_before_it() -> None:
    content = mail("<c@x>", in_reply_to=("<b@x>",), references=("<a@x>", "<b@x>"))

    assert threading.references(content) == ("<c@x>", ("<a@x>", "<b@x>", "<c@x>"))


def test_in_reply_to_stands_in_for_missing_references_when_it_names_one_mail() -> None:
    assert threading.references(mail("<c@x>", in_reply_to=("<b@x>",)))[1] == ("<b@x>", "<c@x>")
    assert threading.references(mail("<c@x>", in_reply_to=("<a@x>", "<b@x>")))[1] == ("<c@x>",)


def test_an_answer_to_a_mail_without_id_refers_to_its_ancestors_only() -> None:
    assert threading.references(mail(references=("<a@x>",))) == (None, ("<a@x>",))
    assert threading.references(mail()) == (None, ())


def test_of_a_long_chain_the_first_and_the_newest_stay() -> None:
    in_reply_to, chain = threading.references(mail("<new@x>", references=ids(100)))

    assert in_reply_to == "<new@x>"
    assert len(chain) == 21
    assert (chain[0], chain[-1]) == ("<0@example.org>", "<new@x>")
    assert chain[-2] == "<99@example.org>"


@pytest.mark.parametrize("odd", ["<ü@x>", "<a b@x>", "<>", "<a\r\nBcc: x@y>", f"<{'a' * 950}@x>"])
def test_a_foreign_id_that_no_header_can_hold_is_left_out(odd: str) -> None:
    assert threading.references(mail("<b@x>", references=("<a@x>", odd)))[1] == ("<a@x>", "<b@x>")
    assert threading.references(mail(odd, references=("<a@x>",))) == (None, ("<a@x>",))


@pytest.mark.parametrize(
    ("subject", "answer"),
    [
        ("Order 7", "Re: Order 7"),
        ("Re: Order 7", "Re: Order 7"),
        ("RE: Re: re: Order 7", "Re: Order 7"),
        ("AW: Bestellung", "Re: Bestellung"),
        ("SV: VS: Bestilling", "Re: Bestilling"),
        ("Antw: RE : Order", "Re: Order"),
        ("Re[2]: Order", "Re: Order"),
        ("Re(3): Order", "Re: Order"),
        ("Re^2: Order", "Re: Order"),
        ("回复：订单", "Re: 订单"),
        ("Re：注文", "Re: 注文"),
        ("Odp: Zamówienie", "Re: Zamówienie"),
        ("Fwd: Order", "Re: Fwd: Order"),
        ("Result: good", "Re: Result: good"),
        ("Reminder: pay", "Re: Reminder: pay"),
        ("re", "Re: re"),
        ("", "Re:"),
        ("Re:", "Re:"),
        ("a\r\nBcc: x@y", "Re: a Bcc: x@y"),
    ],
)
def test_an_answers_subject_has_one_re_whatever_came_in(subject: str, answer: str) -> None:
    assert threading.reply_subject(subject) == answer


def test_a_subject_of_any_length_is_bounded() -> None:
    assert len(threading.reply_subject("Re: " * 100_000)) <= 404
    assert len(threading.reply_subject("x" * 100_000)) == 404


@given(st.text(max_size=300))
def test_answering_an_answer_changes_its_subject_no_more(subject: str) -> None:
    once = threading.reply_subject(subject)

    assert threading.reply_subject(once) == once
    assert "\r" not in once
    assert "\n" not in once
