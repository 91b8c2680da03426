"""Does a resource policy of AWS hold our statement, and how is it put there beside others'?

Pure: JSON in, JSON out. Source: AWS IAM User Guide, "Grammar of the IAM JSON policy language".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mailagent.errors import PermanentFailure

__all__ = ["Statement", "has", "holds", "with_statement"]

Statement = Mapping[str, Any]
"""One statement; its `Sid` is what it is known by."""


def has(policy: str, statement: Statement) -> bool:
    """Whether one of this `Sid` is there, whatever it says."""
    return any(one.get("Sid") == statement["Sid"] for one in _statements(policy))


def holds(policy: str, statement: Statement) -> bool:
    """Whether exactly this statement is there."""
    return any(one == statement for one in _statements(policy))


def with_statement(policy: str, statement: Statement) -> str:
    """The policy with the statement in the place of one of its `Sid`, all others as they are."""
    others = [one for one in _statements(policy) if one.get("Sid") != statement["Sid"]]
    kept = json.loads(policy) if policy else {"Version": "2012-10-17"}
    return json.dumps({**kept, "Statement": [*others, statement]})


def _statements(policy: str) -> list[dict[str, Any]]:
    """Raises PermanentFailure for what is no policy, rather than write over it."""
    try:
        found = json.loads(policy)["Statement"] if policy else []
    except (ValueError, KeyError, TypeError):
        raise PermanentFailure("AWS gave a policy that is none", about="account") from None
    return found if isinstance(found, list) else [found]
