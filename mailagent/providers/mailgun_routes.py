"""For which domains does Mailgun bring mail to us?

A route of ours for each domain, known by its description; Mailgun's order of routes is kept by the
priority 0 and `stop()`. Source: Mailgun "Routes", read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailagent.identity import DnsRecord
from mailagent.providers.control import Control
from mailagent.providers.mailgun_domains import MailgunDomains, mx_records

__all__ = ["MailgunRoutes", "Route", "faults"]

_PAGE = 1_000
_RECIPIENT = re.compile(r"""match_recipient\(\s*(["'])(.*?)\1\s*\)""")


@dataclass(frozen=True, slots=True)
class Route:
    """A route as Mailgun is given it."""

    description: str
    expression: str
    actions: tuple[str, ...]
    priority: int = 0
    id: str = ""
    """Mailgun's own, "" before there is one."""

    def same(self, other: Route) -> bool:
        """Whether it does the same, whatever its id."""
        mine = (self.expression, self.actions, self.priority)
        return mine == (other.expression, other.actions, other.priority)

    def form(self) -> list[tuple[str, str]]:
        return [
            ("priority", str(self.priority)),
            ("description", self.description),
            ("expression", self.expression),
            *(("action", action) for action in self.actions),
        ]


class MailgunRoutes:
    """The routes of one account in one region."""

    def __init__(self, control: Control, webhook: str, region: str) -> None:
        """`webhook` is where mail is brought, octet for octet: it ends with `/mime`."""
        self._control, self._webhook, self._region = control, webhook, region

    def wanted(self, domain: str, *, below: bool = False) -> Route:
        """The route of a domain; with `below`, also of all names one label below it."""
        label = r"([a-z0-9-]+\.)?" if below else ""
        # Anchored at both ends: `.*@.*\\.example` would match x@y.example.evil.test too.
        pattern = f"^.+@{label}{re.escape(domain)}$".replace("\\-", "-")
        actions = (f'forward("{self._webhook}")', "stop()")
        return Route(f"mailagent {domain}", f'match_recipient("{pattern}")', actions)

    async def ours(self, domain: str) -> Route | None:
        """The route of a domain that we made."""
        description = f"mailagent {domain}"
        async for one in self.all():
            if one.description == description:
                return one
        return None

    async def all(self) -> AsyncIterator[Route]:
        skip = 0
        while True:
            query = {"limit": str(_PAGE), "skip": str(skip)}
            told = await self._control.get("/v3/routes", query, absent=()) or {}
            items = told.get("items") or []
            for one in items:
                yield _route(one)
            skip += len(items)
            if not items or skip >= int(told.get("total_count") or 0):
                return

    async def put(self, route: Route, id_: str = "") -> None:
        """Make a route, or give the one of an id what this one says."""
        if id_:
            await self._control.change("PUT", f"/v3/routes/{id_}", form=route.form())
        else:
            await self._control.change("POST", "/v3/routes", form=route.form())

    async def collect(self, domain: str) -> tuple[DnsRecord, ...]:
        """See `identity.Collects`."""
        wanted, found = self.wanted(domain), await self.ours(domain)
        if found is None or not found.same(wanted):
            await self.put(wanted, found.id if found else "")
        told = await MailgunDomains(self._control).told(domain)
        return mx_records(domain, told, self._region)

    async def collects(self, domain: str) -> bool:
        """See `identity.Collects`."""
        found = await self.ours(domain)
        return found is not None and found.same(self.wanted(domain))

    async def stop_collecting(self, domain: str) -> None:
        """See `identity.Collects`."""
        found = await self.ours(domain)
        if found is not None:
            await self._control.change("DELETE", f"/v3/routes/{found.id}", absent=(404,))


def faults(routes: Sequence[Route], domain: str) -> list[str]:
    """What is wrong with others' expressions for the domain, in words."""
    found = []
    for one in routes:
        for _, pattern in _RECIPIENT.findall(one.expression):
            if domain not in pattern.replace("\\", ""):
                continue
            name = one.description or one.id
            if _matches(pattern, f"x@w.{domain}.evil.example"):
                found.append(
                    f"the expression of the route {name!r} is not anchored: it also matches "
                    f"x@w.{domain}.evil.example; end it with $"
                )
            if _matches(pattern, f"x@w.{domain}") and not _matches(pattern, f"x@{domain}"):
                found.append(f"the expression of the route {name!r} misses x@{domain}")
    return found


def _matches(pattern: str, address: str) -> bool:
    """As Mailgun does, whose expressions are Python's; what is none matches nothing."""
    try:
        return re.match(pattern, address) is not None
    except re.error:
        return False


def _route(told: Mapping[str, Any]) -> Route:
    return Route(
        str(told.get("description") or ""),
        str(told.get("expression") or ""),
        tuple(map(str, told.get("actions") or ())),
        int(told.get("priority") or 0),
        str(told.get("id") or ""),
    )
