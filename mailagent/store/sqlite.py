"""How is SQLite set up, on every connection that we open?"""

from __future__ import annotations

__all__ = ["PRAGMAS"]

_PAGES_BEFORE_CHECKPOINT = 32_000

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",  # the yes of a door must outlive a power cut
    "foreign_keys=ON",
    "secure_delete=ON",  # what retention and purge free is overwritten; acceptance frees nothing
    # A checkpoint inside a commit costs that mail 7 ms. A server does it every second in a thread;
    # 128 MB of log are the bound where none runs.
    f"wal_autocheckpoint={_PAGES_BEFORE_CHECKPOINT}",
)
"""Without `PRAGMA `; the busy time-out is each connection's own."""
