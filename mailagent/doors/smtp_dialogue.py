"""What does each SMTP command do? RFC 5321 §4.1.1, one method a command.

What the door of strangers (`smtp_mx`) and the one of our own (`submission`) have in common; whom
a mail may be for, and who keeps it, is theirs.
"""
# ruff: noqa: N802 - aiosmtpd names its command methods smtp_VERB.

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from mailagent.doors import smtp_replies as replies
from mailagent.doors.smtp_census import Held
from mailagent.doors.smtp_connection import SmtpConnection
from mailagent.doors.smtp_content import Content
from mailagent.doors.smtp_replies import Reply
from mailagent.doors.smtp_service import SmtpService
from mailagent.doors.smtp_syntax import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    BadParameter,
    ParameterTable,
    UnknownParameter,
    parse_parameters,
    parse_path,
)

__all__ = ["SmtpDialogue", "SmtpTransaction"]

_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_HELO_CHARACTERS = 255


class SmtpTransaction:
    """One mail between MAIL and the answer to its final dot (RFC 5321 §3.3)."""

    __slots__ = ("mail_from", "parameters", "recipient_parameters", "recipients", "utf8")

    def __init__(self, mail_from: str | None, parameters: Mapping[str, str]) -> None:
        self.mail_from = mail_from
        self.parameters = parameters
        self.utf8 = "SMTPUTF8" in parameters
        self.recipients: dict[str, str] = {}
        """As given, by lower case: the same recipient twice is one."""
        self.recipient_parameters: dict[str, Mapping[str, str]] = {}


class SmtpDialogue(SmtpConnection):
    """A connection and what was said on it so far."""

    def __init__(self, service: SmtpService, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(service, loop)
        self._helo: str | None = None
        self._transaction: SmtpTransaction | None = None
        self._mails = 0
        self._retire_at = loop.time() + service.limits.connection_lifetime.total_seconds()

    def _set_rset_state(self) -> None:
        self._transaction = None

    # --- session ---------------------------------------------------------------------------------

    async def smtp_EHLO(self, argument: str) -> None:
        if self._greeted(argument):
            secure = self._tls is not None
            self._write(self._service.ehlo_secure if secure else self._service.ehlo_plain)

    async def smtp_HELO(self, argument: str) -> None:
        if self._greeted(argument):
            self._say(self._service.helo_ok)

    def _greeted(self, name: str) -> bool:
        # Kept, not judged: RFC 5321 §4.1.4 forbids refusing mail for a name that does not fit.
        if not 0 < len(name) <= _HELO_CHARACTERS:
            self._say(replies.HELO_SYNTAX)
            return False
        self._helo = name
        self._transaction = None
        return True

    async def smtp_STARTTLS(self, argument: str) -> None:
        certificate = self._service.tls
        if argument:
            self._say(replies.NO_ARGUMENT_WANTED)
        elif certificate is None:
            self._say(replies.TLS_NOT_AVAILABLE)
        elif self._tls is not None:
            self._say(replies.TLS_ALREADY)
        else:
            self._say(replies.TLS_READY)
            if await self._secure(certificate()):
                # RFC 3207 §4.2: what was said in the clear was perhaps said by another.
                self._helo = None
                self._transaction = None

    async def smtp_RSET(self, argument: str) -> None:
        if argument:
            self._say(replies.NO_ARGUMENT_WANTED)
            return
        self._transaction = None
        self._say(replies.RSET_OK)

    async def smtp_NOOP(self, argument: str) -> None:
        self._say(replies.NOOP_OK)

    async def smtp_HELP(self, argument: str) -> None:
        self._say(replies.HELP)

    async def smtp_VRFY(self, argument: str) -> None:
        self._say(replies.CANNOT_VERIFY)

    async def smtp_QUIT(self, argument: str) -> None:
        self._hang_up(replies.BYE)

    async def _not_offered(self, argument: str) -> None:
        self._say(replies.NOT_OFFERED)

    # --- transaction -----------------------------------------------------------------------------

    async def smtp_MAIL(self, argument: str) -> None:
        if self._helo is None:
            self._say(replies.HELO_FIRST)
            return
        if self._transaction is not None:
            self._say(replies.NESTED_MAIL)
            return
        limits = self._service.limits
        if self._mails >= limits.mails_per_connection or self.loop.time() >= self._retire_at:
            self._hang_up(replies.CONNECT_AGAIN)
            return
        if not argument.upper().startswith("FROM:"):
            self._say(replies.MAIL_SYNTAX)
            return
        path = parse_path(argument[len("FROM:") :])
        if path is None or (path.address and "@" not in path.address):
            self._say(replies.BAD_SENDER)
            return
        parameters = self._parameters(path.rest, MAIL_PARAMETERS)
        if parameters is None:
            return
        if int(parameters.get("SIZE", 0)) > limits.size_bytes:
            self._say(self._service.too_big)
        elif not path.address.isascii() and "SMTPUTF8" not in parameters:
            self._say(replies.SENDER_NEEDS_UTF8)
        else:
            self._transaction = SmtpTransaction(path.address or None, parameters)
            self._say(replies.SENDER_OK)

    async def smtp_RCPT(self, argument: str) -> None:
        transaction = self._transaction
        if transaction is None:
            self._say(replies.MAIL_FIRST)
            return
        if not argument.upper().startswith("TO:"):
            self._say(replies.RCPT_SYNTAX)
            return
        path = parse_path(argument[len("TO:") :])
        if path is None or not path.address:
            self._say(replies.BAD_RECIPIENT)
            return
        parameters = self._parameters(path.rest, RCPT_PARAMETERS)
        if parameters is None:
            return
        address = path.address
        if not address.isascii() and not transaction.utf8:
            self._say(replies.RECIPIENT_NEEDS_UTF8)
            return
        self._say(await self._add(transaction, address, parameters))

    async def _add(
        self, transaction: SmtpTransaction, address: str, parameters: Mapping[str, str]
    ) -> Reply:
        key = address.lower()
        if key in transaction.recipients:
            return replies.RECIPIENT_OK
        if len(transaction.recipients) >= self._service.limits.recipients:
            return replies.TOO_MANY_RECIPIENTS
        refusal = await self._refusal(address)
        if refusal is not None:
            return refusal
        transaction.recipients[key] = address
        if parameters:
            transaction.recipient_parameters[address] = parameters
        return replies.RECIPIENT_OK

    def _parameters(self, rest: str, table: ParameterTable) -> Mapping[str, str] | None:
        if not rest:
            return _NO_PARAMETERS
        try:
            return parse_parameters(rest, table)
        except UnknownParameter:
            self._say(replies.UNKNOWN_PARAMETER)
        except BadParameter as error:
            self._say(replies.BAD_PARAMETER.about(name=error))
        return None

    async def smtp_DATA(self, argument: str) -> None:
        transaction = self._transaction
        if argument:
            self._say(replies.NO_ARGUMENT_WANTED)
            return
        if transaction is None:
            self._say(replies.MAIL_FIRST)
            return
        if not transaction.recipients:
            self._say(replies.NO_VALID_RECIPIENTS)
            return
        self._say(replies.START_INPUT)
        self._transaction = None
        with self._service.census.held() as held:
            match await self._content(held):
                case bytes(raw):
                    await self._keep(transaction, raw)
                case Reply() as problem:
                    self._say(problem)
                case None:
                    self._over = True

    async def _content(self, held: Held) -> bytes | Reply | None:
        """The mail, or why it is not taken; None when the connection is over before its end."""
        limits = self._service.limits
        content = Content(
            size_bytes=limits.size_bytes,
            line_bytes=limits.line_bytes,
            bare_newlines=self._service.bare_newlines,
        )
        self._reset_timeout(limits.data_timeout.total_seconds())
        chunk = bytes(self._input)
        self._input.clear()
        while (rest := content.feed(chunk)) is None:
            if content.endless:
                self._hang_up(self._service.too_big)
                return None
            if not held.may_grow_to(content.held_bytes):
                self._hang_up(replies.NO_ROOM)
                return None
            chunk = await self._read()
            if not chunk or self._over:
                return None
        # RFC 2920 §3.1: the next transaction may have come along with the dot.
        self._input += rest
        return content.take()

    # --- what the two doors do otherwise ---------------------------------------------------------

    async def _refusal(self, address: str) -> Reply | None:
        """Why this recipient is not taken; None when it is."""
        raise NotImplementedError

    async def _keep(self, transaction: SmtpTransaction, raw: bytes) -> None:
        """Hand the mail on and answer its final dot with what became of it."""
        raise NotImplementedError

    def _kept(self, id_: str) -> None:
        self._mails += 1
        self._commands_since_mail = 0
        self._service.census.accepted += 1
        self._say(replies.QUEUED.about(id=id_))

    commands: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "DATA": smtp_DATA,
            "EHLO": smtp_EHLO,
            "HELO": smtp_HELO,
            "HELP": smtp_HELP,
            "MAIL": smtp_MAIL,
            "NOOP": smtp_NOOP,
            "QUIT": smtp_QUIT,
            "RCPT": smtp_RCPT,
            "RSET": smtp_RSET,
            "STARTTLS": smtp_STARTTLS,
            "VRFY": smtp_VRFY,
            # AUTH is the submission door's. No expansion of lists, no CHUNKING.
            "AUTH": _not_offered,
            "BDAT": _not_offered,
            "EXPN": _not_offered,
            "TURN": _not_offered,
        }
    )
