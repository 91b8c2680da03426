"""Under which words does a suppressed address stand in the database?

As itself, or, once its person was purged, as a pseudonym: nothing is sent to it all the same, and
the row no longer says to whom.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

__all__ = ["forms", "is_pseudonym", "pseudonym"]

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
