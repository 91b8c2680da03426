"""API: workspaces and their members."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from backend.access.dependencies import (
    Access,
    authenticated,
    require,
    services_of,
    settings_of,
)
from backend.access.permissions import ROLES
from backend.access.principal import Principal
from backend.caps import Unpriced, unpriced_by
from backend.idempotency import Answer, Once
from backend.listing import PageOf, Windowed
from backend.paging import Page
from backend.workspaces import lifecycle, members, service
from backend.workspaces.lifecycle import KeptFor
from backend.workspaces.members import Member
from backend.workspaces.schemas import (
    MemberIn,
    MemberOut,
    MemberPatch,
    SlugIn,
    WorkspaceIn,
    WorkspaceOut,
    WorkspacePatch,
)
from backend.workspaces.service import Workspace
from mailagent.errors import Malformed
from mailagent.store.transaction import Transaction

__all__ = ["router"]

router = APIRouter(prefix="/workspaces", tags=["workspaces"])

Named = Annotated[str, Path(description="The id or slug of any workspace", max_length=100)]
"""Not `{ws}`, which is one of the principal's own: these paths are the operator's."""


@router.get("", response_model=PageOf[WorkspaceOut])
async def list_workspaces(
    request: Request, window: Windowed, principal: Principal = authenticated()
) -> Page[Workspace]:
    """The workspaces that you may see."""
    among = [ws for ws, may in principal.grants.items() if "workspace.read" in may]
    store = services_of(request).store
    return await store.read_unscoped(service.list_workspaces, window, among=among)


@router.post("", response_model=WorkspaceOut, status_code=201)
async def create_workspace(
    request: Request, body: WorkspaceIn, once: Once, principal: Principal = authenticated()
) -> Answer[Workspace]:
    """Make a workspace and its owner: for the operator's keys and people."""
    operators = principal.demand_operator("workspace.create")
    access = Access(principal, operators, services_of(request))
    return await once.write_unscoped(access, _create, principal, body)


def _create(tx: Transaction, principal: Principal, body: WorkspaceIn) -> Workspace:
    if body.owner_email is not None:
        owner_id = members.ensure_person(tx, body.owner_email, body.owner_name).id
    elif principal.kind == "person":
        owner_id = principal.id
    else:
        raise Malformed("owner_email", "is missing: a key owns no workspace, name a person")
    return service.create(tx, body.slug, body.name, owner_id=owner_id)


@router.get("/{ws}", response_model=WorkspaceOut)
async def get_workspace(access: Access = require("workspace.read")) -> Workspace:
    """One workspace with its settings."""
    return await access.read(service.get)


@router.patch("/{ws}", response_model=WorkspaceOut)
async def update_workspace(
    request: Request, body: WorkspacePatch, access: Access = require("workspace.update")
) -> Workspace:
    """Change the name for people, or settings; `PUT …/slug` changes the name in addresses."""
    return await access.write(_update, body, unpriced_by(settings_of(request)))


def _update(tx: Transaction, body: WorkspacePatch, unpriced: Unpriced) -> Workspace:
    if body.name is not None:
        service.rename(tx, body.name)
    if body.settings is not None:
        changes = body.settings.model_dump(exclude_unset=True)
        service.update_settings(tx, changes, unpriced=unpriced)
    return service.get(tx)


@router.put("/{workspace}/slug", response_model=WorkspaceOut)
async def change_slug(
    request: Request, workspace: Named, body: SlugIn, principal: Principal = authenticated()
) -> Workspace:
    """Give a workspace another name in its addresses; mail to the old one is taken for a time.

    For the operator's keys and people. 409 for a name that is another's, or kept from others.
    """
    principal.demand_operator("workspace.create")
    services, kept = services_of(request), KeptFor.of(settings_of(request))
    default = services.settings.default_domain
    return await services.store.write_unscoped(
        lifecycle.change_slug, default, workspace, body.slug, kept
    )


@router.post("/{workspace}/retire", response_model=WorkspaceOut)
async def retire(
    request: Request, workspace: Named, once: Once, principal: Principal = authenticated()
) -> Answer[Workspace]:
    """Have a workspace take and send no mail any more; its rows stay. For the operator's."""
    access = Access(principal, principal.demand_operator("workspace.create"), services_of(request))
    kept = KeptFor.of(settings_of(request))
    return await once.write_unscoped(access, lifecycle.retire, workspace, kept)


@router.post("/{workspace}/reopen", response_model=WorkspaceOut)
async def reopen(
    request: Request, workspace: Named, once: Once, principal: Principal = authenticated()
) -> Answer[Workspace]:
    """Take a retirement back, while no other workspace has the name. For the operator's."""
    access = Access(principal, principal.demand_operator("workspace.create"), services_of(request))
    return await once.write_unscoped(access, lifecycle.reopen, workspace)


# --- members ----------------------------------------------------------------------------------


@router.get("/{ws}/members", response_model=PageOf[MemberOut])
async def list_members(window: Windowed, access: Access = require("member.read")) -> Page[Member]:
    """The people of the workspace and their roles."""
    return await access.read(members.list_members, window)


@router.post("/{ws}/members", response_model=MemberOut, status_code=201)
async def add_member(
    body: MemberIn, once: Once, access: Access = require("member.manage")
) -> Answer[Member]:
    """Let a person in, with a role that holds nothing you lack."""
    access.principal.demand_all(access.workspace_id, ROLES.get(body.role, ()))
    return await once.write(access, members.add_member, body.email, body.role, name=body.name)


@router.get("/{ws}/members/{person}", response_model=MemberOut)
async def get_member(person: str, access: Access = require("member.read")) -> Member:
    """One member, by the person's id or e-mail."""
    return await access.read(members.get_member, person)


@router.patch("/{ws}/members/{person}", response_model=MemberOut)
async def change_role(
    person: str, body: MemberPatch, access: Access = require("member.manage")
) -> Member:
    """Give a member another role. The last owner stays owner (409)."""
    return await access.write(_change_role, access.principal, person, body.role)


def _change_role(tx: Transaction, principal: Principal, person: str, role: str) -> Member:
    _demand_role_of(tx, principal, person)
    assert tx.workspace_id is not None
    principal.demand_all(tx.workspace_id, ROLES.get(role, ()))
    return members.change_role(tx, person, role)


@router.delete("/{ws}/members/{person}", status_code=204)
async def remove_member(person: str, access: Access = require("member.manage")) -> None:
    """Take a person out of the workspace. The last owner stays (409)."""
    await access.write(_remove, access.principal, person)


def _remove(tx: Transaction, principal: Principal, person: str) -> None:
    _demand_role_of(tx, principal, person)
    members.remove_member(tx, person)


def _demand_role_of(tx: Transaction, principal: Principal, person: str) -> None:
    # Who holds less than an owner must not be able to unseat one.
    assert tx.workspace_id is not None
    principal.demand_all(tx.workspace_id, ROLES[members.get_member(tx, person).role])
