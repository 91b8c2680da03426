"""Makes a task in the workspace's own system, by a signed webhook."""

from __future__ import annotations

import json

from mailagent.agents.signing import signed
from mailagent.agents.tools import ToolResult
from mailagent.errors import Malformed, TransientFailure
from mailagent.flow import agent_secrets
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish

__all__ = ["create_task"]

_SECONDS = 20.0


async def create_task(services: Services, case: Case, key: str, wish: Wish) -> ToolResult:
    """POST the task to the agent's `task_url`; see `case.Outside` for what it raises."""
    url = case.settings.get("task_url")
    secret = await services.store.read(
        case.workspace_id, agent_secrets.read, services.secrets, case.agent_id, "tasks"
    )
    if not url or not secret:
        raise Malformed("create_task", "has no address yet: a person must set the agent's task URL")
    now = services.store.now()
    told = {
        "type": "task.created",
        "timestamp": now.isoformat(),
        "data": {
            "id": key,
            **wish,
            "agent": case.handle,
            "from": case.author,
            "subject": case.subject,
            "thread_id": case.thread_id,
            "delivery_id": case.mail.delivery_id,
        },
    }
    body = json.dumps(told, ensure_ascii=False).encode()
    answer = await services.egress.call(
        "POST",
        url,
        content=body,
        headers=signed(secret, id_=key, at=now, body=body),
        seconds=_SECONDS,
    )
    if 200 <= answer.status < 300:
        return ToolResult(f"The task was made ({key}).")
    if answer.status in (429, 502, 503, 504):
        raise TransientFailure(f"the task system answered {answer.status}")
    return ToolResult(f"The task system refused it ({answer.status}).", is_error=True)
