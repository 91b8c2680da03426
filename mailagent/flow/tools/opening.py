"""Which tools does this turn have, and for whom are they used?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mailagent.agents.tools import TOOLS, Tool
from mailagent.flow import policies
from mailagent.flow.standing import judge_thread
from mailagent.flow.tools import custom
from mailagent.flow.tools.case import Case
from mailagent.mail import Mail
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["USUAL", "open_case", "tools_of"]

USUAL = (
    "search_documents",
    "search_threads",
    "read_thread",
    "contact_card",
    "note_contact",
    "schedule_follow_up",
    "ask_colleague",
    "hand_over",
)
"""What an agent has whose people have named no tools: what needs no address of theirs."""


def open_case(
    tx: Transaction,
    agent: AnyRow,
    *,
    turn_id: str,
    thread: AnyRow,
    mails: Sequence[Mail],
    followed: bool,
) -> Case:
    """The case of a turn, without the tools of MCP servers; `followed`: whether the thread was
    there before these mails. `agent` has `agent_id`, `handle` and `agent_settings`.
    """
    settings: Mapping[str, Any] = agent.agent_settings or {}
    tools = tools_of(tx, agent.agent_id, settings)
    return Case(
        workspace_id=str(tx.workspace_id),
        agent_id=agent.agent_id,
        handle=agent.handle,
        thread_id=thread.id,
        subject=thread.subject,
        turn_id=turn_id,
        mail=mails[-1],
        standing=judge_thread(tx, thread.id, mails, answers=followed).standing,
        policy=policies.of_agent(tx, agent.agent_id, agent.handle),
        tools=tools,
        settings=settings,
    )


def tools_of(tx: Transaction, agent_id: str, settings: Mapping[str, Any]) -> dict[str, Tool]:
    """Our tools that an agent's people gave it, and their own."""
    named = settings.get("tools")
    wanted = USUAL if named is None else named
    own = {name: TOOLS[name] for name in wanted if name in TOOLS}
    return own | {tool.name: tool for tool in custom.tools_of(tx, agent_id)}
