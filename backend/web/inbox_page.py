"""The first page: which mails came in for the workspaces of this person, and how do they stand?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from backend.inboxes.listing import Filter, Item, listing
from backend.inboxes.words import Status
from backend.paging import Page, Window
from backend.web.rendering import render
from backend.web.session import Site, visitor
from backend.workspaces import service as workspaces
from mailagent.errors import Malformed, NotFound
from mailagent.store.tables import addresses, agents
from mailagent.store.transaction import Transaction

__all__ = ["show"]

_PAGE = 50


@dataclass(frozen=True, slots=True)
class _Shown:
    """One workspace with its part of the page."""

    id: str
    slug: str
    name: str
    address: str | None
    """Of its first agent: where a first mail can go."""
    page: Page[Item]


async def show(site: Site, request: Request) -> Response:
    """The newest deliveries; `?workspace=` takes one of several, `?status=` one of Aexy's words."""
    who = await visitor(site, request)
    store = site.services.store
    mine = [
        id_ for id_, permissions in who.principal.grants.items() if "message.read" in permissions
    ]
    which = _filter(request.query_params.get("status", ""))
    window = Window(_PAGE, request.query_params.get("cursor"))
    chosen = request.query_params.get("workspace")
    known = [await store.read(id_, workspaces.get) for id_ in mine]
    wanted = [one for one in known if chosen in (None, one.slug)]
    if chosen is not None and not wanted:
        raise NotFound(f"there is no workspace {chosen[:80]!r}")
    if len(wanted) > 1:
        window = Window(_PAGE)
    shown = [await store.read(one.id, _part, which, window) for one in wanted]
    items = sorted(
        (item for part in shown for item in part.page.items),
        key=lambda item: (item.received_at, item.id),
        reverse=True,
    )
    older = shown[0].page.next_cursor if len(shown) == 1 else None
    return render(
        "inbox.html",
        who=who,
        items=items[:_PAGE],
        now=store.now(),
        workspaces=known,
        workspace=chosen,
        statuses=list(Status),
        status=which.status,
        names={part.id: part.name for part in shown},
        addresses=[part.address for part in shown if part.address],
        smtp_port=site.settings.mailagent_smtp_port,
        link=_links(chosen, which.status),
        older=older,
    )


def _filter(status: str) -> Filter:
    if not status:
        return Filter(archived=False)
    if status not in list(Status):
        raise Malformed("status", f"must be one of {', '.join(Status)}")
    return Filter(status=Status(status))


def _part(tx: Transaction, which: Filter, window: Window) -> _Shown:
    workspace = workspaces.get(tx)
    address = tx.row(
        select(addresses.c.local_part, addresses.c.domain)
        .join(agents, agents.c.id == addresses.c.agent_id)
        .where(agents.c.removed_at.is_(None), agents.c.email_enabled)
        .order_by(addresses.c.alias, addresses.c.created_at)
        .limit(1)
    )
    return _Shown(
        id=workspace.id,
        slug=workspace.slug,
        name=workspace.name,
        address=f"{address.local_part}@{address.domain}" if address else None,
        page=listing(tx, which, window),
    )


def _links(workspace: str | None, status: Status | None) -> Callable[..., str]:
    """Makes addresses of this page with some of its choices changed."""

    def link(**changes: str | None) -> str:
        wanted = {"workspace": workspace, "status": status, **changes}
        chosen = {name: value for name, value in wanted.items() if value}
        return f"/?{urlencode(chosen)}" if chosen else "/"

    return link
