"""The identities and configuration sets of the SES API v2 on loopback, with what they keep.

moto plays neither DKIM tokens nor MAIL FROM. Source: botocore's model of `sesv2`, 2019-09-27.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.api_server import Reply, Request
from tests.ses_server import SesServer

__all__ = ["SesControlServer", "error"]

_TOKENS = (
    "aaaabbbbccccddddeeeeffffgggghhhh",
    "iiiijjjjkkkkllllmmmmnnnnoooopppp",
    "qqqqrrrrsssstttt",
)


def error(status: int, code: str, message: str = "no") -> Reply:
    return Reply(status, {"message": message}, {"x-amzn-ErrorType": code})


@dataclass
class SesControlServer(SesServer):
    """One account in one region. `published` is what DNS says of a domain."""

    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    sets: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Configuration sets by name, with their event destinations by name."""

    @property
    def changes(self) -> list[str]:
        """What was asked for but reading."""
        return [f"{one.method} {one.path}" for one in self.requests if one.method != "GET"]

    def reply(self, request: Request) -> Reply:
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match request.method, parts[2:]:
            case "POST", ["identities"]:
                return self._create(request.json)
            case method, ["identities", name, *rest]:
                if name not in self.identities:
                    return error(404, "NotFoundException", f"Email identity {name} does not exist.")
                return self._identity(method, name, rest, request)
            case method, ["configuration-sets", *rest]:
                return self._set(method, rest, request)
        return super().reply(request)

    def publish(self, domain: str, *, dkim: str, mail_from: str = "") -> None:
        """Let SES find a domain's records in this state."""
        one = self.identities[domain]
        one["DkimAttributes"]["Status"] = one["VerificationStatus"] = dkim
        one["VerifiedForSendingStatus"] = dkim == "SUCCESS"
        if mail_from:
            one["MailFromAttributes"]["MailFromDomainStatus"] = mail_from
        if dkim == "FAILED":
            one["VerificationInfo"] = {
                "ErrorType": "HOST_NOT_FOUND",
                "SOARecord": {"PrimaryNameServer": "ns1.dns.example"},
            }

    def _create(self, asked: Mapping[str, Any]) -> Reply:
        name = asked["EmailIdentity"]
        if name in self.identities:
            return error(400, "AlreadyExistsException", f"{name} already exists.")
        one = self.identities[name] = {
            "IdentityType": "DOMAIN",
            "FeedbackForwardingStatus": True,
            "VerifiedForSendingStatus": False,
            "VerificationStatus": "PENDING",
            "DkimAttributes": {"SigningEnabled": True, "SigningHostedZone": "dkim.amazonses.com"},
        }
        self._sign(one, asked.get("DkimSigningAttributes", {}))
        return Reply(200, one)

    def _sign(self, one: dict[str, Any], signing: Mapping[str, Any]) -> None:
        own = "DomainSigningSelector" in signing
        one["DkimAttributes"] |= {
            "Status": "PENDING",
            "SigningAttributesOrigin": "EXTERNAL" if own else "AWS_SES",
            "Tokens": [signing["DomainSigningSelector"]] if own else list(_TOKENS),
            "NextSigningKeyLength": signing.get("NextSigningKeyLength", "RSA_2048_BIT"),
        }
        one["VerificationStatus"] = "PENDING"
        one.pop("VerificationInfo", None)

    def _identity(self, method: str, name: str, rest: list[str], request: Request) -> Reply:
        one = self.identities[name]
        match method, rest:
            case "GET", []:
                return Reply(200, one)
            case "DELETE", []:
                del self.identities[name]
            case "PUT", ["dkim", "signing"]:
                self._sign(one, request.json.get("SigningAttributes", {}))
            case "PUT", ["mail-from"]:
                asked = request.json
                one.pop("MailFromAttributes", None)
                if asked.get("MailFromDomain"):
                    one["MailFromAttributes"] = {**asked, "MailFromDomainStatus": "PENDING"}
            case "PUT", ["feedback"]:
                one["FeedbackForwardingStatus"] = request.json["EmailForwardingEnabled"]
            case _:
                return Reply(404, {"message": "no such call"})
        return Reply(200, {})

    def _set(self, method: str, rest: list[str], request: Request) -> Reply:
        if method == "POST" and not rest:
            self.sets.setdefault(request.json["ConfigurationSetName"], {})
            return Reply(200, {})
        name, *below = rest
        if name not in self.sets:
            return error(404, "NotFoundException", f"Configuration set {name} does not exist.")
        match method, below:
            case "GET", []:
                return Reply(200, {"ConfigurationSetName": name})
            case "DELETE", []:
                del self.sets[name]
            case "GET", ["event-destinations"]:
                listed = [{"Name": key, **one} for key, one in self.sets[name].items()]
                return Reply(200, {"EventDestinations": listed})
            case "POST", ["event-destinations"]:
                asked = request.json
                self.sets[name][asked["EventDestinationName"]] = asked["EventDestination"]
            case "PUT", ["event-destinations", key]:
                self.sets[name][key] = request.json["EventDestination"]
            case "DELETE", ["event-destinations", key]:
                self.sets[name].pop(key, None)
            case _:
                return Reply(404, {"message": "no such call"})
        return Reply(200, {})
