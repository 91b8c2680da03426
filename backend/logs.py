"""How does a process tell what it does? Events with fields: lines for people on a terminal, JSON
otherwise. Never a body, a subject, an address or a secret.

We log none of these on purpose; but an error of a library may quote what it choked on. So whatever
a line holds passes `discreet`, and of an error that quotes its input only the class and the place
are told.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from mailagent.errors import MailagentError

__all__ = ["LEVELS", "configure", "discreet"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}

# Libraries that log a line a connection, a request's text, or a mail's words at lower levels.
_QUIET = ("mail.log", "anthropic", "httpx2", "httpx", "uvicorn", "aiosqlite", "asyncio", "alembic")

_PLAIN = (MailagentError, OSError, AssertionError, RuntimeError, TimeoutError)
"""Errors whose texts are sentences. The others' (pydantic's, SQLAlchemy's, a codec's, a parser's)
quote the value that they are about: it may be a mail.
"""
_LONGEST = 500

_PATTERNS = (
    (re.compile(r"(\w+://)[^\s/@]+@"), r"\1…@"),  # user and password of an address
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), r"\1 …"),
    (re.compile(r"\b([a-z]{2,4}_)[A-Za-z0-9_-]{40,}"), r"\1…"),  # our secrets; ids are shorter
    (re.compile(r"(?i)\b(sk-|key-|SG\.)[\w.-]{8,}"), r"\1…"),  # providers' keys
    (re.compile(r"(?i)((?:token|secret|password|signature|key)=)[^\s&]+"), r"\1…"),
    (re.compile(r"[^\s<>\"'(),:;=@]+@([\w.-]+\.\w+)"), r"…@\1"),  # mail addresses
)


def configure(*, level: int = logging.INFO) -> None:
    """Send our events and the libraries' warnings to standard error."""
    terminal = sys.stderr.isatty()
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=_write_failure)]
        if terminal
        else [_failure, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _discreetly,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _StandardError:
    """Standard error as it is when something is written: whoever redirects it, closes it too."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def discreet(words: str) -> str:
    """A text without credentials, and of mail addresses only the domains."""
    for pattern, instead in _PATTERNS:
        words = pattern.sub(instead, words)
    return words


def _discreetly(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = discreet(value)
        elif isinstance(value, Mapping | list | tuple):
            event[name] = discreet(str(value))
    return event


def _failure(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Put an error and its causes into the line, without the values of variables."""
    given = event.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = [_told(one) for one in _chain(error)]
    return event


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error and what it came from, the last one first."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def _told(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "text": _text(error),
        "frames": [f"{one.filename}:{one.lineno} {one.name}" for one in frames],
    }


def _text(error: BaseException) -> str:
    return discreet(str(error))[:_LONGEST] if isinstance(error, _PLAIN) else "(left out)"


def _lines(error: BaseException) -> str:
    told = [_told(one) for one in _chain(error)]
    return "\n".join(
        f"{one['type']}: {one['text']}\n" + "\n".join(f"  {frame}" for frame in one["frames"])
        for one in told
    )


def _write_failure(sio: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    sio.write("\n" + _lines(exc_info[1]))


class _Formatter(logging.Formatter):
    """The libraries' lines, as discreet as ours."""

    def format(self, record: logging.LogRecord) -> str:
        return discreet(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _lines(ei[1])
