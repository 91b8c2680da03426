"""A client of the API whose domains are looked at by a DNS server of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from backend.api import PREFIX, create_api
from backend.domains.desk import Desk
from backend.domains.zone_servers import Address
from mailagent.settings import Settings
from tests.backend.mailroom import DOMAIN, Mailroom
from tests.dns_server import DnsServer
from tests.domains.town import NAME, serve

__all__ = ["desk_of", "open_domain_api"]


def desk_of(mailroom: Mailroom, dns: DnsServer) -> Desk:
    """What the domain service works with, where DNS is the test's."""
    services = mailroom.services

    async def addresses_of(host: str) -> Sequence[Address]:
        return [("127.0.0.1", dns.port)]

    return Desk(services.store, services.secrets, _settings(dns), services.settings, addresses_of)


def _settings(dns: DnsServer) -> Settings:
    return Settings(
        mailagent_data=Path("unused"),
        mailagent_resolver=dns.address,
        mailagent_hostname=f"mx.{DOMAIN}",
        mailagent_public_ips="192.0.2.25",
        default_email_domain=DOMAIN,
    )


@asynccontextmanager
async def open_domain_api(
    mailroom: Mailroom, dns: DnsServer, secret: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client below `/api/v1` with a key."""
    serve(dns, NAME)
    app = create_api(mailroom.services, _settings(dns), mailroom.acceptor)
    app.state.domains = desk_of(mailroom, dns)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url=f"http://mailagent.example{PREFIX}",
        headers={"Authorization": f"Bearer {secret}"},
    ) as client:
        yield client
