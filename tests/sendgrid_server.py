"""SendGrid's v3 Mail Send on loopback: what it documents, with its own words.

Source: Twilio SendGrid "Mail Send" (v3), "Errors", "Rate limits", read 2026-11-21.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.api_server import ApiServer, Reply, Request

__all__ = ["KEY", "MESSAGE_ID", "SendGridServer", "errors"]

KEY: Final = "SG.a-key-of-the-tests.0123456789"
MESSAGE_ID: Final = "aB3dE5fG7hJ9kLmN1pQ3rS"
_RESERVED = frozenset({"to", "from", "subject", "reply-to", "cc", "bcc", "received", "x-sg-id"})


def errors(status: int, message: str, path: str | None = None, **headers: str) -> Reply:
    """An error about one field; headers are given with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"errors": [{"message": message, "field": path, "help": None}]}, named)


@dataclass
class SendGridServer(ApiServer):
    """One account."""

    taken: list[dict[str, Any]] = field(default_factory=list)

    def reply(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return errors(401, "The provided authorization grant is invalid, expired, or revoked")
        if (request.method, request.path) != ("POST", "/v3/mail/send"):
            return errors(404, "not found")
        return self._send(request.json)

    def _send(self, mail: dict[str, Any]) -> Reply:
        seen = 0
        for number, one in enumerate(mail["personalizations"]):
            if not one.get("to"):
                path = f"personalizations.{number}.to"
                return errors(400, "The to array is required for all personalization objects", path)
            boxes = [box["email"] for name in ("to", "cc", "bcc") for box in one.get(name, [])]
            if len(set(boxes)) != len(boxes):
                return errors(400, "Each email address should be unique", "personalizations")
            for name in ("to", "cc", "bcc"):
                for place, box in enumerate(one.get(name, [])):
                    if ".." in box["email"]:
                        path = f"personalizations.{number}.{name}.{place}.email"
                        return errors(400, "Does not contain a valid address.", path)
            seen += len(boxes)
        if seen > 1_000:
            return errors(400, "too many recipients", "personalizations")
        if not mail.get("subject"):
            return errors(400, "The subject is required.", "subject")
        if [one["type"] for one in mail["content"]] not in (
            ["text/plain"],
            ["text/html"],
            ["text/plain", "text/html"],
        ):
            return errors(400, "If present, text/plain and text/html may only be provided once.")
        if _RESERVED & {name.lower() for name in mail.get("headers", {})}:
            return errors(400, "The headers property must not contain reserved headers.", "headers")
        self.taken.append(mail)
        return Reply(202, b"", {"X-Message-Id": MESSAGE_ID})
