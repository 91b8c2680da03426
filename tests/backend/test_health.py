"""Who may see more than whether the system is well: this machine, and the operator's keys."""

from __future__ import annotations

from backend.access import keys
from backend.health import Health
from backend.workspaces import service as workspaces
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction


def two_workspaces(tx: Transaction) -> tuple[str, str, str]:
    """A reading key of the oldest workspace, a sending one of it, a full one of another."""
    first = workspaces.create(tx, "first", "First")
    second = workspaces.create(tx, "second", "Second")
    reading = keys.create(tx.of(first.id), "reads", ["root:readonly"]).secret
    sending = keys.create(tx.of(first.id), "sends", ["message.send"]).secret
    return reading, sending, keys.create(tx.of(second.id), "other", ["root:full"]).secret


async def test_parts_are_for_keys_of_the_operator_that_may_read(database_url: str) -> None:
    store = Store(database_url)
    try:
        reading, sending, other = await store.write_unscoped(two_workspaces)
        health = Health(store, {}, None)
        assert await health.trusts(f"Bearer {reading}")
        for wrong in (
            f"Bearer {sending}",
            f"Bearer {other}",
            "Bearer ma_x",
            f"Basic {reading}",
            "",
        ):
            assert not await health.trusts(wrong)
    finally:
        store.close()


async def test_metrics_count_what_waits_without_health_being_asked_first(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    try:
        assert b"mailagent_deliveries_waiting" in await Health(store, {}, None).metrics()
    finally:
        store.close()
