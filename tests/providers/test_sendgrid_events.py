"""SendGrid's events in our words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailagent.errors import Malformed, Misconfigured, Unauthentic
from mailagent.inbound import Accepted
from mailagent.mail import Event, EventKind
from mailagent.providers.sendgrid import SendGrid
from mailagent.providers.sendgrid_signature import WrongSignature
from mailagent.webhook import WebhookRequest, WebhookSettings
from tests.sendgrid_signer import PUBLIC_KEY, signed

DATA = Path(__file__).parents[1] / "data" / "sendgrid"
NOW = datetime.fromtimestamp(1795251700, UTC)
SIGNED_BY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEapEuKGdfl6fdDAwuHSPi6OSHlhhZ8NyXq1d3jq5BfBUqqV/OcKc46Ngj"
    "cyzvMLGU1pktjTqvhXpCXWX+BbmpVQ=="
)
SIGNATURE = {
    "x-twilio-email-event-webhook-signature": (
        "MEQCICMgymOa33Q+s/oitflcYJij1yD3ue88hKG9L7Wi2U4hAiAx4a3lh5+rrCYi3dvhrmQTEV2GPd0JdMPOFVzYXUCJ"
        "dQ=="
    ),
    "x-twilio-email-event-webhook-timestamp": "1795251605",
}


async def no_fetch(url: str) -> bytes:
    raise AssertionError(url)


REPORTER = SendGrid.reporter(WebhookSettings({"SENDGRID_WEBHOOK_PUBLIC_KEY": PUBLIC_KEY}), no_fetch)


async def told(*events: object) -> Sequence[Event]:
    body = json.dumps(events).encode() + b"\r\n"
    headers = {"content-type": "application/json", **signed(body, 1795251699)}
    return await REPORTER.events(WebhookRequest(body, headers, NOW))


def event(word: str, **changes: Any) -> dict[str, Any]:
    every: list[dict[str, Any]] = json.loads((DATA / "events.json").read_text())
    return next(one for one in every if one["event"] == word) | changes


async def test_each_event_of_an_array_is_one() -> None:
    events = await told(*json.loads((DATA / "events.json").read_text()))
    assert [(one.kind.value, str(one.recipient).partition("@")[0]) for one in events] == [
        ("unknown", "alice"),
        ("delayed", "alice"),
        ("delivered", "alice"),
        ("bounced_hard", "bob"),
        ("blocked", "carol"),
        ("bounced_hard", "dave"),
        ("opened", "alice"),
        ("clicked", "alice"),
        ("complained", "alice"),
        ("unsubscribed", "alice"),
        ("unsubscribed", "alice"),
        ("unknown", "alice"),
    ]
    assert len({one.source_event_id for one in events}) == 12
    assert {one.source for one in events} == {"sendgrid"}
    assert {one.message_ids for one in events} == {
        ("<reply-42@acme.example>", "aB3dE5fG7hJ9kLmN1pQ3rS")
    }
    assert events[3].detail == "5.1.1 550 5.1.1 no such user"
    assert events[2].at == datetime.fromtimestamp(1795251602, UTC)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, EventKind.BOUNCED_HARD),
        ({"event": "bounce", "type": "bounce", "status": "4.4.7"}, EventKind.BOUNCED_SOFT),
        ({"event": "bounce", "type": "blocked", "status": "4.7.1"}, EventKind.BLOCKED),
        ({"event": "bounce"}, EventKind.BOUNCED_HARD),
        ({"event": "dropped", "reason": "Bounced Address"}, EventKind.BOUNCED_HARD),
        ({"event": "dropped", "reason": "Invalid"}, EventKind.BOUNCED_HARD),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, EventKind.REJECTED),
        ({"event": "dropped", "reason": "Spam Reporting Address"}, EventKind.REJECTED),
        ({"event": "dropped", "reason": "Spam Content"}, EventKind.REJECTED),
        ({"event": "dropped", "reason": "Invalid SMTPAPI header"}, EventKind.REJECTED),
        (
            {"event": "dropped", "reason": "Recipient List over Package Quota"},
            EventKind.REJECTED,
        ),
        ({"event": "dropped"}, EventKind.REJECTED),
        ({"event": "teleported"}, EventKind.UNKNOWN),
    ],
)
async def test_each_word_has_its_kind(changes: dict[str, Any], kind: EventKind) -> None:
    [one] = await told(event("processed", **changes))
    assert one.kind is kind


async def test_a_word_of_tomorrow_is_kept() -> None:
    [one] = await told(event("processed", event="teleported", reason="by light"))
    assert one.detail == "teleported by light"
    assert one.raw["event"] == "teleported"


@pytest.mark.parametrize(
    ("named", "ids"),
    [
        ({"sg_message_id": "aB3dE.recvd-1-abc-5F.0"}, ("aB3dE",)),
        (
            {"sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.166.551.0"},
            ("14c5d75ce93.dfd.64b469",),
        ),
        ({"sg_message_id": "abc.filter-1.0"}, ("abc",)),
        ({"sg_message_id": "abc"}, ("abc",)),
        ({"smtp-id": "reply-1@acme.example"}, ("<reply-1@acme.example>",)),
        ({}, ()),
    ],
)
async def test_a_mail_is_named_as_the_send_was_answered(
    named: dict[str, str], ids: tuple[str, ...]
) -> None:
    bare = {"email": "a@b.example", "timestamp": 1, "event": "open", "sg_event_id": "x"}
    [one] = await told(bare | named)
    assert one.message_ids == ids


async def test_an_open_by_a_machine_says_so() -> None:
    [one] = await told(event("open", sg_machine_open=True))
    assert (one.kind, one.detail) == (EventKind.OPENED, "by a machine")


async def test_what_is_kept_is_fit_for_a_database() -> None:
    [one] = await told(event("bounce", reason="a\x00b\ud800", nested={"k\x00": ["\x00"]}))
    assert one.detail == "5.1.1 ab"
    assert one.raw["nested"] == {"k": [""]}


async def test_an_event_that_cannot_be_read_does_not_take_the_others_with_it() -> None:
    events = await told(event("open", sg_event_id=7), event("click"), event("open", timestamp="x"))
    assert [one.kind for one in events] == [EventKind.CLICKED]


async def test_a_word_about_the_account_is_about_no_mail() -> None:
    assert await told({"event": "account_status_change", "type": "compliance_suspend"}) == []
    assert await told() == []


@pytest.mark.parametrize("name", ["email", "event", "sg_event_id", "timestamp"])
@pytest.mark.parametrize("value", [None, "", " ", [], {}, 1.5, False, 10**30])
async def test_a_field_of_another_kind_or_empty_is_malformed(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=name):
        await told(event("open", **{name: value}))
    missing = event("open")
    del missing[name]
    with pytest.raises(Malformed, match=name):
        await told(missing)


@pytest.mark.parametrize("name", ["type", "status", "reason", "sg_message_id", "smtp-id"])
async def test_a_word_of_another_kind_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match=name):
        await told(event("bounce", **{name: {"a": 1}}))


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[[]]", b"[", b"null", b"[" * 100_000])
async def test_what_is_no_array_of_objects_is_malformed(body: bytes) -> None:
    headers = signed(body, 1795251699)
    with pytest.raises(Malformed):
        await REPORTER.events(WebhookRequest(body, headers, NOW))


async def test_mail_at_this_address_is_a_wrong_set_up() -> None:
    body = (DATA / "inbound-raw.form").read_bytes()
    headers = {"content-type": "multipart/form-data; boundary=xYzZY", **signed(body, 1795251699)}
    with pytest.raises(Misconfigured, match="/webhook/sendgrid"):
        await REPORTER.events(WebhookRequest(body, headers, NOW))


async def test_a_known_signature_holds_and_without_its_line_end_it_does_not() -> None:
    reporter = SendGrid.reporter(
        WebhookSettings({"SENDGRID_WEBHOOK_PUBLIC_KEY": SIGNED_BY}), no_fetch
    )
    body = (DATA / "events-signed.json").read_bytes()
    [one] = await reporter.events(WebhookRequest(body, SIGNATURE, NOW))
    assert one.kind is EventKind.BOUNCED_HARD
    with pytest.raises(WrongSignature):
        await reporter.events(WebhookRequest(body.rstrip(), SIGNATURE, NOW))
    for place in range(len(body)):
        changed = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        with pytest.raises(WrongSignature):
            await reporter.events(WebhookRequest(changed, SIGNATURE, NOW))


async def test_nobody_else_reports() -> None:
    with pytest.raises(Unauthentic):
        await REPORTER.events(WebhookRequest(b"[]", {}, NOW))
    assert REPORTER.answer(WrongSignature("no")) == 403
    assert REPORTER.answer(Unauthentic("no")) == 503
    assert REPORTER.answer(Accepted(())) == 200
