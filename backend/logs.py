"""How does a process tell what it does? Events with fields: lines for people on a terminal, JSON
otherwise. Never a body, never a secret.
"""

from __future__ import annotations

import logging
import sys

import structlog
import structlog.tracebacks

__all__ = ["configure"]

# Libraries that log a line a connection, a request's text, or a mail's words at lower levels.
_QUIET = ("mail.log", "anthropic", "httpx2", "httpx", "uvicorn", "aiosqlite", "asyncio", "alembic")


def configure(*, level: int = logging.INFO) -> None:
    """Send our events and the libraries' warnings to standard error."""
    terminal = sys.stderr.isatty()
    # Local variables are left out of tracebacks: they hold keys and mails.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    renderers: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [
            structlog.processors.ExceptionRenderer(tracebacks),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(message)s")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
