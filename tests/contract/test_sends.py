"""The sentences of an account that carries mail, for every provider that has one."""

from __future__ import annotations

import logging
import traceback
from datetime import timedelta

import pytest
import structlog

from mailagent.errors import (
    Delivery,
    LostClaim,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.outgoing import Later, OutgoingAttachment, Refused, Sent
from mailagent.providers import carries_mime
from tests.contract.cases import NOW, AtWork, Failure, Sending, cases, kinds
from tests.providers.mails import ALICE, Commits, outgoing

EVERYWHERE = kinds("SENDS")
SEEN = [one for one in EVERYWHERE if cases(one, "SENDS").reaches != "nobody"]
AWAY = [one for one in EVERYWHERE if cases(one, "SENDS").reaches == "another host"]

every_kind = pytest.mark.parametrize("kind", EVERYWHERE)
every_kind_that_gives_it_to_somebody = pytest.mark.parametrize("kind", SEEN)
every_kind_that_speaks_to_another_host = pytest.mark.parametrize("kind", AWAY)


def sending(kind: str) -> Sending:
    of: Sending = cases(kind, "SENDS")
    return of


async def send(at_work: AtWork, commits: Commits | None = None) -> Sent | Refused | Later:
    said = await at_work.sends.send(outgoing(), [ALICE], committing=commits or Commits())
    return said[ALICE]


async def failure_of(kind: str, failure: Failure) -> Delivery | Refused | Later | Sent:
    """How a send ends; raised or said of the one recipient."""
    async with sending(kind).at_work(failure) as at_work:
        try:
            return await send(at_work)
        except Delivery as error:
            return error


@every_kind
async def test_success_is_said_and_committed_once(kind: str) -> None:
    commits = Commits()
    async with sending(kind).at_work() as at_work:
        assert isinstance(await send(at_work, commits), Sent)
    assert commits.calls == [(ALICE,)]


@every_kind
async def test_what_may_not_be_committed_is_not_sent(kind: str) -> None:
    async with sending(kind).at_work() as at_work:
        with pytest.raises(LostClaim):
            await send(at_work, Commits(LostClaim("taken over")))
        assert list(at_work.seen()) == []


@every_kind_that_gives_it_to_somebody
async def test_thread_headers_unicode_names_and_attachments_arrive(kind: str) -> None:
    async with sending(kind).at_work() as at_work:
        await send(at_work)
        (mail,) = at_work.seen()
    assert mail.in_reply_to == mail.references == "<question-1@customer.example>"
    assert mail.message_id == "<reply-42@acme.example>"
    assert mail.subject == "Re: Grüße"
    assert mail.from_name == "Acme Süd"
    ((name, content),) = mail.attachments.items()
    assert name == "übersicht.txt"
    assert content.split() == [b"one", b"two"]


@pytest.mark.parametrize("kind", [one for one in SEEN if carries_mime(one)])
async def test_a_mail_that_was_handed_in_as_mime_arrives_octet_for_octet(kind: str) -> None:
    raw = (
        b"X-First:   as it was  \r\nFrom: support@acme.example\r\nMessage-ID: <4@acme.example>\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx \r\n.\r\n--b--\r\n"
    )
    async with sending(kind).at_work() as at_work:
        mail = outgoing(raw=raw)
        assert isinstance(
            (await at_work.sends.send(mail, [ALICE], committing=Commits()))[ALICE], Sent
        )
        (arrived,) = at_work.seen()
    assert arrived.mime == raw


@every_kind_that_speaks_to_another_host
async def test_a_refused_mail_is_permanent_and_not_the_accounts_fault(kind: str) -> None:
    end = await failure_of(kind, Failure.REFUSED)
    assert isinstance(end, PermanentFailure | Refused), end
    assert end.about in ("message", "recipient")


@every_kind_that_speaks_to_another_host
async def test_a_refused_account_is_permanent_and_the_accounts_fault(kind: str) -> None:
    end = await failure_of(kind, Failure.REFUSED_ACCOUNT)
    assert isinstance(end, PermanentFailure), end
    assert end.about == "account"


@every_kind_that_speaks_to_another_host
async def test_too_many_is_transient_and_keeps_the_wait(kind: str) -> None:
    end = await failure_of(kind, Failure.THROTTLED)
    assert isinstance(end, TransientFailure | Later), end
    assert end.retry_at == (NOW + timedelta(seconds=7) if sending(kind).names_wait else None)


@every_kind_that_speaks_to_another_host
async def test_a_failing_far_side_is_transient(kind: str) -> None:
    assert isinstance(await failure_of(kind, Failure.FAILING), TransientFailure | Later)


@every_kind_that_speaks_to_another_host
async def test_nobody_there_is_transient(kind: str) -> None:
    assert isinstance(await failure_of(kind, Failure.UNREACHABLE), TransientFailure)


@every_kind_that_speaks_to_another_host
async def test_a_time_out_before_the_request_was_written_took_nothing(kind: str) -> None:
    """Transient where it is known that nothing was written, uncertain where it is not."""
    # More than the machine keeps between two sockets.
    large = OutgoingAttachment("scan.bin", "application/octet-stream", b"x" * 6_000_000)
    mail = outgoing(attachments=(large,))
    async with sending(kind).at_work(Failure.DEAF) as at_work:
        with pytest.raises((TransientFailure, UncertainDelivery)):
            await at_work.sends.send(mail, [ALICE], committing=Commits())
        assert list(at_work.seen()) == []


@pytest.mark.parametrize("failure", [Failure.SILENT, Failure.RESET], ids=["time-out", "reset"])
@every_kind_that_speaks_to_another_host
async def test_no_answer_after_the_request_was_written_is_uncertain(
    kind: str, failure: Failure
) -> None:
    assert isinstance(await failure_of(kind, failure), UncertainDelivery)


@every_kind
async def test_no_secret_is_in_any_log_line_or_error(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    with structlog.testing.capture_logs() as lines:
        for failure in [None, *Failure] if kind in AWAY else [None]:
            async with sending(kind).at_work(failure) as at_work:
                told.append(repr(at_work.sends))
                try:
                    told.append(repr(await send(at_work)))
                except Delivery as error:
                    told += [repr(error), *traceback.format_exception(error)]
    everything = "".join([*told, *map(repr, lines), caplog.text])
    assert [secret for secret in sending(kind).secrets if secret in everything] == []
