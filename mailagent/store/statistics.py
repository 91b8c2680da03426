"""What does a database believe about our tables when it chooses an index?

Without statistics it takes every indexed column for equally telling, so a statement on one thread
may walk through all rows of its workspace: `workspace_id = …` stands in each of them.

To SQLite, real statistics would need ANALYZE again and again, and change plans overnight. So it is
told, once, what is so in any large installation: https://sqlite.org/lang_analyze.html, "Fixed
Results Of ANALYZE". PostgreSQL gathers its own, but looks once a minute whether it should, and a
session keeps the plan of an empty table until then: what a new installation does first took ten
times as long for each mail that came before. So we have it look as soon as there is something.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mailagent.store.tables import metadata

__all__ = ["gather", "tell"]

_MANY = 1_000_000
_FEW = 1_000
_FEW_ROWS = frozenset(
    {
        "account_preferences",
        "addresses",
        "agents",
        "api_keys",
        "documents",
        "domain_grants",
        "domain_identities",
        "domain_steps",
        "domains",
        "memberships",
        "passages",
        "people",
        "rules",
        "schedules",
        "sign_ins",
        "signing_keys",
        "suppressions",
        "versions",
        "warm_ups",
        "workspaces",
    }
)
"""Tables of what people set up; all others grow with the mail."""
_VALUES = {
    "workspace_id": 10,
    "agent_id": 20,
    "source": 2,
    "state": 10,
    "purpose": 4,
    "archived_at": 10,
    "sender": 20_000,
    "from_address": 20_000,
    "account": 4,
    "warming": 4,
}
"""How many different values a column has in a table that grows, where they are not nearly as many
as its rows.
"""
_SAME = 4
"""Rows that share a value elsewhere: the mails of a thread, the lines of a story."""
_OPEN = 100
_HOLDS = {
    "ix_deliveries_archived": 10_000,
    "ix_deliveries_due": _OPEN,
    "ix_deliveries_held": _OPEN,
    "ix_outbound_mails_due": _OPEN,
    "ix_outbound_recipients_unknown": _OPEN,
    "ix_outbound_recipients_warming": 100_000,
    "ix_threads_ready": _OPEN,
    "uq_turns_running_thread": _OPEN,
}
"""Rows of the partial indexes that hold what is open or rare, however much mail there is."""


def tell(connection: Connection) -> None:
    """Write the statistics of all our indexes; new connections will plan by them."""
    connection.exec_driver_sql("ANALYZE sqlite_schema")
    connection.exec_driver_sql("DELETE FROM sqlite_stat1")
    for table in sorted(metadata.tables):
        for _, name, is_unique, *_ in connection.exec_driver_sql(
            f"PRAGMA index_list('{table}')"
        ).all():
            columns = connection.exec_driver_sql(f"PRAGMA index_info('{name}')").all()
            rows = _HOLDS.get(name, _FEW if table in _FEW_ROWS else _MANY)
            shared = _shared(rows, [column[2] for column in columns], unique=bool(is_unique))
            connection.exec_driver_sql(
                "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)",
                (table, name, " ".join(map(str, (rows, *shared)))),
            )


def _shared(rows: int, columns: Sequence[str], *, unique: bool) -> list[int]:
    """For each column, how many rows share its value and those of the columns before it."""
    left, shared = rows, []
    for column in columns:
        left = max(left // _VALUES[column], 1) if column in _VALUES else min(left, _SAME)
        shared.append(left)
    if unique:
        shared[-1] = 1
    return shared


_OUTGROWN = """
SELECT quote_ident(pg_class.relname) FROM pg_stat_user_tables JOIN pg_class ON oid = relid
WHERE schemaname = current_schema() AND n_live_tup >= 50
  AND n_live_tup > 10 * reltuples
"""
"""Below fifty rows no plan is bad, and the rows may be too few to tell one column from another.
Never counted, `reltuples` is -1.
"""


def gather(connection: Connection) -> None:
    """Have PostgreSQL count each table with ten times the rows that it knows of; sessions plan anew
    for it then. Wants a connection that commits by itself.
    """
    for name in connection.exec_driver_sql(_OUTGROWN).scalars().all():
        connection.exec_driver_sql(f"ANALYZE (SKIP_LOCKED) {name}")
