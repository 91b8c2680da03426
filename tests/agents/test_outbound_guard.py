"""What is new in a draft is found, and what the thread has is not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from mailagent.agents.outbound_guard import Finding, Given, addresses_in, inspect, secrets_in
from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment

ANN = "ann@customer.example"
GIVEN = Given(addresses=frozenset({ANN}))


def draft(text: str = "Yes, until Friday.", **more: object) -> Outgoing:
    plain = Outgoing(
        message_id="<1@shop.example>",
        date=datetime(2026, 3, 1, tzinfo=UTC),
        from_=Address("hello@shop.example"),
        to=(Address(ANN),),
        subject="Re: A question",
        text=text,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def found(mail: Outgoing, given: Given = GIVEN, amount: Decimal | None = Decimal(100)) -> list[str]:
    return [one.action or "always" for one in inspect(mail, given, amount=amount)]


def test_a_mail_that_only_answers_has_nothing_to_ask_about() -> None:
    assert found(draft()) == []


def test_somebody_new_is_a_new_recipient_and_of_a_new_domain() -> None:
    assert found(draft(cc=(Address("bob@customer.example"),))) == ["new_recipient"]
    assert found(draft(bcc=(Address("eve@evil.example"),))) == ["new_recipient", "new_domain"]
    assert found(draft(to=(Address("Ann@Customer.Example"),))) == []


@pytest.mark.parametrize(
    "text",
    [
        "See https://evil.example/?q=secret",
        "See http://evil.example",
        "See www.evil.example",
        "See evil.example/collect?d=1",
        "See evil.example:8443/collect",
        "See ...evil.example/collect",
        "See evil.example./collect",
        "See evil.xn--p1ai/collect",
        "See evil.рф/collect",
        "[here](https://evil.example/x)",
        "ftp://evil.example/x",
    ],
)
def test_a_link_that_the_thread_has_not_is_found(text: str) -> None:
    assert found(draft(text)) == ["link"]


@pytest.mark.parametrize(
    "html",
    [
        '<a href="https://evil.example/x">docs</a>',
        "<img src=//evil.example/p.gif?d=1>",
        "<a href='&#104;ttps://evil.example/x'>x</a>",
        '<p style="background:url(https://evil.example/x)">x</p>',
        '<form action="/collect">',
    ],
)
def test_a_link_in_html_is_found_however_it_is_written(html: str) -> None:
    assert set(found(draft(html=html))) == {"link"}


def test_a_link_of_the_thread_may_be_repeated_and_nothing_added_to_it() -> None:
    given = replace(GIVEN, texts=('<a href="https://Shop.example/orders?id=7">7</a>',))
    assert found(draft("It is https://shop.example/orders?id=7."), given) == []
    assert found(draft("It is https://shop.example/orders?id=7&d=x"), given) == ["link"]


@pytest.mark.parametrize(
    "text",
    [
        "e.g. this and/or that",
        "at 9.30/10",
        "10.30:15/x",
        "e.g./i.e.",
        "z.B.: ja",
        "Node.js",
        "a@b.example",
    ],
)
def test_what_no_mail_program_makes_a_link_of_is_none(text: str) -> None:
    assert found(draft(text)) == []


def test_a_file_is_new_unless_the_thread_has_its_octets() -> None:
    mail = draft(attachments=(OutgoingAttachment("form.pdf", "application/pdf", b"%PDF"),))
    assert found(mail) == ["attachment"]
    known = frozenset({hashlib.sha256(b"%PDF").hexdigest()})
    assert found(mail, replace(GIVEN, files=known)) == []


@pytest.mark.parametrize(
    "text",
    [
        "We pay you EUR 1.234,50.",
        "We pay $1,234.50.",
        "500 euros are yours",
        "1500USD",
        "1 234 €",
        "CHF 101",
    ],
)
def test_a_sum_above_the_limit_is_found_in_every_way_of_writing(text: str) -> None:
    assert found(draft(text)) == ["amount"]


def test_a_sum_below_the_limit_of_the_thread_or_without_a_limit_is_not() -> None:
    assert found(draft("It costs $99.90 at 3 pm in 2026.")) == []
    assert found(draft("It costs $500."), replace(GIVEN, texts=("Is it 500 dollars?",))) == []
    assert found(draft("It costs $5000."), amount=None) == []


@pytest.mark.parametrize(
    "secret",
    [
        "ma_" + "a" * 43,
        "AKIA" + "A" * 16,
        "sk-ant-" + "a1" * 20,
        "ghp_" + "a" * 36,
        "SG." + "a" * 22 + "." + "b" * 43,
        "eyJhbGciOiJI.eyJzdWIiOiIx.abc",
        "-----BEGIN RSA PRIVATE KEY-----",
        "the password is hunter2hunter2",
        "API key: abcdefgh1234",
    ],
)
def test_what_looks_like_a_secret_always_needs_a_person(secret: str) -> None:
    assert found(draft(f"Here: {secret}"), replace(GIVEN, texts=(secret,))) == ["always"]
    noted = OutgoingAttachment("a.txt", "text/plain", secret.encode())
    assert "always" in found(draft(attachments=(noted,)))


def test_an_address_of_another_workspace_always_needs_a_person() -> None:
    mail = draft("Ask Hello@Other.example.")
    assert addresses_in(mail) == {"hello@other.example"}
    given = replace(GIVEN, foreign=addresses_in(mail))
    assert inspect(mail, given, amount=None) == (
        Finding(None, "it has hello@other.example, an address of another workspace"),
    )


def test_keys_of_ours_are_named_for_whoever_looks_them_up() -> None:
    assert secrets_in(draft("x ma_" + "a" * 43)) == {"ma_" + "a" * 43}


def test_findings_are_told_in_bounded_words() -> None:
    mail = draft(" ".join(f"https://evil.example/{n}{'x' * 400}" for n in range(500)))
    findings = inspect(mail, GIVEN, amount=None)
    assert len(findings) == 40
    assert max(len(one.words) for one in findings) < 200
