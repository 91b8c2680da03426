"""A mail leaves by Mailgun whole; what goes wrong is told by its class, and nothing is repeated."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from mailagent.errors import (
    LostClaim,
    Misconfigured,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.mail import Address
from mailagent.mime import parse
from mailagent.outgoing import OutgoingAttachment, Recipient, Refused, Sent
from mailagent.providers import Account
from mailagent.providers.api import Times
from mailagent.providers.mailgun_send import MailgunSender
from tests.api_server import Fault, Reply
from tests.mailgun_server import KEY, MailgunServer
from tests.providers.mailgun_posts import DATA, NOW
from tests.providers.mails import ALICE, BOB, Commits, outgoing

SHORT = Times(connect=0.5, write=0.3, read=0.3, whole=0.6)


def said(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def sender(server: MailgunServer, **changes: Any) -> MailgunSender:
    return MailgunSender("main", KEY, **{"base": server.url, "now": lambda: NOW, **changes})


async def send(
    server: MailgunServer, to: Sequence[Recipient] = (ALICE,), mail: Any = None, **changes: Any
) -> Any:
    account = sender(server, **changes)
    try:
        return await account.send(mail or outgoing(), to, committing=Commits())
    finally:
        await account.close()


async def test_a_mail_arrives_whole_with_its_thread_and_files() -> None:
    image = OutgoingAttachment("logo.png", "image/png", b"\x89PNG\xff\x00", "logo@acme")
    mail = outgoing(
        html='<p>Grüße <img src="cid:logo@acme"></p>',
        attachments=(*outgoing().attachments, image),
        headers=(("X-Mailagent-Loop", "1"),),
        bcc=(Address(BOB.address),),
    )
    commits = Commits()
    async with MailgunServer() as server:
        account = sender(server, tags=("acme", "replies"))
        outcomes = await account.send(mail, [ALICE, BOB], committing=commits)
        await account.close()
    (taken,) = server.taken
    assert taken.to == (ALICE.address, BOB.address)
    assert taken.tags == ("acme", "replies")
    assert commits.calls == [(ALICE, BOB)]
    sent = Sent("<reply-42@acme.example>", "Queued. Thank you.")
    assert outcomes == {ALICE: sent, BOB: sent}
    content = parse.read(taken.mime)
    assert content.message_id == mail.message_id
    assert content.references == mail.references
    assert content.in_reply_to == (mail.in_reply_to,)
    assert content.from_ == (mail.from_,)
    assert [one.filename for one in content.attachments] == ["logo.png", "übersicht.txt"]
    assert ("X-Mailagent-Loop", "1") in content.headers
    assert BOB.address.encode() not in taken.mime


@pytest.mark.parametrize(
    ("domain", "from_", "carries"),
    [
        ("", "acme.example", "acme.example"),
        ("", "mail.acme.example", "mail.acme.example"),
        ("aexy.example", "acme.aexy.example", "aexy.example"),
        ("aexy.example", "aexy.example", "aexy.example"),
        ("aexy.example", "notaexy.example", "notaexy.example"),
        ("", "bücher.example", "xn--bcher-kva.example"),
    ],
)
async def test_the_domain_is_froms_or_the_parent_that_is_set(
    domain: str, from_: str, carries: str
) -> None:
    async with MailgunServer(domains=frozenset({carries})) as server:
        await send(server, mail=outgoing(from_=Address(f"a@{from_}")), domain=domain)
    assert [one.domain for one in server.taken] == [carries]


@pytest.mark.parametrize(
    ("status", "body", "about", "words"),
    [
        (400, {"message": "Header name must be pure ASCII"}, "message", "pure ASCII"),
        (400, said("send-400-unverified.json"), "account", "unverified"),
        (400, {"message": "Sandbox subdomains are for test purposes only."}, "account", "Sandbox"),
        (401, said("send-401.json"), "account", "MAILGUN_REGION=eu"),
        (402, b"", "account", "402"),
        (403, {"message": "not allowed to send large batches yet"}, "account", "large batches"),
        (404, said("send-404.json"), "account", "MAILGUN_REGION=eu"),
        (413, said("send-413.json"), "message", "52.4MiB"),
        (302, b"", "account", "302"),
        (418, b"<html>teapot</html>", "message", "teapot"),
    ],
)
async def test_a_refusal_says_whose_fault_it_is(
    status: int, body: Any, about: str, words: str
) -> None:
    async with MailgunServer([Reply(status, body)]) as server:
        with pytest.raises(PermanentFailure, match=words) as told:
            await send(server, [ALICE, BOB])
    assert (told.value.about, told.value.code) == (about, str(status))
    assert KEY not in str(told.value)
    assert server.taken == []


async def test_the_other_region_is_named_in_europe_too() -> None:
    async with MailgunServer() as server:
        with pytest.raises(PermanentFailure, match="MAILGUN_REGION=us"):
            await send(server, region="eu", mail=outgoing(from_=Address("a@other.example")))


async def test_a_recipient_that_mailgun_does_not_take_is_the_recipients_fault() -> None:
    async with MailgunServer([Reply(400, said("send-400-to.json"))]) as server:
        outcome = (await send(server))[ALICE]
    assert isinstance(outcome, Refused)
    assert (outcome.about, outcome.code) == ("recipient", "400")


async def test_an_address_that_is_none_keeps_nobody_from_the_mail() -> None:
    wrong = [Recipient("r3", "no address"), Recipient("r4", "jörg@customer.example")]
    async with MailgunServer() as server:
        outcomes = await send(server, [*wrong, ALICE])
        nobody = await send(server, wrong)
    assert [one.to for one in server.taken] == [(ALICE.address,)]
    assert isinstance(outcomes[ALICE], Sent)
    for outcome in (*nobody.values(), outcomes[wrong[0]], outcomes[wrong[1]]):
        assert isinstance(outcome, Refused)
        assert outcome.about == "recipient"


@pytest.mark.parametrize(
    ("reply", "wait"),
    [
        (Reply(429, said("send-429.json")), timedelta(minutes=59, seconds=58)),
        (Reply(429, {"retry-seconds": 60}), timedelta(seconds=60)),
        (Reply(429, b"", {"Retry-After": "90"}), timedelta(seconds=90)),
        (Reply(429, b"", {"X-RateLimit-Reset": "1795250033"}), timedelta(seconds=30)),
        (Reply(429, {"message": "try again after never"}), None),
        (Reply(429, {"retry-seconds": 10**12}), None),
        (Reply(500, b"oops"), None),
        (Reply(503, b"", {"Retry-After": "5"}), timedelta(seconds=5)),
    ],
)
async def test_not_now_is_told_with_its_wait(reply: Reply, wait: timedelta | None) -> None:
    async with MailgunServer([reply]) as server:
        with pytest.raises(TransientFailure) as told:
            await send(server)
    assert told.value.retry_at == (None if wait is None else NOW + wait)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "step",
    [
        *[Fault.DEAF, Fault.RESET_EARLY, Fault.HANG, Fault.CUT, Fault.RESET],
        *[Reply(502), Reply(504), Reply(599)],
    ],
)
async def test_what_may_have_been_taken_is_uncertain_and_tried_once(step: Any) -> None:
    large = OutgoingAttachment("a.bin", "application/octet-stream", bytes(8 * 1024 * 1024))
    mail = outgoing(attachments=(large,)) if step is Fault.DEAF else outgoing()
    async with MailgunServer([step, Reply(500), Reply(500)]) as server:
        with pytest.raises(UncertainDelivery):
            await send(server, mail=mail, times=SHORT)
    assert len(server.requests) <= 1


async def test_where_nobody_listens_the_mail_waits() -> None:
    async with MailgunServer() as server:
        account = sender(server)
    with pytest.raises(TransientFailure, match="no connection"):
        await account.send(outgoing(), [ALICE], committing=Commits())
    await account.close()


async def test_an_answer_that_comes_an_octet_at_a_time_is_read_whole() -> None:
    async with MailgunServer([Fault.SLOW]) as server:
        assert isinstance((await send(server))[ALICE], Sent)


async def test_a_200_without_words_is_taken_all_the_same() -> None:
    for body in (b"", b"OK", [1], {"id": 7}):
        async with MailgunServer([Reply(200, body)]) as server:
            outcome = (await send(server))[ALICE]
        assert isinstance(outcome, Sent)
        assert outcome.provider_id is None


async def test_what_is_too_large_is_refused_before_mailgun_is_asked() -> None:
    large = OutgoingAttachment("a.bin", "application/octet-stream", bytes(20 * 1024 * 1024))
    many = [Recipient(str(n), f"a{n}@customer.example") for n in range(1_001)]
    async with MailgunServer() as server:
        for mail, to in ((outgoing(attachments=(large,)), [ALICE]), (outgoing(), many)):
            with pytest.raises(PermanentFailure) as told:
                await send(server, to, mail)
            assert told.value.about == "message"
        outcomes = await send(server, many[:1_000])
    assert len(outcomes) == 1_000
    assert len(server.requests) == 1


async def test_nothing_is_sent_that_could_not_be_committed() -> None:
    async with MailgunServer() as server:
        account = sender(server)
        with pytest.raises(LostClaim):
            await account.send(outgoing(), [ALICE], committing=Commits(LostClaim("taken over")))
        await account.close()
    assert server.requests == []


async def test_mailgun_tells_whether_it_took_a_mail() -> None:
    async with MailgunServer() as server:
        account = sender(server)
        long_ago, just_now = NOW - timedelta(hours=2), NOW - timedelta(minutes=5)
        assert await account.taken(outgoing(), ALICE) is None
        assert await account.taken(outgoing(), ALICE, tried_at=just_now) is None
        assert await account.taken(outgoing(), ALICE, tried_at=long_ago) is False
        assert await account.taken(outgoing(), ALICE, tried_at=NOW - timedelta(days=2)) is None
        await account.send(outgoing(), [ALICE], committing=Commits())
        assert await account.taken(outgoing(), ALICE) is True
        assert await account.taken(outgoing(), BOB, tried_at=long_ago) is False
        await account.close()


@pytest.mark.parametrize("step", [Reply(401), Reply(500), Reply(200, b"<"), Fault.RESET])
async def test_a_lookup_that_fails_cannot_tell(step: Any) -> None:
    long_ago: datetime = NOW - timedelta(hours=2)
    async with MailgunServer([step]) as server:
        account = sender(server)
        assert await account.taken(outgoing(), ALICE, tried_at=long_ago) is None
        await account.close()


def account_with(**settings: str) -> Account:
    return Account("main", "mailgun", {"MAILGUN_API_KEY": KEY, **settings})


async def test_an_account_is_opened_by_its_settings() -> None:
    async with MailgunServer(domains=frozenset({"example"})) as server:
        opened = MailgunSender.of(
            account_with(
                MAILGUN_BASE_URL=server.url, MAILGUN_DOMAIN="Example", MAILGUN_TAGS="a, b,"
            )
        )
        await opened.send(outgoing(), [ALICE], committing=Commits())
        await opened.close()
    assert opened.name == "main"
    assert [(one.domain, one.tags) for one in server.taken] == [("example", ("a", "b"))]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"MAILGUN_API_KEY": ""}, "MAILGUN_API_KEY"),
        ({"MAILGUN_REGION": "asia"}, "MAILGUN_REGION"),
        ({"MAILGUN_TAGS": "a,b,c,d"}, "MAILGUN_TAGS"),
        ({"MAILGUN_TAGS": "ü"}, "MAILGUN_TAGS"),
        ({"MAILGUN_BASE_URL": "http://mail.example"}, "MAILGUN_BASE_URL"),
    ],
)
def test_a_setting_that_is_wrong_is_named(settings: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        MailgunSender.of(account_with(**settings))


async def test_the_key_is_in_no_log_line_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with MailgunServer([Reply(400, {"message": f"the key {KEY} is odd"})]) as server:
        account = sender(server)
        with pytest.raises(PermanentFailure) as told:
            await account.send(outgoing(), [ALICE], committing=Commits())
        await account.close()
    assert KEY not in caplog.text + str(told.value) + repr(account)
