"""Postmark's domains, servers and webhooks on loopback, with what they keep.

Source: Postmark "Domains API", "Servers API", "Server API", "Webhooks API", "API error codes".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.api_server import ApiServer, Reply, Request
from tests.postmark_server import TOKEN, error

__all__ = ["ACCOUNT_TOKEN", "PostmarkControlServer"]

ACCOUNT_TOKEN = "22222222-3333-4444-8555-666666666666"
_PAGE = 1
"""Entries of a list at once, so that pages are turned."""


def _server(**more: Any) -> dict[str, Any]:
    return {
        "InboundDomain": "",
        "InboundHookUrl": "",
        "RawEmailEnabled": False,
        "ApiTokens": [TOKEN],
        **more,
    }


@dataclass
class PostmarkControlServer(ApiServer):
    """One account, with a server of the token of tests."""

    domains: dict[int, dict[str, Any]] = field(default_factory=dict)
    servers: dict[int, dict[str, Any]] = field(
        default_factory=lambda: {1: _server(ID=1, Name="by hand")}
    )
    webhooks: dict[int, dict[str, Any]] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)
    """Domains whose MX leads to Postmark, names whose record it finds."""
    refused: set[str] = field(default_factory=set)
    """`METHOD /path` that are answered 422."""

    @property
    def changes(self) -> list[str]:
        """What was asked for but reading."""
        return [f"{one.method} {one.path}" for one in self.requests if one.method != "GET"]

    def reply(self, request: Request) -> Reply:
        path = urlsplit(request.path)
        parts, query = path.path.strip("/").split("/"), parse_qs(path.query)
        if f"{request.method} {path.path}" in self.refused:
            return error(606, "no")
        if parts[0] in ("domains", "servers"):
            if request.headers.get("x-postmark-account-token") != ACCOUNT_TOKEN:
                return error(10, "Request does not contain a valid Account token.", 401)
        elif request.headers.get("x-postmark-server-token") != TOKEN:
            return error(10, "Request does not contain a valid Server token.", 401)
        kept: dict[str, dict[int, dict[str, Any]]] = {
            "domains": self.domains,
            "servers": self.servers,
            "webhooks": self.webhooks,
        }
        match request.method, parts:
            case "GET", ["domains" | "servers" as what]:
                return _listed(what.capitalize(), list(kept[what].values()), query)
            case "GET", ["webhooks"]:
                return Reply(200, {"Webhooks": list(self.webhooks.values())})
            case "GET", ["server"]:
                return Reply(200, self._ours())
            case "PUT", ["server"]:
                return self._put_server(self._ours(), request.json)
            case "POST", ["domains"]:
                return self._add_domain(request.json)
            case "POST", ["servers"]:
                return self._add(self.servers, _server(**request.json), self._checked)
            case "POST", ["webhooks"]:
                return self._add(self.webhooks, request.json, lambda _: None)
            case method, [what, id_, *rest] if int(id_) in kept[what]:
                return self._entry(method, kept[what], int(id_), rest, request)
        return error(510, "not found", 404)

    def _ours(self) -> dict[str, Any]:
        return next(one for one in self.servers.values() if TOKEN in one["ApiTokens"])

    def _entry(
        self,
        method: str,
        of: dict[int, dict[str, Any]],
        id_: int,
        rest: list[str],
        request: Request,
    ) -> Reply:
        match method, rest:
            case "GET", []:
                return Reply(200, of[id_])
            case "DELETE", []:
                del of[id_]
                return Reply(200, {"ErrorCode": 0, "Message": "removed."})
            case "PUT", ["verifyDkim"]:
                self._look(of[id_])
            case "PUT", ["verifyReturnPath"]:
                self._look(of[id_])
            case "PUT", [] if of is self.servers:
                return self._put_server(of[id_], request.json)
            case "PUT", []:
                of[id_] |= request.json
        return Reply(200, of[id_])

    def _put_server(self, one: dict[str, Any], asked: dict[str, Any]) -> Reply:
        refusal = self._checked(asked)
        if refusal is None:
            one |= asked
        return refusal or Reply(200, one)

    def _checked(self, asked: dict[str, Any]) -> Reply | None:
        domain = asked.get("InboundDomain")
        if domain and any(one["InboundDomain"] == domain for one in self.servers.values()):
            return error(602, "This inbound domain is already in use.")
        if domain and domain not in self.published:
            return error(610, "The MX record of the inbound domain does not lead to Postmark.")
        return None

    def _add(
        self,
        of: dict[int, dict[str, Any]],
        asked: dict[str, Any],
        checked: Callable[[dict[str, Any]], Reply | None],
    ) -> Reply:
        refusal = checked(asked)
        if refusal is None:
            id_ = max(of, default=0) + 1
            of[id_] = {"ID": id_, **asked}
        return refusal or Reply(200, of[id_])

    def _add_domain(self, asked: dict[str, Any]) -> Reply:
        if any(one["Name"] == asked["Name"] for one in self.domains.values()):
            return error(512, "This domain already exists.")
        id_ = max(self.domains, default=36735) + 1
        self.domains[id_] = {
            "ID": id_,
            "Name": asked["Name"],
            "DKIMVerified": False,
            "DKIMHost": "",
            "DKIMTextValue": "",
            "DKIMPendingHost": f"20261121010000pm._domainkey.{asked['Name']}",
            "DKIMPendingTextValue": "k=rsa;p=MIGfMA0G",
            "DKIMUpdateStatus": "Pending",
            "ReturnPathDomain": asked.get("ReturnPathDomain", ""),
            "ReturnPathDomainVerified": False,
            "ReturnPathDomainCNAMEValue": "pm.mtasv.net",
        }
        return Reply(200, self.domains[id_])

    def find(self, domain: str, *records: str) -> None:
        """Let Postmark look at a domain, where these of its names have their records."""
        self.published |= set(records)
        self._look(next(one for one in self.domains.values() if one["Name"] == domain))

    def _look(self, one: dict[str, Any]) -> None:
        if "dkim" in self.published and one["DKIMPendingHost"]:
            one |= {"DKIMHost": one["DKIMPendingHost"], "DKIMVerified": True}
            one |= {"DKIMTextValue": one["DKIMPendingTextValue"], "DKIMUpdateStatus": "Verified"}
            one |= {"DKIMPendingHost": "", "DKIMPendingTextValue": ""}
        one["ReturnPathDomainVerified"] = "return_path" in self.published


def _listed(what: str, all_: list[dict[str, Any]], query: dict[str, list[str]]) -> Reply:
    count, offset = int(query["count"][0]), int(query["offset"][0])
    page = all_[offset : offset + min(count, _PAGE)]
    return Reply(200, {"TotalCount": len(all_), what: page})
