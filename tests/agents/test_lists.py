"""The narrowest entry decides, and a pattern that would fit nobody is refused."""

from __future__ import annotations

import pytest

from mailagent.agents.lists import Entry, narrowest, parse_pattern
from mailagent.errors import Malformed

HELLO = "hello@shop.example"


def decided(entries: list[Entry], address: str = "ann@a.customer.example") -> str | None:
    entry = narrowest(entries, address, "receive", HELLO)
    return None if entry is None else str(entry)


def block(pattern: str, mailbox: str = "") -> Entry:
    return Entry("receive", "block", pattern, mailbox)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ("*", "example"),
        ("customer.example", "a.customer.example"),
        ("a.customer.example", "*@a.customer.example"),
        ("*@a.customer.example", "ann@a.customer.example"),
    ],
)
def test_an_entry_for_fewer_counts_before_one_for_more(wide: str, narrow: str) -> None:
    entries = [Entry("receive", "allow", narrow), block(wide)]
    assert decided(entries) == decided(entries[::-1]) == f"allow receive {narrow} of the workspace"


def test_an_entry_of_our_address_counts_before_one_of_the_workspace() -> None:
    entries = [Entry("receive", "allow", "*", HELLO), block("ann@a.customer.example")]
    assert decided(entries) == f"allow receive * of {HELLO}"


def test_an_entry_for_another_address_of_ours_or_another_list_says_nothing() -> None:
    assert decided([block("*", "help@shop.example"), Entry("reply", "block", "*")]) is None


def test_a_domain_means_what_is_below_it_and_a_star_does_not() -> None:
    assert decided([block("customer.example")]) is not None
    assert decided([block("*@customer.example")]) is None
    assert decided([block("omer.example")]) is None


def test_letters_are_the_same_in_either_case() -> None:
    assert decided([block(parse_pattern("Customer.EXAMPLE"))], "Ann@customer.Example") is not None


@pytest.mark.parametrize(
    "text", ["", "@customer.example", "*@", "ann@", "a b@customer.example", "*.customer.example"]
)
def test_what_would_fit_nobody_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match=r"^pattern:"):
        parse_pattern(text)
