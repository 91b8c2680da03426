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

__all__ = ["open_domain_api"]


@asynccontextmanager
async def open_domain_api(
    mailroom: Mailroom, dns: DnsServer, secret: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client below `/api/v1` with a key."""
    serve(dns, NAME)
    settings = Settings(
        mailagent_data=Path("unused"),
        mailagent_resolver=dns.address,
        mailagent_hostname=f"mx.{DOMAIN}",
        mailagent_public_ips="192.0.2.25",
        default_email_domain=DOMAIN,
    )
    services = mailroom.services

    async def addresses_of(host: str) -> Sequence[Address]:
        return [("127.0.0.1", dns.port)]

    app = create_api(services, settings, mailroom.acceptor)
    app.state.domains = Desk(
        services.store, services.secrets, settings, services.settings, addresses_of
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url=f"http://mailagent.example{PREFIX}",
        headers={"Authorization": f"Bearer {secret}"},
    ) as client:
        yield client
