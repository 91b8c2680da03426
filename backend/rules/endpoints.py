"""API: a workspace's rules, and what they make of a mail."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from backend.access.dependencies import Access, require
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.rules import explanation, service
from backend.rules.schemas import RuleIn, RuleOut, RulePatch, TrialIn, TrialOut
from backend.rules.service import StoredRule
from mailagent.errors import Malformed
from mailagent.mail import Mail
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}/rules", tags=["rules"])

_MESSAGE_BYTES = 1024 * 1024


@router.get("", response_model=PageOf[RuleOut])
async def list_rules(window: Windowed, access: Access = require("rule.read")) -> Page[StoredRule]:
    """The rules in the order in which they are asked."""
    return await access.read(service.list_rules, window)


@router.post("", response_model=RuleOut, status_code=201)
async def add_rule(
    body: RuleIn, once: Once, access: Access = require("rule.manage")
) -> Answer[StoredRule]:
    """Add a rule."""
    return await once.write(access, service.add, **body.model_dump())


@router.post("/test", response_model=TrialOut)
async def try_rules(body: TrialIn, access: Access = require("rule.read")) -> TrialOut:
    """Hold a mail against the rules as they stand, and against one more condition."""
    mail = await _mail(body, access)
    match = explanation.try_condition(body.condition, mail) if body.condition is not None else None
    return TrialOut.of(await access.read(explanation.explain_mail, mail), match)


async def _mail(body: TrialIn, access: Access) -> Mail:
    if (body.delivery_id is None) == (body.message is None):
        raise Malformed("delivery_id", "give either the id of a delivery or a message")
    if body.delivery_id is not None:
        access.demand("message.read")
        return await access.read(explanation.load_mail, body.delivery_id)
    assert body.message is not None
    raw = body.message.encode(errors="surrogateescape")
    if len(raw) > _MESSAGE_BYTES:
        raise Malformed("message", f"has more than {_MESSAGE_BYTES:,} bytes")
    services = access.services
    return await explanation.mail_of_file(
        services.sandbox, raw, now=services.store.now(), recipient=body.recipient
    )


@router.get("/{rule}", response_model=RuleOut)
async def get_rule(rule: str, access: Access = require("rule.read")) -> StoredRule:
    """One rule."""
    return await access.read(service.get, rule)


@router.patch("/{rule}", response_model=RuleOut)
async def update_rule(
    rule: str, body: RulePatch, access: Access = require("rule.manage")
) -> StoredRule:
    """Change a rule; `position` moves it and the others make room."""
    return await access.write(_update, rule, body.model_dump(exclude_unset=True))


def _update(tx: Transaction, rule: str, changes: dict[str, Any]) -> StoredRule:
    position = changes.pop("position", None)
    if position is not None:
        service.move(tx, rule, position)
    return service.update_rule(tx, rule, changes)


@router.delete("/{rule}", status_code=204)
async def remove_rule(rule: str, access: Access = require("rule.manage")) -> None:
    """Remove a rule."""
    await access.write(service.remove, rule)
