"""Mailgun on loopback: takes mail, lists its events, keeps stored mail.

Source: Mailgun "Sending messages", "Events", "Retrieving stored messages".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from mailagent.mime import form
from mailagent.mime.headers import raw_fields
from tests.api_server import ApiServer, Reply, Request

__all__ = ["KEY", "MailgunServer", "Taken"]

KEY: Final = "key-of-the-tests-3ax6xnjp29jd6fds4gc373sgvjxteol0"


@dataclass(frozen=True, slots=True)
class Taken:
    """One mail that was answered with 200."""

    domain: str
    to: tuple[str, ...]
    tags: tuple[str, ...]
    mime: bytes


@dataclass
class MailgunServer(ApiServer):
    """`domains` are the account's; of `stored` the key is the last part of the address."""

    domains: frozenset[str] = frozenset({"acme.example"})
    stored: dict[str, str] = field(default_factory=dict)
    kept: list[dict[str, Any]] = field(default_factory=list)
    """Events of mail that came in, oldest first; two a page."""
    taken: list[Taken] = field(default_factory=list)

    def reply(self, request: Request) -> Reply:
        expected = base64.b64encode(f"api:{KEY}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return Reply(401, {"message": "Forbidden"})
        parts = urlsplit(request.path)
        match parts.path.strip("/").split("/"):
            case ["v3", domain, "messages.mime"] if request.method == "POST":
                return self._take(domain, request)
            case ["v3", domain, "events"] if "begin" in parse_qs(parts.query):
                return self._kept(domain, 0)
            case ["v3", domain, "events", page]:
                return self._kept(domain, int(page))
            case ["v3", _, "events"]:
                return self._events({k: v[-1] for k, v in parse_qs(parts.query).items()})
            case ["v3", "domains", _, "messages", key]:
                return self._keep(key, request)
        return Reply(404, {"message": "Not Found"})

    def _take(self, domain: str, request: Request) -> Reply:
        if domain not in self.domains:
            return Reply(404, {"message": f"Domain not found: {domain}"})
        posted = form.read(request.body, request.headers["content-type"])
        files = [one for one in posted.files if one.name == "message"]
        if not files:
            return Reply(400, {"message": "'message' parameter is not a file"})
        to = tuple(value.decode() for value in posted.all("to"))
        if not to or any(not re.fullmatch(r"[^@\s]+@[^@\s]+", one) for one in to):
            said = "to parameter is not a valid address. please check documentation"
            return Reply(400, {"message": said})
        tags = tuple(value.decode() for value in posted.all("o:tag"))
        self.taken.append(Taken(domain, to, tags, files[0].value))
        return Reply(200, {"id": _message_id(files[0].value), "message": "Queued. Thank you."})

    def _events(self, query: Mapping[str, str]) -> Reply:
        items = [
            {"event": "accepted", "recipient": to}
            for one in self.taken
            for to in one.to
            if to == query.get("recipient")
            and _message_id(one.mime).strip("<>") == query.get("message-id")
        ]
        return Reply(200, {"items": items, "paging": {}})

    def _kept(self, domain: str, page: int) -> Reply:
        """As Mailgun pages: a next address is always there, and leads to an empty page at last."""
        if domain not in self.domains:
            return Reply(404, {"message": "Domain not found"})
        items = self.kept[2 * page : 2 * page + 2]
        following = f"https://api.mailgun.net/v3/{domain}/events/{page + 1}"
        return Reply(200, {"items": items, "paging": {"next": following}})

    def _keep(self, key: str, request: Request) -> Reply:
        if request.headers.get("accept") != "message/rfc2822" or key not in self.stored:
            return Reply(404, {"message": "Message not found"})
        return Reply(200, {"sender": "a@b", "body-mime": self.stored[key]})


def _message_id(mime: bytes) -> str:
    return next(value.decode() for name, value in raw_fields(mime) if name.lower() == b"message-id")
