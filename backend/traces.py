"""How does one mail's way look as a trace (OpenTelemetry)?

A delivery's id holds 128 bits: they are its trace, so steps in other processes, hours later, belong
to it without a column. `accept` is its first span; `read`, `think` and `send` are the steps that
call outside, and `route`, `decide` and `reply` within them are what the ledger says. Attributes are
ids, states and names of ours: never an address, a subject or a word of a mail. Imported only when a
collector is set. Source: OpenTelemetry "Trace" and "OTLP" specifications, read 2026-11.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from sqlalchemy import select

from mailagent.flow import Services
from mailagent.flow.workers import Step
from mailagent.inbound import Accepted, Acceptor, Inbound, Outcome
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries, ledger, outbound_mails, turns
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import Claim

__all__ = ["Traces"]

_WITHIN = ("route", "decide", "reply")
"""Steps of the ledger that are parts of another step's transaction."""
_first: ContextVar[str | None] = ContextVar("first span of a delivery", default=None)


class _Ids(RandomIdGenerator):
    """A delivery's first span has ids that every later step can derive from the delivery's."""

    def generate_trace_id(self) -> int:
        mail_id = _first.get()
        return super().generate_trace_id() if mail_id is None else _trace_id(mail_id)

    def generate_span_id(self) -> int:
        mail_id = _first.get()
        return super().generate_span_id() if mail_id is None else _first_span_id(mail_id)


class Traces:
    """Sends spans to one collector, in batches from a thread of its own."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create(
            {"service.name": "mailagent", "service.version": version("mailagent")}
        )
        self._provider = TracerProvider(
            resource=resource, id_generator=_Ids(), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("mailagent")

    def close(self) -> None:
        """Send what waits; blocks until the collector has answered or timed out."""
        self._provider.shutdown()

    def acceptor(self, acceptor: Acceptor) -> Acceptor:
        """The acceptor, telling of what it accepts."""
        return _TracedAcceptor(acceptor, self)

    def accepted(self, delivery_id: str, source: str, received_at: datetime) -> None:
        """The span that all others of a delivery hang on."""
        token = _first.set(delivery_id)
        try:
            span = self._tracer.start_span(
                "accept",
                start_time=_nanoseconds(received_at),
                attributes={"mail_id": delivery_id, "source": source},
            )
        finally:
            _first.reset(token)
        span.end()

    def watched(self, step: Step) -> Step:
        """The step, with a span for each mail that it worked on."""
        name = step.__name__

        async def with_span(services: Services, claim: Claim) -> None:
            started, failure = time.time_ns(), None
            try:
                await step(services, claim)
            except Exception as error:
                failure = type(error).__name__
                raise
            finally:
                ended = time.time_ns()
                if claim.workspace_id:
                    await self._tell(services.store, name, claim, started, ended, failure)

        with_span.__name__ = name
        return with_span

    async def _tell(
        self, store: Store, name: str, claim: Claim, started: int, ended: int, failure: str | None
    ) -> None:
        since = datetime.fromtimestamp(started / 1e9, UTC)
        mail_ids, lines = await store.read(claim.workspace_id, _worked_on, name, claim.id, since)
        for mail_id in mail_ids:
            first = SpanContext(
                _trace_id(mail_id), _first_span_id(mail_id), True, TraceFlags(TraceFlags.SAMPLED)
            )
            attributes = {"mail_id": mail_id, "workspace_id": claim.workspace_id}
            span = self._tracer.start_span(
                name,
                set_span_in_context(NonRecordingSpan(first)),
                start_time=started,
                attributes={**attributes, "claimed": claim.id, "attempt": claim.attempts},
            )
            if failure is not None:
                span.set_status(Status(StatusCode.ERROR, failure))
            for line in lines:
                if line.delivery_id == mail_id:
                    part = self._tracer.start_span(
                        line.step,
                        set_span_in_context(span),
                        start_time=_nanoseconds(line.at),
                        attributes=attributes,
                    )
                    part.end(ended)
            span.end(ended)


class _TracedAcceptor:
    def __init__(self, acceptor: Acceptor, traces: Traces) -> None:
        self._acceptor, self._traces = acceptor, traces

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        outcomes = await self._acceptor.accept(batch)
        for inbound, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                for id_ in outcome.delivery_ids:
                    self._traces.accepted(id_, inbound.source, inbound.origin.received_at)
        return outcomes


def _worked_on(
    tx: Transaction, name: str, id_: str, since: datetime
) -> tuple[list[str], Sequence[AnyRow]]:
    """The deliveries that a step was about, and the ledger's lines of its parts."""
    mail_ids = _mails_of(tx, name, id_)
    lines = tx.rows(
        select(ledger.c.delivery_id, ledger.c.step, ledger.c.at)
        .where(ledger.c.delivery_id.in_(mail_ids), ledger.c.at >= since, ledger.c.step.in_(_WITHIN))
        .distinct()
        .order_by(ledger.c.at)
    )
    return mail_ids, lines


def _mails_of(tx: Transaction, name: str, id_: str) -> list[str]:
    if name == "read":
        return [id_]
    answers: str | None = None
    if name == "think":
        of_thread = select(turns.c.id).where(turns.c.thread_id == id_)
        turn_id = tx.value(of_thread.order_by(turns.c.started_at.desc()).limit(1))
    else:
        columns = outbound_mails.c
        row = tx.row(select(columns.turn_id, columns.answers_delivery_id).where(columns.id == id_))
        turn_id, answers = (row.turn_id, row.answers_delivery_id) if row else (None, None)
    if turn_id is None:
        return [answers or id_] if name != "think" else []
    rows = tx.rows(select(deliveries.c.id).where(deliveries.c.turn_id == turn_id))
    return [row.id for row in rows]


def _trace_id(mail_id: str) -> int:
    return int(mail_id.rpartition("_")[2], 16)


def _first_span_id(mail_id: str) -> int:
    # The second half of a UUIDv7 is random, but for its two bits of variant.
    return _trace_id(mail_id) & (2**64 - 1)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6) * 1_000
