"""One mail: what it says, who vouches for it, what happened to it, and what a person can do."""

from __future__ import annotations

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.inboxes import contents, handling
from backend.inboxes.handling import REPLAYABLE
from backend.inboxes.story import Story, story
from backend.web.rendering import render
from backend.web.session import Site, Visitor, form_of, visitor
from backend.workspaces import service as workspaces
from mailagent.errors import NotFound
from mailagent.flow.answers import ANSWERABLE, answer
from mailagent.store.tables import deliveries
from mailagent.store.transaction import Transaction

__all__ = ["archive", "replay", "reply", "show"]

_SHOWN_CHARACTERS = 200_000


async def show(site: Site, request: Request) -> Response:
    """The page of one delivery."""
    who = await visitor(site, request)
    delivery_id = request.path_params["id"]
    workspace_id = await _workspace_of(site, who, delivery_id)
    who.principal.demand(workspace_id, "message.read")
    workspace, detail, told = await site.services.store.read(workspace_id, _all, delivery_id)
    item = detail.item
    return render(
        "delivery.html",
        who=who,
        workspace=workspace,
        detail=detail,
        item=item,
        text=detail.content.text[:_SHOWN_CHARACTERS] if detail.content else "",
        story=told,
        download=f"/api/v1/workspaces/{workspace.slug}/deliveries/{delivery_id}",
        may_write="message.send" in who.principal.grants[workspace_id],
        can_answer=item.state in ANSWERABLE and detail.content is not None,
        can_replay=(item.state in REPLAYABLE and not item.replies and item.content_removed is None),
    )


async def reply(site: Site, request: Request) -> Response:
    """Send the person's answer."""
    workspace_id, who, fields = await _form(site, request)
    await site.services.store.write(
        workspace_id,
        answer,
        site.services,
        request.path_params["id"],
        fields.get("text", "").replace("\r\n", "\n"),
        author=who.principal.actor,
    )
    return _back(request)


async def archive(site: Site, request: Request) -> Response:
    """Put the mail away, or back with the field `away` set to `no`."""
    workspace_id, who, fields = await _form(site, request)
    await site.services.store.write(
        workspace_id,
        handling.archive,
        request.path_params["id"],
        actor=who.principal.actor,
        away=fields.get("away") != "no",
    )
    return _back(request)


async def replay(site: Site, request: Request) -> Response:
    """Drive the mail again."""
    workspace_id, who, _ = await _form(site, request)
    await site.services.store.write(
        workspace_id, handling.replay, request.path_params["id"], actor=who.principal.actor
    )
    return _back(request)


async def _form(site: Site, request: Request) -> tuple[str, Visitor, dict[str, str]]:
    who, fields = await form_of(site, request)
    workspace_id = await _workspace_of(site, who, request.path_params["id"])
    who.principal.demand(workspace_id, "message.send")
    return workspace_id, who, fields


async def _workspace_of(site: Site, who: Visitor, delivery_id: str) -> str:
    """Whose delivery it is. Raises NotFound, also for another's: that it exists is not told."""
    found = await site.services.store.read_unscoped(_owner, delivery_id)
    if found not in who.principal.grants:
        raise NotFound(f"there is no delivery {delivery_id[:80]!r}")
    return found


def _owner(tx: Transaction, delivery_id: str) -> str:
    return tx.value(select(deliveries.c.workspace_id).where(deliveries.c.id == delivery_id)) or ""


def _all(tx: Transaction, delivery_id: str) -> tuple[workspaces.Workspace, contents.Detail, Story]:
    return workspaces.get(tx), contents.detail(tx, delivery_id), story(tx, delivery_id)


def _back(request: Request) -> Response:
    return RedirectResponse(f"/deliveries/{request.path_params['id']}", status_code=303)
