"""What came while we were away is at the provider still: it is found there, once, and answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailagent.authentication import dkim
from mailagent.errors import TransientFailure
from mailagent.flow import recovery
from mailagent.flow.recovery import Recovered
from mailagent.inbound import Duplicate, Envelope, Inbound, Origin
from mailagent.providers import Recovers, recoverers
from mailagent.providers.account import LeftBehind, Listing
from mailagent.providers.mailgun_inbound import raw_id
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from mailagent.webhook import WebhookSettings
from tests.aws import aws, s3
from tests.flow.house import ANN, House, keep_house, mail
from tests.mailgun_server import KEY, MailgunServer
from tests.postmark_server import TOKEN, PostmarkServer

pytestmark = pytest.mark.asyncio

_BUCKET = "ses-mail-in"
_DKIM = dkim.new_key("ed25519")
_SES_ID = "q3s0v1o6l1c2m8t9k4h5g7f3d2a1b0c9e8f7a601"


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with keep_house(database_url) as house:
        yield house


@pytest.fixture(scope="module")
def s3_settings() -> Iterator[Mapping[str, str]]:
    with aws(_BUCKET) as settings:
        yield settings


def source(kind: str, **settings: str) -> Recovers:
    return recoverers(WebhookSettings(settings))[kind]


async def look(house: House, kind: str) -> Recovered:
    """All that came in the last hour, as the command asks for it."""
    return await recovery.recover(house.services, kind, datetime.now(UTC) - timedelta(hours=1))


async def held(house: House) -> Sequence[AnyRow]:
    return await house.store.read_unscoped(lambda tx: tx.rows(t.unrouted_mails.select()))


# --- S3 ---------------------------------------------------------------------------------------


def by_ses(raw: bytes, to: str, ses_id: str = _SES_ID, *more: str) -> bytes:
    """A mail as SES puts it into S3."""
    fields = (
        f"Return-Path: <{ANN}>",
        "Received: from mail.customer.example (mail.customer.example [192.0.2.1])",
        f" by inbound-smtp.eu-west-1.amazonaws.com with SMTP id {ses_id}",
        f" for {to};" if to else " ;",
        " Sat, 21 Nov 2026 09:00:00 +0000 (UTC)",
        *more,
        "X-SES-RECEIPT: AEFBQUFB",
    )
    return "".join(f"{line}\r\n" for line in fields).encode() + raw


@pytest.fixture
def bucket(house: House, s3_settings: Mapping[str, str]) -> Iterator[Any]:
    """An empty bucket that the house looks into; `put_object` and `delete_object` are S3's."""
    house.recovers["ses"] = source("ses", SES_S3_BUCKETS=_BUCKET, **s3_settings)
    with s3(s3_settings) as client:
        yield client
        for one in client.list_objects_v2(Bucket=_BUCKET).get("Contents", ()):
            client.delete_object(Bucket=_BUCKET, Key=one["Key"])


def put(bucket: Any, raw: bytes, name: str = _SES_ID) -> None:
    bucket.put_object(Bucket=_BUCKET, Key=f"in/{name}", Body=raw)


async def test_an_object_that_no_notification_told_of_is_answered(
    house: House, bucket: Any
) -> None:
    space = await house.workspace()
    raw = by_ses(mail("When are you open?", to=space.address), space.address)
    put(bucket, raw)
    told = await look(house, "ses")
    (delivery_id,) = told.delivery_ids
    await space.delivery(delivery_id, "answered")
    (row,) = await space.rows(t.raw_messages)
    assert row.content == raw
    assert "accept: recovered (ses had it still" in await space.story(delivery_id)
    assert (told.whole, told.stopped, told.failed) == (True, "", [])


async def test_a_second_look_and_a_late_notification_make_no_second_delivery(
    house: House, bucket: Any
) -> None:
    space = await house.workspace()
    raw = by_ses(mail(to=space.address), space.address)
    put(bucket, raw)
    first, second = await look(house, "ses"), await look(house, "ses")
    assert (len(first.delivery_ids), second.delivery_ids, second.known) == (1, [], 1)
    late = await house.accept(b"{}", space.address, source="ses", source_id=_SES_ID)
    assert late == Duplicate(tuple(first.delivery_ids))


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ("", "nobody of SES's making says whom it was for"),
        ("Received: from x (x [192.0.2.1]) by mx.example with SMTP id {id} for {to};\r\n", "by"),
        (
            "Received: from x (x) by inbound-smtp.eu-west-1.amazonaws.com with SMTP id y for {to};",
            "the id is not the object's",
        ),
        ("X-Mine: 1\r\n{ses}", "SES's field is not on top"),
    ],
)
async def test_an_object_whose_recipient_ses_does_not_prove_is_held_for_the_operator(
    house: House, bucket: Any, top: str, why: str
) -> None:
    space = await house.workspace()
    ses = by_ses(b"", space.address).decode()
    fields = top.format(id=_SES_ID, to=space.address, ses=ses).strip()
    put(bucket, (f"{fields}\r\n" if fields else "").encode() + mail(to=space.address))
    told = await look(house, "ses")
    assert (told.delivery_ids, told.held) == ([], [_SES_ID]), why
    (row,) = await held(house)
    assert (row.source, row.source_id, row.recipients) == ("ses", _SES_ID, [])
    assert (await look(house, "ses")).held == []


async def test_a_virus_that_ses_found_stays_in_quarantine(house: House, bucket: Any) -> None:
    space = await house.workspace()
    found = by_ses(mail(to=space.address), space.address, _SES_ID, "X-SES-Virus-Verdict: FAIL")
    put(bucket, found)
    (delivery_id,) = (await look(house, "ses")).delivery_ids
    await space.delivery(delivery_id, "quarantined")


async def test_a_bucket_of_another_program_is_left_alone(house: House, bucket: Any) -> None:
    put(bucket, by_ses(mail(), "someone@elsewhere.example"))
    put(bucket, b"Hello from Amazon SES", "AMAZON_SES_SETUP_NOTIFICATION")
    told = await look(house, "ses")
    assert (told.delivery_ids, told.held, told.failed) == ([], [], [])
    assert await held(house) == []


async def test_what_was_there_before_the_first_look_is_not_ours_to_answer(
    house: House, bucket: Any
) -> None:
    space = await house.workspace()
    put(bucket, by_ses(mail(to=space.address), space.address))
    await house.later(timedelta(minutes=1))
    await recovery.recover_all(house.services)
    await recovery.recover_all(house.services)
    assert await space.rows(t.deliveries) == []


# --- Mailgun ----------------------------------------------------------------------------------

_URL = "https://storage-us-east4.api.mailgun.net/v3/domains/aexy.example/messages/"


def event(of: str, key: str, to: str, **more: Any) -> dict[str, Any]:
    """An event of Mailgun's about a mail that came in."""
    return {
        "event": of,
        "timestamp": datetime.now(UTC).timestamp(),
        "recipient": to,
        "message": {"headers": {}, "recipients": [to]},
        "storage": {"url": f"{_URL}{key}", "key": key},
        "flags": {"is-routed": True},
        **more,
    }


def signed(raw: bytes) -> bytes:
    """By the sender, since no client's address comes with it."""
    return dkim.sign(
        raw,
        domain="customer.example",
        selector="s1",
        private_key_pem=_DKIM.private_pem,
        now=datetime.now(UTC),
    )


def mailgun(server: MailgunServer) -> Recovers:
    return source(
        "mailgun",
        MAILGUN_API_KEY=KEY,
        MAILGUN_BASE_URL=server.url,
        MAILGUN_WEBHOOK_SIGNING_KEY="whsk-test-0001",
        DEFAULT_EMAIL_DOMAIN="aexy.example",
    )


async def test_mail_that_mailgun_keeps_is_answered_once_however_it_comes(house: House) -> None:
    space = await house.workspace()
    house.dns.add({"s1._domainkey.customer.example": {"TXT": [_DKIM.public_record]}})
    raws = {f"k{n}=": signed(mail(f"Question {n}", to=space.address)) for n in range(5)}
    async with MailgunServer(
        domains=frozenset({"aexy.example"}),
        stored={key: raw.decode() for key, raw in raws.items()},
        kept=[
            event("stored", "k0=", space.address),
            event("failed", "k1=", space.address, severity="permanent"),
            event("failed", "k2=", space.address, severity="temporary"),
            event("failed", "k3=", space.address, flags={"is-routed": False}),
            event("stored", "k4=", "someone@elsewhere.example"),
        ],
    ) as server:
        house.recovers["mailgun"] = mailgun(server)
        told, again = await look(house, "mailgun"), await look(house, "mailgun")
    assert (len(told.delivery_ids), told.whole) == (2, True)
    assert (again.delivery_ids, again.known) == ([], 2)
    for delivery_id in told.delivery_ids:
        await space.delivery(delivery_id, "answered")
    kept = {row.content for row in await space.rows(t.raw_messages)}
    assert kept == {raws["k0="], raws["k1="]}
    by_forward = raw_id(space.address, "a@b", raws["k1="])
    for late in ("k0=", by_forward):
        outcome = await house.accept(b"x", space.address, source="mailgun", source_id=late)
        assert isinstance(outcome, Duplicate)


# --- Postmark ---------------------------------------------------------------------------------


async def test_postmark_is_asked_to_bring_what_it_gave_up_for_us_alone(house: House) -> None:
    space = await house.workspace()
    now = datetime.now(UTC)
    failed = [
        {"MessageID": f"m{n}", "OriginalRecipient": to, "Date": date, "Status": "Failed"}
        for n, (to, date) in enumerate(
            [
                (space.address, now.isoformat()),
                (space.address, (now - timedelta(days=9)).isoformat()),
                ("someone@elsewhere.example", now.isoformat()),
                (space.address, "Sat, 21 Nov 2099 09:30:00 -0500"),
            ]
        )
    ]
    await house.accept(mail(), space.address, source="postmark", source_id="m3")
    async with PostmarkServer(failed=failed) as server:
        house.recovers["postmark"] = source(
            "postmark",
            POSTMARK_SERVER_TOKEN=TOKEN,
            POSTMARK_BASE_URL=server.url,
            POSTMARK_WEBHOOK_PASSWORD="p",
        )
        told = await look(house, "postmark")
        assert server.retried == told.asked_again == ["m0"]
    assert (told.delivery_ids, told.known) == ([], 1)


# --- rounds -----------------------------------------------------------------------------------


class _Parts:
    """A provider that has three parts, and fails where it is told to."""

    late = timedelta()

    def __init__(self, house: House, to: str) -> None:
        self._house, self._to = house, to
        self.asked: list[tuple[datetime, str]] = []
        self.fails_at = ""

    async def listed(self, since: datetime, after: str) -> Listing:
        self.asked.append((since, after))
        if after and after == self.fails_at:
            raise TransientFailure("it is away")
        number = int(after or 0)
        name = f"n{number}"
        mails = [LeftBehind(name, name, (self._to,), self._house.store.now())]
        return Listing(mails, str(number + 1) if number < 2 else "")

    async def bring(self, found: LeftBehind) -> Sequence[Inbound]:
        origin = Origin(found.at, client_ip="192.0.2.1", helo="mx.customer.example")
        return [Inbound(Envelope(ANN, (self._to,)), mail(), "parts", found.source_id, origin)]


async def test_a_round_goes_on_where_it_was_interrupted_and_the_next_begins_where_it_began(
    house: House,
) -> None:
    space = await house.workspace()
    parts = house.recovers["parts"] = _Parts(house, space.address)
    parts.fails_at = "1"
    await recovery.recover_all(house.services)
    parts.fails_at = ""
    await recovery.recover_all(house.services)
    assert [after for _, after in parts.asked] == ["", "1", "1", "2"]
    assert len(await space.rows(t.deliveries)) == 3

    (row,) = await house.store.read_unscoped(lambda tx: tx.rows(t.rounds.select()))
    assert (row.began_at, row.after) == (None, "")
    for _ in range(2):
        await recovery.recover_all(house.services)
    assert [after for _, after in parts.asked[4:]] == ["", "1", "2"] * 2
    assert parts.asked[4][0] == row.since < parts.asked[7][0]
    assert len(await space.rows(t.deliveries)) == 3


async def test_a_round_whose_place_its_provider_never_takes_again_begins_anew(
    house: House,
) -> None:
    space = await house.workspace()
    parts = house.recovers["parts"] = _Parts(house, space.address)
    parts.fails_at = "1"
    await recovery.recover_all(house.services)
    await house.later(timedelta(days=8))
    await recovery.recover_all(house.services)
    assert [after for _, after in parts.asked] == ["", "1", "", "1"]


async def test_a_provider_that_is_away_costs_the_others_nothing(house: House) -> None:
    space = await house.workspace()
    away = _Parts(house, space.address)
    away.fails_at = "1"
    house.recovers |= {"away": away, "there": _Parts(house, space.address)}
    told = await recovery.recover(house.services, "away", datetime.now(UTC))
    assert (told.whole, told.stopped) == (False, "it is away")
    await recovery.recover_all(house.services)
    told = await recovery.recover(house.services, "there", None)
    assert told.whole
