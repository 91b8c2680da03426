"""How is the API put together? `ROUTERS` is the whole list: a resource is one line here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from starlette.routing import BaseRoute

from backend.abilities.endpoints import router as abilities
from backend.access.endpoints import router as access
from backend.agent_groups.endpoints import router as agent_groups
from backend.agents.email_endpoints import router as agent_email
from backend.agents.endpoints import router as agents
from backend.agents.transfer_endpoints import router as agent_files
from backend.api import docs, problems
from backend.api.requests import RequestFrame
from backend.approvals.endpoints import router as approvals
from backend.documents.endpoints import router as documents
from backend.domain_options.endpoints import router as domain_options
from backend.domains.desk import Desk
from backend.domains.endpoints import router as domains
from backend.domains.infrastructure_endpoints import router as infrastructure
from backend.domains.placing_endpoints import router as placing
from backend.domains.report_endpoints import router as reports
from backend.edges.endpoints import router as edges
from backend.evaluations.endpoints import router as evaluations
from backend.inboxes.endpoints import router as inboxes
from backend.outbound.account_endpoints import router as providers
from backend.outbound.endpoints import router as outbound
from backend.outbound.routing_endpoints import router as routing
from backend.outbound.suppression_endpoints import router as suppressions
from backend.outbound.warm_up_endpoints import router as warm_ups
from backend.purging.endpoints import router as purging
from backend.routes.endpoints import router as routes
from backend.rules.endpoints import router as rules
from backend.senders.endpoints import router as senders
from backend.spending.endpoints import router as spending
from backend.trust.endpoints import router as trust
from backend.trying.endpoints import router as trying
from backend.unrouted.endpoints import router as unrouted
from backend.workspaces.endpoints import router as workspaces
from mailagent.flow.services import Services
from mailagent.inbound import Acceptor
from mailagent.settings import Settings

__all__ = ["PREFIX", "ROUTERS", "create_api"]

PREFIX = "/api/v1"

ROUTERS: Sequence[APIRouter] = (
    access,
    workspaces,
    agents,
    agent_groups,
    domain_options,
    senders,
    routes,
    agent_files,
    agent_email,
    trying,
    evaluations,
    rules,
    documents,
    domains,
    placing,
    infrastructure,
    inboxes,
    outbound,
    suppressions,
    approvals,
    providers,
    routing,
    warm_ups,
    unrouted,
    spending,
    trust,
    abilities,
    purging,
    reports,
    edges,
)

_DESCRIPTION = """\
Workspaces give AI agents real e-mail addresses. Send an API key as `Authorization: Bearer ma_…`.
A workspace may be named by id or slug, an agent by id or handle. Lists come in pages: `limit` and
the `next_cursor` of the page before. Times are ISO 8601 in UTC. Errors are problem+json (RFC 9457);
`detail` says what to mend.
"""


def create_api(services: Services, settings: Settings, acceptor: Acceptor) -> FastAPI:
    """The API over these services, with `/docs` and `/openapi.json`.

    `acceptor` keeps the mail that edges hand over.
    """
    app = FastAPI(
        title="mailagent",
        version=version("mailagent"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services, app.state.settings, app.state.acceptor = services, settings, acceptor
    app.state.domains = Desk(services.store, services.secrets, settings, services.settings)
    app.add_middleware(RequestFrame)
    problems.install(app)
    app.router.routes.extend(_routes())
    return app


@cache
def _routes() -> Sequence[BaseRoute]:
    """Every router's routes, which keep no state and serve any number of APIs of a process.

    FastAPI works out what each route asks for at an app's first request: half a second for all.
    """
    whole = APIRouter(
        responses=problems.RESPONSES, generate_unique_id_function=lambda route: route.name
    )
    for router in ROUTERS:
        whole.include_router(router, prefix=PREFIX)
    whole.include_router(docs.router)
    return whole.routes
