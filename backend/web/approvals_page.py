"""The queue: what waits for the yes of this person, or did, with the choices beside each.

Looking at it decides nothing. Who may not decide sees it without the forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from backend.approvals import service
from backend.approvals.service import Approval
from backend.paging import Page, Window
from backend.web.rendering import render
from backend.web.session import Site, visitor
from backend.workspaces import service as workspaces
from mailagent.errors import Malformed, NotFound
from mailagent.flow.approval_rows import State
from mailagent.store.transaction import Transaction

__all__ = ["show"]

_PAGE = 25
_STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class _Item:
    """One approval as this person sees it."""

    approval: Approval
    workspace: str
    may_decide: bool


async def show(site: Site, request: Request) -> Response:
    """What waits, the oldest first; `?workspace=` takes one of several, `?state=` what was decided,
    the newest first.
    """
    who = await visitor(site, request)
    store = site.services.store
    grants = who.principal.grants
    mine = [id_ for id_, permissions in grants.items() if "approval.read" in permissions]
    known = [await store.read(id_, workspaces.get) for id_ in mine]
    chosen = request.query_params.get("workspace")
    wanted = [one for one in known if chosen in (None, one.slug)]
    if chosen is not None and not wanted:
        raise NotFound(f"there is no workspace {chosen[:80]!r}")
    state = _state(request.query_params.get("state", "waiting"))
    window = Window(_PAGE, request.query_params.get("cursor") if len(wanted) == 1 else None)
    parts = [(one, await store.read(one.id, _part, window, state)) for one in wanted]
    items = [
        _Item(
            each,
            workspace.name,
            each.state == "waiting" and "approval.decide" in grants[workspace.id],
        )
        for workspace, part in parts
        for each in part.items
    ]
    items.sort(key=lambda one: one.approval.created_at, reverse=state != "waiting")
    return render(
        "approvals.html",
        who=who,
        items=items,
        now=store.now(),
        workspaces=known,
        workspace=chosen,
        states=_STATES,
        state=state,
        further=parts[0][1].next_cursor if len(parts) == 1 else None,
        link=_links(chosen, state),
    )


def _state(given: str) -> State:
    for state in _STATES:
        if state == given:
            return state
    raise Malformed("state", f"must be one of {', '.join(_STATES)}")


def _part(tx: Transaction, window: Window, state: State) -> Page[Approval]:
    return service.listing(tx, window, state=state, newest_first=state != "waiting")


def _links(workspace: str | None, state: State) -> Callable[..., str]:
    """Makes addresses of this page with some of its choices changed."""

    def link(**changes: str | None) -> str:
        wanted = {"workspace": workspace, "state": state, **changes}
        return f"/approvals?{urlencode({name: one for name, one in wanted.items() if one})}"

    return link
