"""Which tools are there? `TOOLS` is the whole list of our own: one family a file, one line here.

A tool says what it is called, what it takes, what it reads and changes, and the least standing of
the mail's writer that it needs. What it then does is `mailagent.flow.tools`' to do, behind the gate
that holds for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailagent.agents.tools.blocks import data_block
from mailagent.agents.tools.contacts import CONTACT_CARD, NOTE_CONTACT
from mailagent.agents.tools.documents import SEARCH_DOCUMENTS
from mailagent.agents.tools.follow_up import SCHEDULE_FOLLOW_UP
from mailagent.agents.tools.mails import SEND_MAIL
from mailagent.agents.tools.meetings import FREE_TIMES, INVITE
from mailagent.agents.tools.people import ASK_COLLEAGUE, HAND_OVER
from mailagent.agents.tools.schema import checked, checked_schema
from mailagent.agents.tools.tasks import CREATE_TASK
from mailagent.agents.tools.threads import READ_THREAD, SEARCH_THREADS
from mailagent.agents.tools.tool import Tool, ToolResult

__all__ = ["TOOLS", "Tool", "ToolResult", "checked", "checked_schema", "data_block"]

TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        SEARCH_DOCUMENTS,
        SEARCH_THREADS,
        READ_THREAD,
        CONTACT_CARD,
        NOTE_CONTACT,
        ASK_COLLEAGUE,
        HAND_OVER,
        SCHEDULE_FOLLOW_UP,
        FREE_TIMES,
        INVITE,
        CREATE_TASK,
        SEND_MAIL,
    )
}
"""Our own tools by name."""
