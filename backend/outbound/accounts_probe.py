"""Are an account's credentials good? Asked of the provider, without sending anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from mailagent.errors import Delivery, NotFound
from mailagent.identity import Identifies, Identity
from mailagent.inbound import Inbound, Later, Outcome
from mailagent.providers import (
    KINDS,
    Account,
    SigningKey,
    Surroundings,
    close_accounts,
    open_account,
)

__all__ = ["Probe", "checked", "identified", "probe"]


@dataclass(frozen=True, slots=True)
class Probe:
    """`good` is None where the provider's API has nothing to ask."""

    name: str
    good: bool | None
    summary: str
    facts: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class _Describes(Protocol):
    """A provider's class whose API tells of the account."""

    async def describe(self, account: Account, /) -> Mapping[str, str]: ...


@runtime_checkable
class _Reaches(Protocol):
    """A sender that can go as far as the login and hang up."""

    async def reach(self) -> None: ...


def checked(account: Account) -> None:
    """Whether its settings make an account at all. Raises Misconfigured; connects to nothing."""
    open_account(account, _ALONE)


async def probe(account: Account) -> Probe:
    """Ask the provider, as far as it can be asked. Raises Misconfigured."""
    opened = open_account(account, _ALONE)
    kinds = {kind.kind: kind for kind in KINDS}
    kind = kinds[account.kind]
    facts: Mapping[str, str] = {}
    try:
        if isinstance(kind, _Describes):
            facts = await kind.describe(account)
        elif isinstance(opened, _Reaches):
            await opened.reach()
        else:
            summary = "its settings are complete; nothing was asked: mailagent send-test sends"
            return Probe(account.name, None, f"{account.name}: {summary}")
    except Delivery as error:
        return Probe(account.name, False, f"{account.name}: {error.reason}")
    finally:
        await close_accounts([opened])
    return Probe(account.name, True, f"{account.name}: its credentials are good", facts)


async def identified(account: Account, domain: str) -> Identity | None:
    """What the provider knows of a sender domain; None where it does not know it.

    Raises Misconfigured, Delivery, and NotFound for a provider that verifies no domains.
    """
    opened = open_account(account, _ALONE)
    try:
        if not isinstance(opened, Identifies):
            raise NotFound(f"{account.name} cannot be asked which records it wants")
        return await opened.identity(domain)
    finally:
        await close_accounts([opened])


class _Nobody:
    """What is only probed takes no mail in."""

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        return [Later("what is only probed takes no mail in")] * len(batch)


async def _unsigned(_: str) -> SigningKey | None:
    return None


_ALONE = Surroundings("localhost", _Nobody(), _unsigned)
