"""Over the door, SNS gets the status that makes it keep what we have not kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mailagent.doors.webhook_door import WebhookDoor
from mailagent.inbound import Accepted, Inbound, Later, Outcome
from mailagent.mail import Event
from mailagent.providers import receivers, reporters
from mailagent.webhook import WebhookRequest, WebhookSettings
from tests.providers.test_ses_events import told
from tests.providers.test_ses_receipts import notification
from tests.sns_signer import NOW, Sns

SECRET = "s3cret-of-the-path"


class House:
    """A door with SES behind it, and what it kept."""

    def __init__(self, settings: WebhookSettings, sns: Sns, *, full: bool = False) -> None:
        self.kept: list[Inbound] = []
        self.told: list[Event] = []
        self.full = full
        self.door = WebhookDoor(
            receivers=receivers(settings, sns.fetch),
            reporters=reporters(settings, sns.fetch),
            acceptor=self,
            record=self.record,
            remember=self.remember,
            now=lambda: NOW,
            secret=settings.value("INBOUND_WEBHOOK_SECRET"),
        )

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        if self.full:
            return [Later("the disk is full") for _ in batch]
        self.kept += batch
        return [Accepted(("dlv_1",)) for _ in batch]

    async def record(self, events: Sequence[Event]) -> None:
        self.told += events

    async def remember(self, mail: Inbound) -> None:
        raise AssertionError("everybody is known here")

    async def post(self, path: str, request: WebhookRequest) -> tuple[int, str]:
        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": request.body, "more_body": False}

        headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
        scope = {"path": path, "method": "POST", "headers": headers, "client": ("192.0.2.9", 4)}
        return await self.door.handle(scope, receive)  # type: ignore[arg-type]


@pytest.fixture
def sns() -> Sns:
    return Sns()


async def test_mail_and_events_are_kept_before_they_are_said_yes_to(sns: Sns) -> None:
    house = House(sns.settings(), sns)
    assert (await house.post("/webhook/ses", sns.request(notification("base64"))))[0] == 200
    assert (await house.post("/webhooks/email/ses", sns.request(told("bounce"))))[0] == 200
    assert [mail.source_id for mail in house.kept] == [notification("base64")["mail"]["messageId"]]
    assert len(house.told) == 2


async def test_what_is_not_kept_is_asked_for_again(sns: Sns) -> None:
    house = House(sns.settings(), sns, full=True)
    assert (await house.post("/webhook/ses", sns.request(notification("s3"))))[0] == 503


async def test_who_is_not_a_topic_of_ours_is_sent_away(sns: Sns) -> None:
    house = House(sns.settings(INBOUND_WEBHOOK_SECRET=SECRET), sns)
    forged = sns.request(notification("base64"), signed_Signature="AAAA")
    assert (await house.post("/webhook/ses", forged))[0] == 403
    # The secret in the path is no substitute for a signature that is there.
    assert (await house.post(f"/webhook/ses/{SECRET}", forged))[0] == 403
    assert (await house.post("/webhook/ses", sns.raw(notification("base64"))))[0] == 403
    assert house.kept == []


async def test_raw_delivery_comes_in_by_the_secret(sns: Sns) -> None:
    house = House(sns.settings(INBOUND_WEBHOOK_SECRET=SECRET), sns)
    raw = sns.raw(notification("base64"))
    assert (await house.post(f"/webhook/ses/{SECRET}", raw))[0] == 200
    assert len(house.kept) == 1


async def test_the_wrong_address_is_named_in_health_and_the_mail_waits(sns: Sns) -> None:
    house = House(sns.settings(), sns)
    assert (await house.post("/webhook/ses", sns.request(told("delivery"))))[0] == 503
    assert (await house.post("/webhooks/email/ses", sns.request(notification("s3"))))[0] == 503
    state = house.door.state()
    assert "subscribe /webhooks/email/ses to it" in state["/webhook/ses"]
    assert "subscribe /webhook/ses to it" in state["/webhooks/email/ses"]
    assert (house.kept, house.told) == ([], [])


async def test_without_a_list_of_topics_everything_waits_and_health_says_so(sns: Sns) -> None:
    house = House(WebhookSettings(), sns)
    assert (await house.post("/webhook/ses", sns.request(notification("base64"))))[0] == 503
    assert (await house.post("/webhooks/email/ses", sns.request(told("bounce"))))[0] == 503
    state = house.door.state()
    for address in ("/webhook/ses", "/webhooks/email/ses"):
        assert "SES_SNS_TOPIC_ARNS" in state[address]
    assert sns.fetched == []


async def test_an_away_certificate_costs_a_repetition_and_no_mail(sns: Sns) -> None:
    away = dataclasses.replace(sns, web={}, fetched=[])
    away.web.clear()
    house = House(sns.settings(), away)
    request = sns.request(notification("base64"))
    assert (await house.post("/webhook/ses", request))[0] == 503
    away.web |= sns.web
    assert (await house.post("/webhook/ses", request))[0] == 200
