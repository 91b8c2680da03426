"""What else can be measured of a node: how long mail waits, its disk, its sandbox?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, Metric
from sqlalchemy import func, select

from mailagent.flow.states import DeliveryState
from mailagent.sandbox import Sandbox
from mailagent.store.standing import of_workspace
from mailagent.store.tables import deliveries, outbound_mails
from mailagent.store.transaction import Transaction
from mailagent.store.types import verbatim

__all__ = ["Machine", "oldest_seconds"]

_READ = (DeliveryState.ROUTED, DeliveryState.THINKING)


def oldest_seconds(tx: Transaction) -> dict[str, int]:
    """For how long the oldest mail has been in each state that we go on with by ourselves."""
    # Each along a partial index, as health's counts.
    state, since = deliveries.c.state, func.min(deliveries.c.received_at)
    read = select(state, since).where(state.in_(_READ), of_workspace())
    oldest = {
        "accepted": tx.value(select(since).where(state == verbatim("accepted"))),
        **dict.fromkeys(_READ),
        **{row[0]: row[1] for row in tx.rows(read.group_by(state))},
        "queued": tx.value(
            select(func.min(outbound_mails.c.created_at)).where(
                outbound_mails.c.state == verbatim("queued")
            )
        ),
    }
    return {
        str(name): int((tx.now - at).total_seconds()) if at else 0 for name, at in oldest.items()
    }


@dataclass(frozen=True)
class Machine:
    """The node's own means."""

    sandbox: Sandbox
    folder: Path
    """Where its data is."""

    def register(self, registry: CollectorRegistry) -> None:
        """Add what can be measured of them."""
        registry.register(_Failures(self.sandbox))
        if self.folder.is_dir():
            disk = shutil.disk_usage(self.folder)
            for name, octets in (("free", disk.free), ("size", disk.total)):
                what = f"{name} bytes of the file system that holds the data"
                Gauge(f"mailagent_disk_{name}_bytes", what, registry=registry).set(octets)


@dataclass(frozen=True)
class _Failures:
    sandbox: Sandbox

    def collect(self) -> Iterator[Metric]:
        counter = CounterMetricFamily(
            "mailagent_sandbox_failures", "workers that hung, died or ran out", labels=["cause"]
        )
        for cause, number in self.sandbox.failures.items():
            counter.add_metric([cause], number)
        yield counter
