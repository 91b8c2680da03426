"""Mailgun's domains, routes and webhooks on loopback, with what they keep.

Source: Mailgun "Domains", "Routes", "Domain webhooks", "Domain keys", read 2026-11.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, parse_qsl, urlsplit

from mailagent.mime import form
from tests.api_server import ApiServer, Reply, Request
from tests.mailgun_server import KEY

__all__ = ["MailgunControlServer"]

_FOUND = {"message": "Found"}
_GONE = Reply(404, {"message": "Domain not found"})


@dataclass
class MailgunControlServer(ApiServer):
    """One account in one region."""

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    dns: dict[str, Literal["all", "half", "wrong"]] = field(default_factory=dict)
    """What DNS says of a domain when Mailgun looks, which it does at each answer here."""
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    webhooks: dict[str, list[str]] = field(default_factory=dict)
    """Addresses by kind of event, of the one domain that a test has."""
    keys: dict[str, bool] = field(default_factory=dict)
    """Whether a key of ours is used, by selector."""
    refused: set[str] = field(default_factory=set)
    """`METHOD /path` that are answered 400."""

    @property
    def changes(self) -> list[str]:
        """What was asked for but reading."""
        return [f"{one.method} {one.path}" for one in self.requests if one.method != "GET"]

    def reply(self, request: Request) -> Reply:
        expected = base64.b64encode(f"api:{KEY}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return Reply(401, {"message": "Forbidden"})
        parts = urlsplit(request.path)
        if f"{request.method} {parts.path}" in self.refused:
            return Reply(400, {"message": "no"})
        match request.method, parts.path.strip("/").split("/"):
            case "POST", ["v4", "domains"]:
                return self._create(dict(_form(request)))
            case method, ["v4" | "v3", "domains", name, *rest]:
                if name not in self.known:
                    return _GONE
                return self._domain(method, name, rest, request)
            case "POST", ["v1", "dkim", "keys"]:
                posted = form.read(request.body, request.headers["content-type"])
                assert [one.name for one in posted.files] == ["pem"]
                (selector,) = posted.all("selector")
                self.keys[selector.decode()] = False
                return Reply(200, {})
            case method, ["v3", "routes", *rest]:
                return self._route(method, rest, request, parse_qs(parts.query))
        return Reply(404, {"message": "Not Found"})

    def _create(self, asked: dict[str, str]) -> Reply:
        if asked["name"] in self.known:
            return Reply(400, {"message": "This domain name is already taken"})
        self.known[asked["name"]] = {
            "name": asked["name"],
            "wildcard": asked["wildcard"] == "true",
            "spam_action": asked["spam_action"],
            "web_prefix": "email",
        }
        return Reply(200, self._told(asked["name"]))

    def _told(self, name: str) -> dict[str, Any]:
        seen = self.dns.get(name)
        state = "active" if seen == "all" else "unverified"
        valid = {"all": ["valid"] * 2, "half": ["valid", "unknown"], "wrong": ["invalid"] * 2}
        spf, dkim = valid[seen] if seen else ["unknown"] * 2
        cached = ["v=spf1 -all"] if seen == "wrong" else []
        sending = [
            ("TXT", name, "v=spf1 include:mailgun.org ~all", spf, cached),
            ("TXT", f"mx._domainkey.{name}", "k=rsa; p=MIGfMA0G", dkim, []),
            ("CNAME", f"email.{name}", "mailgun.org", "unknown", []),
        ]
        return {
            "domain": {**self.known[name], "state": state},
            "receiving_dns_records": [
                {"record_type": "MX", "priority": "10", "value": f"mx{one}.mailgun.org"}
                for one in "ab"
            ],
            "sending_dns_records": [
                dict(zip(("record_type", "name", "value", "valid", "cached"), one, strict=True))
                for one in sending
            ],
        }

    def _domain(self, method: str, name: str, rest: list[str], request: Request) -> Reply:
        match method, rest:
            case "GET", []:
                return Reply(200, self._told(name))
            case "PUT", []:
                self.known[name]["wildcard"] = dict(_form(request))["wildcard"] == "true"
            case "PUT", ["verify"]:
                return Reply(200, self._told(name))
            case "DELETE", []:
                del self.known[name]
            case "GET", ["keys"]:
                items = [
                    {"selector": one, "dns_record": {"is_active": active}}
                    for one, active in self.keys.items()
                ]
                return Reply(200, {"items": items})
            case "PUT", ["keys", selector, "activate"]:
                self.keys[selector] = True
            case "GET", ["webhooks"]:
                kinds = {kind: {"urls": urls} for kind, urls in self.webhooks.items()}
                return Reply(200, {"webhooks": kinds})
            case "POST", ["webhooks"]:
                (kind,) = [value for key, value in _form(request) if key == "id"]
                if kind in self.webhooks:
                    return Reply(400, {"message": "Webhook already exists"})
                self.webhooks[kind] = _urls(request)
            case "PUT", ["webhooks", kind]:
                self.webhooks[kind] = _urls(request)
            case "DELETE", ["webhooks", kind]:
                if self.webhooks.pop(kind, None) is None:
                    return Reply(404, {"message": "Webhook not found"})
            case _:
                return _GONE
        return Reply(200, _FOUND)

    def _route(
        self, method: str, rest: list[str], request: Request, query: dict[str, list[str]]
    ) -> Reply:
        if method == "GET":
            skip, limit = int(query["skip"][0]), int(query["limit"][0])
            listed = list(self.routes.values())
            page = listed[skip : skip + min(limit, 2)]  # pages of two, so that they are turned
            return Reply(200, {"total_count": len(listed), "items": page})
        if method == "DELETE":
            gone = self.routes.pop(rest[0], None)
            return Reply(200 if gone else 404, _FOUND)
        asked = _form(request)
        id_ = rest[0] if rest else f"{len(self.routes):024x}"
        self.routes[id_] = {
            "id": id_,
            **{key: value for key, value in asked if key in ("description", "expression")},
            "priority": int(dict(asked)["priority"]),
            "actions": [value for key, value in asked if key == "action"],
        }
        return Reply(200, {"message": "Route has been created", "route": self.routes[id_]})


def _form(request: Request) -> list[tuple[str, str]]:
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    return parse_qsl(request.body.decode(), keep_blank_values=True)


def _urls(request: Request) -> list[str]:
    urls = [value for key, value in _form(request) if key == "url"]
    assert 1 <= len(urls) <= 3
    return urls
