"""How is one connection to an SMTP relay spoken, a command at a time?

Sources: RFC 5321 (§4.5.3.2 timeouts, §4.5.2 transparency), 3207 STARTTLS, 4954 AUTH, 1870 SIZE,
6152 8BITMIME, 6531 SMTPUTF8.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from datetime import timedelta

import aiosmtplib

from mailagent.errors import PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.outgoing import Refused
from mailagent.providers.relay import Relay, Tls
from mailagent.providers.smtp_answer import Answer, Stage

__all__ = ["Conversation", "LoginRejected", "Timeouts"]

_CLOSING = 421
_GOODBYE_SECONDS = 2.0
_LEADING_DOT = re.compile(rb"^\.", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a relay may take. RFC 5321 §4.5.3.2 asks for 5 and 10 minutes.

    Relays that are alive answer in seconds; only the end of the data may take its time, because a
    premature end there leaves a mail whose fate nobody knows (§4.5.3.2.6).
    """

    connect: timedelta = timedelta(seconds=30)
    command: timedelta = timedelta(minutes=1)
    content: timedelta = timedelta(minutes=10)


class LoginRejected(PermanentFailure):
    """The relay refused user or password for good."""


class Conversation:
    """One SMTP connection, spoken a command at a time.

    aiosmtplib's own `mail` and `rcpt` rewrite addresses, and its `data` leaves no moment between
    the 354 and the content: so its command level is what we use.
    """

    def __init__(self, relay: Relay, timeouts: Timeouts) -> None:
        self._relay = relay
        self._timeouts = timeouts
        self._in_content = False
        self._in_transaction = False
        self._closing = False
        self.mails = 0
        """How many were begun here."""
        self._smtp = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            use_tls=relay.tls is Tls.IMPLICIT,
            start_tls=False,
            timeout=timeouts.command.total_seconds(),
        )

    async def begin(self, hostname: str, context: ssl.SSLContext) -> None:
        """Connect, greet, encrypt and log in. Raises TransientFailure and PermanentFailure."""
        try:
            await self._smtp.connect(
                local_hostname=hostname,
                tls_context=context,
                timeout=self._timeouts.connect.total_seconds(),
            )
            await self._greet()
            if self._relay.tls in {Tls.REQUIRED, Tls.OPPORTUNISTIC}:
                await self._encrypt(context)
            if self._relay.username is not None:
                await self._log_in(self._relay.username)
        except aiosmtplib.SMTPResponseException as error:
            raise Answer(Stage.CONNECT, error.code, error.message).failure() from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise TransientFailure(f"the relay is not reachable: {_name(error)}") from error

    async def _greet(self) -> None:
        try:
            await self._smtp.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if error.code < 500 or not self._smtp.is_connected:
                raise
            await self._smtp.helo()

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        if self._smtp.supports_extension("starttls"):
            await self._smtp.starttls(tls_context=context)
            await self._greet()
        elif self._relay.tls is Tls.REQUIRED:
            raise TransientFailure("the relay offers no STARTTLS, and the account asks for it")

    async def _log_in(self, username: str) -> None:
        words = username.encode(), self._relay.password.encode()
        # One try: some servers lock an account, or hang up, after the second wrong password.
        try:
            match self._smtp.server_auth_methods:
                case methods if "plain" in methods:
                    await self._smtp.auth_plain(*words)
                case methods if "login" in methods:
                    await self._smtp.auth_login(*words)
                case methods if "cram-md5" in methods:
                    await self._smtp.auth_crammd5(*words)
                case _:
                    reason = "the relay offers no way to log in that we know"
                    raise PermanentFailure(reason, about="account")
        except aiosmtplib.SMTPResponseException as error:
            # Some servers repeat what they were sent: their words are dropped here.
            failure = Answer(Stage.AUTH, error.code, "").failure()
            if isinstance(failure, PermanentFailure):
                raise LoginRejected(
                    failure.reason, code=failure.code, about="account", credentials=True
                ) from None
            raise failure from None

    def options(self, content: bytes, *, smtputf8: bool) -> str | Refused:
        """The parameters of MAIL, or why this relay cannot carry the mail."""
        options = ""
        if smtputf8:
            if not self._smtp.supports_extension("smtputf8"):
                reason = "the relay cannot carry addresses outside ASCII"
                return Refused(reason, about="account", code="5.6.7")
            options += " SMTPUTF8"
        if not content.isascii():
            if not self._smtp.supports_extension("8bitmime"):
                reason = "the relay cannot carry 8-bit text"
                return Refused(reason, about="account", code="5.6.3")
            options += " BODY=8BITMIME"
        if self._smtp.supports_extension("size"):
            options += f" SIZE={len(content)}"
        return options

    @property
    def usable(self) -> bool:
        """Whether another mail may be tried over it, as far as can be told without asking."""
        return self._smtp.is_connected and not self._in_content and not self._closing

    async def mail(self, line: str) -> Answer:
        """Begin a mail transaction. Raises TransientFailure when no readable reply comes."""
        if self._in_transaction:
            answer = await self.command(Stage.MAIL, "RSET")
            if not answer.positive:
                raise TransientFailure(f"the relay answered {answer} to RSET")
        self.mails += 1
        answer = await self.command(Stage.MAIL, line)
        self._in_transaction = answer.positive
        return answer

    async def command(self, stage: Stage, line: str) -> Answer:
        """Speak one command. Raises TransientFailure when no readable reply comes."""
        try:
            response = await self._smtp.execute_command(line.encode())
        except aiosmtplib.SMTPResponseException as error:
            self._closing = True
            return Answer(stage, error.code, error.message)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise TransientFailure(f"the relay broke off at {stage}: {_name(error)}") from error
        self._in_content = stage is Stage.DATA and response.code == 354
        self._closing = response.code == _CLOSING
        return Answer(stage, response.code, response.message)

    async def content(self, content: bytes) -> Answer:
        """Write the content after a 354 and read the reply that decides.

        Raises TransientFailure when the connection was gone before the first byte, and
        UncertainDelivery when after it no 2xx, 4xx or 5xx came.
        """
        protocol = self._smtp.protocol
        if protocol is None or not protocol.is_connected:
            raise TransientFailure("the relay closed the connection before the content")
        if not content.endswith(b"\r\n"):
            content += b"\r\n"
        try:
            protocol.write(_LEADING_DOT.sub(b"..", content) + b".\r\n")
            response = await protocol.read_response(self._timeouts.content.total_seconds())
        except (aiosmtplib.SMTPException, OSError) as error:
            reason = f"the relay did not say what became of the content: {_name(error)}"
            raise UncertainDelivery(reason) from error
        answer = Answer(Stage.CONTENT, response.code, response.message)
        if not answer.final:
            raise UncertainDelivery(f"the relay's reply to the content means nothing: {answer}")
        self._in_content = self._in_transaction = False
        self._closing = response.code == _CLOSING
        return answer

    def leave(self) -> None:
        """Close without waiting: a fate that is known must be recorded, not wait for a 221."""
        protocol = self._smtp.protocol
        # Within the content "QUIT" would be a line of the mail.
        if protocol is not None and protocol.is_connected and not self._in_content:
            protocol.write(b"QUIT\r\n")
        self._smtp.close()

    async def end(self) -> None:
        """Say QUIT between two mails and wait a moment for the answer (RFC 5321 §4.1.1.10)."""
        try:
            await self._smtp.quit(timeout=_GOODBYE_SECONDS)
        except (aiosmtplib.SMTPException, OSError):
            self._smtp.close()


def _name(error: BaseException) -> str:
    """What happened in a word or two; the libraries' own texts repeat addresses and replies."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, TimeoutError):
        return "time-out"
    if isinstance(cause, ssl.SSLError):
        return f"its TLS does not hold ({cause.reason})"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return "the connection was lost" if isinstance(error, ConnectionError) else "no valid reply"
