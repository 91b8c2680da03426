"""SES's words about sent mail become ours, whichever of its two shapes they come in."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from datetime import UTC, date
from pathlib import Path
from typing import Any

import pytest

from mailagent.errors import Malformed, Misconfigured
from mailagent.mail import Event, EventKind
from mailagent.providers.ses import Ses
from mailagent.providers.ses_events import WORDS
from tests.sns_signer import Sns

DATA = Path(__file__).parent.parent / "data" / "ses"
ID = "0102019a5b2c3d4e-1f2e3d4c-0000-4000-8000-00000000beef-000000"
ADA, BEN = "ada@customer.example", "ben@customer.example"


def told(name: str) -> Any:
    return json.loads((DATA / f"event-{name}.json").read_text())


async def events(message: object) -> Sequence[Event]:
    sns = Sns()
    return await Ses.reporter(sns.settings(), sns.fetch).events(sns.request(message))


@pytest.mark.parametrize(
    ("name", "kind", "detail"),
    [
        ("autoreply", EventKind.BOUNCED_SOFT, "Bounce/Transient/General"),
        ("click", EventKind.CLICKED, "Click https://demo.example/menu"),
        ("complaint", EventKind.COMPLAINED, "Complaint/abuse"),
        (
            "delay",
            EventKind.DELAYED,
            "DeliveryDelay/TransientCommunicationFailure 4.4.1 smtp; 421 4.4.1 No connection",
        ),
        ("delivery", EventKind.DELIVERED, "Delivery 250 2.0.0 OK"),
        ("open", EventKind.OPENED, "Open"),
        (
            "rendering-failure",
            EventKind.REJECTED,
            "Rendering Failure Attribute 'name' is not present in the rendering data.",
        ),
        ("subscription", EventKind.UNSUBSCRIBED, "Subscription/unsubscribeAll"),
    ],
)
async def test_an_event_says_what_when_and_about_whom(
    name: str, kind: EventKind, detail: str
) -> None:
    (event,) = await events(told(name))
    assert (event.kind, event.detail, event.recipient) == (kind, detail, ADA)
    assert event.source == "ses"
    assert event.at.astimezone(UTC).date() == date(2026, 11, 21)
    assert "mail" not in event.raw


async def test_several_recipients_are_several_events() -> None:
    for name, kind in (("bounce", EventKind.BOUNCED_HARD), ("reject", EventKind.REJECTED)):
        made = await events(told(name))
        assert [event.recipient for event in made] == [ADA, BEN]
        assert {event.kind for event in made} == {kind}
        assert len({event.source_event_id for event in made}) == 2


async def test_one_bounce_in_both_shapes_is_one() -> None:
    published, fed_back = await events(told("bounce")), await events(told("bounce-feedback"))
    assert [one.source_event_id for one in published] == [one.source_event_id for one in fed_back]


async def test_another_event_of_the_same_mail_is_another() -> None:
    first = told("open")
    second = copy.deepcopy(first)
    second["open"]["timestamp"] = "2026-11-21T10:30:00.000Z"
    made = [*await events(first), *await events(second), *await events(told("click"))]
    assert len({event.source_event_id for event in made}) == 3


async def test_an_event_names_the_mail_by_every_id_it_has() -> None:
    (event,) = await events(told("delivery"))
    seen = f"<{ID}@eu-west-1.amazonses.com>"
    assert event.message_ids == (ID, seen, "<reply-42@demo.aexy.email>")
    (event,) = await events(told("complaint"))
    assert event.message_ids == (ID, seen)


async def test_where_no_identity_is_named_the_topics_region_tells_the_message_id() -> None:
    message = told("delivery")
    del message["mail"]["sourceArn"]
    (event,) = await events(message)
    assert f"<{ID}@eu-west-1.amazonses.com>" in event.message_ids
    message["mail"]["sourceArn"] = "arn:aws:ses:us-east-1:123456789012:identity/aexy.email"
    (event,) = await events(message)
    assert f"<{ID}@email.amazonses.com>" in event.message_ids


@pytest.mark.parametrize("words", [words for words in WORDS if words[0] in ("Bounce", "Complaint")])
async def test_every_word_of_the_table_maps(words: tuple[str, ...]) -> None:
    type_, *rest = words
    message = told(type_.lower())
    detail = message[type_.lower()]
    if type_ == "Bounce":
        detail["bounceType"], detail["bounceSubType"] = (*rest, None)[:2]
    elif rest:
        on_a_list = rest == ["OnAccountSuppressionList"]
        detail["complaintSubType" if on_a_list else "complaintFeedbackType"] = rest[0]
    for event in await events(message):
        assert event.kind == WORDS[words]


@pytest.mark.parametrize(
    ("type_", "subtype", "kind"),
    [
        ("Permanent", "OfTomorrow", EventKind.BOUNCED_SOFT),
        ("Transient", "CustomTimeoutExceeded", EventKind.BOUNCED_SOFT),
        ("Permanent", "UnsubscribedRecipient", EventKind.REJECTED),
        ("OfTomorrow", "General", EventKind.UNKNOWN),
    ],
)
async def test_a_newer_word_is_kept_and_kills_no_address(
    type_: str, subtype: str, kind: EventKind
) -> None:
    message = told("bounce")
    message["bounce"] |= {"bounceType": type_, "bounceSubType": subtype}
    made = await events(message)
    assert {event.kind for event in made} == {kind}
    assert f"{type_}/{subtype}" in made[0].detail


async def test_a_type_of_tomorrow_is_kept_as_unknown() -> None:
    message = told("open") | {"eventType": "Teleport", "teleport": {"to": "Mars"}}
    (event,) = await events(message)
    assert event.kind is EventKind.UNKNOWN
    assert event.raw["teleport"] == {"to": "Mars"}


@pytest.mark.parametrize("feedback", ["not-spam", "abuse", "virus", None])
async def test_only_not_spam_is_no_complaint(feedback: str | None) -> None:
    message = told("complaint")
    message["complaint"]["complaintFeedbackType"] = feedback
    (event,) = await events(message)
    assert (event.kind is EventKind.COMPLAINED) == (feedback != "not-spam")


async def test_who_opened_a_mail_to_two_is_not_guessed() -> None:
    message = told("open")
    message["mail"]["destination"].append(BEN)
    (event,) = await events(message)
    assert event.recipient is None


async def test_what_the_answer_of_the_api_said_is_not_said_again() -> None:
    assert await events(told("send")) == []


@pytest.mark.parametrize(
    "message",
    [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        {"notificationType": "AmazonSnsSubscriptionSucceeded", "message": "You have successfully"},
    ],
)
async def test_what_only_tries_the_topic_is_no_event(message: object) -> None:
    assert await events(message) == []


async def test_received_mail_is_told_where_it_belongs() -> None:
    mail = json.loads((DATA / "inbound-s3.json").read_text())
    with pytest.raises(Misconfigured, match="received mail to /webhooks/email/ses: subscribe"):
        await events(mail)


async def test_what_a_mail_server_says_can_always_be_stored() -> None:
    message = told("bounce")
    recipient = message["bounce"]["bouncedRecipients"][0]
    recipient["diagnosticCode"] = "smtp; 550 \x00no"
    event = (await events(message))[0]
    assert event.detail.endswith("smtp; 550 no")
    assert "\\u0000" not in json.dumps(event.raw)


async def test_an_id_is_a_key_of_255_characters_at_most() -> None:
    message = told("bounce")
    message["bounce"]["feedbackId"] = "f" * 900
    message["bounce"]["bouncedRecipients"][0]["emailAddress"] = "a" * 400 + "@customer.example"
    made = await events(message)
    assert all(len(event.source_event_id) <= 255 for event in made)
    assert len({event.source_event_id for event in made}) == 2


@pytest.mark.parametrize("value", [None, 7, "x", [7], {"x": 7}])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("bounce", "mail"),
        ("bounce", "mail.messageId"),
        ("bounce", "mail.timestamp"),
        ("bounce", "bounce"),
        ("bounce", "bounce.bouncedRecipients"),
        ("complaint", "complaint.complainedRecipients"),
        ("delivery", "delivery.recipients"),
        ("delay", "deliveryDelay.delayedRecipients"),
    ],
)
async def test_a_field_that_is_missing_or_of_another_type_is_malformed(
    name: str, path: str, value: Any
) -> None:
    message = told(name)
    *way, last = path.split(".")
    place = message
    for step in way:
        place = place[step]
    place[last] = value
    if value is None:
        del place[last]
    if (last, value) in (("messageId", "x"), ("timestamp", 7)):
        value = place[last] = ""
    with pytest.raises(Malformed, match=re.escape(path)):
        await events(message)


@pytest.mark.parametrize("message", ["a test of the console", {}, {"eventType": 7}, "[]"])
async def test_a_message_that_is_no_event_is_malformed(message: object) -> None:
    with pytest.raises(Malformed):
        await events(message)
