"""The domains of a person's workspaces: how they stand, what to publish, and what is wrong first.

A page asks nobody: it shows the last look, and a form has another one made.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from backend.domains import checking, stored
from backend.domains.desk import Desk
from backend.domains.instructions import Step, dns_host, instructions
from backend.domains.overview import Overview, ShownRecord, of_domain, overviews
from backend.domains.publishing import expected
from backend.web.rendering import render
from backend.web.session import Site, Visitor, form_of, visitor
from backend.workspaces import service as workspaces
from mailagent.errors import NotFound
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction

__all__ = ["check", "listing", "show"]

_WRONG = frozenset({"missing", "mismatch", "duplicate"})
"""What the look at a record found where its owner has something to do."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A record with what was found there, and what is typed into the DNS host's page."""

    seen: ShownRecord
    step: Step

    @property
    def wrong(self) -> bool:
        return self.seen.status in _WRONG


async def listing(site: Site, request: Request) -> Response:
    """Every domain that this person may see, workspace by workspace."""
    who = await visitor(site, request)
    store = site.services.store
    mine = [id_ for id_, granted in who.principal.grants.items() if "domain.read" in granted]
    shown = [
        (await store.read(id_, workspaces.get), await store.read(id_, overviews, site.desk))
        for id_ in mine
    ]
    return render("domains.html", who=who, shown=shown)


async def show(site: Site, request: Request) -> Response:
    """The page of one domain."""
    who = await visitor(site, request)
    domain_id = request.path_params["id"]
    workspace_id = await _workspace_of(site, who, domain_id)
    who.principal.demand(workspace_id, "domain.read")
    workspace, one, host, records = await site.services.store.read(
        workspace_id, _all, site.desk, domain_id
    )
    return render(
        "domain.html",
        who=who,
        workspace=workspace,
        one=one,
        host=host,
        records=records,
        may_check="domain.verify" in who.principal.grants[workspace_id],
    )


async def check(site: Site, request: Request) -> Response:
    """Look now."""
    who, _ = await form_of(site, request)
    domain_id = request.path_params["id"]
    workspace_id = await _workspace_of(site, who, domain_id)
    who.principal.demand(workspace_id, "domain.verify")
    await checking.look_now(site.desk, workspace_id, domain_id)
    return RedirectResponse(f"/domains/{domain_id}", status_code=303)


async def _workspace_of(site: Site, who: Visitor, domain_id: str) -> str:
    """Whose it is. Raises NotFound, also for another's: that it exists is not told."""
    found = await site.services.store.read_unscoped(_owner, domain_id)
    if found not in who.principal.grants:
        raise NotFound(f"there is no domain {domain_id[:80]!r}")
    return found


def _owner(tx: Transaction, domain_id: str) -> str:
    return tx.value(select(domains.c.workspace_id).where(domains.c.id == domain_id)) or ""


def _all(
    tx: Transaction, desk: Desk, domain_id: str
) -> tuple[workspaces.Workspace, Overview, str, list[_Record]]:
    domain, installed = stored.find(tx, domain_id), desk.installed(tx)
    one = of_domain(tx, installed, domain)
    host = dns_host(one.name_servers)
    steps = instructions(host, expected(tx, installed, domain).records)
    records = [_Record(*pair) for pair in zip(one.dns_records, steps, strict=True)]
    return workspaces.get(tx), one, host.title, records
