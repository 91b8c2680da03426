"""The sentences of a webhook that brings mail, for every provider that has one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
import structlog

from backend.simulating import Mail
from mailagent.errors import Malformed, TransientFailure
from mailagent.inbound import Accepted, Envelope, Inbound, Origin
from tests.contract.cases import NOW, Receiving, cases, kinds
from tests.contract.door import HELLO, TEAM, TheDoor, open_door

pytestmark = pytest.mark.parametrize("kind", kinds("RECEIVES"))

_PLAIN = (
    b"From: Ann <ann@customer.example>\r\nTo: hello@shop.aexy.example\r\n"
    b"Subject: A question\r\nMessage-ID: <q1@customer.example>\r\n\r\nWhen are you open?\r\n"
)
MAIL = Mail("bounces+7@customer.example", (HELLO,), _PLAIN)
NOT_UTF8 = replace(
    MAIL,
    raw=_PLAIN.replace(b"A question", b"K\xe4nnchen \xff\xfe")
    + bytes(range(0x80, 0x100))
    + b"\r\nlone \xc3 and whole \xc3\xa4\r\n--boundary\r\n\xf0\x9f\x91\x8d\r\n",
)


@pytest.fixture
def receiving(kind: str) -> Receiving:
    of: Receiving = cases(kind, "RECEIVES")
    return of


@pytest.fixture
def opened(receiving: Receiving, sqlite_url: str) -> AbstractAsyncContextManager[TheDoor]:
    return open_door(sqlite_url, receiving)


def as_malformed(door: TheDoor, kind: str) -> int:
    return door.door.receivers[kind].answer(Malformed("field", "is wrong"))


def as_later(door: TheDoor, kind: str) -> int:
    return door.door.receivers[kind].answer(TransientFailure("later"))


async def test_a_good_payload_yields_what_smtp_would(
    kind: str, receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    by_smtp = Inbound(
        Envelope(MAIL.mail_from, MAIL.rcpt_to), MAIL.raw, "smtp", "s1", Origin(NOW, "192.0.2.1")
    )
    async with opened as door:
        assert await door.all(receiving.posts(MAIL)) == {200}
        (outcome,) = await door.acceptor.accept([by_smtp])
        assert isinstance(outcome, Accepted)
        mine, its = sorted(await door.deliveries(), key=lambda row: row.source == "smtp")
    assert mine.source == kind
    for name in ("recipient", "mail_from", "place", "agent_id", "workspace_id", "state", "content"):
        assert getattr(mine, name) == getattr(its, name), name
    assert mine.origin["body_format"] == its.origin["body_format"] == "raw"
    assert mine.received_at == its.received_at


async def test_a_mail_from_nobody_stays_from_nobody(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        assert await door.all(receiving.posts(replace(MAIL, mail_from=None))) == {200}
        (row,) = await door.deliveries()
    assert row.mail_from is None


async def test_raw_octets_survive_byte_for_byte_also_outside_utf8(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        assert await door.all(receiving.posts(NOT_UTF8)) == {200}
        (row,) = await door.deliveries()
    assert row.content == NOT_UTF8.raw


@pytest.mark.parametrize("size", [1_100_000, 30_000_000])
async def test_a_large_mail_passes_byte_for_byte(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor], size: int
) -> None:
    """SNS itself ends at 150 KB, and brings larger ones by S3; our door is no narrower."""
    line = b"The same line, again and again, and an octet outside UTF-8: \xff.\r\n"
    large = replace(MAIL, raw=_PLAIN + line * (size // len(line)))
    async with opened as door:
        assert await door.all(receiving.posts(large)) == {200}
        (row,) = await door.deliveries()
    assert row.content == large.raw


async def test_one_changed_byte_is_unauthentic(
    receiving: Receiving,
    opened: AbstractAsyncContextManager[TheDoor],
) -> None:
    tried = 0
    async with opened as door:
        for name, post in receiving.forged(MAIL):
            said = await door.post(post)
            assert said.status == receiving.refused_with, (name, said)
            tried += 1
        assert not await door.deliveries()
    assert tried > 0


async def test_a_secret_in_the_path_that_is_not_ours_is_unauthentic(
    kind: str, receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        for post in receiving.posts(MAIL):
            said = await door.post(replace(post, path=f"/webhook/{kind}/another-secret"))
            # Not more: SendGrid must come again, it drops a mail on any 4xx.
            assert said.status != 200
            assert said.words == "the secret in the path is not ours"
        assert not await door.deliveries()


async def test_without_credentials_it_is_later_and_health_says_so(
    kind: str, receiving: Receiving, sqlite_url: str
) -> None:
    async with open_door(sqlite_url, receiving, settings={}) as door:
        health = (await door.http.get("/health")).json()
        assert await door.all(receiving.posts(MAIL)) == {503}
        assert not await door.deliveries()
    assert health["webhooks"][f"/webhook/{kind}"].startswith("answers 503: ")


async def test_each_field_missing_empty_or_of_a_wrong_type_is_malformed(
    kind: str, receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    tried = 0
    async with opened as door:
        for name, post in receiving.malformed(MAIL):
            said = await door.post(post)
            assert said.status == as_malformed(door, kind), (name, said)
            assert name.lower() in said.words.lower(), "the refusal names another field"
            tried += 1
        assert not await door.deliveries()
    assert tried > 0


async def test_what_is_no_request_of_the_provider_at_all_is_no_crash(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        for post in receiving.posts(MAIL):
            for body in (b"", b"{", b"[[[[", b"\x00\xff", b"null", b"7", b'"x"', b"a=b&c"):
                for headers in (post.headers, {}, {"Content-Type": "multipart/form-data"}):
                    said = await door.post(replace(post, body=body, headers=headers))
                    assert said.status != 200
                    assert "unforeseen" not in said.words, (body, headers)


async def test_twice_is_one_mail(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        posts = receiving.posts(MAIL)
        assert await door.all([*posts, *posts]) == {200}
        assert len(await door.deliveries()) == 1


async def test_two_recipients_are_two(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        assert await door.all(receiving.posts(replace(MAIL, rcpt_to=(HELLO, TEAM)))) == {200}
        rows = await door.deliveries()
    assert [row.recipient for row in rows] == [HELLO, TEAM]
    assert [row.agent_id for row in rows] == ["agt_hello", "agt_team"]
    assert {row.content for row in rows} == {MAIL.raw}


async def test_storage_down_is_later_and_the_next_try_arrives(
    kind: str, receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    async with opened as door:
        await door.break_storage()
        assert await door.all(receiving.posts(MAIL)) == {as_later(door, kind)} == {503}
        await door.mend_storage()
        assert await door.all(receiving.posts(MAIL)) == {200}
        assert len(await door.deliveries()) == 1


async def test_no_secret_is_in_any_log_line_or_answer(
    receiving: Receiving, opened: AbstractAsyncContextManager[TheDoor]
) -> None:
    secrets = [value for name, value in receiving.settings.items() if _is_secret(name)]
    others = [post for _, post in (*receiving.forged(MAIL), *receiving.malformed(MAIL))]
    with structlog.testing.capture_logs() as lines:
        async with opened as door:
            words = [(await door.post(post)).words for post in (*receiving.posts(MAIL), *others)]
    everything = "".join([*words, *map(repr, lines)])
    assert lines
    assert [secret for secret in secrets if secret in everything] == []


def _is_secret(setting: str) -> bool:
    return setting.endswith(("_SECRET", "_PASSWORD", "_SIGNING_KEY"))
