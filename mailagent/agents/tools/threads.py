"""The tools that look into earlier conversations.

Only those of this agent in which the writer of this mail is an authenticated participant: a model
that obeys a stranger can read him nothing but his own letters.
"""

from __future__ import annotations

from mailagent.agents.tools.tool import Tool, taking
from mailagent.agents.trust import Standing

__all__ = ["READ_THREAD", "SEARCH_THREADS"]

SEARCH_THREADS = Tool(
    name="search_threads",
    description=(
        "Search this correspondent's other conversations with this address, newest first, each with"
        " its thread_id, subject and a few words. Without a query: the newest ones."
    ),
    input_schema=taking(query={"type": "string", "maxLength": 200, "optional": True}),
    effect="reads",
    least=Standing.CORRESPONDENT,
    touches="reads this agent's threads in which the writer takes part",
)
READ_THREAD = Tool(
    name="read_thread",
    description="Read one conversation that search_threads found, oldest mail first.",
    input_schema=taking(thread_id={"type": "string", "minLength": 1, "maxLength": 48}),
    effect="reads",
    least=Standing.CORRESPONDENT,
    touches="reads one of this agent's threads in which the writer takes part",
)
