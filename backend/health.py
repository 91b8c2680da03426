"""How is this process, and what waits for a person? For `/health`, `/metrics` and `doctor`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, literal, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backend.acceptors import Acceptors
from backend.access import keys
from backend.access.permissions import expanded
from backend.domains import zone_watch
from backend.gauges import Machine, oldest_seconds
from backend.workspaces.service import operator_id
from mailagent.doors.smtp import ListeningDoor, SmtpDoor
from mailagent.doors.smtp_tls import Certificate
from mailagent.doors.submission import SubmissionDoor
from mailagent.doors.webhook_door import WebhookDoor
from mailagent.doors.webhooks import HealthReport
from mailagent.errors import Unauthentic
from mailagent.flow import waiting
from mailagent.flow.states import NEEDS_A_PERSON
from mailagent.outbound import UNVERIFIED
from mailagent.store.engine import Store
from mailagent.store.standing import of_workspace
from mailagent.store.tables import (
    account_standings,
    deliveries,
    domains,
    outbound_mails,
    outbound_recipients,
)
from mailagent.store.transaction import Transaction
from mailagent.store.types import verbatim
from mailagent.work import Worker

__all__ = ["Health", "count", "routes"]

_SILENT_AFTER = 60.0
_COUNT_EVERY = 5.0


class Health:
    """Reads the state of the parts that this process runs."""

    def __init__(
        self,
        store: Store,
        workers: Mapping[str, Worker],
        door: SmtpDoor | Acceptors | None,
        certificate: Certificate | None = None,
        webhooks: WebhookDoor | None = None,
        machine: Machine | None = None,
        submission: SubmissionDoor | None = None,
    ) -> None:
        self._store, self._workers, self._door = store, workers, door
        self._certificate = certificate
        self._webhooks, self._machine = webhooks, machine
        self._submission = submission
        self._counts: dict[str, dict[str, int]] = {}
        self._counted_at = 0.0

    async def report(self) -> HealthReport:
        """Healthy is: the database answers, the SMTP doors are open where this process has them,
        and every worker has looked at its queue lately.
        """
        database = True
        if time.monotonic() - self._counted_at > _COUNT_EVERY:
            try:
                self._counts = await self._store.read_unscoped(count)
                self._counted_at = time.monotonic()
            except SQLAlchemyError:
                database = False
        now = time.monotonic()
        silent = [
            name
            for name, worker in self._workers.items()
            if worker.last_seen and now - worker.last_seen > _SILENT_AFTER and not worker.busy
        ]
        parts: dict[str, Any] = {
            "database": "ok" if database else "away",
            "workers": {name: worker.busy for name, worker in self._workers.items()},
            "silent_workers": silent,
            **self._counts,
        }
        listening = self._door is None or self._door.listening > 0
        if self._door is not None:
            parts["smtp_acceptors"] = self._door.listening
            parts["smtp_connections"] = self._door.stats().open_connections
        if self._submission is not None:
            listening = listening and self._submission.listening > 0
            parts["submission_connections"] = self._submission.stats().open_connections
        if self._webhooks is not None:
            parts["webhooks"] = self._webhooks.state()
        if self._certificate is not None:
            parts["smtp_certificate"] = {
                "expires": self._certificate.expires.isoformat(),
                "problem": self._certificate.problem,
            }
        return HealthReport(database and listening and not silent, parts)

    async def trusts(self, authorization: str) -> bool:
        """Whether the header names a key of the operator's workspace that may read it."""
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return False
        try:
            return await self._store.read_unscoped(_operators, secret.strip())
        except (Unauthentic, SQLAlchemyError):
            return False

    async def metrics(self) -> bytes:
        """The same numbers in Prometheus's text format."""
        told = await self.report()
        registry = CollectorRegistry()
        up = Gauge("mailagent_database_up", "1 while the database answers", registry=registry)
        up.set(told.parts["database"] == "ok")
        for name, counts in self._counts.items():
            gauge = Gauge(f"mailagent_{name}", f"{name} by state", ["state"], registry=registry)
            for state, number in counts.items():
                gauge.labels(state).set(number)
        busy = Gauge("mailagent_busy", "rows in hand by queue", ["queue"], registry=registry)
        for name, worker in self._workers.items():
            busy.labels(name).set(worker.busy)
        if self._door is not None:
            _door_metrics("smtp", self._door, registry)
        if self._submission is not None:
            _door_metrics("submission", self._submission, registry)
        if self._certificate is not None:
            _certificate_metrics(self._certificate, registry)
        if self._machine is not None:
            self._machine.register(registry)
        return generate_latest(registry)


def routes(health: Health) -> list[Route]:
    """`/health` and `/metrics` of the backend's port; all of it for this machine or a key."""

    async def trusted(request: Request) -> bool:
        return _from_here(request) or await health.trusts(request.headers.get("authorization", ""))

    async def report(request: Request) -> Response:
        told = await health.report()
        body: dict[str, Any] = {"status": "ok" if told.healthy else "failing"}
        if await trusted(request):
            body |= told.parts
        return JSONResponse(body, 200 if told.healthy else 503)

    async def metrics(request: Request) -> Response:
        if not await trusted(request):
            return JSONResponse({"detail": "metrics need an operator's key, or the loopback"}, 401)
        return Response(await health.metrics(), media_type="text/plain; version=0.0.4")

    return [Route("/health", report), Route("/metrics", metrics)]


def _from_here(request: Request) -> bool:
    try:
        return request.client is not None and ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _operators(tx: Transaction, secret: str) -> bool:
    key = keys.authenticate(tx, secret)
    return key.workspace_id == operator_id(tx) and "workspace.read" in expanded(key.permissions)


def count(tx: Transaction) -> dict[str, dict[str, int]]:
    """What waits: deliveries in hand or with a person, outbound mails on their way or unknown."""
    # Each along a partial index: what is done with is never looked at.
    table = deliveries.c
    open_ = ["routed", "thinking", *NEEDS_A_PERSON]
    return {
        "waiting_for_a_person": waiting.count(tx),
        "oldest_seconds": oldest_seconds(tx),
        "deliveries_waiting": _by_state(
            tx,
            select(table.state, func.count())
            .where(table.state == verbatim("accepted"), table.archived_at.is_(None))
            .group_by(table.state),
            select(table.state, func.count())
            .where(table.state.in_(open_), of_workspace())
            .group_by(table.state),
        ),
        "outbound_waiting": _by_state(
            tx,
            select(outbound_mails.c.state, func.count())
            .where(outbound_mails.c.state == verbatim("queued"))
            .group_by(outbound_mails.c.state),
            select(literal(UNVERIFIED), func.count(outbound_mails.c.id.distinct()))
            .join(outbound_recipients, outbound_recipients.c.outbound_id == outbound_mails.c.id)
            .where(
                outbound_mails.c.state == verbatim("queued"),
                outbound_recipients.c.state == verbatim("queued"),
                outbound_recipients.c.reason.startswith(UNVERIFIED, autoescape=True),
            ),
        ),
        "provider_accounts": _accounts(tx),
        # Whose owners may not have been told, when no account can send.
        "domains": _by_state(
            tx,
            select(domains.c.state, func.count())
            .where(domains.c.removing_at.is_(None))
            .group_by(domains.c.state),
        ),
        "zone": zone_watch.standing(tx).counts,
        "recipients_unknown": _by_state(
            tx,
            select(outbound_recipients.c.state, func.count())
            .where(outbound_recipients.c.state == verbatim("unknown"))
            .group_by(outbound_recipients.c.state),
        ),
    }


def _accounts(tx: Transaction) -> dict[str, int]:
    """Accounts that are not well: rejected by their provider, paused by a person, or resting."""
    table = account_standings.c
    found = {"rejected": 0, "paused": 0, "resting": 0}
    for row in tx.rows(select(table.status, table.paused_until)):
        rests = row.paused_until is not None and row.paused_until > tx.now
        if row.status in found or rests:
            found[row.status if row.status in found else "resting"] += 1
    return found


def _by_state(tx: Transaction, *statements: Any) -> dict[str, int]:
    return {str(row[0]): int(row[1]) for one in statements for row in tx.rows(one)}


def _door_metrics(which: str, door: ListeningDoor | Acceptors, registry: CollectorRegistry) -> None:
    stats = door.stats()
    for name in ("open_connections", "held_bytes", "connections", "accepted"):
        gauge = Gauge(f"mailagent_{which}_{name}", f"{which} door: {name}", registry=registry)
        gauge.set(getattr(stats, name))


def _certificate_metrics(certificate: Certificate, registry: CollectorRegistry) -> None:
    end = Gauge(
        "mailagent_smtp_certificate_expires_timestamp_seconds",
        "when the certificate in use ends",
        registry=registry,
    )
    end.set(certificate.expires.timestamp())
    stale = Gauge(
        "mailagent_smtp_certificate_stale",
        "1 while the files changed and cannot be used",
        registry=registry,
    )
    stale.set(certificate.problem is not None)
