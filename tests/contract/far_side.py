"""What stands at the other end of an account that sends, whichever provider it is of."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mailagent.inbound import Accepted, Inbound, Outcome
from mailagent.providers.account import SigningKey, Surroundings
from mailagent.providers.api import Times
from tests.api_server import Fault
from tests.contract.cases import Failure

__all__ = [
    "FAULTS",
    "Keeper",
    "around",
    "later",
    "patience",
    "script",
    "unsigned",
    "unused_address",
    "unused_port",
    "waits_in_vain",
]

T = TypeVar("T")

_HURRIED = Times(connect=0.5, write=0.3, read=0.3, whole=0.6)
_PATIENT = Times(connect=10, write=10, read=10, whole=20)
FAULTS: Mapping[Failure, Fault] = {
    Failure.DEAF: Fault.DEAF,
    Failure.SILENT: Fault.HANG,
    Failure.RESET: Fault.RESET,
}
"""What an `ApiServer` does for them."""


def waits_in_vain(failure: Failure | None) -> bool:
    """Whether the far side will not say anything: all other answers a busy machine may delay."""
    return failure in (Failure.DEAF, Failure.SILENT)


def patience(failure: Failure | None) -> Times:
    """How long an account of a test waits."""
    return _HURRIED if waits_in_vain(failure) else _PATIENT


def script(steps: Mapping[Failure, T], failure: Failure | None) -> list[T]:
    """What a server is told to do for a failure; nothing for one that needs no server."""
    return [steps[failure]] if failure is not None and failure in steps else []


def later(
    steps: Mapping[Failure, T], failure: Failure | None, *, at_change: bool
) -> list[T | None]:
    """As `script`; with `at_change` for the second request, since the first one looks."""
    told: list[T | None] = [*script(steps, failure)]
    return [None, *told] if at_change else told


class Keeper:
    """An acceptor that keeps what it is given."""

    def __init__(self) -> None:
        self.kept: list[Inbound] = []

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        self.kept += batch
        return [Accepted(("dlv_1",)) for _ in batch]


async def unsigned(domain: str) -> SigningKey | None:
    """Nobody signs."""
    return None


def around(keeper: Keeper | None = None) -> Surroundings:
    """What every account is handed."""
    return Surroundings("mail.acme.example", keeper or Keeper(), unsigned)


def unused_port() -> int:
    """A port on the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unused_address() -> str:
    """An address that nobody listens on."""
    return f"http://127.0.0.1:{unused_port()}"
