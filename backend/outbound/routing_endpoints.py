"""API: by which accounts an agent's or a domain's mail leaves; for the operator's keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from backend.agents import service as agents
from backend.outbound import preferences
from backend.outbound.operator import MANAGER, READER, Operator
from backend.outbound.preferences import Preference
from backend.workspaces import service as workspaces
from mailagent.store.transaction import Transaction

__all__ = ["PreferenceOut", "router"]

router = APIRouter(prefix="/email-infrastructure/routing", tags=["email infrastructure"])


class PreferenceIn(BaseModel):
    """Accounts for one agent, or for one domain; none leave it to the usual order."""

    model_config = ConfigDict(extra="forbid")

    workspace: str = Field(description="Id or slug", max_length=100)
    agent: str | None = Field(default=None, description="Id or handle", max_length=100)
    domain: str | None = Field(default=None, max_length=253)
    accounts: list[str] = Field(max_length=100)


class PreferenceOut(BaseModel):
    """The accounts, in order, of one agent or one domain."""

    model_config = ConfigDict(from_attributes=True)

    agent: str | None
    domain: str | None
    accounts: list[str]


@router.get("", response_model=list[PreferenceOut])
async def list_preferences(
    workspace: Annotated[str, Query(description="Id or slug", max_length=100)],
    operator: Operator = READER,
) -> tuple[Preference, ...]:
    """What is chosen in one workspace; what is not listed leaves in the usual order."""
    return await operator.access.services.store.read_unscoped(_list, workspace)


@router.put("", response_model=PreferenceOut)
async def choose_accounts(body: PreferenceIn, operator: Operator = MANAGER) -> Preference:
    """Let one agent's mail, or one domain's, leave by these accounts alone, in this order."""
    return await operator.access.services.store.write_unscoped(_choose, operator, body)


def _list(tx: Transaction, workspace: str) -> tuple[Preference, ...]:
    return preferences.listing(tx.of(workspaces.find(tx, workspace).id))


def _choose(tx: Transaction, operator: Operator, body: PreferenceIn) -> Preference:
    for name in body.accounts:
        operator.find(tx, name)
    inside = tx.of(workspaces.find(tx, body.workspace).id)
    agent_id = agents.get(inside, body.agent).id if body.agent is not None else None
    return preferences.choose_for(inside, body.accounts, agent_id=agent_id, domain=body.domain)
