"""One thing that waits for a person's yes: the draft beside the mail it answers, and the choices.

Looking at it decides nothing: a mail scanner follows links. A choice is a form that carries the
digest of the draft that was shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.approvals import service
from backend.approvals.service import Approval
from backend.outbound.writing import mailboxes
from backend.web.rendering import render
from backend.web.session import Site, Visitor, form_of, visitor
from backend.workspaces import service as workspaces
from mailagent.errors import NotFound
from mailagent.flow.approval_edits import Changes
from mailagent.mail import Address
from mailagent.store.tables import approvals
from mailagent.store.transaction import Transaction

__all__ = ["approve", "edit", "reject", "show"]


async def show(site: Site, request: Request) -> Response:
    """The page of one approval."""
    who = await visitor(site, request)
    approval_id = request.path_params["id"]
    workspace_id = await _workspace_of(site, who, approval_id)
    who.principal.demand(workspace_id, "approval.read")
    workspace, one = await site.services.store.read(workspace_id, _all, approval_id)
    return render(
        "approval.html",
        who=who,
        workspace=workspace,
        one=one,
        may_decide=(
            one.state == "waiting" and "approval.decide" in who.principal.grants[workspace_id]
        ),
    )


async def approve(site: Site, request: Request) -> Response:
    """Say yes to what was shown."""
    workspace_id, who, fields = await _form(site, request)
    await site.services.store.write(
        workspace_id,
        service.approve,
        site.services,
        request.path_params["id"],
        actor=who.principal.actor,
        digest=fields.get("digest", ""),
    )
    return _back(request, fields)


async def reject(site: Site, request: Request) -> Response:
    """Say no."""
    workspace_id, who, fields = await _form(site, request)
    await site.services.store.write(
        workspace_id,
        service.reject,
        request.path_params["id"],
        actor=who.principal.actor,
        reason=fields.get("reason", ""),
    )
    return _back(request, fields)


async def edit(site: Site, request: Request) -> Response:
    """Change the draft's words and recipients; a field that a form has not stays."""
    workspace_id, who, fields = await _form(site, request)
    await site.services.store.write(
        workspace_id,
        service.edit,
        site.services,
        request.path_params["id"],
        Changes(
            text=fields.get("text", "").replace("\r\n", "\n"),
            subject=fields.get("subject"),
            to=_mailboxes("to", fields),
            cc=_mailboxes("cc", fields),
            bcc=_mailboxes("bcc", fields),
        ),
        actor=who.principal.actor,
        may_send=who.principal.may_send(workspace_id),
        digest=fields.get("digest", ""),
    )
    return _back(request, fields)


def _mailboxes(name: str, fields: Mapping[str, str]) -> tuple[Address, ...] | None:
    """The addresses of a field, between commas. Raises Malformed."""
    if name not in fields:
        return None
    return mailboxes(name, [one for one in fields[name].split(",") if one.strip()])


async def _form(site: Site, request: Request) -> tuple[str, Visitor, dict[str, str]]:
    who, fields = await form_of(site, request)
    workspace_id = await _workspace_of(site, who, request.path_params["id"])
    who.principal.demand(workspace_id, "approval.decide")
    return workspace_id, who, fields


async def _workspace_of(site: Site, who: Visitor, approval_id: str) -> str:
    """Whose it is. Raises NotFound, also for another's: that it exists is not told."""
    found = await site.services.store.read_unscoped(_owner, approval_id)
    if found not in who.principal.grants:
        raise NotFound(f"there is no approval {approval_id[:80]!r}")
    return found


def _owner(tx: Transaction, approval_id: str) -> str:
    return tx.value(select(approvals.c.workspace_id).where(approvals.c.id == approval_id)) or ""


def _all(tx: Transaction, approval_id: str) -> tuple[workspaces.Workspace, Approval]:
    return workspaces.get(tx), service.get(tx, approval_id)


def _back(request: Request, fields: Mapping[str, str]) -> Response:
    there = "/approvals" if fields.get("then") == "queue" else request.url.path.rpartition("/")[0]
    return RedirectResponse(there, status_code=303)
