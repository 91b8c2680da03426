"""What a mail through SES becomes, and what each of its answers means for it."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from mailagent.errors import (
    Delivery,
    LostClaim,
    Misconfigured,
    PermanentFailure,
    TransientFailure,
    UncertainDelivery,
)
from mailagent.inbound import Inbound, Later, Outcome
from mailagent.mail import Address
from mailagent.outgoing import OutgoingAttachment, Recipient, Refused, Sent
from mailagent.providers.account import Account, SigningKey, Surroundings
from mailagent.providers.ses import Ses
from mailagent.providers.ses_access import Access
from tests.api_server import Fault, Reply
from tests.providers.mails import ALICE, BOB, Commits, outgoing
from tests.ses_server import SES_ID, SesServer, access

DATA = Path(__file__).parent.parent / "data" / "ses"
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI-K7MDENG-secret"
LARGE = OutgoingAttachment("scan.bin", "application/octet-stream", b"x" * 8_000_000)


class Closed:
    async def accept(self, batch: list[Inbound]) -> list[Outcome]:
        return [Later("closed") for _ in batch]


async def unsigned(domain: str) -> SigningKey | None:
    return None


AROUND = Surroundings("mail.acme.example", Closed(), unsigned)  # type: ignore[arg-type]


def settings(url: str, **more: str) -> dict[str, str]:
    return {
        "AWS_SES_REGION": "eu-west-1",
        "AWS_REGION": "us-east-2",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "SES_BASE_URL": url,
        **more,
    }


@asynccontextmanager
async def account(url: str, **more: str) -> AsyncIterator[Ses]:
    ses = Ses.open(Account("main", "ses", settings(url, **more)), AROUND)
    try:
        yield ses
    finally:
        await ses.close()


@asynccontextmanager
async def timed(url: str, **seconds: float) -> AsyncIterator[Ses]:
    """An account at a fixed time, which waits as long as is said."""
    ses = Ses(access(url, **seconds), now=lambda: NOW)
    try:
        yield ses
    finally:
        await ses.close()


def answer(name: str) -> Reply:
    said = json.loads((DATA / f"send-{name}.json").read_text())
    return Reply(said["status"], said["body"], said["headers"])


async def test_a_mail_arrives_whole_and_names_its_recipients() -> None:
    async with SesServer() as server, account(server.url) as ses:
        commits = Commits()
        mail = outgoing(
            html="<p>Grüße <img src='cid:logo'></p>",
            reply_to=(Address("support+t.8f3a@acme.example"),),
            bcc=(Address(BOB.address),),
            headers=(("X-Mailagent-Loop", "mail.acme.example"),),
            attachments=(
                OutgoingAttachment("übersicht.txt", "text/plain", b"one\ntwo\n"),
                OutgoingAttachment("logo.png", "image/png", b"\x89PNG", content_id="logo"),
            ),
        )
        said = await ses.send(mail, [ALICE, BOB], committing=commits)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v2/email/outbound-emails")
    assert "/eu-west-1/ses/aws4_request" in request.headers["authorization"]
    assert request.json["Destination"] == {"ToAddresses": [ALICE.address, BOB.address]}
    assert request.json["FromEmailAddress"] == "support@acme.example"
    raw = base64.b64decode(request.json["Content"]["Raw"]["Data"])
    assert BOB.address.encode() not in raw
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert read["Message-ID"] == "<reply-42@acme.example>"
    assert read["In-Reply-To"] == "<question-1@customer.example>"
    assert read["Reply-To"] == "support+t.8f3a@acme.example"
    assert read["Auto-Submitted"] == "auto-replied"
    assert read["X-Mailagent-Loop"] == "mail.acme.example"
    assert read["From"] == "Acme Süd <support@acme.example>"
    assert [part.get_filename() for part in read.iter_attachments()] == ["übersicht.txt"]
    assert any(part["Content-ID"] == "<logo>" for part in read.walk())
    assert commits.calls == [(ALICE, BOB)]
    sent = Sent(SES_ID, f"SES took it as {SES_ID}", (f"<{SES_ID}@eu-west-1.amazonses.com>",))
    assert said == {ALICE: sent, BOB: sent}


async def test_in_the_oldest_region_recipients_see_another_message_id() -> None:
    async with SesServer() as server, account(server.url, AWS_SES_REGION="us-east-1") as ses:
        said = await ses.send(outgoing(), [ALICE], committing=Commits())
    outcome = said[ALICE]
    assert isinstance(outcome, Sent)
    assert outcome.message_ids == (f"<{outcome.provider_id}@email.amazonses.com>",)


async def test_the_configuration_set_and_tags_go_with_every_mail() -> None:
    more = {"SES_CONFIGURATION_SET": "mailagent", "SES_EMAIL_TAGS": "team=support, env=live"}
    async with SesServer() as server, account(server.url, **more) as ses:
        await ses.send(outgoing(), [ALICE], committing=Commits())
    assert server.requests[0].json["ConfigurationSetName"] == "mailagent"
    assert server.requests[0].json["EmailTags"] == [
        {"Name": "team", "Value": "support"},
        {"Name": "env", "Value": "live"},
    ]


async def test_a_domain_outside_ascii_travels_as_a_labels() -> None:
    one = Recipient("r1", "ada@bücher.example")
    async with SesServer() as server, account(server.url) as ses:
        await ses.send(outgoing(), [one], committing=Commits())
    to = server.requests[0].json["Destination"]["ToAddresses"]
    assert to == ["ada@xn--bcher-kva.example"]


async def test_an_address_that_ses_cannot_take_is_refused_and_the_others_get_their_mail() -> None:
    bad = Recipient("r9", "jürgen@customer.example")
    commits = Commits()
    async with SesServer() as server, account(server.url) as ses:
        said = await ses.send(outgoing(), [bad, ALICE], committing=commits)
        assert isinstance(said[bad], Refused)
        assert isinstance(said[ALICE], Sent)
        assert commits.calls == [(ALICE,)]
        alone = await ses.send(outgoing(), [bad], committing=commits)
        assert isinstance(alone[bad], Refused)
    assert len(server.requests) == 1


MESSAGE, ACCOUNT = "message", "account"


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("throttled", None),
        ("throttled-400", None),
        ("internal", None),
        ("unavailable", None),
        ("daily-quota", ACCOUNT),
        ("limit", ACCOUNT),
        ("suspended", ACCOUNT),
        ("paused", ACCOUNT),
        ("mail-from", ACCOUNT),
        ("not-verified", ACCOUNT),
        ("no-configuration-set", ACCOUNT),
        ("access-denied", ACCOUNT),
        ("bad-key", ACCOUNT),
        ("bad-signature", ACCOUNT),
        ("expired-token", ACCOUNT),
        ("new-refusal", ACCOUNT),
        ("virus", MESSAGE),
        ("bad-request", MESSAGE),
    ],
)
async def test_each_documented_error_says_whose_fault_it_is(name: str, about: str | None) -> None:
    async with SesServer([answer(name)]) as server, timed(server.url) as ses:
        with pytest.raises(Delivery) as failure:
            await ses.send(outgoing(), [ALICE], committing=Commits())
        assert len(server.requests) == 1  # the SDK repeats nothing
    error = failure.value
    assert error.code == answer(name).headers["x-amzn-errortype"]
    assert SECRET not in f"{error!r} {error}"
    if about is None:
        assert isinstance(error, TransientFailure)
    else:
        assert isinstance(error, PermanentFailure)
        assert error.about == about
        assert error.credentials == (name in ("bad-key", "bad-signature", "expired-token"))


async def test_the_wait_that_ses_names_is_kept() -> None:
    async with SesServer([answer("throttled")]) as server, timed(server.url) as ses:
        with pytest.raises(TransientFailure) as failure:
            await ses.send(outgoing(), [ALICE], committing=Commits())
    assert failure.value.retry_at == NOW + timedelta(seconds=7)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, TransientFailure),
        (503, TransientFailure),
        (502, UncertainDelivery),
        (504, UncertainDelivery),
        (301, PermanentFailure),
        (403, PermanentFailure),
        (413, PermanentFailure),
        (200, UncertainDelivery),
    ],
)
async def test_the_answer_of_a_gateway_is_judged_by_its_status(
    status: int, kind: type[Delivery]
) -> None:
    page = Reply(status, b"<html>a page of somebody else</html>", {"Content-Type": "text/html"})
    async with SesServer([page]) as server, timed(server.url) as ses:
        with pytest.raises(kind):
            await ses.send(outgoing(), [ALICE], committing=Commits())
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.CUT, Fault.RESET])
async def test_after_the_request_is_written_silence_is_uncertain(fault: Fault) -> None:
    async with SesServer([fault]) as server, timed(server.url, read_seconds=0.5) as ses:
        with pytest.raises(UncertainDelivery):
            await ses.send(outgoing(), [ALICE], committing=Commits())
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.RESET_EARLY])
async def test_a_request_that_was_not_written_whole_was_not_taken(fault: Fault) -> None:
    async with SesServer([fault]) as server, timed(server.url, read_seconds=0.5) as ses:
        with pytest.raises(TransientFailure):
            await ses.send(outgoing(attachments=(LARGE,)), [ALICE], committing=Commits())
        assert server.requests == []


async def test_an_answer_that_never_ends_is_uncertain() -> None:
    async with (
        SesServer([Fault.HANG]) as server,
        timed(server.url, whole_seconds=0.3) as ses,
    ):
        with pytest.raises(UncertainDelivery, match="never ended"):
            await ses.send(outgoing(), [ALICE], committing=Commits())
        assert len(server.requests) == 1


async def test_a_slow_answer_is_an_answer() -> None:
    async with SesServer([Fault.SLOW]) as server, timed(server.url) as ses:
        said = await ses.send(outgoing(), [ALICE], committing=Commits())
    assert isinstance(said[ALICE], Sent)


async def test_no_more_mails_are_begun_than_there_are_connections() -> None:
    commits = Commits()
    async with (
        SesServer([Fault.HANG] * 10) as server,
        timed(server.url) as ses,
    ):
        begun = [
            asyncio.create_task(ses.send(outgoing(), [ALICE], committing=commits))
            for _ in range(11)
        ]
        while len(server.requests) < 10:
            await asyncio.sleep(0)
        assert len(commits.calls) == 10
        for one in begun:
            one.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def test_no_connection_is_later() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with timed(url) as ses:
            with pytest.raises(TransientFailure):
                await ses.send(outgoing(), [ALICE], committing=Commits())


async def test_a_server_that_does_not_speak_tls_gets_nothing() -> None:
    async with SesServer() as server, timed(server.url.replace("http:", "https:")) as ses:
        with pytest.raises(TransientFailure):
            await ses.send(outgoing(), [ALICE], committing=Commits())
        assert server.requests == []


async def test_what_may_not_be_committed_is_not_sent() -> None:
    async with SesServer() as server, account(server.url) as ses:
        with pytest.raises(LostClaim):
            await ses.send(outgoing(), [ALICE], committing=Commits(LostClaim("taken over")))
        assert server.requests == []


@pytest.mark.parametrize(
    ("mail", "to"),
    [
        (outgoing(), [Recipient(f"r{n}", f"r{n}@customer.example") for n in range(51)]),
        (outgoing(attachments=(LARGE,) * 4), [ALICE]),
        (outgoing(from_=Address("süd@acme.example")), [ALICE]),
        (outgoing(subject="a\r\nBcc: x@customer.example"), [ALICE]),
    ],
    ids=["51 recipients", "over 40 MB", "From outside ASCII", "a header in the subject"],
)
async def test_what_ses_would_not_take_is_said_before_the_call(
    mail: Any, to: list[Recipient]
) -> None:
    commits = Commits()
    async with SesServer() as server, account(server.url) as ses:
        assert ses.recipients_at_once == 50
        with pytest.raises(PermanentFailure) as failure:
            await ses.send(mail, to, committing=commits)
        assert server.requests == []
    assert failure.value.about == "message"
    assert commits.calls == []


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("AWS_SES_REGION", "", None),
        ("AWS_SES_REGION", "Ireland", "AWS_SES_REGION"),
        ("AWS_ACCESS_KEY_ID", "", "AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "", "AWS_SECRET_ACCESS_KEY"),
        ("SES_BASE_URL", "email.eu-west-1.amazonaws.com", "SES_BASE_URL"),
        ("SES_BASE_URL", "https://u:p@host.example", "SES_BASE_URL"),
        ("SES_EMAIL_TAGS", "team", "SES_EMAIL_TAGS"),
        ("SES_EMAIL_TAGS", "team=süd", "SES_EMAIL_TAGS"),
    ],
)
async def test_a_wrong_setting_is_named_when_the_account_is_opened(
    setting: str, value: str, named: str | None
) -> None:
    given = Account("main", "ses", settings("http://127.0.0.1:1") | {setting: value})
    if named is None:
        await Ses.open(given, AROUND).close()  # AWS_REGION stands in
        return
    with pytest.raises(Misconfigured) as error:
        Ses.open(given, AROUND)
    assert error.value.setting == named
    assert SECRET not in str(error.value)


async def test_no_region_at_all_is_named() -> None:
    with pytest.raises(Misconfigured, match="AWS_SES_REGION: is empty"):
        Ses.open(Account("main", "ses"), AROUND)


async def test_a_description_says_what_may_be_sent() -> None:
    async with SesServer() as server:
        facts = await Ses.describe(Account("main", "ses", settings(server.url)))
    assert facts["access"].startswith("sandbox: only verified recipients")
    assert {name: facts[name] for name in ("region", "sending", "standing", "quota", "used")} == {
        "region": "eu-west-1",
        "sending": "enabled",
        "standing": "healthy",
        "quota": "200 in 24 hours, 1 a second",
        "used": "17 in the last 24 hours",
    }


async def test_a_description_that_is_refused_says_the_mend() -> None:
    async with SesServer([answer("bad-key")]) as server:
        with pytest.raises(PermanentFailure, match="look at AWS_ACCESS_KEY_ID"):
            await Ses.describe(Account("main", "ses", settings(server.url)))


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """A server that plays AWS."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


async def test_a_verified_domain_sends_and_another_is_the_accounts_fault(aws: str) -> None:
    async with account(aws) as ses:
        client = Access("sesv2", "eu-west-1", "AKIAEXAMPLE", SECRET, aws).client()
        client.create_email_identity(EmailIdentity="acme.example")
        said = await ses.send(outgoing(), [ALICE, BOB], committing=Commits())
        assert isinstance(said[ALICE], Sent)
        assert said[ALICE] == said[BOB]
        other = outgoing(from_=Address("support@stranger.example"))
        with pytest.raises(PermanentFailure):
            await ses.send(other, [ALICE], committing=Commits())
        client.close()
