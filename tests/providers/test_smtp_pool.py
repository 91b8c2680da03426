"""Connections are used again, and a mail is no more at risk for it: counted at a real relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mailagent.errors import (
    LostClaim,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.outgoing import Later, Recipient, Refused, Sent
from mailagent.providers import SigningKey
from mailagent.providers.relay import PoolLimits, Relay
from mailagent.providers.smtp import Smtp, Timeouts
from tests.providers.mails import ALICE, Commits, outgoing
from tests.smtp_sink import Behaviour, Certificate, Fault, Sink, make_certificate

BOB = Recipient("r2", "bob@customer.example", "b.bob@return.acme.example")
SHORT = Timeouts(*(timedelta(seconds=0.3),) * 3)


async def _unsigned(domain: str) -> SigningKey | None:
    return None


@asynccontextmanager
async def account(sink: Sink, url: str = "smtp://127.0.0.1", **more: Any) -> AsyncIterator[Smtp]:
    """An account at the sink, closed at the end."""
    relay = replace(Relay.parse(url), port=sink.port)
    values = {"hostname": "mail.acme.example", "signing_key": _unsigned, "timeouts": SHORT, **more}
    smtp = Smtp(relay, **values)
    try:
        yield smtp
    finally:
        await smtp.close()


async def send(
    smtp: Smtp, to: Recipient = ALICE, commits: Commits | None = None
) -> Sent | Refused | Later:
    outcomes = await smtp.send(outgoing(), [to], committing=commits or Commits())
    return outcomes[to]


def said(sink: Sink, verb: str) -> int:
    """How often the relay was told a command."""
    return sum(command.upper().startswith(verb) for command in sink.commands)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


async def test_many_mails_take_one_connection_one_handshake_and_one_login(
    certificate: Certificate,
) -> None:
    async with Sink(certificate=certificate, users={"mailer": "secret"}) as sink:
        url = "smtp://mailer:secret@127.0.0.1?tls=required"
        async with account(sink, url, trust=certificate.client) as smtp:
            for _ in range(5):
                assert isinstance(await send(smtp), Sent)
    assert sink.connections == 1
    assert (said(sink, "STARTTLS"), said(sink, "AUTH"), said(sink, "RSET")) == (1, 1, 0)
    assert [mail.username for mail in sink.taken] == ["mailer"] * 5
    assert all(mail.encrypted for mail in sink.taken)


async def test_an_account_that_is_closed_says_goodbye() -> None:
    async with Sink() as sink:
        async with account(sink) as smtp:
            await send(smtp)
            assert said(sink, "QUIT") == 0
        assert said(sink, "QUIT") == 1


async def test_a_mail_under_way_is_finished_when_the_account_is_closed() -> None:
    async with Sink(delay=timedelta(seconds=0.05)) as sink:
        async with account(sink) as smtp:
            underway = asyncio.create_task(send(smtp))
            while not sink.taken:
                await asyncio.sleep(0)
        assert isinstance(await underway, Sent)
        while not said(sink, "QUIT"):
            await asyncio.sleep(0)


async def test_a_connection_carries_so_many_mails_and_no_more() -> None:
    async with Sink() as sink, account(sink, "smtp://127.0.0.1?mails=2") as smtp:
        for _ in range(5):
            await send(smtp)
    assert (sink.connections, said(sink, "QUIT"), len(sink.taken)) == (3, 3, 5)


async def test_an_unused_connection_is_not_kept_for_ever() -> None:
    limits = PoolLimits(idle=timedelta(milliseconds=20))
    async with Sink() as sink, account(sink, pool=limits) as smtp:
        await send(smtp)
        while not said(sink, "QUIT"):
            await asyncio.sleep(0)
        assert isinstance(await send(smtp), Sent)
    assert sink.connections == 2


async def test_an_account_may_keep_no_connection_at_all() -> None:
    async with Sink() as sink, account(sink, "smtp://127.0.0.1?idle=0") as smtp:
        for _ in range(3):
            await send(smtp)
    assert (sink.connections, said(sink, "QUIT")) == (3, 3)


@pytest.mark.parametrize("last_word", ["", "421 4.4.2 idle for too long\r\n"])
async def test_a_connection_that_the_relay_closed_is_not_noticed_by_the_mail(
    last_word: str,
) -> None:
    commits = Commits()
    async with Sink() as sink, account(sink) as smtp:
        await send(smtp)
        await sink.hang_up(last_word)
        assert isinstance(await send(smtp, BOB, commits), Sent)
    assert commits.calls == [(BOB,)]
    assert [mail.rcpt_to for mail in sink.taken] == [(ALICE.address,), (BOB.address,)]
    assert sink.connections == 2


@pytest.mark.parametrize("death", [Fault.DROP, Fault.HANG, "421 4.3.2 enough", "garbage"], ids=str)
async def test_a_connection_found_dead_at_mail_is_replaced_once(death: Behaviour) -> None:
    commits = Commits()
    script: dict[str, Any] = {}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        script["MAIL"] = [death]
        assert isinstance(await send(smtp, BOB, commits), Sent)
    assert (sink.connections, commits.calls) == (2, [(BOB,)])
    assert len(sink.taken) == 2


@pytest.mark.parametrize("death", [Fault.DROP, "421 4.3.2 enough"], ids=str)
async def test_a_relay_that_is_dying_is_not_tried_a_third_time(death: Behaviour) -> None:
    script: dict[str, Any] = {}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        script["MAIL"] = death
        with pytest.raises(TransientFailure):
            await send(smtp)
    assert sink.connections == 2


async def test_a_relay_that_went_away_altogether_is_a_transient_failure() -> None:
    async with Sink() as sink, account(sink) as smtp:
        await send(smtp)
        await sink.__aexit__(None, None, None)
        for _ in range(2):
            with pytest.raises(TransientFailure, match="not reachable"):
                await send(smtp)


async def test_a_fresh_connection_that_dies_at_mail_is_not_replaced() -> None:
    async with Sink(script={"MAIL": [Fault.DROP]}) as sink, account(sink) as smtp:
        with pytest.raises(TransientFailure):
            await send(smtp)
    assert sink.connections == 1


@pytest.mark.parametrize("reply", ["451 4.3.0 later", "550 5.7.1 not you"])
async def test_a_no_on_a_kept_connection_is_a_no(reply: str) -> None:
    script: dict[str, Any] = {}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        script["MAIL"] = reply
        with pytest.raises((TransientFailure, PermanentFailure), match=reply[:3]):
            await send(smtp)
    assert (sink.connections, said(sink, "MAIL")) == (1, 2)


@pytest.mark.parametrize("point", ["RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["550 5.1.1 no", "450 4.2.0 later"])
async def test_what_a_refused_mail_left_behind_is_wiped_away(point: str, reply: str) -> None:
    script: dict[str, Any] = {point: [reply]}
    async with Sink(script=script) as sink, account(sink) as smtp:
        assert not isinstance(await send(smtp), Sent)
        assert isinstance(await send(smtp, BOB), Sent)
    assert (sink.connections, said(sink, "RSET")) == (1, 1)
    assert [mail.rcpt_to for mail in sink.taken] == [(BOB.address,)]


@pytest.mark.parametrize("answer", ["500 5.5.1 what?", Fault.DROP], ids=str)
async def test_a_relay_that_cannot_forget_gets_a_fresh_connection(answer: Behaviour) -> None:
    script: dict[str, Any] = {"RCPT": ["550 5.1.1 no"], "RSET": answer}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        assert isinstance(await send(smtp, BOB), Sent)
    assert sink.connections == 2


@pytest.mark.parametrize("point", ["RCPT", "DATA"])
async def test_after_mail_a_lost_connection_is_the_retrys_matter(point: str) -> None:
    commits = Commits()
    script: dict[str, Any] = {}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        script[point] = [Fault.DROP]
        with pytest.raises(TransientFailure):
            await send(smtp, BOB, commits)
    assert (sink.connections, commits.calls) == (1, [])


@pytest.mark.parametrize("point", ["MIDWAY", "CONTENT"])
@pytest.mark.parametrize("fault", [Fault.DROP, Fault.HANG])
async def test_the_content_is_never_written_twice(point: str, fault: Fault) -> None:
    commits = Commits()
    script: dict[str, Any] = {}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        script[point] = [fault]
        with pytest.raises(UncertainDelivery):
            await send(smtp, BOB, commits)
        assert (sink.connections, said(sink, "DATA")) == (1, 2)
        script.clear()
        assert isinstance(await send(smtp), Sent)
    assert (sink.connections, commits.calls) == (2, [(BOB,)])


async def test_a_connection_whose_content_was_never_given_carries_nothing_else() -> None:
    async with Sink() as sink, account(sink) as smtp:
        await send(smtp)
        with pytest.raises(LostClaim):
            await send(smtp, BOB, Commits(refuse=LostClaim("another worker owns it")))
        assert isinstance(await send(smtp), Sent)
    assert (sink.connections, len(sink.taken)) == (2, 2)


async def test_a_mail_that_was_given_up_leaves_its_connection() -> None:
    script: dict[str, Any] = {}
    async with Sink(script=script) as sink, account(sink) as smtp:
        await send(smtp)
        script["RCPT"] = [Fault.HANG]
        underway = asyncio.create_task(send(smtp, BOB))
        while said(sink, "RCPT") < 2:
            await asyncio.sleep(0)
        underway.cancel()
        with pytest.raises(asyncio.CancelledError):
            await underway
        assert isinstance(await send(smtp), Sent)
    assert sink.connections == 2


async def test_mails_at_once_share_so_many_connections_in_the_order_of_asking() -> None:
    recipients = [Recipient(f"r{n}", f"{n}@customer.example") for n in range(12)]
    async with Sink() as sink, account(sink, "smtp://127.0.0.1?connections=3") as smtp:
        outcomes = await asyncio.gather(*(send(smtp, one) for one in recipients))
    assert all(isinstance(one, Sent) for one in outcomes)
    assert sink.connections == 3
    order = [int(mail.rcpt_to[0].partition("@")[0]) for mail in sink.taken]
    assert all(abs(place - number) < 3 for place, number in enumerate(order))


async def test_who_waits_too_long_for_a_connection_comes_again_later() -> None:
    limits = PoolLimits(connections=1, wait=timedelta(milliseconds=20))
    script: dict[str, Any] = {"RCPT": [Fault.HANG]}
    async with Sink(script=script) as sink, account(sink, pool=limits) as smtp:
        stuck = asyncio.create_task(send(smtp))
        while not said(sink, "RCPT"):
            await asyncio.sleep(0)
        with pytest.raises(TransientFailure, match="all 1 connections to the relay are busy"):
            await send(smtp)
        with pytest.raises(TransientFailure, match="broke off"):
            await stuck
        assert isinstance(await send(smtp), Sent)


async def test_a_wrong_password_is_tried_once_by_ten_mails(certificate: Certificate) -> None:
    async with Sink(certificate=certificate, users={"mailer": "secret"}) as sink:
        url = "smtp://mailer:wrong@127.0.0.1?tls=required"
        async with account(sink, url, trust=certificate.client) as smtp:
            failures = await asyncio.gather(
                *(send(smtp) for _ in range(10)), return_exceptions=True
            )
            with pytest.raises(PermanentFailure, match="535"):
                await send(smtp)
    assert {type(one).__mro__[1] for one in failures} == {PermanentFailure}
    assert (said(sink, "AUTH"), sink.connections) == (1, 1)


async def test_a_rejected_login_is_tried_again_after_a_pause(certificate: Certificate) -> None:
    limits = PoolLimits(login_pause=timedelta(0))
    users = {"mailer": "another"}
    async with Sink(certificate=certificate, users=users) as sink:
        url = "smtp://mailer:secret@127.0.0.1?tls=required"
        async with account(sink, url, trust=certificate.client, pool=limits) as smtp:
            with pytest.raises(PermanentFailure):
                await send(smtp)
            users["mailer"] = "secret"
            assert isinstance(await send(smtp), Sent)


async def test_a_password_that_was_changed_meanwhile_is_not_hammered(
    certificate: Certificate,
) -> None:
    users = {"mailer": "secret"}
    async with Sink(certificate=certificate, users=users) as sink:
        url = "smtp://mailer:secret@127.0.0.1?tls=required"
        async with account(sink, url, trust=certificate.client) as smtp:
            await send(smtp)
            users["mailer"] = "another"
            await sink.hang_up()
            for _ in range(3):
                with pytest.raises(PermanentFailure):
                    await send(smtp)
    assert said(sink, "AUTH") == 2
