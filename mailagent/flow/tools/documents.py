"""Looks a fact up in the workspace's documents."""

from __future__ import annotations

from mailagent.agents.tools import ToolResult, data_block
from mailagent.agents.turn import JsonValue
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.store import documents
from mailagent.store.transaction import Transaction

__all__ = ["search_documents"]

_PASSAGE_CHARACTERS = 4_000


def search_documents(tx: Transaction, _: Services, __: Case, wish: Wish) -> ToolResult:
    """The passages that fit best, each with the name of its document."""
    found = documents.search(tx, wish["query"])
    if not found:
        return ToolResult("No document says anything about that.")
    shown: list[JsonValue] = [
        {"document": hit.name, "text": hit.text[:_PASSAGE_CHARACTERS]} for hit in found
    ]
    names = tuple(dict.fromkeys(hit.name for hit in found))
    return ToolResult(data_block("passages", shown), names)
