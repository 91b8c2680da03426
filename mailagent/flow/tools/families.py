"""Which function does which tool?"""

from __future__ import annotations

from collections.abc import Mapping

from mailagent.agents.tools import TOOLS, Tool
from mailagent.flow.tools import (
    contacts,
    custom,
    documents,
    follow_ups,
    invitations,
    mails,
    mcp,
    meetings,
    persons,
    tasks,
    threads,
)
from mailagent.flow.tools.case import Case, Inside, Outside
from mailagent.store.transaction import Transaction

__all__ = ["INSIDE", "outside", "repeatable"]

INSIDE: Mapping[str, Inside] = {
    "search_documents": documents.search_documents,
    "search_threads": threads.search_threads,
    "read_thread": threads.read_thread,
    "contact_card": contacts.contact_card,
    "note_contact": contacts.note_contact,
    "ask_colleague": persons.ask_colleague,
    "hand_over": persons.hand_over,
    "schedule_follow_up": follow_ups.schedule_follow_up,
    "invite": invitations.invite,
    "send_mail": mails.send_mail,
}
"""What is done in the transaction that records it."""
_OUTSIDE: Mapping[str, Outside] = {
    "free_times": meetings.free_times,
    "create_task": tasks.create_task,
}


def outside(tool: Tool) -> Outside:
    """What does a tool that calls outside."""
    if tool.name in _OUTSIDE:
        return _OUTSIDE[tool.name]
    return mcp.caller(tool) if tool.name.startswith(mcp.PREFIX) else custom.caller(tool)


def repeatable(tx: Transaction, case: Case, tool: Tool) -> bool:
    """Whether the far side does a call once, however often it hears of it under the same key."""
    if tool.name in TOOLS:
        return tool.name == "create_task"  # Standard Webhooks: the id is the receiver's to know
    return custom.repeatable(tx, case.agent_id, tool.name)
