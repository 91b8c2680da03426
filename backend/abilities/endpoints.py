"""API: what agents can do, what they did, and answers to turns that come later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request

from backend.abilities import openapi, openapi_document, service
from backend.abilities.openapi import Described, Wishes
from backend.abilities.schemas import (
    AbilitiesOut,
    AbilitiesPatch,
    CallOfToolOut,
    HeaderIn,
    HttpToolIn,
    HttpToolOut,
    ImportedToolOut,
    OpenApiIn,
    OpenApiToolsIn,
    OperationOut,
    SecretIn,
    SecretOut,
)
from backend.abilities.service import Abilities, ImportedTool, Surroundings
from backend.access.dependencies import Access, require, services_of
from backend.idempotency import Answer, Once
from mailagent.errors import Malformed
from mailagent.flow import asked_calls, callbacks
from mailagent.flow.asked_calls import CallOfTool
from mailagent.flow.tools.custom import HttpTool
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(tags=["abilities"])

_MOST_ANSWER = 1_000_000
_AGENT = "/workspaces/{ws}/agents/{agent}"


def _around(access: Access) -> Surroundings:
    return service.surroundings(access.services)


@router.get(f"{_AGENT}/abilities", response_model=AbilitiesOut)
async def get_abilities(agent: str, access: Access = require("agent.read")) -> Abilities:
    """The model, tools and addresses of an agent."""
    return await access.read(service.get, agent)


@router.patch(f"{_AGENT}/abilities", response_model=AbilitiesOut)
async def change_abilities(
    agent: str, body: AbilitiesPatch, access: Access = require("agent.manage")
) -> Abilities:
    """Change them."""
    changes = body.model_dump(exclude_unset=True)
    return await access.write(service.change, _around(access), agent, changes)


@router.post(f"{_AGENT}/secrets", response_model=SecretOut, status_code=201)
async def keep_secret(
    agent: str, body: SecretIn, once: Once, access: Access = require("agent.manage")
) -> Answer[dict[str, str]]:
    """Keep a secret for an agent's own addresses; it is shown in this answer only."""

    def keep(tx: Transaction) -> dict[str, str]:
        value = service.keep_secret(tx, _around(access), agent, body.name, body.value)
        return {"name": body.name, "value": value}

    return await once.write(access, keep)


@router.delete(f"{_AGENT}/secrets/{{name}}", status_code=204)
async def remove_secret(agent: str, name: str, access: Access = require("agent.manage")) -> None:
    """Forget a secret."""
    await access.write(service.remove_secret, agent, name)


@router.get(f"{_AGENT}/http-tools", response_model=list[HttpToolOut])
async def list_http_tools(agent: str, access: Access = require("agent.read")) -> Sequence[HttpTool]:
    """The tools of an agent that call an address of its people."""
    return await access.read(service.list_http_tools, _around(access), agent)


@router.post(f"{_AGENT}/http-tools", response_model=HttpToolOut, status_code=201)
async def add_http_tool(
    agent: str, body: HttpToolIn, once: Once, access: Access = require("agent.manage")
) -> Answer[HttpTool]:
    """Describe one more; the values of its header fields are not shown again."""
    return await once.write(access, service.add_tool, _around(access), agent, body.model_dump())


@router.put(f"{_AGENT}/http-tools/{{name}}/headers/{{header}}", response_model=HttpToolOut)
async def set_header(
    agent: str,
    name: str,
    header: str,
    body: HeaderIn,
    access: Access = require("agent.manage"),
) -> HttpTool:
    """Give the value of a header field, a credential mostly; it is not shown again."""
    around = _around(access)
    return await access.write(service.set_header, around, agent, name, header, body.value)


@router.post(f"{_AGENT}/http-tools/operations", response_model=list[OperationOut])
async def list_operations(
    agent: str, body: OpenApiIn, access: Access = require("agent.manage")
) -> Sequence[OperationOut]:
    """What an OpenAPI document offers; nothing is kept or called."""
    await access.read(service.get, agent)
    return await asyncio.to_thread(_operations, body)


@router.post(f"{_AGENT}/http-tools/import", response_model=list[ImportedToolOut], status_code=201)
async def import_http_tools(
    agent: str, body: OpenApiToolsIn, once: Once, access: Access = require("agent.manage")
) -> Answer[Sequence[ImportedTool]]:
    """Make operations of an OpenAPI document tools, all or none; credentials are not shown."""
    described = await asyncio.to_thread(_described, body)
    return await once.write(
        access, service.import_tools, _around(access), agent, described, body.least
    )


def _operations(body: OpenApiIn) -> list[OperationOut]:
    return OperationOut.all_of(openapi_document.read(body.document), prefix=body.prefix)


def _described(body: OpenApiToolsIn) -> list[Described]:
    wishes = Wishes(body.operations, body.base_url, body.prefix, body.credentials, body.effects)
    return openapi.tools_of(openapi_document.read(body.document), wishes)


@router.delete(f"{_AGENT}/http-tools/{{name}}", status_code=204)
async def remove_http_tool(agent: str, name: str, access: Access = require("agent.manage")) -> None:
    """Take one away."""
    await access.write(service.remove_tool, agent, name)


@router.get("/workspaces/{ws}/tool-calls", response_model=list[CallOfToolOut])
async def list_tool_calls(
    access: Access = require("approval.read"), state: str = "done"
) -> Sequence[CallOfTool]:
    """Calls that change or send something in a state, newest first: `asked` (they wait among the
    approvals), `agreed`, `done`, `failed`, `refused`, `unknown`.
    """
    but_agent = access.principal.agent_id
    return await access.read(asked_calls.listing, state=state, but_agent=but_agent)


@router.post("/callbacks/{token}", status_code=202)
async def answer_turn(token: str, request: Request) -> dict[str, str]:
    """Answer a turn later, as the program at an agent's `webhook_url`: the URL is the proof.

    Once; a decision that makes no sense (422) may be sent again, mended.
    """
    body = await request.body()
    if len(body) > _MOST_ANSWER:
        raise Malformed("body", f"is longer than {_MOST_ANSWER:,} bytes")
    services = services_of(request)
    turn_id = await services.store.write_unscoped(
        callbacks.answer, services, token, await _json(request)
    )
    return {"turn_id": turn_id}


async def _json(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError) as error:
        raise Malformed("body", "is no JSON") from error
