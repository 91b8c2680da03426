"""Which attacks are there? All, family by family."""

from tests.attacks.attack import Attack
from tests.attacks.families import carried, forged, machines, repeated, unseen, written

__all__ = ["ATTACKS"]

ATTACKS: tuple[Attack, ...] = tuple(
    one
    for family in (written, unseen, repeated, forged, carried, machines)
    for one in family.ATTACKS
)
"""In the order of the table."""
