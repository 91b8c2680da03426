"""Writing into a zone at Cloudflare.

Follows the API v4 reference ("List Zones", "List DNS Records", "Batch DNS Records") and its page of
limits, read in November 2026. A plan is one batch, which Cloudflare carries out whole or not at
all. Records are written as "DNS only": behind the proxy no mail record works.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from backend.domains.dns_writers.plan import Plan, Published, Step
from backend.domains.dns_writers.text import joined, quoted
from mailagent.errors import (
    Conflict,
    MailagentError,
    Malformed,
    NotFound,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.identity import DnsRecord
from mailagent.providers.api import TIMES, Answer, Api, Times, base_url, wait_of

__all__ = ["Cloudflare"]

_BASE = "https://api.cloudflare.com/client/v4"
_PROXIABLE = frozenset({"A", "AAAA", "CNAME"})
_TYPES = _PROXIABLE | {"MX", "NS", "SRV", "TXT"}
_TOKEN_CODES = frozenset({6003, 6111, 9106, 9109, 10000, 10001})
_CHANGED_CODES = frozenset({81044, 81053, 81054, 81056, 81057, 81058})
"""A record is gone, or one is there that was not: somebody wrote since we read."""
_A_PAGE = 100
_MOST_PAGES = 50


class Cloudflare:
    """The zones that one API token may edit."""

    title = "Cloudflare"

    def __init__(self, token: str, *, base: str = _BASE, times: Times = TIMES) -> None:
        self._api = Api(
            base, secret=token, headers={"Authorization": f"Bearer {token}"}, times=times
        )

    @classmethod
    def open(cls, token: str, base: str) -> Self:
        """`token` is an API token with Zone:Read and DNS:Edit for the zone. Raises Malformed."""
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise Malformed("token", "must be an API token of Cloudflare with DNS:Edit on the zone")
        return cls(token, base=base_url("CLOUDFLARE_BASE_URL", base, _BASE))

    async def published(self, zone: str, names: Sequence[str]) -> Sequence[Published]:
        """What stands at these names. Raises NotFound, PermanentFailure, TransientFailure."""
        zone_id = await self._zone_id(zone)
        found: list[Published] = []
        for name in names:
            there = await self._pages(f"/zones/{zone_id}/dns_records", {"name.exact": name})
            found.extend(
                _published(name, one)
                for one in there
                if one.get("type") in _TYPES and str(one.get("name", "")).lower() == name
            )
        return found

    async def apply(self, plan: Plan) -> None:
        """Write what a plan changes. Raises Conflict when the zone has changed since it was made,
        UncertainDelivery when no answer came; else as `published`.
        """
        batch: dict[str, list[dict[str, Any]]] = {"deletes": [], "patches": [], "posts": []}
        for step in plan.changes:
            _add(step, batch)
        if any(batch.values()):
            zone_id = await self._zone_id(plan.zone)
            body = {kind: entries for kind, entries in batch.items() if entries}
            path = f"/zones/{zone_id}/dns_records/batch"
            _read(await self._api.post(path, json.dumps(body).encode()), writes=True)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()

    async def _zone_id(self, zone: str) -> str:
        found = [one for one in await self._pages("/zones", {"name": zone}) if one["name"] == zone]
        if not found:
            raise NotFound(f"the token at Cloudflare sees no zone {zone}: give it Zone:Read there")
        return str(found[0]["id"])

    async def _pages(self, path: str, query: Mapping[str, str]) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for page in range(1, _MOST_PAGES + 1):
            answer = await self._api.get(
                path, {**query, "per_page": str(_A_PAGE), "page": str(page)}
            )
            body = _read(answer, writes=False)
            found += body.get("result") or []
            if page >= int((body.get("result_info") or {}).get("total_pages") or 1):
                break
        return found


def _add(step: Step, batch: Mapping[str, list[dict[str, Any]]]) -> None:
    """What a step leaves is not touched; what differs takes the id of what it replaces."""
    kept = [one for one in step.before if one.record in step.after and not one.proxied]
    there = [one.record for one in kept]
    going = [one for one in step.before if one not in kept]
    coming = [one for one in step.after if one not in there]
    for old, new in zip(going, coming, strict=False):
        batch["patches"].append({"id": old.key, **_entry(new, step.ttl)})
    batch["deletes"].extend({"id": one.key} for one in going[len(coming) :])
    batch["posts"].extend(_entry(one, step.ttl) for one in coming[len(going) :])


def _entry(record: DnsRecord, ttl: int) -> dict[str, Any]:
    content = quoted(record.value) if record.type == "TXT" else record.value
    entry: dict[str, Any] = {"type": record.type, "name": record.name, "content": content}
    entry["ttl"] = ttl
    if record.priority is not None:
        entry["priority"] = record.priority
    if record.type in _PROXIABLE:
        entry["proxied"] = False
    return entry


def _published(name: str, one: Mapping[str, Any]) -> Published:
    type_, content = one["type"], str(one.get("content", ""))
    value = joined(content) if type_ == "TXT" else content.removesuffix(".")
    priority = int(one["priority"]) if type_ in ("MX", "SRV") and "priority" in one else None
    return Published(
        DnsRecord(type_, name, value, priority),
        int(one.get("ttl", 1)),
        str(one["id"]),
        proxied=bool(one.get("proxied")),
        special="locked by another product" if one.get("locked") else "",
    )


def _read(answer: Answer, *, writes: bool) -> Mapping[str, Any]:
    """The body of a success. Raises by status and by the codes in `errors`."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if isinstance(body, dict) and answer.status == 200 and body.get("success"):
        return body
    errors = body.get("errors") if isinstance(body, dict) else None
    codes = {one.get("code") for one in errors or [] if isinstance(one, dict)}
    said = "; ".join(str(one.get("message")) for one in errors or [] if isinstance(one, dict))
    code = ", ".join(str(one) for one in sorted(map(str, codes))) or str(answer.status)
    raise _failure(answer, codes, answer.words(said) or f"HTTP {answer.status}", code, writes)


def _failure(
    answer: Answer, codes: set[Any], words: str, code: str, writes: bool
) -> MailagentError:
    if answer.status == 429:
        at = wait_of(answer, datetime.now(UTC))
        return TransientFailure(f"Cloudflare asks to wait: {words}", code=code, retry_at=at)
    if answer.status >= 500:
        if writes:
            reason = f"Cloudflare may have taken the change ({words}): run it again, it looks first"
            return UncertainDelivery(reason, code=code)
        return TransientFailure(f"Cloudflare is in trouble: {words}", code=code)
    if answer.status in (401, 403) or codes & _TOKEN_CODES:
        reason = f"Cloudflare refuses the token ({code}): it needs Zone:Read and DNS:Edit"
        return PermanentFailure(reason, code=code, about="account", credentials=True)
    if codes & _CHANGED_CODES:
        return Conflict(f"the zone has changed since the plan, nothing was written: {words}")
    return PermanentFailure(f"Cloudflare refuses ({code}): {words}", code=code, about="message")
