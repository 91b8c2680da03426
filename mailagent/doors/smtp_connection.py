"""How is one SMTP client held? Its streams, deadlines, command lines and last words.

aiosmtpd 1.4.6 gives the protocol, its streams and the PROXY header. The command loop is ours: its
own ends lines on a bare LF, buffers a line without end, answers a failure with a permanent 500 and
the exception's text, and cancels a mail that is being made durable when its client hangs up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, ClassVar, cast

import structlog
import uuid_utils
from aiosmtpd.proxy_protocol import V2_CMD, get_proxy
from aiosmtpd.smtp import SMTP

from mailagent.doors import smtp_replies as replies
from mailagent.doors.smtp_replies import Reply
from mailagent.doors.smtp_service import SmtpService
from mailagent.doors.smtp_syntax import longest_line

__all__ = ["SmtpConnection"]

_log = structlog.get_logger(__name__)

_CHUNK_BYTES = 256 * 1024
_UNSENT_BYTES = 64 * 1024
# A browser or a forged web request that reaches this port must not get to say SMTP in its body.
_WEB_VERBS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class _NoHooks:
    """An aiosmtpd handler with nothing to look up; see `SmtpConnection.__dir__`."""

    __slots__ = ()

    def __dir__(self) -> tuple[str, ...]:
        return ()


_NO_HOOKS = _NoHooks()


class SmtpConnection(SMTP):
    """One client of the door, from the banner to the last octet; `commands` is what it may say."""

    # aiosmtpd's name for what its StreamReader holds before it pauses the socket (at twice this).
    # Lines are measured by us.
    line_length_limit = 64 * 1024

    commands: ClassVar[Mapping[str, Callable[[Any, str], Awaitable[None]]]] = {}
    """By upper-case verb; each is given the connection and the rest of the line."""

    def __init__(self, service: SmtpService, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_NO_HOOKS, hostname=service.hostname, loop=loop)
        self._service = service
        self._input = bytearray()
        self._client_ip = ""
        self._admitted_ip: str | None = None
        self._listing: asyncio.Task[Reply | None] | None = None
        self._tls: str | None = None
        self._errors = 0
        self._commands_since_mail = 0
        self._waiting = False
        self._over = False
        self._deadline = 0.0
        self._timer_at = 0.0

    def __dir__(self) -> tuple[str, ...]:
        # aiosmtpd looks through dir() three times for each connection to build its method tables:
        # a fifth of what a small mail costs. Ours is `commands`, made once.
        return ()

    # --- the connection --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._service.census.enter(self)
        if self._service.implicit_tls:
            # The client speaks first: its handshake must not be read as commands.
            cast("asyncio.ReadTransport", transport).pause_reading()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        # Not aiosmtpd's: it cancels the dialogue, and with it a mail that is being made durable.
        # The dialogue ends by itself at the end of its input.
        super(SMTP, self).connection_lost(error)
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._over = True
        self._service.census.leave(self, self._admitted_ip)
        self._admitted_ip = None

    def eof_received(self) -> bool:
        # Not aiosmtpd's: a client may close its sending half and still read the replies.
        self._reader.feed_eof()
        return self._tls is None

    def dismiss(self) -> None:
        """End politely: now when idle, else after the command at work."""
        if self._waiting:
            self._hang_up(replies.CLOSING.about(hostname=self._service.hostname))

    def abort(self) -> None:
        """End now: what is being answered is not answered."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Move the deadline; the timer is touched only when it would ring too late."""
        limit = self._service.limits.command_timeout.total_seconds()
        self._deadline = self.loop.time() + (limit if duration is None else duration)
        if self._timeout_handle is None or self._deadline < self._timer_at:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        self._timer_at = self._deadline
        self._timeout_handle = self.loop.call_at(self._timer_at, self._timeout_cb)

    def _timeout_cb(self) -> None:
        if self._over:
            return
        if self.loop.time() < self._deadline:
            self._set_timer()
            return
        transport = cast("asyncio.WriteTransport", self.transport)
        if transport.get_write_buffer_size():
            # It does not read our replies either: a polite close would wait for it for ever.
            transport.abort()
        else:
            self._hang_up(replies.TIMED_OUT)

    # --- replies ---------------------------------------------------------------------------------

    def _say(self, reply: Reply) -> None:
        if reply.code >= 400:
            self._service.census.refused(reply)
            self._errors += reply.code >= 500
        self._write(reply.line)

    def _write(self, octets: bytes) -> None:
        if not self._over:
            self._writer.write(octets)

    def _hang_up(self, reply: Reply) -> None:
        """Say a last word and close; what the client still sends is not read."""
        self._say(reply)
        self._over = True
        self._writer.close()

    # --- the dialogue ----------------------------------------------------------------------------

    async def _handle_client(self) -> None:
        try:
            if not await self._admit():
                return
            if self._service.implicit_tls and not await self._secure_at_once():
                return
            self._say(self._service.banner)
            while (line := await self._read_line()) is not None:
                await self._obey(line)
                if self._errors >= self._service.limits.errors and not self._over:
                    self._hang_up(replies.TOO_MANY_ERRORS)
                if self._over:
                    return
                if self._writer.transport.get_write_buffer_size() > _UNSENT_BYTES:
                    self._reset_timeout()
                    await self._writer.drain()
        except OSError:
            # The connection broke while a reply waited to be sent: no one is left to tell.
            self._over = True
        finally:
            self._writer.close()

    async def _admit(self) -> bool:
        """Find out who it is and whether there is room; False when the connection is over."""
        peer = self._writer.get_extra_info("peername")
        if not peer:
            return False  # it was gone before we came to it
        address = _plain(ip_address(peer[0].partition("%")[0]))
        if any(address in network for network in self._service.proxy_networks):
            self._reset_timeout(self._service.limits.tls_timeout.total_seconds())
            try:
                proxied = await get_proxy(self._reader)
            except asyncio.IncompleteReadError:
                return False
            if not proxied.valid:
                _log.warning("smtp_proxy_header_bad", proxy=str(address))
                return False
            # A health check of the proxy itself (UNKNOWN, LOCAL) names no client; an address that
            # LOCAL carries must be ignored (PROXY protocol §2.2).
            local = proxied.command == V2_CMD.LOCAL
            if not local and isinstance(proxied.src_addr, IPv4Address | IPv6Address):
                address = _plain(proxied.src_addr)
        self._client_ip = str(address)
        refusal = self._service.census.admit(self._client_ip)
        if refusal is not None:
            _log.info("smtp_connection_refused", client_ip=self._client_ip, reply=refusal.text)
            self._hang_up(refusal.about(hostname=self._service.hostname))
            return False
        self._admitted_ip = self._client_ip
        if self._service.blocklists is not None:
            self._listing = self._service.blocklists.look_up(self._client_ip)
        return True

    async def _read(self) -> bytes:
        """The next octets; none at the end, however it came."""
        try:
            return await self._reader.read(_CHUNK_BYTES)
        except OSError:
            return b""

    async def _read_line(self) -> bytes | None:
        """The next command line with its line end; None when the connection is over."""
        if self._service.census.closing:
            self._hang_up(replies.CLOSING.about(hostname=self._service.hostname))
            return None
        self._reset_timeout()
        buffer = self._input
        while (end := buffer.find(b"\n")) < 0:
            if len(buffer) > longest_line("MAIL"):
                self._hang_up(replies.LINE_TOO_LONG)
                return None
            self._waiting = True
            chunk = await self._read()
            self._waiting = False
            if not chunk or self._over:
                return None
            buffer += chunk
        line = bytes(memoryview(buffer)[: end + 1])
        del buffer[: end + 1]
        return line

    async def _obey(self, line: bytes) -> None:
        self._commands_since_mail += 1
        if self._commands_since_mail > self._service.limits.commands:
            self._hang_up(replies.TOO_MANY_COMMANDS)
            return
        text = self._text_of(line)
        if text is None:
            self._say(replies.BAD_LINE)
            return
        verb, _, argument = text.partition(" ")
        verb = verb.upper()
        if len(line) > longest_line(verb):
            self._say(replies.LINE_TOO_LONG)
            return
        command = self.commands.get(verb)
        if command is None:
            if verb in _WEB_VERBS:
                self._hang_up(replies.NOT_A_WEB_SERVER)
            else:
                self._say(replies.UNKNOWN_COMMAND)
            return
        self._reset_timeout(self._service.limits.answer_timeout.total_seconds())
        try:
            await command(self, argument.strip(" "))
        except Exception:  # noqa: BLE001 - the top of the door: whatever broke, the sender tries again
            trace = uuid_utils.uuid4().hex
            _log.exception("smtp_command_failed", trace=trace, verb=verb, client_ip=self._client_ip)
            self._say(replies.TROUBLE.about(trace=trace))

    def _text_of(self, line: bytes) -> str | None:
        """A command line as text, or None: not ended by CRLF, not UTF-8, or holding controls."""
        if not line.endswith(b"\r\n"):
            if self._service.bare_newlines == "refuse":
                return None
            line = line[:-1] + b"\r\n"
        try:
            text = line[:-2].decode()
        except UnicodeDecodeError:
            return None
        # Controls can end a line elsewhere; invisible characters make two addresses look like one.
        return text if text.isprintable() else None

    async def _secure_at_once(self) -> bool:
        assert self._service.tls is not None
        return await self._secure(self._service.tls())

    async def _secure(self, context: ssl.SSLContext) -> bool:
        """Turn the connection into TLS after the 220; False when that failed and it is over."""
        # What came before the handshake was not sent by the peer the handshake will prove
        # (command injection, CVE-2011-0411). StreamReader has no public way to forget.
        self._input.clear()
        self._reader._buffer.clear()  # type: ignore[attr-defined]
        seconds = self._service.limits.tls_timeout.total_seconds()
        self._reset_timeout(seconds + 1)
        try:
            await self._writer.start_tls(context, ssl_handshake_timeout=seconds)
        except OSError as error:
            _log.info("smtp_tls_failed", client_ip=self._client_ip, reason=type(error).__name__)
            # A transport that fails in its handshake does not tell its protocol.
            self.connection_lost(None)
            return False
        self.transport = self._writer.transport
        cipher, protocol, _ = self._writer.get_extra_info("cipher")
        self._tls = f"{protocol} {cipher}"
        return True


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 client of an IPv6 socket under its own address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
