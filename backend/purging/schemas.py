"""How does a purge look in the API?"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, model_validator

__all__ = ["PurgeIn", "PurgedOut"]


class PurgeIn(BaseModel):
    """What to remove: exactly one of `address`, `mail` and `everything`."""

    model_config = ConfigDict(extra="forbid")

    address: str | None = None
    """All that names this e-mail address."""
    mail: str | None = None
    """Id of a delivery, a sent mail or a thread; a Message-ID."""
    everything: bool = False
    """All mail of the workspace."""
    dry_run: bool = False

    @model_validator(mode="after")
    def _one(self) -> PurgeIn:
        given = [self.address is not None, self.mail is not None, self.everything]
        if sum(given) != 1:
            raise ValueError("name exactly one of address, mail and everything")
        return self


class PurgedOut(BaseModel):
    """How much was removed, or by a dry run would be."""

    received: int
    sent: int
    other_rows: int
