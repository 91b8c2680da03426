"""What does a model's answer cost?

US dollars a million tokens, from platform.claude.com "Pricing" as of November 2026, or as whoever
runs the installation says. A model of which neither tells has no known price: None, never 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from mailagent.errors import Misconfigured

__all__ = ["BATCHED", "Price", "cost_usd", "parse", "price_of"]

BATCHED = Decimal("0.5")
"""Of every price, the cache's too, in the Message Batches API (the same page)."""
_MILLION = Decimal(1_000_000)
_SNAPSHOT = re.compile(r"-\d{8}$")
_GIVEN = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*/\s*(\d{1,6}(?:\.\d{1,6})?)")


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars a million tokens."""

    input: Decimal
    output: Decimal
    long_input: Decimal | None = None
    long_output: Decimal | None = None
    """For prompts over 100,000 tokens, where they cost more."""


def _price(*dollars: str) -> Price:
    return Price(*map(Decimal, dollars))


_LONG_PROMPT_TOKENS = 100_000
_CACHE_WRITE, _CACHE_READ = Decimal("1.25"), Decimal("0.1")
"""Of the price of a question: tokens that are kept for five minutes, and those found there."""
_PRICES = {
    "claude-fable-5": _price("10", "50"),
    "claude-fable-5-1": _price("10", "50"),
    "claude-mythos-5": _price("10", "50"),
    "claude-mythos-5-1": _price("10", "50"),
    "claude-opus-5-5": _price("4", "20"),
    "claude-opus-5": _price("5", "25"),
    "claude-opus-4-8": _price("5", "25"),
    "claude-opus-4-7": _price("5", "25"),
    "claude-opus-4-6": _price("5", "25"),
    "claude-opus-4-5": _price("5", "25"),
    "claude-sonnet-5-5": _price("2", "10"),
    "claude-sonnet-5": _price("2", "10"),
    "claude-sonnet-4-6": _price("3", "15"),
    "claude-sonnet-4-5": _price("3", "15"),
    "claude-haiku-5-5": _price("0.10", "0.50", "0.50", "2.50"),
    "claude-haiku-4-5": _price("1", "5"),
}


def price_of(model: str) -> Price | None:
    """The listed price of a model, named with or without its snapshot date."""
    return _PRICES.get(_SNAPSHOT.sub("", model))


def parse(text: str) -> Price | None:
    """The price that `ANTHROPIC_PRICE` gives, `3/15`; None for none. Raises Misconfigured."""
    if not text.strip():
        return None
    found = _GIVEN.fullmatch(text.strip())
    if found is None:
        raise Misconfigured(
            "ANTHROPIC_PRICE", "is not like 3/15: US dollars a million tokens, question/answer"
        )
    return _price(found[1], found[2])


def cost_usd(
    model: str,
    *,
    input_tokens: int,
    output_tokens: int,
    cache_written: int = 0,
    cache_read: int = 0,
    given: Price | None = None,
    share: Decimal = Decimal(1),
) -> Decimal | None:
    """The price of one answer; None when the model's price is not known.

    `model` is the name the service gave; `given` counts before the list. Tokens written to or read
    from the cache come beside `input_tokens`, as the service counts them. `share` of the price is
    what the way costs by which it was asked.
    """
    price = given or price_of(model)
    if price is None:
        return None
    long = input_tokens + cache_written + cache_read > _LONG_PROMPT_TOKENS
    input_price = price.long_input if long and price.long_input else price.input
    output_price = price.long_output if long and price.long_output else price.output
    counted = input_tokens + cache_written * _CACHE_WRITE + cache_read * _CACHE_READ
    return (counted * input_price + output_tokens * output_price) * share / _MILLION
