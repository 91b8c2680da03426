"""How does one of our own hand a mail in to be sent? The submission door (RFC 6409).

It has the MX door's reader, limits, table of replies and TLS. A password is heard inside TLS only
(RFC 4954 §4, RFC 8314); `Logins` says who that is, and `Submits` checks the mail against it and
makes it durable before the 250.
"""
# ruff: noqa: N802 - aiosmtpd names its command methods smtp_VERB.

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Any, ClassVar

import structlog

from mailagent.doors import smtp_replies as replies
from mailagent.doors.login_throttle import LoginThrottle, Throttle
from mailagent.doors.smtp import ListeningDoor
from mailagent.doors.smtp_census import Census
from mailagent.doors.smtp_dialogue import SmtpDialogue, SmtpTransaction
from mailagent.doors.smtp_limits import SmtpLimits
from mailagent.doors.smtp_replies import Reply
from mailagent.doors.smtp_service import SubmissionService
from mailagent.errors import Malformed
from mailagent.inbound import Later
from mailagent.mime.outgoing_rules import check_address
from mailagent.submission import (
    Declined,
    Denied,
    Fault,
    Login,
    Logins,
    Submission,
    Submits,
    Submitted,
)

__all__ = ["SUBMISSION_LIMITS", "SubmissionDialogue", "SubmissionDoor"]

_log = structlog.get_logger(__name__)

SUBMISSION_LIMITS = SmtpLimits(
    # 10 MB of files, as the API takes, in base64.
    size_bytes=14 * 1024 * 1024,
    # RFC 5322 §2.1.1: what is sent on as it stands must be sendable.
    line_bytes=998,
)
_USER, _PASSWORD = (base64.b64encode(word).decode() for word in (b"Username:", b"Password:"))
_DECLINED = {Fault.SENDER: replies.NOT_YOURS, Fault.CONTENT: replies.UNFIT}


class _NotLoggedIn(Exception):
    """The exchange of AUTH ended early; `reply` says how, None when the connection is over."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self.reply = reply


class SubmissionDialogue(SmtpDialogue):
    """A connection of somebody who must log in."""

    def __init__(self, service: SubmissionService, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(service, loop)
        self._behind = service
        self._login: Login | None = None
        self._wrong: tuple[str, str] | None = None

    async def smtp_AUTH(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        exchange = {"PLAIN": self._plain, "LOGIN": self._in_two_steps}.get(mechanism.upper())
        if self._helo is None and self._tls is not None:
            self._say(replies.HELO_FIRST)
        elif self._tls is None:
            self._say(replies.TLS_BEFORE_AUTH)
        elif self._login is not None:
            self._say(replies.AUTH_TWICE)
        elif self._transaction is not None:
            self._say(replies.AUTH_IN_MAIL)
        elif exchange is None:
            self._say(replies.AUTH_UNKNOWN)
        elif not await self._must_wait(None):
            try:
                name, password = await exchange(initial.strip())
            except _NotLoggedIn as end:
                if end.reply is None:
                    self._over = True
                else:
                    self._say(end.reply)
            else:
                await self._log_in(name, password)

    async def _log_in(self, name: str, password: str) -> None:
        # RFC 5321 §2.4 leaves the case of our own addresses to us.
        name = name.strip().lower()
        if await self._must_wait(name):
            return
        if (name, password) == self._wrong:
            # Many clients try each mechanism in turn: that is one guess.
            self._say(replies.AUTH_WRONG)
            return
        throttle = self._behind.throttle
        match await self._behind.logins.log_in(name, password):
            case Login() as login:
                await throttle.succeeded(self._client_ip, name)
                self._login = login
                self._say(replies.AUTH_OK)
            case Denied(why):
                await throttle.failed(self._client_ip, name)
                self._wrong = (name, password)
                _log.info("submission_login_denied", client_ip=self._client_ip, name=name, why=why)
                self._say(replies.AUTH_WRONG)
            case Later(reason):
                _log.warning("submission_login_unknown", reason=reason.partition(":")[0])
                self._say(replies.AUTH_LATER)

    async def _must_wait(self, name: str | None) -> bool:
        """Hang up on who has failed too often lately."""
        wait = await self._behind.throttle.wait(self._client_ip, name)
        if wait is None:
            return False
        _log.info("submission_login_throttled", client_ip=self._client_ip, name=name)
        minutes = max(1, math.ceil(wait / timedelta(minutes=1)))
        self._hang_up(replies.TOO_MANY_LOGINS.about(minutes=minutes))
        return True

    async def _plain(self, initial: str) -> tuple[str, str]:
        """RFC 4616: `[authzid] NUL authcid NUL password`, in one message."""
        if not initial:
            initial = await self._answer_to(replies.AUTH_EMPTY_CHALLENGE)
        parts = _decoded(initial).split("\0")
        if len(parts) != 3 or not parts[1]:
            raise _NotLoggedIn(replies.AUTH_SYNTAX)
        acting, name, password = parts
        if acting not in ("", name):
            # Nobody acts for another; told like a wrong password.
            raise _NotLoggedIn(replies.AUTH_WRONG)
        return name, password

    async def _in_two_steps(self, initial: str) -> tuple[str, str]:
        """LOGIN: obsolete and never standardised, and all that some clients speak."""
        given = initial or await self._answer_to(replies.AUTH_CHALLENGE.about(challenge=_USER))
        name = _decoded(given)
        given = await self._answer_to(replies.AUTH_CHALLENGE.about(challenge=_PASSWORD))
        return name, _decoded(given)

    async def _answer_to(self, challenge: Reply) -> str:
        self._say(challenge)
        line = await self._read_line()
        if line is None:
            raise _NotLoggedIn(None)
        text = line.rstrip(b"\r\n").decode("ascii", "replace")
        if text == "*":
            raise _NotLoggedIn(replies.AUTH_CANCELLED)
        return text

    async def smtp_MAIL(self, argument: str) -> None:
        if self._tls is None:
            self._say(replies.TLS_FIRST)
        elif self._login is None:
            self._say(replies.AUTH_FIRST)
        else:
            await super().smtp_MAIL(argument)

    async def _refusal(self, address: str) -> Reply | None:
        try:
            check_address("to", address)
        except Malformed:
            return replies.BAD_RECIPIENT
        return None

    async def _keep(self, transaction: SmtpTransaction, raw: bytes) -> None:
        assert self._login is not None
        assert self._tls is not None
        self._reset_timeout(self._service.limits.answer_timeout.total_seconds())
        submission = Submission(
            login=self._login,
            mail_from=transaction.mail_from,
            rcpt_to=tuple(transaction.recipients.values()),
            raw=raw,
            client_ip=self._client_ip,
            tls=self._tls,
        )
        match await self._behind.submits.submit(submission):
            case Submitted(outbound_id):
                self._kept(outbound_id)
            case Declined(fault, mend):
                self._say(_DECLINED[fault].about(mend=mend))
            case Later(reason):
                # The class alone: a database's own words may quote the row that it refused.
                _log.warning("submission_not_kept", reason=reason.partition(":")[0])
                self._say(replies.NOT_KEPT)

    commands: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {**SmtpDialogue.commands, "AUTH": smtp_AUTH, "MAIL": smtp_MAIL}
    )


class SubmissionDoor(ListeningDoor):
    """Serves a socket on which TLS begins by STARTTLS, and one on which it comes first; without it
    nothing is done. `tls` is asked for each connection.
    """

    def __init__(
        self,
        logins: Logins,
        submits: Submits,
        *,
        hostname: str,
        tls: Callable[[], ssl.SSLContext],
        limits: SmtpLimits = SUBMISSION_LIMITS,
        throttle: Throttle | None = None,
        proxy_networks: Sequence[IPv4Network | IPv6Network] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        census = Census(limits)
        service = SubmissionService(
            logins=logins,
            submits=submits,
            throttle=throttle or LoginThrottle(),
            census=census,
            limits=limits,
            hostname=hostname,
            tls=tls,
            bare_newlines="refuse",
            proxy_networks=proxy_networks,
            blocklists=None,
            now=now,
        )
        super().__init__(
            census,
            lambda: SubmissionDialogue(service, asyncio.get_running_loop()),
            "submission_door",
        )
        # What a proxy says of its client would come before TLS, where nothing is read.
        self._at_once = replace(service, implicit_tls=True, proxy_networks=())

    async def start_inside_tls(self, listening: socket.socket) -> None:
        """Serve a socket of which each connection begins with TLS (RFC 8314 §3.3, port 465)."""
        service = self._at_once
        await self._serve(
            listening, lambda: SubmissionDialogue(service, asyncio.get_running_loop())
        )


def _decoded(text: str) -> str:
    try:
        return base64.b64decode("" if text == "=" else text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise _NotLoggedIn(replies.AUTH_SYNTAX) from None
