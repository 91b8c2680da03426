"""How is a PostgreSQL session of ours set up, whoever opens it?

A process that froze in a transaction, or whose machine is gone, would keep its locks from all other
nodes for ever; and each of its sessions that waits for a lock would get it in its turn and keep it
too. So the server ends both: who holds locks and says nothing, and who waits. A live one that
waited in vain begins again (`Store`); its leases end later than either.
"""

from __future__ import annotations

__all__ = ["APPLICATION_NAME", "LOCK_TRIES", "OPTIONS"]

APPLICATION_NAME = "mailagent"
"""By which a server tells who is connected; a restore wants none of us to be."""

LOCK_TRIES = 5
"""How often a transaction is begun because another held what it needed: ten seconds."""

OPTIONS = (
    "-c timezone=UTC"
    f" -c application_name={APPLICATION_NAME}"
    # Our transactions never wait for anything outside: four seconds of silence are long.
    " -c idle_in_transaction_session_timeout=4s"
    " -c lock_timeout=2s"
)
"""What libpq is to set for the session."""
