"""What becomes of a mail when the account that it is given to fails, for each provider and failure?

    python -m bench.failover

Every provider's sender talks to a server on loopback that speaks the documented API and fails as
told; behind it stands an SMTP relay that takes everything. Prints, for each failure, what became of
the recipient, whether the next account was asked, and how often the mail was really handed over:
how many servers may have kept it. Exit code 1 when that is more than once.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select
from structlog.testing import capture_logs

from mailagent.flow import outbox, send
from mailagent.mail import Address
from mailagent.outbound import AccountState
from mailagent.outgoing import Outgoing, Sends
from mailagent.providers import SigningKey, close_accounts
from mailagent.providers.api import Times
from mailagent.providers.mailgun_send import MailgunSender
from mailagent.providers.postmark_send import PostmarkSender
from mailagent.providers.relay import PoolLimits, Relay
from mailagent.providers.sendgrid_send import SendGridSender
from mailagent.providers.ses import Ses
from mailagent.providers.smtp import Smtp, Timeouts
from mailagent.sandbox import Sandbox
from mailagent.store import tables as t
from mailagent.store.migrations import upgrade
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, claim
from tests import mailgun_server, postmark_server, sendgrid_server, ses_server, smtp_sink
from tests.api_server import ApiServer, Fault, Reply
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, open_mailroom
from tests.smtp_sink import Sink

__all__ = ["FAILURES", "Failure", "Fate", "fates", "room"]

_SECONDS = 2.0
"""Until a server that says nothing is given up; a machine that is busy must not look like one."""
_SHORT = Times(connect=_SECONDS, write=_SECONDS, read=_SECONDS, whole=3 * _SECONDS)
_AT_ONCE = 15
_NONSENSE = "I like this mail"
_FIRST, _SECOND = "first", "second"


@dataclass(frozen=True, slots=True)
class Failure:
    """How an account fails, and what must become of the mail."""

    provider: str
    name: str
    script: Reply | Fault | dict[str, smtp_sink.Behaviour | list[smtp_sink.Behaviour]] | None
    state: str
    """Of the recipient, in the end."""
    goes_on: bool
    """Whether the next account is asked."""
    kept: bool
    """Whether the far side may have kept the mail."""
    away: bool = False
    """Nothing listens where the account is."""

    def __str__(self) -> str:
        return f"{self.provider}: {self.name}"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a mail to one recipient."""

    state: str
    hand_overs: tuple[tuple[str, str], ...]
    """(account, outcome), the first one first."""
    reasons: tuple[str, ...]
    """Why each of them was chosen."""
    handed_over: int
    """How many servers may have kept the mail."""

    @property
    def went_on(self) -> bool:
        return any(account == _SECOND for account, _ in self.hand_overs)


def _of_api(
    provider: str,
    *,
    message: Reply,
    recipient: Reply | None,
    credentials: Reply,
    account: Reply,
    garbage: str = "unknown",
) -> Iterator[Failure]:
    """`garbage` is what a 200 without sense says: some APIs take a mail by the status alone."""
    later = Reply(429, {"message": "Too many requests"}, {"Retry-After": "60"})
    refusals = {"message refused": message}
    if recipient is not None:
        refusals["recipient refused"] = recipient
    others = {
        "credentials rejected": credentials,
        "account refused": account,
        "429 with a wait": later,
        "503": Reply(503, {"message": "maintenance"}),
    }
    uncertain = {
        "time-out before the body was read": Fault.DEAF,
        "time-out after the body was read": Fault.HANG,
        "reset before the body was read": Fault.RESET_EARLY,
        "reset after the body was read": Fault.RESET,
        "an answer cut off": Fault.CUT,
    }
    yield Failure(provider, "none", None, "sent", goes_on=False, kept=True)
    yield Failure(provider, "a slow answer", Fault.SLOW, "sent", goes_on=False, kept=True)
    for name, reply in refusals.items():
        yield Failure(provider, name, reply, "refused", goes_on=False, kept=False)
    for name, reply in others.items():
        yield Failure(provider, name, reply, "sent", goes_on=True, kept=False)
    yield Failure(
        provider, "nothing listens there", None, "sent", goes_on=True, kept=False, away=True
    )
    for name, fault in uncertain.items():
        kept = fault not in (Fault.DEAF, Fault.RESET_EARLY)
        yield Failure(provider, name, fault, "unknown", goes_on=False, kept=kept)
    nonsense = Reply(200, _NONSENSE.encode())
    yield Failure(provider, "garbage for an answer", nonsense, garbage, goes_on=False, kept=True)


def _of_smtp() -> Iterator[Failure]:
    def failure(
        name: str, point: str, behaviour: smtp_sink.Behaviour, state: str, *, kept: bool = False
    ) -> Failure:
        script: dict[str, smtp_sink.Behaviour | list[smtp_sink.Behaviour]] = {point: behaviour}
        goes_on = state == "sent"
        return Failure("smtp", name, script, state, goes_on=goes_on, kept=kept)

    faults = smtp_sink.Fault
    yield Failure("smtp", "none", None, "sent", goes_on=False, kept=True)
    yield failure("message refused", "CONTENT", "554 5.6.0 never", "refused")
    yield failure("recipient refused", "RCPT", "550 5.1.1 no such user", "refused")
    yield failure("account refused", "MAIL", "550 5.7.1 not you", "sent")
    yield failure("relaying denied", "RCPT", "550 5.7.1 relaying denied", "sent")
    yield failure("greylisted", "RCPT", "451 4.7.1 greylisted", "sent")
    yield failure("not now, after the content", "CONTENT", "451 4.3.0 not now", "sent")
    yield failure("time-out before the content", "MAIL", faults.HANG, "sent")
    yield failure("reset before the content", "DATA", faults.RESET, "sent")
    yield failure("garbage before the content", "CONNECT", _NONSENSE, "sent")
    yield Failure(
        "smtp", "nothing listens there", None, "sent", goes_on=True, kept=False, away=True
    )
    yield failure("reset within the content", "MIDWAY", faults.RESET, "unknown")
    yield failure("time-out after the content", "CONTENT", faults.HANG, "unknown", kept=True)
    yield failure("reset after the content", "CONTENT", faults.RESET, "unknown", kept=True)
    yield failure("an answer cut off", "CONTENT", faults.CUT, "unknown", kept=True)
    yield failure("garbage for an answer", "CONTENT", _NONSENSE, "unknown", kept=True)


def _ses_error(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"message": message}, {"x-amzn-ErrorType": code})


FAILURES: tuple[Failure, ...] = (
    *_of_smtp(),
    *_of_api(
        "ses",
        message=_ses_error(400, "BadRequestException", "Invalid MIME"),
        recipient=None,
        credentials=_ses_error(403, "UnrecognizedClientException", "The security token is invalid"),
        account=_ses_error(400, "AccountSuspendedException", "Sending is paused"),
    ),
    *_of_api(
        "sendgrid",
        message=sendgrid_server.errors(400, "The subject is required", "subject"),
        recipient=sendgrid_server.errors(
            400, "Does not contain a valid address.", "personalizations.0.to.0.email"
        ),
        credentials=sendgrid_server.errors(401, "The provided authorization grant is invalid"),
        account=sendgrid_server.errors(403, "The from address does not match a verified sender"),
    ),
    *_of_api(
        "mailgun",
        message=Reply(400, {"message": "'message' parameter is not a file"}),
        recipient=Reply(400, {"message": "'to' parameter is not a valid address"}),
        credentials=Reply(401, {"message": "Forbidden"}),
        account=Reply(400, {"message": "The domain is unverified"}),
        garbage="sent",
    ),
    *_of_api(
        "postmark",
        message=postmark_server.error(300, "Invalid 'From' address."),
        recipient=postmark_server.error(406, "marked as inactive"),
        credentials=postmark_server.error(10, "Bad or missing Server API token.", 401),
        account=postmark_server.error(412, "Account is pending approval."),
    ),
)
"""Every failure of every provider."""


@asynccontextmanager
async def room(folder: Path) -> AsyncIterator[Mailroom]:
    """An installation on a database of its own, of whose mails nobody is told."""
    url = f"sqlite:///{folder / 'failover.sqlite'}"
    await asyncio.to_thread(upgrade, url)
    async with open_mailroom(url, Sandbox(allowed=())) as opened:
        await opened.do(lambda tx: tx.execute(delete(t.memberships)).rowcount)
        yield opened


async def fates(mailroom: Mailroom, failures: Sequence[Failure]) -> list[Fate]:
    """What becomes of a mail by each of these failures; several at a time."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(failure: Failure) -> Fate:
        async with turn:
            return await fate(mailroom, failure)

    return await asyncio.gather(*map(one, failures))


async def fate(mailroom: Mailroom, failure: Failure) -> Fate:
    """Send one mail by an account that fails so, with a relay that is well behind it."""
    async with AsyncExitStack() as stack:
        account, kept = await stack.enter_async_context(_failing(failure))
        relay = await stack.enter_async_context(Sink())
        accounts: Mapping[str, Sends] = {
            _FIRST: account,
            _SECOND: _smtp(_SECOND, relay.port, 10 * _SECONDS),
        }
        stack.push_async_callback(close_accounts, accounts.values())
        services = replace(
            mailroom.services,
            accounts=accounts,
            account_states=tuple(map(AccountState, accounts)),
        )
        claim = await mailroom.store.write_unscoped(_due, mailroom.workspace_id)
        await send.send(services, claim)
        ours = t.outbound_recipients.c.outbound_id == claim.id
        (recipient,) = await mailroom.rows(select(t.outbound_recipients).where(ours))
        tried = t.hand_overs.c.outbound_id == claim.id
        steps = await mailroom.rows(select(t.hand_overs).where(tried).order_by(t.hand_overs.c.id))
        first = kept() if failure.kept else 0
        return Fate(
            recipient.state,
            tuple((one.account, one.outcome) for one in steps),
            tuple(one.why_account for one in steps),
            first + len(relay.taken),
        )


def _due(tx: Transaction, workspace_id: str) -> Claim:
    """A mail to somebody new, since a failure may suppress its address; in the caller's hands."""
    name = new_id("new")
    outgoing = Outgoing(
        message_id=f"<{name}@shop.{DOMAIN}>",
        date=tx.now,
        from_=Address(HELLO),
        to=(Address(f"{name}@customer.example"),),
        subject="News",
        text="We have moved.\n",
    )
    envelope = outbox.Envelope("new", "key:bench", "agt_hello")
    outbox.queue(tx.of(workspace_id), outgoing, envelope, expiry=timedelta(hours=1))
    (made,) = claim(tx, outbox.SENDING, 2)
    return made


@asynccontextmanager
async def _failing(failure: Failure) -> AsyncIterator[tuple[Sends, Callable[[], int]]]:
    """The account that fails, and how many mails its server has read whole."""
    script = failure.script
    if failure.provider == "smtp":
        async with Sink(script=script if isinstance(script, dict) else {}) as sink:
            port = _nowhere() if failure.away else sink.port
            yield _smtp(_FIRST, port, _SECONDS), lambda: len(sink.taken)
        return
    assert not isinstance(script, dict)
    server, opened = _APIS[failure.provider]
    async with server() as api:
        api._script[:] = [script] if script is not None else []
        url = f"http://127.0.0.1:{_nowhere()}" if failure.away else api.url
        yield opened(url), lambda: len(api.requests)


def _smtp(name: str, port: int, seconds: float) -> Smtp:
    limit = timedelta(seconds=seconds)
    return Smtp(
        Relay.parse(f"smtp://127.0.0.1:{port}?tls=none"),
        hostname=f"mx.{DOMAIN}",
        signing_key=_unsigned,
        name=name,
        timeouts=Timeouts(connect=limit, command=limit, content=limit),
        pool=PoolLimits(idle=timedelta()),
    )


async def _unsigned(_: str) -> SigningKey | None:
    return None


def _nowhere() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


_APIS: Mapping[str, tuple[Callable[[], ApiServer], Callable[[str], Sends]]] = {
    "ses": (
        ses_server.SesServer,
        lambda url: Ses(ses_server.access(url, read_seconds=_SECONDS), name=_FIRST),
    ),
    "sendgrid": (
        sendgrid_server.SendGridServer,
        lambda url: SendGridSender(_FIRST, sendgrid_server.KEY, base=url, times=_SHORT),
    ),
    "mailgun": (
        lambda: mailgun_server.MailgunServer(domains=frozenset({DOMAIN})),
        lambda url: MailgunSender(
            _FIRST, mailgun_server.KEY, base=url, domain=DOMAIN, times=_SHORT
        ),
    ),
    "postmark": (
        postmark_server.PostmarkServer,
        lambda url: PostmarkSender(_FIRST, postmark_server.TOKEN, base=url, times=_SHORT),
    ),
}


async def _main() -> int:
    print("| provider | failure | recipient | next account | hand-overs | really handed over |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        async with room(Path(folder)) as mailroom:
            found = await fates(mailroom, FAILURES)
    for failure, one in zip(FAILURES, found, strict=True):
        state = one.state if one.state == failure.state else f"{one.state} (not {failure.state})"
        went_on = "asked" if one.went_on else "not asked"
        steps = ", ".join(f"{account}: {outcome}" for account, outcome in one.hand_overs)
        told = (failure.provider, failure.name, state, went_on, steps, one.handed_over)
        print(f"| {' | '.join(map(str, told))} |")
    twice = sum(one.handed_over > 1 for one in found)
    print(f"\n{len(FAILURES)} failures; handed over more than once: {twice}")
    return 1 if twice else 0


if __name__ == "__main__":
    with capture_logs():
        code = asyncio.run(_main())
    sys.exit(code)
