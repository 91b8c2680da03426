"""What do commands need beside rows? A person's text, services, what the domains work with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from backend.cli.shell import Shell
from backend.demo import demo_key
from backend.domains.desk import Desk
from backend.installation import installation
from mailagent.errors import Malformed
from mailagent.flow.services import FlowSettings, Services
from mailagent.settings import Settings
from mailagent.tokens import Secrets

__all__ = ["desk_of", "keyed", "text_given", "with_services"]

T = TypeVar("T")


def keyed(settings: Settings) -> Settings:
    """The settings, with the demo's secret key where a demo ran and none is set."""
    if settings.mailagent_secret_key is None and (key := demo_key(settings.mailagent_data)):
        return settings.model_copy(update={"mailagent_secret_key": SecretStr(key)})
    return settings


def desk_of(shell: Shell) -> Desk:
    """What commands about domains work with; made inside the event loop that uses it.

    Raises Misconfigured.
    """
    settings = keyed(shell.settings)
    flow = FlowSettings(
        settings.default_email_domain, settings.mailagent_hostname, settings.public_url
    )
    return Desk(shell.store, Secrets(settings.secret_keys()), settings, flow)


def with_services(shell: Shell, work: Callable[[Services], Awaitable[T]]) -> T:
    """Do something that needs keys or accounts: the demo's key where a demo ran and none is set.

    Raises Misconfigured.
    """
    settings = keyed(shell.settings)

    async def run() -> T:
        async with installation(settings) as shared:
            return await work(shared.services)

    return asyncio.run(run())


def text_given(shell: Shell, text: str | None, file: Path | None = None) -> str:
    """What a person wrote: the option's text, a file's, or standard input. Raises Malformed."""
    if text is not None:
        return text
    if file is not None:
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Malformed("--file", f"cannot be read: {error}") from error
    if sys.stdin.isatty():
        shell.tell("Write the text; end it with Ctrl-D.")
    return sys.stdin.read()
