"""Postmark's Email API on loopback: what it documents, with its own words.

Source: Postmark "Email API", "API error codes", "Messages API", read 2026-11-21.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import getaddresses
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.api_server import ApiServer, Reply, Request

__all__ = ["MESSAGE_ID", "TOKEN", "PostmarkServer", "error"]

TOKEN: Final = "11111111-2222-4333-8444-555555555555"
MESSAGE_ID: Final = "0a129aee-e1cd-480d-b08d-4f48548ff48d"


def error(code: int, message: str, status: int = 422, **headers: str) -> Reply:
    """An error; headers are given with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"ErrorCode": code, "Message": message}, named)


@dataclass
class PostmarkServer(ApiServer):
    """One Postmark server, with the addresses that it writes to no more."""

    inactive: frozenset[str] = frozenset()
    taken: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    """Inbound mail that it gave up to hand over."""
    retried: list[str] = field(default_factory=list)

    def reply(self, request: Request) -> Reply:
        if request.headers.get("x-postmark-server-token") != TOKEN:
            return error(10, "Request does not contain a valid Server token.", 401)
        path = urlsplit(request.path)
        if (request.method, path.path) == ("GET", "/messages/outbound"):
            return self._found(parse_qs(path.query))
        if (request.method, path.path) == ("GET", "/messages/inbound"):
            return self._given_up(parse_qs(path.query))
        if request.method == "PUT" and path.path.endswith("/retry"):
            return self._retry(path.path.split("/")[3])
        if (request.method, path.path) != ("POST", "/email"):
            return error(0, "Not found", 404)
        if request.headers.get("content-type") != "application/json":
            return error(409, "The 'Content-Type' HTTP header is missing or not JSON.")
        return self._send(request.json)

    def _given_up(self, asked: dict[str, list[str]]) -> Reply:
        offset, count = int(asked["offset"][0]), int(asked["count"][0])
        if asked["status"] != ["failed"] or count > 500:
            return error(300, "count is at most 500")
        found = self.failed[offset : offset + count]
        return Reply(200, {"TotalCount": len(self.failed), "InboundMessages": found})

    def _retry(self, message_id: str) -> Reply:
        if message_id not in {one["MessageID"] for one in self.failed}:
            return error(701, "This message was not found.")
        self.retried.append(message_id)
        return Reply(200, {"ErrorCode": 0, "Message": "Successfully rescheduled failed message."})

    def _send(self, mail: dict[str, Any]) -> Reply:
        fields = [mail[name] for name in ("To", "Cc", "Bcc") if mail.get(name)]
        recipients = {address.lower() for _, address in getaddresses(fields)}
        if not recipients:
            return error(300, "Zero recipients specified")
        if len(recipients) > 50:
            return error(300, "Too many recipients: 50 at most.")
        if not (mail.get("TextBody") or mail.get("HtmlBody")):
            return error(300, "Provide either email TextBody or HtmlBody or both.")
        inactive = sorted(recipients & self.inactive)
        listed = f"inactive addresses: {', '.join(inactive)}. Inactive recipients are ones that "
        listed += "have generated a hard bounce, a spam complaint, or a manual suppression."
        if recipients == set(inactive):
            tried = "You tried to send to recipient(s) that have been marked as inactive."
            return error(406, f"{tried} Found {listed}")
        self.taken.append(mail)
        return Reply(
            200,
            {
                "To": mail.get("To", ""),
                "SubmittedAt": "2026-11-21T09:30:00.1234567Z",
                "MessageID": MESSAGE_ID,
                "ErrorCode": 0,
                "Message": f"Message OK, but will not deliver to these {listed}"
                if inactive
                else "OK",
            },
        )

    def _found(self, asked: dict[str, list[str]]) -> Reply:
        wanted = asked["metadata_message_id"][0]
        found = [one for one in self.taken if one["Metadata"]["message_id"] == wanted]
        messages = [{"MessageID": MESSAGE_ID, "Recipients": [asked["recipient"][0]]} for _ in found]
        return Reply(200, {"TotalCount": len(found), "Messages": messages})
