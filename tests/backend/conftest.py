"""What the tests of the control plane start from: a store, and two workspaces in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from backend.agents import service as agents
from backend.agents.service import Agent
from backend.workspaces import members
from backend.workspaces import service as workspaces
from backend.workspaces.members import Person
from backend.workspaces.service import Workspace
from mailagent.store.engine import Store

DEFAULT_DOMAIN = "agents.example"


class Clock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def move(self, by: timedelta) -> None:
        self.time += by


@dataclass(frozen=True)
class House:
    """Two workspaces: `acme` (the operator's, the older one) with one agent, and `other`."""

    store: Store
    clock: Clock
    acme: Workspace
    other: Workspace
    owner: Person
    """Of acme."""
    stranger: Person
    """The owner of other."""
    agent: Agent
    """`hello` of acme."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    opened = Store(database_url, now=clock)
    yield opened
    opened.close()


def furnish(store: Store, clock: Clock) -> House:
    """The two workspaces in an empty store."""
    owner = store.write_now(None, members.create_person, "owner@acme.example", "Olga Owner")
    stranger = store.write_now(None, members.create_person, "stranger@other.example")
    acme = store.write_now(None, workspaces.create, "acme", "Acme", owner_id=owner.id)
    clock.move(timedelta(seconds=1))
    other = store.write_now(None, workspaces.create, "other", "Other", owner_id=stranger.id)
    agent = store.write_now(acme.id, agents.create, DEFAULT_DOMAIN, handle="hello")
    return House(store, clock, acme, other, owner, stranger, agent)


@pytest.fixture
def house(store: Store, clock: Clock) -> House:
    return furnish(store, clock)
