"""What would an agent do with this mail, or with the mail of the last days?"""

from __future__ import annotations

from datetime import datetime

from backend.agents import service as agents
from backend.agents.agent_file import AgentFile
from backend.agents.service import Agent
from backend.rules.explanation import mail_of_file
from backend.trying.past import MOST, Comparison, compare, past
from backend.trying.run import Bounds, prepared
from mailagent.errors import Malformed
from mailagent.flow.rehearsal import Brought, Rehearsed, Stored, rehearse
from mailagent.flow.services import Services

__all__ = ["MESSAGE_BYTES", "brought", "try_mail", "try_past"]

MESSAGE_BYTES = 1024 * 1024


async def try_mail(
    services: Services,
    workspace_id: str,
    agent: str,
    subject: Stored | bytes,
    *,
    file: AgentFile | None = None,
    recipient: str | None = None,
) -> Rehearsed:
    """Try one mail. Raises NotFound, Malformed, Conflict."""
    found = await services.store.read(workspace_id, agents.get, agent)
    mail: Stored | Brought
    if isinstance(subject, bytes):
        mail = await brought(services, subject, recipient or found.address)
    else:
        mail = subject
    return await rehearse(services, workspace_id, found.id, mail, prepare=prepared(found.id, file))


async def brought(services: Services, raw: bytes, recipient: str) -> Brought:
    """A mail of a file, as if it had just come from somebody trusted: nobody judges its sender.

    Raises Malformed.
    """
    if len(raw) > MESSAGE_BYTES:
        raise Malformed("message", f"has more than {MESSAGE_BYTES:,} bytes")
    now = services.store.now()
    return Brought(raw, await mail_of_file(services.sandbox, raw, now=now, recipient=recipient))


async def try_past(
    services: Services,
    workspace_id: str,
    agent: str,
    since: datetime,
    *,
    file: AgentFile | None = None,
    candidate: str = "",
    most: int = MOST,
    bounds: Bounds | None = None,
) -> Comparison:
    """Try what came since then. Raises NotFound, Malformed."""
    store = services.store
    found: Agent = await store.read(workspace_id, agents.get, agent)
    began = store.now()
    mails = await store.read(workspace_id, past, found.id, since, most=most)
    prepare = prepared(found.id, file)
    if file is not None:
        await store.rehearse(workspace_id, prepare)  # a file that cannot be is told before any cost
    items = await compare(services, workspace_id, found.id, mails, prepare=prepare, bounds=bounds)
    return Comparison(found.handle, candidate, since, tuple(items), store.now() - began)
