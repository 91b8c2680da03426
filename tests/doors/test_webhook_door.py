"""A webhook says yes only to what is kept, and each provider gets the status it needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from mailagent.doors.webhook_body import MOST_BYTES, Bodies
from mailagent.doors.webhook_door import WebhookDoor
from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import (
    Accepted,
    Duplicate,
    Envelope,
    Inbound,
    Later,
    Origin,
    Outcome,
    Replayed,
    Unrouted,
)
from mailagent.mail import Event, EventKind
from mailagent.webhook import Answered, WebhookRequest

SECRET = "s3cret-of-the-path"


@dataclass
class Carrier:
    """A provider whose requests are JSON: `{"to": [...], "key": "..."}`."""

    missing: Misconfigured | None = None
    seen: list[WebhookRequest] = field(default_factory=list)

    async def inbound(self, request: WebhookRequest) -> Sequence[Inbound]:
        self.seen.append(request)
        said = json.loads(request.body)
        match said.get("key", "right"):
            case "wrong":
                raise Unauthentic("the signature does not hold")
            case "elsewhere":
                raise Misconfigured("webhook", "these are events: send them to /webhooks/email/x")
            case "broken":
                raise ZeroDivisionError
        if "to" not in said:
            raise Malformed("to", "is missing")
        return [
            Inbound(Envelope("ann@x.example", (to,)), b"raw", "carrier", to, Origin(NOW))
            for to in said["to"]
        ]

    async def events(self, request: WebhookRequest) -> Sequence[Event]:
        said = json.loads(request.body)
        if said.get("key") == "wrong":
            raise Unauthentic("the signature does not hold")
        return [Event("carrier", "e1", EventKind.DELIVERED, NOW, "ann@x.example")]

    def answer(self, answered: Answered) -> int:
        match answered:
            case Accepted() | Duplicate() | Unrouted():
                return 200
            case Unauthentic() | Replayed():
                return 403
            case Malformed():
                return 406
            case _:
                return 503


NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@dataclass
class Keeper:
    """An acceptor that answers by the recipient's name."""

    kept: list[Inbound] = field(default_factory=list)

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        return [self._one(mail) for mail in batch]

    def _one(self, mail: Inbound) -> Outcome:
        match mail.envelope.rcpt_to[0]:
            case "nobody":
                return Unrouted(("nobody",))
            case "later":
                return Later("the disk is full")
            case "copied":
                return Replayed()
        self.kept.append(mail)
        return Accepted(("dlv_1",))


@dataclass
class Asked:
    """A door with one carrier, and one request to it."""

    carrier: Carrier = field(default_factory=Carrier)
    keeper: Keeper = field(default_factory=Keeper)
    unrouted: list[Inbound] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    open: frozenset[str] = frozenset()
    secret: str = SECRET
    bodies: Bodies = field(default_factory=Bodies)

    def __post_init__(self) -> None:
        async def remember(mail: Inbound) -> None:
            self.unrouted.append(mail)

        async def record(told: Sequence[Event]) -> None:
            self.told += told

        self.door = WebhookDoor(
            receivers={"carrier": self.carrier},
            reporters={"carrier": self.carrier},
            acceptor=self.keeper,
            record=record,
            remember=remember,
            now=lambda: NOW,
            secret=self.secret,
            open=self.open,
            _bodies=self.bodies,
        )

    async def post(
        self, path: str, body: bytes | dict[str, Any], *, method: str = "POST"
    ) -> tuple[int, str]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        chunks = [raw[i : i + 65_536] for i in range(0, len(raw) or 1, 65_536)]

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        headers = [(b"x-one", b"1"), (b"x-one", b"2")]
        scope = {"path": path, "method": method, "headers": headers, "client": ("192.0.2.9", 4)}
        return await self.door.handle(scope, receive)


async def test_what_is_kept_is_said_yes_to() -> None:
    asked = Asked()
    status, _ = await asked.post("/webhook/carrier", {"to": ["a", "b"]})
    assert status == 200
    assert [mail.envelope.rcpt_to for mail in asked.keeper.kept] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"to": ["a", "later"]}, 503),
        ({"to": ["a", "copied"]}, 403),
        ({"to": ["nobody"]}, 200),
        ({"key": "wrong"}, 403),
        ({}, 406),
        ({"key": "broken"}, 503),
        ({"key": "elsewhere"}, 503),
    ],
)
async def test_the_provider_chooses_the_status(said: dict[str, Any], status: int) -> None:
    assert (await Asked().post("/webhook/carrier", said))[0] == status


async def test_an_address_that_no_column_takes_is_malformed() -> None:
    asked = Asked()
    assert (await asked.post("/webhook/carrier", {"to": ["a", "a" * 321]}))[0] == 406
    assert asked.keeper.kept == []


async def test_mail_for_nobody_is_remembered_for_the_operator() -> None:
    asked = Asked()
    await asked.post("/webhook/carrier", {"to": ["nobody", "a"]})
    assert [mail.envelope.rcpt_to for mail in asked.unrouted] == [("nobody",)]


@pytest.mark.parametrize("path", ["/webhook/carrier/", "//webhook//carrier", "/webhook/carrier"])
async def test_slashes_change_nothing(path: str) -> None:
    assert (await Asked().post(path, {"to": ["a"]}))[0] == 200


async def test_the_secret_in_the_path_vouches_where_nothing_else_is_set() -> None:
    asked = Asked(Carrier(Misconfigured("CARRIER_KEY", "is not set")))
    assert (await asked.post("/webhook/carrier", {"to": ["a"]}))[0] == 503
    assert (await asked.post(f"/webhook/carrier/{SECRET}", {"to": ["a"]}))[0] == 200
    assert (await asked.post(f"/webhook/carrier/{SECRET}/mime/", {"to": ["a"]}))[0] == 200
    assert asked.carrier.seen[-1].path == ("mime",)
    assert asked.carrier.seen[-1].secret_in_path


async def test_a_wrong_secret_is_never_passed_on() -> None:
    asked = Asked()
    for path in ("/webhook/carrier/other", f"/webhook/carrier/{SECRET}/x", "/webhook/carrier/ü"):
        assert (await asked.post(path, {"to": ["a"]}))[0] == 403
    assert not asked.carrier.seen


async def test_mime_is_never_a_secret() -> None:
    asked = Asked(Carrier(Misconfigured("CARRIER_KEY", "is not set")), secret="mime")
    assert (await asked.post("/webhook/carrier/mime", {"to": ["a"]}))[0] == 503


async def test_no_secret_set_matches_no_secret_given() -> None:
    assert (await Asked(secret="").post("/webhook/carrier/x", {"to": ["a"]}))[0] == 403


async def test_a_webhook_that_nothing_authenticates_says_so_in_health() -> None:
    asked = Asked(Carrier(Misconfigured("CARRIER_KEY", "is not set")), secret="")
    assert "CARRIER_KEY" in asked.door.state()["/webhook/carrier"]
    opened = Asked(
        Carrier(Misconfigured("CARRIER_KEY", "is not set")), open=frozenset({"carrier"}), secret=""
    )
    assert (await opened.post("/webhook/carrier", {"to": ["a"]}))[0] == 200
    assert "open" in opened.door.state()["/webhook/carrier"]


async def test_what_came_to_the_wrong_address_stands_in_health() -> None:
    asked = Asked()
    await asked.post("/webhook/carrier", {"key": "elsewhere"})
    assert "/webhooks/email/x" in asked.door.state()["/webhook/carrier"]


async def test_a_body_over_the_limit_is_malformed_and_read_to_its_end() -> None:
    status, words = await Asked().post("/webhook/carrier", b" " * (MOST_BYTES + 1))
    assert status == 406
    assert "bytes" in words


async def test_too_much_at_once_is_later() -> None:
    asked = Asked(bodies=Bodies(most_at_once=100_000))
    assert (await asked.post("/webhook/carrier", b" " * 200_000))[0] == 503
    assert (await asked.post("/webhook/carrier", {"to": ["a"]}))[0] == 200


async def test_what_nobody_foresaw_is_later_and_tells_nothing() -> None:
    status, words = await Asked().post("/webhook/carrier", {"key": "broken"})
    assert status == 503
    assert "ZeroDivision" not in words


async def test_of_a_repeated_header_the_last_counts() -> None:
    asked = Asked()
    await asked.post("/webhook/carrier", {"to": ["a"]})
    assert asked.carrier.seen[0].header("X-One") == "2"


async def test_events_are_stored_before_they_are_said_yes_to() -> None:
    asked = Asked()
    assert await asked.post("/webhooks/email/carrier", {}) == (200, "all is kept")
    assert [event.source_event_id for event in asked.told] == ["e1"]
    assert (await asked.post("/webhooks/email/carrier", {"key": "wrong"}))[0] == 403

    async def fail(told: Sequence[Event]) -> None:
        raise OSError("the database is away")

    asked.door.record = fail
    assert (await asked.post(f"/webhooks/email/carrier/{SECRET}", {}))[0] == 503


async def test_a_failure_to_remember_is_later() -> None:
    asked = Asked()

    async def fail(mail: Inbound) -> None:
        raise TransientFailure("the database is away")

    asked.door.remember = fail
    assert (await asked.post("/webhook/carrier", {"to": ["nobody"]}))[0] == 503
