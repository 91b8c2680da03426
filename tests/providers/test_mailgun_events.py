"""Mailgun's words for what became of a mail are ours, one table, and each event is told once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from mailagent.errors import Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.mail import Event, EventKind
from mailagent.providers.mailgun_events import MailgunReporter
from mailagent.webhook import WebhookRequest
from tests.providers.mailgun_posts import DATA, KEY, event, request, signed, urlencoded

FAILED = json.loads((DATA / "event-failed-permanent.json").read_text())


async def tell(data: Any, *, key: str = KEY, **signature: str) -> Event:
    (told,) = await MailgunReporter(key).events(request(event(data, **signature)))
    return told


def failure(**status: Any) -> dict[str, Any]:
    return {**FAILED, "delivery-status": {**FAILED["delivery-status"], **status}}


async def test_a_bounce_is_told_with_its_mail_its_recipient_and_its_cause() -> None:
    told = await tell(FAILED)
    assert told == Event(
        source="mailgun",
        source_event_id="2026-11-21:pl271Example",
        kind=EventKind.BOUNCED_HARD,
        at=datetime(2026, 11, 21, 8, 33, 19, 500_000, tzinfo=UTC),
        recipient="gone@customer.example",
        message_ids=("<reply-43@acme.example>",),
        detail="bounce: 550 5.1.1 no such user",
        raw=FAILED,
    )


async def test_an_event_without_a_delivery_status_is_told() -> None:
    told = await tell(json.loads((DATA / "event-opened.json").read_text()))
    assert (told.kind, told.detail) == (EventKind.OPENED, "")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"event": "delivered"}, EventKind.DELIVERED),
        ({"event": "opened"}, EventKind.OPENED),
        ({"event": "clicked", "url": "https://acme.example/"}, EventKind.CLICKED),
        ({"event": "unsubscribed"}, EventKind.UNSUBSCRIBED),
        ({"event": "complained"}, EventKind.COMPLAINED),
        ({"event": "rejected", "reject": {"reason": "virus"}}, EventKind.REJECTED),
        ({"severity": "temporary"}, EventKind.DELAYED),
        ({"severity": "temporary", "reason": "espblock"}, EventKind.DELAYED),
        ({"reason": "suppress-bounce"}, EventKind.REJECTED),
        ({"reason": "suppress-complaint"}, EventKind.REJECTED),
        ({"reason": "suppress-unsubscribe"}, EventKind.REJECTED),
        ({"reason": "old"}, EventKind.BOUNCED_SOFT),
        ({"reason": "espblock"}, EventKind.BLOCKED),
        ({"reason": "hardfail"}, EventKind.BOUNCED_HARD),
        ({"reason": "a new one"}, EventKind.BOUNCED_HARD),
        ({"delivery-status": None}, EventKind.BOUNCED_SOFT),
        ({"event": "accepted"}, EventKind.UNKNOWN),
        ({"event": "stored"}, EventKind.UNKNOWN),
        ({"event": "teleported"}, EventKind.UNKNOWN),
        ({"severity": "medium"}, EventKind.UNKNOWN),
        ({"severity": None}, EventKind.UNKNOWN),
    ],
)
async def test_every_word_has_its_kind(said: dict[str, Any], kind: EventKind) -> None:
    assert (await tell({**FAILED, **said})).kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({"message": "5.2.2 mailbox full", "enhanced-code": "5.2.2"}, EventKind.BOUNCED_SOFT),
        ({"message": "5.7.1 blocked as spam", "enhanced-code": "5.7.1"}, EventKind.BLOCKED),
        ({"message": "5.7.1 blocked as spam", "enhanced-code": ""}, EventKind.BLOCKED),
        ({"message": "no such user here", "enhanced-code": ""}, EventKind.BOUNCED_HARD),
        ({"message": "something else", "enhanced-code": ""}, EventKind.BOUNCED_SOFT),
        ({"message": "4.1.1 cannot look it up", "enhanced-code": "4.1.1"}, EventKind.BOUNCED_SOFT),
    ],
)
async def test_a_failure_is_hard_only_when_the_address_is_dead(
    status: dict[str, Any], kind: EventKind
) -> None:
    assert (await tell(failure(**status))).kind is kind


async def test_the_same_id_on_another_day_is_another_event() -> None:
    same, again = await tell(FAILED), await tell(FAILED, timestamp="1795250002", token="0" * 50)
    tomorrow = await tell({**FAILED, "timestamp": FAILED["timestamp"] + 86_400})
    assert same.source_event_id == again.source_event_id != tomorrow.source_event_id


async def test_every_changed_byte_of_the_signature_is_unauthentic() -> None:
    body, content_type = event(FAILED)
    for name, value in signed():
        assert isinstance(value, str)
        for at in range(len(value)):
            other = value[:at] + ("1" if value[at] != "1" else "2") + value[at + 1 :]
            changed = body.replace(f'"{name}": "{value}"'.encode(), f'"{name}": "{other}"'.encode())
            with pytest.raises(Unauthentic):
                await MailgunReporter(KEY).events(request((changed, content_type)))


async def test_a_stale_event_is_tried_again() -> None:
    with pytest.raises(TransientFailure):
        await tell(FAILED, timestamp="1795210000")


async def test_without_a_key_a_vouched_address_is_enough() -> None:
    body = json.dumps({"event-data": FAILED}).encode()
    posted = request((body, "application/json"), vouched=True)
    (told,) = await MailgunReporter("").events(posted)
    assert told.kind is EventKind.BOUNCED_HARD
    assert MailgunReporter("").missing is not None


async def test_a_mail_at_the_address_for_events_is_told_where_it_belongs() -> None:
    with pytest.raises(Misconfigured, match="/webhook/mailgun/mime"):
        await MailgunReporter(KEY).events(request(urlencoded([("recipient", "a@b"), *signed()])))
    with pytest.raises(Unauthentic):
        await MailgunReporter(KEY).events(request(urlencoded(signed(key="another"))))


MISSING_OR_WRONG: dict[str, tuple[Any, ...]] = {
    "event": ("", None, 5, []),
    "id": ("", None, 5, "x" * 300),
    "timestamp": (None, "soon", True, -1, 1e300, []),
    "message": ("x", 5, {"headers": []}),
    "delivery-status": ("x", {"code": "x"}, {"message": 5}),
    "recipient": (5,),
    "reason": ({},),
    "severity": (1,),
}


@pytest.mark.parametrize("name", MISSING_OR_WRONG)
async def test_a_field_that_is_missing_or_wrong_is_malformed(name: str) -> None:
    for value in MISSING_OR_WRONG[name]:
        with pytest.raises(Malformed):
            await tell({**FAILED, name: value})


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"1", b"{", b"[" * 50_000, b'{"a": NaN}', b" " * 1_100_000]
)
async def test_what_is_no_event_is_malformed(body: bytes) -> None:
    posted = WebhookRequest(
        body=body, headers={"content-type": "application/json"}, received_at=signed_at()
    )
    with pytest.raises(Malformed):
        await MailgunReporter(KEY).events(posted)


def signed_at() -> datetime:
    return datetime.fromtimestamp(1_795_250_000, UTC)


async def test_what_a_database_cannot_keep_is_not_in_the_event() -> None:
    told = await tell({**FAILED, "recipient": "a\x00b@c", "tags": ["\ud800", "x\x00"]})
    assert told.recipient == "ab@c"
    assert told.raw["tags"] == ["", "x"]
