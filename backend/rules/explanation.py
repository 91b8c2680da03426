"""Why does a mail go where it goes? What each rule makes of it, and the decision.

The same functions decide here and in the flow; a mail is explained as the rules stand now. A raw
file is read in the sandbox, as foreign mail always is, and nobody vouches for its sender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from backend.workspaces.service import get as get_workspace
from mailagent.errors import Conflict, Malformed, NotFound, SandboxFailure
from mailagent.flow.directory import normalised, without_tag
from mailagent.flow.route import load_rules, route
from mailagent.flow.values import READING, load_mails
from mailagent.mail import Mail
from mailagent.mime.outgoing_rules import check_address
from mailagent.reading import Reading
from mailagent.routing import Decision, Explained, check_condition, matches
from mailagent.routing import explain as explain_rules
from mailagent.sandbox import JsonValue, Sandbox
from mailagent.store.tables import addresses, deliveries, domains, slug_reservations, workspaces
from mailagent.store.transaction import Transaction

__all__ = [
    "Explanation",
    "Match",
    "explain",
    "explain_mail",
    "load_mail",
    "mail_of_file",
    "try_condition",
    "workspace_of",
]


@dataclass(frozen=True, slots=True)
class Match:
    """What one condition makes of a mail."""

    matched: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the workspace's rules make of a mail, in order, and where it goes."""

    mail: Mail
    rules: Sequence[Explained]
    decision: Decision


def try_condition(condition: Any, mail: Mail) -> Match:
    """Try a condition on a mail without keeping it. Raises Malformed."""
    check_condition(condition)
    return Match(*matches(condition, mail))


def explain(tx: Transaction, delivery_id: str) -> Explanation:
    """Explain a delivery. Raises NotFound; Conflict while it has not been read."""
    return explain_mail(tx, load_mail(tx, delivery_id))


def explain_mail(tx: Transaction, mail: Mail) -> Explanation:
    """Explain a mail of this workspace by its envelope recipient."""
    # The delivery's row names the agent that was chosen; what was addressed is asked anew.
    local, domain = normalised(mail.recipient)
    addressed = tx.value(
        select(addresses.c.agent_id).where(
            addresses.c.local_part == without_tag(local), addresses.c.domain == domain
        )
    )
    catch_all = get_workspace(tx).settings.catch_all_agent_id
    place, agent_id = ("agent", addressed) if addressed else ("catch_all", catch_all)
    decision = route(tx, mail, place=place, agent_id=agent_id)
    return Explanation(mail, explain_rules(mail, load_rules(tx)), decision)


def load_mail(tx: Transaction, delivery_id: str) -> Mail:
    """The read mail of a delivery. Raises NotFound; Conflict while it has not been read."""
    state = tx.value(select(deliveries.c.state).where(deliveries.c.id == delivery_id))
    if state is None:
        raise NotFound(f"the workspace has no delivery {delivery_id[:80]!r}")
    found = load_mails(tx, [delivery_id])
    if not found:
        raise Conflict(f"{delivery_id} is {state}: it has not been read, so no rule can be asked")
    return found[0]


def workspace_of(tx: Transaction, default_domain: str, recipient: str) -> str:
    """The id of the workspace that an address belongs to (unscoped transaction).

    Raises NotFound for a domain that is not ours.
    """
    _, domain = normalised(recipient)
    slug = domain.removesuffix(f".{default_domain}")
    of_domain = select(domains.c.workspace_id).where(
        domains.c.name == domain, domains.c.verified_at.is_not(None)
    )
    of_slug = select(workspaces.c.id).where(workspaces.c.slug == slug)
    former = select(slug_reservations.c.workspace_id).where(
        slug_reservations.c.slug == slug, slug_reservations.c.alias_until > tx.now
    )
    found: str | None = (
        tx.value(of_domain) if slug == domain else tx.value(of_slug) or tx.value(former)
    )
    if found is None:
        raise NotFound(f"no workspace here gets mail at {domain[:253] or recipient[:320]!r}")
    return found


async def mail_of_file(
    sandbox: Sandbox, raw: bytes, *, now: datetime, recipient: str | None = None
) -> Mail:
    """The mail in a raw message (RFC 5322), as if it had just come for `recipient`.

    Without one, the first mailbox of To: stands in for the envelope, which a file does not have.
    Raises Malformed when it cannot be read or names no recipient.
    """
    try:
        reading = await _read(sandbox, raw, now, mail_from=None)
        mail_from = _reverse_path(reading)
        if mail_from is not None:
            reading = await _read(sandbox, raw, now, mail_from=mail_from)
    except (SandboxFailure, ValidationError) as error:
        raise Malformed("message", "cannot be read as a mail") from error
    assert reading.authentication is not None
    to = reading.content.to
    if recipient is None and not to:
        raise Malformed("recipient", "is missing, and the mail has no To: say whom it is for")
    recipient = recipient or to[0].address
    check_address("recipient", recipient)
    return Mail(
        delivery_id="",
        workspace_id="",
        recipient=recipient,
        mail_from=mail_from,
        received_at=now,
        content=reading.content,
        authentication=reading.authentication,
        kind=reading.kind,
        why_kind=reading.why_kind,
    )


async def _read(sandbox: Sandbox, raw: bytes, now: datetime, *, mail_from: str | None) -> Reading:
    arguments: dict[str, JsonValue] = {
        "mail_from": mail_from,
        "client_ip": None,
        "helo": None,
        "hostname": "",
        "now": now.isoformat(),
        "judged_by": "nobody",
        "verdicts": {},
        "answers": [],
    }
    return READING.validate_json(await sandbox.run("mailagent.reading:read", raw, arguments))


def _reverse_path(reading: Reading) -> str | None:
    """What stands in for the envelope sender: Return-Path (RFC 5321 §4.4), else From."""
    return_path = reading.content.header("Return-Path")
    if return_path is not None:
        return return_path.strip().strip("<>") or None
    return reading.content.from_[0].address if reading.content.from_ else None
