"""A town for each test, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dns_server import DnsServer
from tests.domains.town import Town, open_town


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def town(database_url: str, dns: DnsServer) -> Iterator[Town]:
    with open_town(database_url, dns) as opened:
        yield opened
