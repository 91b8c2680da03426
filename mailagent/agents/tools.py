"""How does a model use what an agent may do? One tool: searching the workspace's documents.

The model's wish is foreign input: it is checked here, and a wish that makes no sense is answered to
the model, not raised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailagent.agents.turn import JsonValue, Passage, Tools

__all__ = ["SEARCH_DOCUMENTS", "ToolResult", "data_block", "use"]

_QUERY_CHARACTERS = 500
_PASSAGE_CHARACTERS = 4_000

SEARCH_DOCUMENTS: dict[str, Any] = {
    "name": "search_documents",
    "description": (
        "Search the workspace's documents by full text and get the best passages, each with the"
        " name of its document. Search before you state a fact about the organisation, its"
        " products, prices or rules. Use the few words that would stand in the document."
    ),
    "input_schema": {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "A few words."}},
        "required": ["query"],
    },
}


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told, and which documents it thereby saw."""

    text: str
    documents: tuple[str, ...] = ()
    is_error: bool = False


async def use(tools: Tools, name: str, wish: object) -> ToolResult:
    """Do what the model asked for."""
    if name != SEARCH_DOCUMENTS["name"]:
        return ToolResult("There is no such tool.", is_error=True)
    query = wish.get("query") if isinstance(wish, Mapping) else None
    if not isinstance(query, str) or not query.strip():
        return ToolResult("query must be a text of a few words.", is_error=True)
    passages = await tools.search_documents(query[:_QUERY_CHARACTERS])
    if not passages:
        return ToolResult("No document says anything about that.")
    names = tuple(dict.fromkeys(passage.document_name for passage in passages))
    return ToolResult(data_block("passages", [_shown(p) for p in passages]), names)


def data_block(name: str, value: JsonValue) -> str:
    """Foreign text as data inside a prompt: JSON between tags that cannot occur in it.

    A string inside JSON cannot end its quotes, and without `<` no tag can be opened or closed.
    """
    encoded = json.dumps(value, ensure_ascii=False, indent=1)
    return f"<{name}>\n{encoded.replace('<', chr(92) + 'u003c')}\n</{name}>"


def _shown(passage: Passage) -> dict[str, JsonValue]:
    return {"document": passage.document_name, "text": passage.text[:_PASSAGE_CHARACTERS]}
