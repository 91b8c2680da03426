"""Postmark's events in our words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from mailagent.errors import Malformed, Misconfigured, Unauthentic
from mailagent.inbound import Accepted
from mailagent.mail import Event, EventKind
from mailagent.providers.postmark import Postmark
from mailagent.webhook import WebhookSettings
from tests.providers.test_postmark_inbound import OWN, no_fetch, posted, request

REPORTER = Postmark.reporter(WebhookSettings(OWN), no_fetch)
NAMES = (
    "0a129aee-e1cd-480d-b08d-4f48548ff48d",
    "<0a129aee-e1cd-480d-b08d-4f48548ff48d@mtasv.net>",
    "<reply-42@acme.example>",
)


async def told(event: dict[str, Any]) -> Event:
    events: Sequence[Event] = await REPORTER.events(request(event))
    [one] = events
    return one


@pytest.mark.parametrize(
    ("name", "kind", "at"),
    [
        ("bounce", EventKind.BOUNCED_HARD, datetime(2026, 11, 21, 1, 2, 3, 396393, UTC)),
        ("delivery", EventKind.DELIVERED, datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)),
        ("spam-complaint", EventKind.COMPLAINED, datetime(2026, 11, 21, 4, tzinfo=UTC)),
        ("subscription-change", EventKind.UNSUBSCRIBED, datetime(2026, 11, 21, 5, tzinfo=UTC)),
        ("open", EventKind.OPENED, datetime(2026, 11, 21, 11, 0, 0, 123456, UTC)),
        ("click", EventKind.CLICKED, datetime(2026, 11, 21, 6, 1, tzinfo=UTC)),
    ],
)
async def test_each_record_has_its_kind_and_names_our_mail(
    name: str, kind: EventKind, at: datetime
) -> None:
    event = await told(posted(f"event-{name}"))
    assert (event.source, event.kind, event.at) == ("postmark", kind, at)
    assert event.recipient == "alice@customer.example"
    assert event.message_ids == NAMES


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("HardBounce", EventKind.BOUNCED_HARD),
        ("Transient", EventKind.DELAYED),
        ("Unsubscribe", EventKind.UNSUBSCRIBED),
        ("Subscribe", EventKind.UNKNOWN),
        ("AutoResponder", EventKind.UNKNOWN),
        ("AddressChange", EventKind.UNKNOWN),
        ("DnsError", EventKind.BOUNCED_SOFT),
        ("SpamNotification", EventKind.BLOCKED),
        ("OpenRelayTest", EventKind.UNKNOWN),
        ("Unknown", EventKind.BOUNCED_SOFT),
        ("SoftBounce", EventKind.BOUNCED_SOFT),
        ("VirusNotification", EventKind.BLOCKED),
        ("ChallengeVerification", EventKind.UNKNOWN),
        ("BadEmailAddress", EventKind.BOUNCED_HARD),
        ("SpamComplaint", EventKind.COMPLAINED),
        ("ManuallyDeactivated", EventKind.REJECTED),
        ("Unconfirmed", EventKind.REJECTED),
        ("Blocked", EventKind.BLOCKED),
        ("SMTPApiError", EventKind.REJECTED),
        ("InboundError", EventKind.UNKNOWN),
        ("DMARCPolicy", EventKind.BLOCKED),
        ("TemplateRenderingFailed", EventKind.REJECTED),
        ("AWordOfTomorrow", EventKind.UNKNOWN),
    ],
)
async def test_each_type_of_bounce_has_its_kind(word: str, kind: EventKind) -> None:
    event = await told(posted("event-bounce", Type=word, Inactive=False))
    assert event.kind is kind
    assert event.detail.startswith(word)


async def test_an_address_that_postmark_gave_up_is_a_hard_bounce() -> None:
    event = await told(posted("event-bounce", Type="SoftBounce", Inactive=True))
    assert event.kind is EventKind.BOUNCED_HARD


@pytest.mark.parametrize(
    ("suppressed", "reason", "origin", "kind"),
    [
        (True, "HardBounce", "Recipient", EventKind.BOUNCED_HARD),
        (True, "SpamComplaint", "Recipient", EventKind.COMPLAINED),
        (True, "ManualSuppression", "Recipient", EventKind.UNSUBSCRIBED),
        (True, "ManualSuppression", "Customer", EventKind.UNKNOWN),
        (True, "ManualSuppression", "Admin", EventKind.UNKNOWN),
        (False, None, "Customer", EventKind.UNKNOWN),
    ],
)
async def test_who_stopped_writing_and_why(
    suppressed: bool, reason: str | None, origin: str, kind: EventKind
) -> None:
    change = {"SuppressSending": suppressed, "SuppressionReason": reason, "Origin": origin}
    assert (await told(posted("event-subscription-change", **change))).kind is kind


async def test_a_record_of_tomorrow_is_kept_as_unknown() -> None:
    event = await told(posted("event-delivery", RecordType="Teleported"))
    assert event.kind is EventKind.UNKNOWN
    assert event.detail.startswith("Teleported")
    assert event.raw["RecordType"] == "Teleported"


@pytest.mark.parametrize(
    "name", ["bounce", "delivery", "spam-complaint", "subscription-change", "open", "click"]
)
async def test_the_same_event_twice_has_one_name_and_another_has_another(name: str) -> None:
    first, again = await told(posted(f"event-{name}")), await told(posted(f"event-{name}"))
    assert first.source_event_id == again.source_event_id
    member = "ID" if name in ("bounce", "spam-complaint") else "MessageID"
    other = await told(posted(f"event-{name}", **{member: 7 if member == "ID" else "other"}))
    assert other.source_event_id != first.source_event_id


async def test_what_is_kept_of_an_event_holds_neither_the_mail_nor_what_no_database_takes() -> None:
    bounce = posted("event-bounce", Details="550 \x00 no\ud800", Name="a\x00b")
    [event] = await REPORTER.events(request(json.dumps(bounce).encode()))
    assert "Content" not in event.raw
    assert event.detail.endswith("550  no")
    assert event.raw["Name"] == "ab"


async def test_an_event_about_no_mail_names_none() -> None:
    nothing = "00000000-0000-0000-0000-000000000000"
    change = posted("event-subscription-change", MessageID=nothing, Metadata=None)
    assert (await told(change)).message_ids == ()


@pytest.mark.parametrize("name", ["inbound-raw", "inbound-parsed"])
async def test_mail_at_this_address_is_a_wrong_set_up(name: str) -> None:
    with pytest.raises(Misconfigured, match="/webhook/postmark"):
        await told(posted(name))
    with pytest.raises(Misconfigured, match="/webhook/postmark"):
        await told(posted(name, RecordType="Inbound"))


@pytest.mark.parametrize("name", ["RecordType", "MessageID", "Email", "BouncedAt", "ID", "Type"])
@pytest.mark.parametrize("value", [None, "", [], {}, 1.5, False])
async def test_a_field_of_another_kind_or_empty_is_malformed(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=name):
        await told(posted("event-bounce", **{name: value}))


@pytest.mark.parametrize("at", ["yesterday", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
async def test_a_time_that_is_none_is_malformed(at: str) -> None:
    with pytest.raises(Malformed, match="BouncedAt"):
        await told(posted("event-bounce", BouncedAt=at))


async def test_a_missing_field_is_malformed() -> None:
    for name in ("RecordType", "MessageID", "Recipient", "DeliveredAt"):
        event = posted("event-delivery")
        del event[name]
        with pytest.raises(Malformed):
            await told(event)


async def test_nobody_else_reports() -> None:
    body = json.dumps(posted("event-bounce")).encode()
    with pytest.raises(Unauthentic):
        await REPORTER.events(request(body, authorization=""))
    assert REPORTER.answer(Unauthentic("no")) == 401
    assert REPORTER.answer(Accepted(())) == 200
