"""Records written where the operator's zone is: a plan first, then the whole of it or nothing.

A token is used for one command and goes nowhere else: it is in no row, no log line and no error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from backend.domains.dns_writers.cloudflare import Cloudflare
from backend.domains.dns_writers.plan import Plan, Published, Step, names_of, plan
from backend.domains.dns_writers.route53 import Route53
from mailagent.errors import Conflict, Malformed
from mailagent.identity import DnsRecord
from mailagent.settings import Settings

__all__ = [
    "SERVICES",
    "Plan",
    "Published",
    "Step",
    "Writer",
    "look",
    "open_writer",
    "write",
]


class Writer(Protocol):
    """A service that keeps zones."""

    title: str

    async def published(self, zone: str, names: Sequence[str]) -> Sequence[Published]:
        """What stands at these names.

        Raises NotFound for a zone that the token does not see, PermanentFailure, TransientFailure.
        """
        ...

    async def apply(self, plan: Plan) -> None:
        """Write what a plan changes, all of it or nothing.

        Raises Conflict when the zone has changed since, UncertainDelivery when no answer came.
        """
        ...

    async def close(self) -> None: ...


SERVICES: Mapping[str, Callable[[Settings, str], Writer]] = {
    "route53": lambda settings, token: Route53.open(token, settings.route53_base_url),
    "cloudflare": lambda settings, token: Cloudflare.open(token, settings.cloudflare_base_url),
}
"""By the word of `--to`."""


def open_writer(to: str, token: str, settings: Settings) -> Writer:
    """The service of a word, with the token of this one command. Raises Malformed."""
    if to not in SERVICES:
        raise Malformed("--to", f"must be one of {', '.join(SERVICES)}")
    return SERVICES[to](settings, token)


async def look(
    writer: Writer,
    zone: str,
    wanted: Sequence[DnsRecord],
    *,
    confirmed: Collection[str] = (),
) -> Plan:
    """What would be done; nothing is written. Raises as `plan` and `Writer.published`."""
    published = await writer.published(zone, names_of(zone, wanted))
    return plan(zone, published, wanted, confirmed=confirmed)


async def write(
    writer: Writer,
    zone: str,
    wanted: Sequence[DnsRecord],
    *,
    confirmed: Collection[str] = (),
) -> Plan:
    """Make the zone hold the wanted records, and return what was done; again changes nothing.

    `confirmed` holds record sets (`example.com MX`) that may be replaced. Raises Conflict, with
    nothing written, while a step needs a person's word; else as `look` and `Writer.apply`.
    """
    found = await look(writer, zone, wanted, confirmed=confirmed)
    if found.conflicts:
        reasons = "; ".join(f"{one.record_set}: {one.why}" for one in found.conflicts)
        raise Conflict(f"nothing was written, because a person must decide: {reasons}")
    await writer.apply(found)
    return found
