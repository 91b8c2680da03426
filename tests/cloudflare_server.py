"""Cloudflare's API v4 as far as writing DNS needs it: `async with CloudflareServer() as server:`.

Zones and records are kept as the service keeps them: a batch stands whole or not at all, in the
documented order (deletes, patches, posts), with the documented codes.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.api_server import ApiServer, Reply, Request

__all__ = ["TOKEN", "CloudflareServer"]

TOKEN = "v1.0-example-token-of-the-tests-AbCdEf"
ZONE_ID = "023e105f4ecef8ad9ca31a8372d0c353"


@dataclass
class CloudflareServer(ApiServer):
    """One account with the zone `example.com`."""

    records: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    """Records on a page, however many are asked for."""
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def put(self, type_: str, name: str, content: str, **more: Any) -> None:
        """A record that somebody made."""
        self.records.append(self._record(type=type_, name=name, content=content, **more))

    def standing(self, name: str) -> list[tuple[str, str]]:
        """(type, content) at a name."""
        return sorted((one["type"], one["content"]) for one in self.records if one["name"] == name)

    def reply(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return _error(400, 9109, "Invalid access token")
        parts = urlsplit(request.path)
        query = dict(parse_qsl(parts.query))
        if parts.path == "/client/v4/zones":
            zones = [{"id": ZONE_ID, "name": "example.com"}]
            return self._paged([one for one in zones if one["name"] == query["name"]], query)
        below = f"/client/v4/zones/{ZONE_ID}/dns_records"
        if (request.method, parts.path) == ("GET", below):
            wanted = query["name.exact"]
            return self._paged([one for one in self.records if one["name"] == wanted], query)
        if (request.method, parts.path) == ("POST", f"{below}/batch"):
            return self._batch(request.json)
        return _error(404, 7003, "Could not route to that path")

    def _paged(self, found: list[Any], query: dict[str, str]) -> Reply:
        number = int(query.get("page", 1))
        shown = found[(number - 1) * self.page : number * self.page]
        pages = max(1, -(-len(found) // self.page))
        info = {"page": number, "per_page": self.page, "total_pages": pages}
        body = {"success": True, "errors": [], "result": shown, "result_info": info}
        return Reply(200, body)

    def _batch(self, body: dict[str, list[dict[str, Any]]]) -> Reply:
        after = [dict(one) for one in self.records]
        for one in [*body.get("deletes", []), *body.get("patches", [])]:
            if one["id"] not in {record["id"] for record in after}:
                return _error(400, 81044, "Record does not exist.")
        gone = {one["id"] for one in body.get("deletes", [])}
        after = [one for one in after if one["id"] not in gone]
        for change in body.get("patches", []):
            next(one for one in after if one["id"] == change["id"]).update(change)
        for made in body.get("posts", []):
            record = self._record(**made)
            same = [one for one in after if one["name"] == record["name"]]
            if any(one["content"] == record["content"] for one in same):
                return _error(400, 81058, "An identical record already exists.")
            if any("CNAME" in (one["type"], record["type"]) for one in same):
                return _error(400, 81054, "A CNAME record with that host already exists.")
            after.append(record)
        self.records = after
        return Reply(200, {"success": True, "errors": [], "result": body})

    def _record(self, **given: Any) -> dict[str, Any]:
        return {"id": f"rec{next(self._ids)}", "ttl": 1, "proxied": False, **given}


def _error(status: int, code: int, message: str) -> Reply:
    body = {"success": False, "errors": [{"code": code, "message": message}], "result": None}
    return Reply(status, json.dumps(body).encode())
