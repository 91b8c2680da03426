"""What does a model's answer cost?

US dollars a million tokens, from platform.claude.com "Pricing" as of November 2026. A model that is
not listed has no known price, which is None and never 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["cost_usd"]

_MILLION = Decimal(1_000_000)
_SNAPSHOT = re.compile(r"-\d{8}$")


@dataclass(frozen=True, slots=True)
class _Price:
    input: Decimal
    output: Decimal
    long_input: Decimal | None = None
    long_output: Decimal | None = None
    """For prompts over 100,000 tokens, where they cost more."""


def _price(*dollars: str) -> _Price:
    return _Price(*map(Decimal, dollars))


_LONG_PROMPT_TOKENS = 100_000
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


def cost_usd(model: str, *, input_tokens: int, output_tokens: int) -> Decimal | None:
    """The price of one answer; None when the model's price is not known.

    `model` is the name the service gave, with or without its snapshot date. Tokens that were read
    from or written to a cache are no part of it: we ask for no cache.
    """
    price = _PRICES.get(_SNAPSHOT.sub("", model))
    if price is None:
        return None
    long = input_tokens > _LONG_PROMPT_TOKENS
    input_price = price.long_input if long and price.long_input else price.input
    output_price = price.long_output if long and price.long_output else price.output
    return (input_tokens * input_price + output_tokens * output_price) / _MILLION
