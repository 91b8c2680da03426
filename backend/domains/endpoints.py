"""API: the domains of a workspace, by its path or by a key that has but one.

Every path is there twice: below `/workspaces/{ws}`, and short for the key's own workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from backend.access.dependencies import Access, require, require_in_own
from backend.domains import adding, changing, checking, claims, removing, rotation, stored
from backend.domains.adding import Prepared, Wanted
from backend.domains.desk import Desk
from backend.domains.overview import Overview, overview, overviews
from backend.domains.schemas import (
    AllowIn,
    AllowOut,
    CheckOut,
    DomainIn,
    DomainOut,
    DomainPatch,
    DomainRemovalOut,
    ResubmittedOut,
)
from backend.domains.stored import Domain
from backend.idempotency import Answer, Once
from backend.workspaces.service import find as find_workspace
from mailagent.errors import NotFound
from mailagent.store.transaction import Transaction

__all__ = ["desk_of", "router"]

router = APIRouter(tags=["domains"])

Cancel = Annotated[bool, Query(description="Drop new keys that are not in DNS yet.")]
Force = Annotated[bool, Query(description="Remove it with everything that uses it.")]


def desk_of(request: Request) -> Desk:
    """What the API was made with."""
    desk: Desk = request.app.state.domains
    return desk


def _routes(prefix: str, of: Callable[[str], Any], suffix: str) -> None:
    @router.get(prefix, response_model=list[DomainOut], name=f"list_domains{suffix}")
    async def list_domains(
        request: Request, access: Access = of("domain.read")
    ) -> Sequence[Overview]:
        """The workspace's domains by name."""
        return await access.read(overviews, desk_of(request))

    @router.post(prefix, response_model=DomainOut, status_code=201, name=f"add_domain{suffix}")
    async def add_domain(
        request: Request, body: DomainIn, once: Once, access: Access = of("domain.create")
    ) -> Answer[Overview]:
        """Add a domain, or nothing of it. 409 when mail for it goes to another service and
        `replace_mx` is not said, or when it is another workspace's."""
        if (kept := await once.kept(access)) is not None:
            return kept
        desk = desk_of(request)
        prepared = await adding.prepare(desk, access.workspace_id, Wanted(**body.model_dump()))
        return await once.write_unscoped(access, _add, desk, access, prepared)

    @router.get(f"{prefix}/{{domain}}", response_model=DomainOut, name=f"get_domain{suffix}")
    async def get_domain(
        request: Request, domain: str, access: Access = of("domain.read")
    ) -> Overview:
        """One domain, by id or name: its state, its records, and what the last look found."""
        return await access.read(overview, desk_of(request), domain)

    @router.patch(f"{prefix}/{{domain}}", response_model=DomainOut, name=f"change_domain{suffix}")
    async def change_domain(
        request: Request, domain: str, body: DomainPatch, access: Access = of("domain.create")
    ) -> Overview:
        """Change the mode or a choice. A mode with a side more is pending until that is verified,
        and what works goes on."""
        changes = body.model_dump(exclude_unset=True, exclude_none=True)
        return await access.write(_change, desk_of(request), domain, changes, access.actor)

    @router.post(
        f"{prefix}/{{domain}}/verify", response_model=DomainOut, name=f"verify_domain{suffix}"
    )
    async def verify_domain(
        request: Request, domain: str, once: Once, access: Access = of("domain.verify")
    ) -> Answer[DomainOut]:
        """Look now, as often as you wish; asks providers for their word and resubmits nothing.
        Answers within a minute: what DNS has not told by then is `unknown`."""
        desk = desk_of(request)

        async def follow(asked: DomainOut) -> DomainOut:
            await checking.looked(desk, access.workspace_id, asked.id)
            return _shown(await access.read(overview, desk, asked.id))

        return await once.write_and_follow(access, lambda tx: _ask(tx, desk, domain), follow)

    @router.post(
        f"{prefix}/{{domain}}/resubmit",
        response_model=ResubmittedOut,
        name=f"resubmit_domain{suffix}",
    )
    async def resubmit_domain(
        request: Request, domain: str, access: Access = of("domain.verify")
    ) -> ResubmittedOut:
        """Have a provider that gave up look again, after a look of ours. 409 when none has."""
        desk = desk_of(request)
        done = await changing.resubmit(desk, access.workspace_id, domain, actor=access.actor)
        shown = await access.read(overview, desk, done.domain.id)
        return ResubmittedOut(
            asked=list(done.asked),
            warnings=list(done.warnings),
            domain=_shown(shown),
        )

    @router.post(
        f"{prefix}/{{domain}}/pause", response_model=DomainOut, name=f"pause_domain{suffix}"
    )
    async def pause_domain(
        request: Request, domain: str, access: Access = of("domain.verify")
    ) -> Overview:
        """Let the domain's mail wait, and look at it no more, until it is verified again."""
        return await access.write(_pause, desk_of(request), domain, access.actor)

    @router.post(
        f"{prefix}/{{domain}}/rotate-dkim",
        response_model=DomainOut,
        name=f"rotate_domain_dkim{suffix}",
    )
    async def rotate_dkim(
        request: Request, domain: str, cancel: Cancel = False, access: Access = of("domain.create")
    ) -> Overview:
        """Give a domain other DKIM keys; they sign when DNS shows them. Behind CNAMEs we publish
        them; else the answer has the records for its owner. 409 while a rotation is under way."""
        desk = desk_of(request)
        found = await _rotated(desk, access, domain, cancel=cancel)
        return await access.read(overview, desk, found.id)

    @router.get(
        f"{prefix}/{{domain}}/checks",
        response_model=list[CheckOut],
        name=f"list_domain_checks{suffix}",
    )
    async def list_checks(domain: str, access: Access = of("domain.read")) -> Sequence[CheckOut]:
        """The last looks, the newest first."""
        return await access.read(_checks, domain)

    @router.post(
        f"{prefix}/{{domain}}/allow",
        response_model=AllowOut,
        status_code=201,
        name=f"allow_domain{suffix}",
    )
    async def allow_domain(
        domain: str, body: AllowIn, once: Once, access: Access = of("domain.create")
    ) -> Answer[AllowOut]:
        """Let another workspace have a sub-domain of this one, which must be verified."""
        return await once.write_unscoped(access, _allow, access, domain, body)

    @router.delete(
        f"{prefix}/{{domain}}", response_model=DomainRemovalOut, name=f"remove_domain{suffix}"
    )
    async def remove_domain(
        request: Request,
        domain: str,
        force: Force = False,
        access: Access = of("domain.delete"),
    ) -> DomainRemovalOut:
        """Take a domain away. 409 with the list of what uses it, unless `force`; may be repeated.
        Answers with the records to take out of DNS."""
        done = await access.services.store.write_unscoped(
            removing.remove,
            desk_of(request),
            access.workspace_id,
            domain,
            force=force,
            actor=access.actor,
        )
        return DomainRemovalOut.of(done)


_routes("/workspaces/{ws}/domains", require, "")
_routes("/domains", require_in_own, "_of_key")


def _add(tx: Transaction, desk: Desk, access: Access, prepared: Prepared) -> Overview:
    made = adding.add_prepared(tx, desk, access.workspace_id, prepared, actor=access.actor)
    return overview(tx.of(access.workspace_id), desk, made.id)


def _shown(found: Overview) -> DomainOut:
    return DomainOut.model_validate(found, from_attributes=True)


def _ask(tx: Transaction, desk: Desk, domain: str) -> DomainOut:
    return _shown(overview(tx, desk, checking.ask(tx, domain).id))


async def _rotated(desk: Desk, access: Access, domain: str, *, cancel: bool) -> Domain:
    if cancel:
        return await access.write(rotation.cancel, domain, actor=access.actor)
    return await rotation.rotate(desk, access.workspace_id, domain, actor=access.actor)


def _change(
    tx: Transaction, desk: Desk, domain: str, changes: dict[str, Any], actor: str
) -> Overview:
    return overview(tx, desk, changing.change(tx, desk, domain, changes, actor=actor).id)


def _pause(tx: Transaction, desk: Desk, domain: str, actor: str) -> Overview:
    return overview(tx, desk, changing.pause(tx, domain, actor=actor).id)


def _checks(tx: Transaction, domain: str) -> list[CheckOut]:
    return [
        CheckOut(
            at=row.at,
            regular=row.regular,
            before=row.before,
            after=row.after,
            failure=row.verdict.get("failure"),
        )
        for row in stored.history(tx, stored.find(tx, domain))
    ]


def _allow(tx: Transaction, access: Access, domain: str, body: AllowIn) -> AllowOut:
    inside = tx.of(access.workspace_id)
    try:
        grantee = find_workspace(tx, body.workspace)
    except NotFound:
        # Who may give a domain away must not learn which workspaces there are.
        raise NotFound(f"{body.workspace[:80]!r} cannot be given a domain: check its id") from None
    name = claims.allow(inside, stored.find(inside, domain), body.name, grantee.id)
    return AllowOut(name=name, workspace=body.workspace)
