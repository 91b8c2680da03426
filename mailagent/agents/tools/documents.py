"""The tool that looks a fact up in the workspace's documents."""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["SEARCH_DOCUMENTS"]

SEARCH_DOCUMENTS = Tool(
    name="search_documents",
    description=(
        "Search the workspace's documents by full text and get the best passages, each with the"
        " name of its document. Search before you state a fact about the organisation, its"
        " products, prices or rules. Use the few words that would stand in the document."
    ),
    input_schema=taking(
        query={"type": "string", "minLength": 1, "maxLength": 500, "description": "A few words."}
    ),
    effect="reads",
    least=Standing.STRANGER,
    touches="reads the workspace's documents",
)
