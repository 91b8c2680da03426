"""How does the Mailgun way of working with a domain look in the API?"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["OptionsOut", "OptionsPatch", "OwnerIn", "OwnerOut"]


class OwnerIn(BaseModel):
    """Whose a domain shall be: an agent or a group, by id or name."""

    model_config = ConfigDict(extra="forbid")

    agent: str | None = None
    group: str | None = None
    confirm_apex: bool = False


class OptionsPatch(BaseModel):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    region: str = ""
    dkim_bits: int = 0
    retention_days: int = 0
    ip: str = ""


class OwnerOut(BaseModel):
    """Whose a domain is."""

    kind: Literal["agent", "group"]
    id: str
    name: str


class OptionsOut(BaseModel):
    """A domain with what is set for it in this way of working."""

    id: str
    domain: str
    owner: OwnerOut | None
    region: str | None
    dkim_bits: int | None
    retention_days: int | None
    ip: Literal["shared"]
    sender_status: str
    receiver_status: str
