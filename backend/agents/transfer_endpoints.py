"""API: agents as files, and the templates that come with mailagent."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from backend.abilities.service import surroundings
from backend.access.dependencies import Access, require, settings_of
from backend.agents import agent_file, catalogue, transfer
from backend.agents.agent_file import AgentFile
from backend.agents.schemas import ImportIn, ImportOut, TemplateOut
from backend.agents.transfer import Imported
from backend.caps import unpriced_by
from backend.idempotency import Answer, Once
from mailagent.errors import Malformed

__all__ = ["router"]

router = APIRouter(prefix="/workspaces/{ws}", tags=["agents"])


@router.get("/agent-templates", response_model=list[TemplateOut])
async def list_templates(_: Access = require("agent.read")) -> list[TemplateOut]:
    """The agents that come with mailagent."""
    return [TemplateOut.of(one) for one in catalogue.templates()]


@router.post("/agents/import", response_model=ImportOut, status_code=201)
async def import_agent(
    request: Request, body: ImportIn, once: Once, access: Access = require("agent.manage")
) -> Answer[Imported]:
    """Make an agent from a file or a template, or change one that is there (`overwrite`)."""
    file = _file(body)
    if file.rules is not None:
        access.demand("rule.manage")
    if file.policy is not None or file.limits is not None:
        access.demand("trust.manage")
    return await once.write(
        access,
        transfer.import_agent,
        access.services.settings.default_domain,
        surroundings(access.services),
        file,
        author=access.actor,
        handle=body.handle,
        only_plan=body.only_plan,
        overwrite=body.overwrite,
        unpriced=unpriced_by(settings_of(request)),
    )


@router.get("/agents/{agent}/export", response_class=Response)
async def export_agent(agent: str, access: Access = require("agent.read")) -> Response:
    """All that is set for an agent, as one YAML file without a secret."""
    access.demand("rule.read")
    access.demand("trust.read")
    file = await access.read(transfer.export, surroundings(access.services), agent)
    return Response(agent_file.render(file), media_type="application/yaml")


def _file(body: ImportIn) -> AgentFile:
    if (body.file is None) == (body.template is None):
        raise Malformed("file", "give either a file or the name of a template")
    if body.template is not None:
        return catalogue.template(body.template).file
    assert body.file is not None
    return agent_file.parse(body.file)
