"""How does a mail leave by SMTP, and what do a relay's replies mean for it?

One recipient at a time, because each has its own return path (VERP); connections are used again.
MIME, DKIM and return path are the last act here. `smtp_pool` keeps the connections,
`smtp_conversation` speaks the commands, `smtp_answer` judges the replies. Source: RFC 5321 §3.3
(mail transaction), §4.1.2 (addresses).

What precedes RCPT concerns the account: it raises. From RCPT on the answer is the recipient's. A
connection that died while nobody used it is found out at MAIL, before anything is at stake.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar, Self

import idna

from mailagent.authentication import dkim
from mailagent.errors import Malformed, PermanentFailure, TransientFailure
from mailagent.mime import build
from mailagent.outgoing import Committing, HandedOver, Outgoing, Recipient, Refused
from mailagent.providers.account import Account, SigningKey, SigningKeys, Surroundings
from mailagent.providers.relay import PoolLimits, Relay, Tls
from mailagent.providers.smtp_answer import Answer, Stage
from mailagent.providers.smtp_conversation import Conversation, Timeouts
from mailagent.providers.smtp_pool import Loan, Pool

__all__ = ["Smtp", "Timeouts"]

_LOCAL_PART = re.compile(
    r"[^\x00-\x20\x7f\"(),:;<>@\[\\\]]+" + r'|"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])+"'
)
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[a-z0-9:.]+\]", re.IGNORECASE)
_LINE_END = re.compile(rb"\r\n|\r|\n")


def _now() -> datetime:
    return datetime.now(UTC)


class Smtp:
    """A relay that takes our mail. An instance belongs to one event loop; `close` it there."""

    kind: ClassVar[str] = "smtp"
    carries_mime: ClassVar[bool] = True

    def __init__(
        self,
        relay: Relay,
        *,
        hostname: str,
        signing_key: SigningKeys,
        name: str = "smtp",
        timeouts: Timeouts | None = None,
        trust: ssl.SSLContext | None = None,
        pool: PoolLimits | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`trust` checks the relay's certificate; None is the machine's own set of roots.

        `pool` stands in for what the relay's URL says of connections.
        """
        self._relay = relay
        self._hostname = hostname
        self._signing_key = signing_key
        self._name = name
        self._timeouts = timeouts or Timeouts()
        self._trust = trust
        self._pool = Pool(self._begin, pool or relay.pool, logs_in=relay.username is not None)
        self._now = now

    @classmethod
    def open(cls, account: Account, surroundings: Surroundings) -> Self:
        return cls(
            Relay.parse(account.required("SMTP_RELAY_URL")),
            hostname=surroundings.hostname,
            signing_key=surroundings.signing_key,
            name=account.name,
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def recipients_at_once(self) -> int:
        return 1

    async def reach(self) -> None:
        """Connect and log in, and no more. Raises as `send` does before MAIL."""
        async with self._pool.lend():
            pass

    async def send(
        self, outgoing: Outgoing, to: Sequence[Recipient], *, committing: Committing
    ) -> HandedOver:
        """Hand a mail to the relay for one recipient.

        Raises TransientFailure (no connection, no TLS, 4xx up to MAIL), PermanentFailure (AUTH or
        MAIL refused, no MIME or signature can be made) and UncertainDelivery (content written, no
        readable reply).
        """
        (recipient,) = to
        rcpt_to = _path(recipient.address)
        mail_from = "" if recipient.return_path is None else _path(recipient.return_path)
        if rcpt_to is None:
            return {recipient: Refused("is no address", about="recipient", code="5.1.3")}
        if mail_from is None:
            raise PermanentFailure("the return path is no address", code="5.1.7", about="message")
        content = await self._content(outgoing)
        smtputf8 = build.needs_smtputf8(outgoing) or not (mail_from + rcpt_to).isascii()
        async with self._pool.lend() as loan:
            answer = await self._mail(loan, mail_from, content, smtputf8=smtputf8)
            if isinstance(answer, Refused):
                return {recipient: answer}
            if not answer.positive:
                raise answer.failure()
            relay = loan.relay
            answer = await relay.command(Stage.RCPT, f"RCPT TO:<{rcpt_to}>")
            if answer.positive:
                answer = await relay.command(Stage.DATA, "DATA")
                if answer.code == 354:
                    await committing(to)
                    answer = await relay.content(content)
            return {recipient: answer.outcome()}

    async def close(self) -> None:
        """Say goodbye to the relay; mails that are under way end by themselves."""
        await self._pool.close()

    async def _begin(self) -> Conversation:
        relay = Conversation(self._relay, self._timeouts)
        try:
            await relay.begin(self._hostname, await self._tls_context())
        except BaseException:
            relay.leave()
            raise
        return relay

    async def _mail(
        self, loan: Loan, mail_from: str, content: bytes, *, smtputf8: bool
    ) -> Answer | Refused:
        """Say MAIL; over a fresh connection where one that was kept has died since."""

        async def said() -> Answer | Refused:
            options = loan.relay.options(content, smtputf8=smtputf8)
            if isinstance(options, Refused):
                return options
            return await loan.relay.mail(f"MAIL FROM:<{mail_from}>{options}")

        if loan.reused:
            try:
                answer = await said()
            except TransientFailure:
                answer = None
            if answer is not None and loan.relay.usable:
                return answer
            await loan.renew()
        return await said()

    async def _tls_context(self) -> ssl.SSLContext:
        if self._trust is None and self._relay.tls is Tls.OPPORTUNISTIC:
            self._trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._trust.check_hostname = False
            self._trust.verify_mode = ssl.CERT_NONE
        elif self._trust is None:  # reads a file of some hundred roots: once, and not in the loop
            self._trust = await asyncio.to_thread(ssl.create_default_context)
        return self._trust

    async def _content(self, outgoing: Outgoing) -> bytes:
        """The octets as signed and as sent: only CRLF ends a line (RFC 5321 §2.3.8)."""
        try:
            content = _LINE_END.sub(b"\r\n", build.render(outgoing))
        except Malformed as error:
            raise PermanentFailure(str(error), code="5.6.0", about="message") from error
        key = await self._signing_key(outgoing.from_.domain)
        while key is not None:
            content = self._signed(content, key)
            key = key.beside
        return content

    def _signed(self, content: bytes, key: SigningKey) -> bytes:
        try:
            return dkim.sign(
                content,
                domain=key.domain,
                selector=key.selector,
                private_key_pem=key.private_key_pem,
                now=self._now(),
            )
        except Malformed as error:
            # Unsigned it would be taken for forged: another account may sign by itself.
            reason = f"the DKIM key {key.selector} of {key.domain} cannot sign: {error}"
            raise PermanentFailure(reason, code="5.7.5", about="account") from error


def _path(address: str) -> str | None:
    """The address for an envelope, its domain in A-labels; None when it may not be spoken.

    Quoted local parts are kept as they are, within the lengths of RFC 5321 §4.5.3.1.
    """
    local_part, at, domain = address.rpartition("@")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return None
    if not at or len(local_part.encode("utf-8", "replace")) > 64 or len(domain) > 255:
        return None
    if not _LOCAL_PART.fullmatch(local_part) or not _DOMAIN.fullmatch(domain):
        return None
    try:
        return (local_part + at + domain).encode().decode()
    except UnicodeEncodeError:
        return None
