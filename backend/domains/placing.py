"""What does the person who keeps a domain's DNS have to type, and where, as things stand now?"""

from __future__ import annotations

from dataclasses import dataclass

from backend.domains import comparing, stored
from backend.domains.desk import Desk
from backend.domains.instructions import Step, dns_host, instructions
from backend.domains.patience import Patience
from backend.domains.publishing import expected
from backend.domains.record import DomainRecord
from backend.domains.spf_merge import SpfMerge
from backend.domains.stored import Domain

__all__ = ["AtHost", "at_host", "compared", "merged_spf", "records_of"]


@dataclass(frozen=True, slots=True)
class AtHost:
    """A set as the DNS host that serves the domain asks for it."""

    host: str
    """The host's name, or plain words where it is none that we know."""
    name_servers: tuple[str, ...]
    """By which it was known; empty where DNS did not tell."""
    steps: tuple[Step, ...]


async def records_of(desk: Desk, workspace_id: str, reference: str) -> tuple[DomainRecord, ...]:
    """The set of a domain as its rows stand. Raises NotFound."""
    return (await _of(desk, workspace_id, reference))[1]


async def at_host(desk: Desk, workspace_id: str, reference: str) -> AtHost:
    """What to type field by field, fitted to the name servers seen now. Raises NotFound."""
    domain, records = await _of(desk, workspace_id, reference)
    patience = Patience.of(desk.longest_look)
    zone = await patience.within(lambda: desk.zone_servers.zone_of(domain.name), None)
    servers = zone.hosts if zone is not None else ()
    host = dns_host(servers)
    return AtHost(host.title, servers, instructions(host, records))


async def merged_spf(desk: Desk, workspace_id: str, reference: str) -> SpfMerge:
    """The one SPF record to publish. Raises NotFound, also where the domain asks for none;
    TransientFailure when DNS does not tell what stands there.
    """
    return await desk.merged_spf(await records_of(desk, workspace_id, reference))


async def compared(
    desk: Desk, workspace_id: str, reference: str, export: str
) -> list[comparing.Difference]:
    """What differs in a DNS host's export (BIND or CSV). Raises NotFound, Malformed."""
    return await comparing.compared(desk, await records_of(desk, workspace_id, reference), export)


async def _of(
    desk: Desk, workspace_id: str, reference: str
) -> tuple[Domain, tuple[DomainRecord, ...]]:
    installed = await desk.store.read_unscoped(desk.installed)
    domain = await desk.store.read(workspace_id, stored.find, reference)
    wanted = await desk.store.read(workspace_id, expected, installed, domain)
    return domain, wanted.records
