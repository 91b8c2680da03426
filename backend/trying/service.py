"""What would an agent do with this mail, or with the mail of the last days?"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from backend.agents import service as agents
from backend.agents.agent_file import AgentFile
from backend.agents.service import Agent
from backend.rules.explanation import mail_of_file
from backend.trying import trial as kept
from backend.trying.batch import Waiting, try_in_batches
from backend.trying.past import MOST, Comparison, compare, compared, past, past_of
from backend.trying.run import MOST_USD, Bounds, prepared
from mailagent.errors import Malformed
from mailagent.flow.rehearsal import Brought, Rehearsed, Stored, rehearse
from mailagent.flow.services import Services

__all__ = ["MESSAGE_BYTES", "begin_trial", "brought", "go_on", "try_mail", "try_past"]

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


async def begin_trial(
    services: Services,
    workspace_id: str,
    agent: str,
    since: datetime,
    *,
    file: AgentFile | None = None,
    candidate: str = "",
    most: int = MOST,
    usd: Decimal | None = MOST_USD,
) -> str:
    """Keep what is to be tried in batches; `go_on` tries it. Returns the trial's id.

    Raises NotFound, Malformed.
    """
    store = services.store
    found = await store.read(workspace_id, agents.get, agent)
    mails = await store.read(workspace_id, past, found.id, since, most=most)
    await store.rehearse(workspace_id, prepared(found.id, file))
    return await store.write(
        workspace_id,
        kept.begin,
        found.id,
        mails,
        candidate=candidate,
        file=file,
        since=since,
        usd=usd,
    )


async def go_on(
    services: Services, workspace_id: str, agent: str, trial_id: str, waiting: Waiting
) -> Comparison:
    """Try in batches what was begun, and what is left of it after a stop.

    Raises as `try_in_batches`. Its rows stay until `trial.end`: what was paid for can be had again.
    """
    store = services.store
    found: Agent = await store.read(workspace_id, agents.get, agent)
    trial = await store.read(workspace_id, kept.get, found.id, trial_id)
    tried = dict(await try_in_batches(services, workspace_id, found.id, trial_id, waiting))
    mails = await store.read(workspace_id, past_of, list(tried))
    items = compared(mails, [tried[one.delivery_id] for one in mails])
    took = store.now() - trial.created_at
    return Comparison(found.handle, trial.candidate, trial.since, tuple(items), took)
