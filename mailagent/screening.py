"""Does a spam filter of the operator's own take this mail for spam? rspamd, asked by HTTP

Optional, and a second opinion: a mail is acknowledged before it is screened, so the filter can keep
an answer from being given, and nothing else. Source: rspamd, "Protocol" (HTTP headers and reply of
`/checkv2`) and "Actions", read on 2026-11-21.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

import httpx

__all__ = ["NotScreened", "Rspamd", "Screened", "Screens", "Stranger"]

_MAX_RAW = 50 * 1024 * 1024
"""rspamd's own default for `max_message`: larger mail would be refused there."""
_MAX_ANSWER = 1024 * 1024
_SYMBOLS_TOLD = 20
_MAX_WORD = 100

# `greylist` and `soft reject` ask the sender to come again. This one was told yes already.
_SPAM = frozenset({"reject", "discard", "quarantine", "add header", "rewrite subject"})


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who brought a mail, as far as the door knows."""

    client_ip: str | None
    helo: str | None
    mail_from: str | None
    """None is `<>`."""
    rcpt_to: str
    queue_id: str


@dataclass(frozen=True, slots=True)
class Screened:
    """What the filter found."""

    by: str
    action: str
    """In the filter's words, e.g. `add header`."""
    verdict: Literal["spam", "none"]
    score: float
    required: float
    """The score from which its strongest action is taken."""
    symbols: tuple[tuple[str, float], ...]
    """The rules that spoke, the weightiest first, at most twenty."""

    def __str__(self) -> str:
        rules = ", ".join(f"{name} ({weight:+g})" for name, weight in self.symbols)
        return f"{self.score:g} of {self.required:g}: {rules or 'no rule spoke'}"


@dataclass(frozen=True, slots=True)
class NotScreened:
    """No opinion could be had; `away` when it may be had later."""

    by: str
    reason: str
    away: bool


class Screens(Protocol):
    """A spam filter. Never raises: what fails is `NotScreened`."""

    async def screen(self, raw: bytes, stranger: Stranger) -> Screened | NotScreened: ...


class Rspamd:
    """One rspamd, its normal worker (port 11333) or a proxy; belongs to one event loop."""

    def __init__(
        self, url: str, password: str = "", *, timeout: timedelta = timedelta(seconds=10)
    ) -> None:
        """`url` is `http[s]://host:port`; `timeout` is for a whole mail."""
        self._url = url.rstrip("/") + "/checkv2"
        self._password = password
        self._seconds = timeout.total_seconds()
        self._client = httpx.AsyncClient(trust_env=False, timeout=self._seconds)

    async def screen(self, raw: bytes, stranger: Stranger) -> Screened | NotScreened:
        """Ask about one mail as received, at most 50 MiB."""
        if len(raw) > _MAX_RAW:
            return NotScreened("rspamd", f"larger than {_MAX_RAW // 1024**2} MiB", away=False)
        try:
            async with asyncio.timeout(self._seconds):
                status, answer = await self._ask(raw, stranger)
        except TimeoutError:
            return NotScreened("rspamd", f"no answer in {self._seconds:g} s", away=True)
        except httpx.HTTPError as error:
            return NotScreened("rspamd", f"not reachable ({type(error).__name__})", away=True)
        if status != httpx.codes.OK:
            return NotScreened("rspamd", f"it answered with status {status}", away=status >= 500)
        screened = _read(answer)
        return screened or NotScreened("rspamd", "its answer cannot be read", away=False)

    async def close(self) -> None:
        """Close the connections to it."""
        await self._client.aclose()

    async def _ask(self, raw: bytes, stranger: Stranger) -> tuple[int, bytes]:
        headers = {
            "IP": stranger.client_ip,
            "Helo": stranger.helo,
            "From": stranger.mail_from or "<>",
            "Rcpt": stranger.rcpt_to,
            "Queue-Id": stranger.queue_id,
            "Password": self._password,
        }
        told = {name: _header(value) for name, value in headers.items() if value}
        request = self._client.stream("POST", self._url, content=raw, headers=told)
        async with request as response:
            answer = b""
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > _MAX_ANSWER:
                    return response.status_code, b""
            return response.status_code, answer


def _header(value: str) -> str:
    """A value that can end no header line; what is not printable ASCII becomes `?`."""
    return "".join(c if " " <= c <= "~" else "?" for c in value)


def _read(answer: bytes) -> Screened | None:
    """The reply of `/checkv2`; None when it is not one."""
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, Mapping) or not isinstance(told.get("action"), str):
        return None
    score, required = _number(told.get("score")), _number(told.get("required_score"))
    if score is None or required is None:
        return None
    action = _word(told["action"])
    return Screened(
        by="rspamd",
        action=action,
        verdict="spam" if action in _SPAM else "none",
        score=score,
        required=required,
        symbols=_symbols(told.get("symbols")),
    )


def _symbols(told: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(told, Mapping):
        return ()
    weights = {
        _word(name): _number(symbol.get("score")) or 0.0
        for name, symbol in told.items()
        if isinstance(symbol, Mapping)
    }
    weighed = sorted(weights.items(), key=lambda one: (-abs(one[1]), one[0]))
    return tuple(weighed[:_SYMBOLS_TOLD])


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _word(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_WORD])
