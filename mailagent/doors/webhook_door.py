"""How does a provider's POST become mail or events, and which status does it get?

Read whole, authenticate, keep, say yes; whatever else happens is "later" in the provider's own
words. Every status on these paths is ours to choose: SendGrid drops a mail for good on any 3xx or
4xx, SNS does not retry a 4xx.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import structlog
from starlette.types import Receive, Scope

from mailagent.doors.webhook_body import Bodies
from mailagent.errors import MailagentError, Malformed, Misconfigured, TransientFailure, Unauthentic
from mailagent.inbound import Acceptor, Inbound, Later, Outcome, Replayed, Unrouted
from mailagent.mail import Event
from mailagent.webhook import Receives, Reports, WebhookRequest

__all__ = ["WebhookDoor"]

log = structlog.get_logger()

_LATER = 503
_LONGEST_ADDRESS = 320
_LONGEST_TOKEN = 128
_KEEP_SECONDS = 12.0
"""SNS waits 15 seconds for its answer."""


@dataclass
class WebhookDoor:
    """Every webhook of this process."""

    receivers: Mapping[str, Receives]
    """By provider kind; served at `/webhook/<kind>`."""
    reporters: Mapping[str, Reports]
    """Served at `/webhooks/email/<kind>`."""
    acceptor: Acceptor
    record: Callable[[Sequence[Event]], Awaitable[None]]
    """Merges events into the mails that they are about."""
    remember: Callable[[Inbound], Awaitable[None]]
    """Keeps a mail for nobody we know, for the operator alone."""
    now: Callable[[], datetime]
    secret: str = field(default="", repr=False)
    """`INBOUND_WEBHOOK_SECRET`."""
    open: frozenset[str] = frozenset()
    """Kinds whose webhooks take what nobody vouches for."""
    _bodies: Bodies = field(default_factory=Bodies)
    _misused: dict[str, str] = field(default_factory=dict)

    def state(self) -> Mapping[str, str]:
        """For health: what each webhook needs before it works, or was last misused for."""
        said = {}
        for prefix, hooks in (("/webhook", self.receivers), ("/webhooks/email", self.reporters)):
            for kind, hook in hooks.items():
                if kind in self.open:
                    said[f"{prefix}/{kind}"] = "open to everybody, as it was set"
                elif hook.missing and not self.secret:
                    said[f"{prefix}/{kind}"] = f"answers 503: {hook.missing}"
        return said | self._misused

    async def handle(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        """The status for one request on these paths, and a sentence without secrets."""
        segments = [part for part in scope["path"].split("/") if part]
        if segments[:2] == ["webhooks", "email"]:
            kind, rest = "".join(segments[2:3]), segments[3:]
            reporter = self.reporters.get(kind)
            hook = (
                _Hook(f"/webhooks/email/{kind}", reporter, partial(self._store, reporter))
                if reporter
                else None
            )
        else:
            kind, rest = "".join(segments[1:2]), segments[2:]
            receiver = self.receivers.get(kind)
            hook = (
                _Hook(f"/webhook/{kind}", receiver, partial(self._keep, receiver))
                if receiver
                else None
            )
        status, words = await self._handle(kind, hook, rest, scope, receive)
        address = hook.address if hook else "unknown"
        log.info("webhook.answered", address=address, status=status, outcome=words)
        return status, words

    async def _handle(
        self, kind: str, hook: _Hook | None, rest: Sequence[str], scope: Scope, receive: Receive
    ) -> tuple[int, str]:
        try:
            async with self._bodies.read(receive) as body:
                if hook is None or scope["method"] != "POST":
                    return _LATER, "there is no such webhook here, or it was not sent by POST"
                return await self._answer(
                    hook, partial(self._request, kind, hook, rest, scope, body)
                )
        except MailagentError as error:
            # The body: too large, too slow, cut off.
            return hook.of.answer(error) if hook else _LATER, str(error)

    def _request(
        self, kind: str, hook: _Hook, rest: Sequence[str], scope: Scope, body: bytes
    ) -> WebhookRequest:
        """Raises Unauthentic for another secret than ours, Misconfigured when nothing is set."""
        path = tuple(part for part in rest[-1:] if part == "mime")
        secrets = rest[: len(rest) - len(path)]
        if secrets:
            given = "/".join(secrets).encode()
            if not self.secret or not hmac.compare_digest(given, self.secret.encode()):
                raise Unauthentic("the secret in the path is not ours")
        vouched = bool(secrets) or kind in self.open
        if hook.of.missing and not vouched:
            raise hook.of.missing
        client = scope.get("client")
        return WebhookRequest(
            body=body,
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]},
            received_at=self.now(),
            path=path,
            secret_in_path=vouched,
            client_ip=client[0] if client else None,
        )

    async def _answer(self, hook: _Hook, request: Callable[[], WebhookRequest]) -> tuple[int, str]:
        try:
            async with asyncio.timeout(_KEEP_SECONDS):
                outcome = await hook.take(request())
        except Misconfigured as error:
            if hook.of.missing is None:
                self._misused[hook.address] = str(error)
            return hook.of.answer(error), str(error)
        except MailagentError as error:
            return hook.of.answer(error), str(error)
        except TimeoutError:
            late = TransientFailure("keeping it took too long")
            return hook.of.answer(late), str(late)
        except Exception as error:
            # The top of the door: what nobody foresaw is "later", and its text is ours alone.
            log.exception("webhook.failed", address=hook.address)
            return hook.of.answer(error), "an unforeseen failure: the log tells"
        if outcome is None:
            return 200, "all is kept"
        return hook.of.answer(outcome), type(outcome).__name__.lower()

    async def _store(self, reporter: Reports, request: WebhookRequest) -> None:
        await self.record(await reporter.events(request))

    async def _keep(self, receiver: Receives, request: WebhookRequest) -> Outcome | None:
        mails = await receiver.inbound(request)
        if not mails:
            return None
        for mail in mails:
            _check_lengths(mail)
        outcomes = await self.acceptor.accept(mails)
        for mail, outcome in zip(mails, outcomes, strict=True):
            if isinstance(outcome, Unrouted):
                await self.remember(mail)
        return max(outcomes, key=_weight)


@dataclass(frozen=True, slots=True)
class _Hook:
    """What serves one address."""

    address: str
    of: Receives | Reports
    take: Callable[[WebhookRequest], Awaitable[Outcome | None]]


def _check_lengths(mail: Inbound) -> None:
    """Raises Malformed for what no column takes, which would be "later" for ever."""
    addresses = (mail.envelope.mail_from or "", *mail.envelope.rcpt_to)
    # RFC 5321 §4.5.3.1.3: a path has at most 256 octets.
    if any(len(address) > _LONGEST_ADDRESS for address in addresses):
        raise Malformed("envelope", f"an address has more than {_LONGEST_ADDRESS} characters")
    if len(mail.replay_token or "") > _LONGEST_TOKEN:
        raise Malformed("token", f"has more than {_LONGEST_TOKEN} characters")


def _weight(outcome: Outcome) -> int:
    """What was not kept speaks for all that came in one request: kept ones are duplicates then."""
    match outcome:
        case Later():
            return 3
        case Replayed():
            return 2
        case Unrouted():
            return 1
        case _:
            return 0
