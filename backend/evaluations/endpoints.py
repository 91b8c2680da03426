"""API: evaluation sets of an agent, their runs, and feedback on what it decided."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from backend.access.dependencies import Access, require
from backend.agents import agent_file
from backend.evaluations import service
from backend.evaluations.schemas import (
    CaseIn,
    CaseOut,
    FeedbackIn,
    RunIn,
    RunOut,
    RunSummaryOut,
    SetOut,
)
from backend.evaluations.service import Case, Run
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.trying.run import Bounds

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}", tags=["evaluations"])

_OF_AGENT = "/agents/{agent}/evaluations"


@router.get(_OF_AGENT, response_model=list[SetOut])
async def list_sets(agent: str, access: Access = require("message.read")) -> list[SetOut]:
    """The evaluation sets of an agent."""
    found = await access.read(service.sets, agent)
    return [SetOut(name=name, cases=cases) for name, cases in found]


@router.get(f"{_OF_AGENT}/cases", response_model=PageOf[CaseOut])
async def list_cases(
    agent: str,
    window: Windowed,
    access: Access = require("message.read"),
    set_name: Annotated[str | None, Query(alias="set", max_length=64)] = None,
) -> Page[Case]:
    """The cases of an agent, of one set or all."""
    return await access.read(service.list_cases, agent, set_name, window)


@router.get(f"{_OF_AGENT}/runs", response_model=PageOf[RunSummaryOut])
async def list_runs(
    agent: str, window: Windowed, access: Access = require("message.read")
) -> Page[Run]:
    """The runs of an agent's sets, the newest first."""
    return await access.read(service.list_runs, agent, window)


@router.post(f"{_OF_AGENT}/{{set_name}}/cases", response_model=CaseOut, status_code=201)
async def add_case(
    agent: str,
    set_name: str,
    body: CaseIn,
    once: Once,
    access: Access = require("agent.manage"),
) -> Answer[Case]:
    """Add a case to a set, or put it in the place of the one of that name."""
    access.demand("message.read")
    message = body.message
    return await once.write(
        access,
        service.add,
        agent,
        set_name,
        body.name,
        body.expected,
        author=access.actor,
        delivery_id=body.delivery_id,
        message=None if message is None else message.encode(errors="surrogateescape"),
    )


@router.delete("/evaluation-cases/{case}", status_code=204)
async def remove_case(case: str, access: Access = require("agent.manage")) -> None:
    """Remove a case."""
    await access.write(service.remove, case)


@router.post(f"{_OF_AGENT}/{{set_name}}/run", response_model=RunOut)
async def run_set(
    agent: str, set_name: str, body: RunIn, access: Access = require("agent.manage")
) -> RunOut:
    """Try every case of a set and score it; nothing is sent."""
    access.demand("message.read")
    run, results = await service.run(
        access.services,
        access.workspace_id,
        agent,
        set_name,
        author=access.actor,
        file=None if body.file is None else agent_file.parse(body.file),
        candidate="the file" if body.file else "",
        bounds=Bounds(body.at_once, body.usd),
    )
    return RunOut.of(run, results)


@router.post("/deliveries/{delivery}/feedback", response_model=CaseOut, status_code=201)
async def give_feedback(
    delivery: str, body: FeedbackIn, once: Once, access: Access = require("message.send")
) -> Answer[Case]:
    """Say how good an agent's answer was; it becomes a case of the set `feedback`."""
    return await once.write(
        access,
        service.give_feedback,
        delivery,
        rating=body.rating,
        correction=body.correction,
        note=body.note,
        author=access.actor,
    )
