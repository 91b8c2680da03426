"""To which addresses is nothing sent, by which address of ours, and until when?

A suppressed address stands in the database as itself, or, once its person was purged, as a
pseudonym: nothing is sent to it all the same, and the row no longer says to whom. A suppression is
for the whole workspace, or for what one of its addresses sends.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, or_, select, update

from mailagent.store.tables import suppressions, workspaces
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = [
    "AUTOMATIC",
    "BOUNCE_DAYS",
    "EVERYWHERE",
    "asked",
    "bounce_ends",
    "forms",
    "in_force",
    "is_pseudonym",
    "pseudonym",
    "removing",
    "stopped",
    "suppress",
]

EVERYWHERE = ""
"""As `from_address`: whichever address of the workspace writes."""
BOUNCE_DAYS = "bounce_suppression_days"
"""The workspace's setting: for how many days a permanent bounce suppresses; unset is for ever."""
AUTOMATIC = ("unsubscribed", "permanent_bounce", "complaint")
"""The reasons that events give, the lighter first."""
_MARK = "sha256:"


def pseudonym(workspace_id: str, address: str) -> str:
    """What stands for an address after a purge: not to be read back, though a guess can be tried.

    Bound to the workspace, so that the rows of two tenants do not tell of each other.
    """
    return _MARK + hashlib.sha256(f"{workspace_id}:{address.lower()}".encode()).hexdigest()


def is_pseudonym(address: str) -> bool:
    """Whether a stored address is one."""
    return address.startswith(_MARK)


def forms(workspace_id: str, addresses: Iterable[str]) -> Mapping[str, str]:
    """Every form under which these addresses may be suppressed → the address in lower case."""
    lower = [one.lower() for one in addresses]
    return {pseudonym(workspace_id, one): one for one in lower} | {one: one for one in lower}


def in_force() -> ColumnElement[bool]:
    """The condition on a suppression that stops a mail; give it `asked` as its parameters."""
    return (
        suppressions.c.address.in_(bindparam("to", expanding=True))
        & suppressions.c.from_address.in_([bindparam("everywhere"), bindparam("written_by")])
        & or_(suppressions.c.expires_at.is_(None), suppressions.c.expires_at > bindparam("now"))
    )


def asked(tx: Transaction, from_address: str, to: Sequence[str]) -> dict[str, object]:
    """The parameters of `in_force` for a mail from one of our addresses."""
    assert tx.workspace_id is not None
    whose = {"everywhere": EVERYWHERE, "written_by": from_address.lower()}
    return {"to": list(forms(tx.workspace_id, to)), **whose, "now": tx.now}


_STOPPED = (
    select(suppressions.c.address, suppressions.c.reason, suppressions.c.detail)
    .where(in_force())
    .order_by(suppressions.c.from_address)
)


def foresee(tx: Transaction, from_address: str, to: Sequence[str]) -> None:
    """Foresee what `stopped` asks."""
    tx.foresee(_STOPPED, asked(tx, from_address, to))


def stopped(tx: Transaction, from_address: str, to: Sequence[str]) -> Mapping[str, str]:
    """Of these recipients of a mail, those that nothing is sent to: lower-case address → why."""
    assert tx.workspace_id is not None
    known = forms(tx.workspace_id, to)
    rows = tx.rows(_STOPPED, asked(tx, from_address, to))
    return {known[row.address]: f"{row.reason}: {row.detail}" for row in rows}


def suppress(
    tx: Transaction,
    address: str,
    reason: str,
    origin: str,
    detail: str,
    *,
    from_address: str = EVERYWHERE,
    expires_at: datetime | None = None,
) -> bool:
    """Stop sending to an address; whether that changed anything.

    One that is there already stays as it is, unless it ends sooner than this one; of what events
    say, in whatever order, the heaviest is the reason.
    """
    row: dict[str, object] = {
        "address": address.lower(),
        "from_address": from_address.lower(),
        "reason": reason,
        "origin": origin,
        "detail": detail[:500],
        "created_at": tx.now,
        "expires_at": expires_at,
    }
    unique = ["workspace_id", "address", "from_address"]
    if tx.insert_new(suppressions, {"id": new_id("sup"), **row}, unique=unique):
        return True
    same = (
        suppressions.c.address == row["address"],
        suppressions.c.from_address == row["from_address"],
    )
    there = tx.row(select(suppressions).where(*same).with_for_update())
    changes = {} if there is None else _changes(there, row)
    if changes:
        tx.execute(update(suppressions).where(*same).values(changes))
    return bool(changes)


def _changes(there: AnyRow, row: Mapping[str, Any]) -> Mapping[str, object]:
    """What a further suppression changes of the one that is there."""
    ends = row["expires_at"]
    longer = there.expires_at is not None and (ends is None or ends > there.expires_at)
    if not (there.origin == row["origin"] == "auto"):
        return row if longer else {}
    # Events come in any order: the heaviest reason and the longest time stay.
    told = (there.reason, row["reason"])
    before, now = (AUTOMATIC.index(one) if one in AUTOMATIC else -1 for one in told)
    heavier = {"reason": row["reason"], "detail": row["detail"]} if now > before else {}
    return heavier | ({"expires_at": ends} if longer else {})


def removing(address: str) -> str:
    """The command by which a person ends a suppression. Quoted: an address is a stranger's choice,
    and may hold what a shell would run (RFC 5322 allows a backtick).
    """
    return f"mailagent suppressions remove {shlex.quote(address)}"


def bounce_ends(tx: Transaction) -> datetime | None:
    """Until when a permanent bounce of this moment suppresses, by the workspace's setting."""
    here = select(workspaces.c.settings).where(workspaces.c.id == tx.workspace_id)
    days = (tx.value(here) or {}).get(BOUNCE_DAYS)
    return None if days is None else tx.now + timedelta(days=days)
