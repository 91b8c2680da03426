"""SendGrid's domains, parse settings, policies and event webhooks on loopback, with what they keep.

Source: Twilio SendGrid "Domain Authentication", "Inbound Parse Webhook", "Securing your Inbound
Parse webhooks", "Event Webhook" (v3), read 2026-11.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tests.api_server import ApiServer, Reply, Request
from tests.sendgrid_server import KEY, errors

__all__ = ["EVENTS_KEY", "POLICY_KEY", "SendGridControlServer"]

POLICY_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpolicy=="
EVENTS_KEY = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEevents=="


@dataclass
class SendGridControlServer(ApiServer):
    """One account."""

    domains: dict[int, dict[str, Any]] = field(default_factory=dict)
    dns: dict[str, Literal["all", "half", "wrong"]] = field(default_factory=dict)
    """What DNS says of a domain when SendGrid looks, which it does at each answer here."""
    parse: dict[str, dict[str, Any]] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """`METHOD /path` that are answered 400."""

    @property
    def changes(self) -> list[str]:
        """What was asked for but reading."""
        return [f"{one.method} {one.path}" for one in self.requests if one.method != "GET"]

    def reply(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return errors(403, "access forbidden")
        path = urlsplit(request.path)
        if f"{request.method} {path.path}" in self.refused:
            return errors(400, "no")
        match path.path.removeprefix("/v3/").split("/"):
            case ["whitelabel", "domains", *rest]:
                return self._domain(request, rest, parse_qs(path.query))
            case ["user", "webhooks", "parse", "settings", *rest]:
                return self._parse(request, rest)
            case ["user", "webhooks", "security", "policies", *rest]:
                return self._policy(request, rest)
            case ["user", "webhooks", "event", "settings", *rest]:
                return self._event(request, rest)
        return errors(404, "not found")

    def _domain(self, request: Request, rest: list[str], query: dict[str, list[str]]) -> Reply:
        match request.method, rest:
            case "GET", []:
                # The filter finds parts of names too.
                named = [
                    one for one in self.domains.values() if query["domain"][0] in one["domain"]
                ]
                return Reply(200, [self._told(one) for one in named])
            case "POST", []:
                asked = request.json
                id_ = 302183 + len(self.domains)
                self.domains[id_] = {"id": id_, "subdomain": "em77", **asked}
                return Reply(201, self._told(self.domains[id_]))
            case method, [id_, *below] if int(id_) in self.domains:
                one = self._told(self.domains[int(id_)])
                if (method, below) == ("POST", ["validate"]):
                    results = {
                        key: {"valid": of["valid"], "reason": None if of["valid"] else "Expected"}
                        for key, of in one["dns"].items()
                    }
                    return Reply(200, {"valid": one["valid"], "validation_results": results})
                if method == "DELETE":
                    del self.domains[int(id_)]
                    return Reply(204)
        return errors(404, "not found")

    def _told(self, one: dict[str, Any]) -> dict[str, Any]:
        domain, seen = one["domain"], self.dns.get(one["domain"])
        records = {
            "mail_cname": (f"{one['subdomain']}.{domain}", "u1446226.wl.sendgrid.net"),
            "dkim1": (f"s1._domainkey.{domain}", "s1.domainkey.u1446226.wl.sendgrid.net"),
            "dkim2": (f"s2._domainkey.{domain}", "s2.domainkey.u1446226.wl.sendgrid.net"),
        }
        valid = {"all": list(records), "half": ["mail_cname"]}.get(seen or "", [])
        dns = {
            key: {"valid": key in valid, "type": "cname", "host": host, "data": data}
            for key, (host, data) in records.items()
        }
        return {**one, "valid": seen == "all", "dns": dns}

    def _parse(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", []:
                return Reply(200, {"result": list(self.parse.values())})
            case "POST", []:
                asked = request.json
                if asked["hostname"] in self.parse:
                    return errors(400, "duplicate entry for hostname", "hostname")
                self.parse[asked["hostname"]] = asked
                return Reply(201, asked)
            case method, [host] if host in self.parse:
                if method == "PATCH":
                    assert "hostname" not in request.json
                    self.parse[host] |= request.json
                if method == "DELETE":
                    del self.parse[host]
                    return Reply(204)
                return Reply(200, self.parse[host])
        return errors(404, "not found")

    def _policy(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", []:
                return Reply(200, {"policies": list(self.policies.values())})
            case "POST", []:
                id_ = f"policy-{len(self.policies)}"
                signature = {"public_key": POLICY_KEY}
                self.policies[id_] = {**request.json, "id": id_, "signature": signature}
                return Reply(201, {"policy": self.policies[id_]})
            case "DELETE", [id_] if self.policies.pop(id_, None):
                return Reply(204)
        return errors(404, "not found")

    def _event(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", ["all"]:
                return Reply(200, {"max_allowed": 5, "webhooks": list(self.events.values())})
            case "POST", []:
                id_ = f"hook-{len(self.events)}"
                self.events[id_] = {"id": id_, "public_key": "", **request.json}
                return Reply(201, self.events[id_])
            case "PATCH", ["signed", id_] if id_ in self.events:
                key = EVENTS_KEY if request.json["enabled"] else ""
                self.events[id_]["public_key"] = key
                return Reply(200, {"id": id_, "public_key": key})
            case "PATCH", [id_] if id_ in self.events:
                self.events[id_] |= request.json
                return Reply(200, self.events[id_])
            case "DELETE", [id_] if self.events.pop(id_, None):
                return Reply(204)
        return errors(404, "not found")
