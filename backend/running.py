"""How does one `serve` process live, from its first line on the screen to SIGTERM?"""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import get_args

import typer

from backend import demo as demonstration
from backend.access import sign_in
from backend.app import PARTS, Part, Serving, serving, stop_on_signals
from backend.edge import is_edge, serving_edge
from backend.installation import installation
from backend.interpreter import settle
from mailagent.errors import Misconfigured, NotFound
from mailagent.sandbox_limits import hide_from_workers
from mailagent.settings import Settings
from mailagent.store.engine import Store

__all__ = ["parts_named", "run"]


def parts_named(only: str) -> tuple[Part, ...]:
    """The parts that `--only` names, all for none. Raises Misconfigured."""
    named = tuple(part.strip() for part in only.split(",") if part.strip())
    unknown = [part for part in named if part not in get_args(Part)]
    if unknown:
        raise Misconfigured("--only", f"{unknown[0]!r} is no part: use {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in named) or PARTS


def run(settings: Settings, parts: Sequence[Part], *, demo: bool, acceptors: int = 1) -> None:
    """Run the parts until SIGTERM or SIGINT."""
    hide_from_workers()
    main = _serve(settings, parts, demo=demo, acceptors=acceptors)
    try:
        import uvloop
    except ImportError:  # Windows has none
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(settings: Settings, parts: Sequence[Part], *, demo: bool, acceptors: int) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop, lambda: typer.echo("stopping: finishing what is in flight", err=True))
    async with AsyncExitStack() as stack:
        if not demo and is_edge(settings, parts):
            await stack.enter_async_context(
                serving_edge(settings, parts, host=settings.mailagent_host, stop=stop)
            )
            settle()
            await stop.wait()
            return
        if demo:
            store = Store(settings.database)
            await store.write_unscoped(demonstration.prepare, settings.default_email_domain)
            await asyncio.to_thread(store.close)
        shared = await stack.enter_async_context(installation(settings, demo=demo))
        ports = await stack.enter_async_context(
            serving(shared, parts, host=settings.mailagent_host, stop=stop, acceptors=acceptors)
        )
        settle()
        if demo:
            link = await shared.services.store.write_unscoped(
                sign_in.create_link, demonstration.OWNER
            )
            _greet(settings, ports, link)
            if ports.smtp_port is not None and "worker" in parts:
                store = shared.services.store
                await asyncio.to_thread(_first_mail, settings, ports.smtp_port, store, stop.is_set)
        await stop.wait()


def _greet(settings: Settings, ports: Serving, link: str) -> None:
    typer.echo(
        f"""
mailagent demo: workspace {demonstration.SLUG}; data in {settings.mailagent_data}; nothing is sent

  Agent    {demonstration.address(settings)}
  SMTP     127.0.0.1:{ports.smtp_port}
  UI       {settings.public_url}/sign-in?token={link}
  API      {settings.public_url}/api/v1   (described at {settings.public_url}/docs)
  Health   http://127.0.0.1:{ports.webhooks_port}/health
"""
    )


def _first_mail(settings: Settings, port: int, store: Store, stopping: Callable[[], bool]) -> None:
    question = demonstration.question(settings)
    typer.echo(f"A first mail goes in by SMTP, to {question.recipient}:\n")
    typer.echo(_indented(f"Subject: {question.subject}\n\n{question.text}"))
    try:
        demonstration.send(question, "127.0.0.1", port)
        found = demonstration.answered(store, question, within=30, unless=stopping)
    except (OSError, smtplib.SMTPException, NotFound) as error:
        typer.echo(f"The first mail did not come through: {error}")
        return
    if found.reply is None:
        typer.echo(f"No answer yet, it is {found.state}: mailagent trace {found.delivery_id}")
        return
    typer.echo("\nIts reply:\n")
    typer.echo(_indented("\n".join(f"{name}: {value}" for name, value in found.reply_headers)))
    typer.echo(_indented(f"\n{found.reply}"))
    typer.echo(
        f"""
Now you (Ctrl-C stops it):

  make demo                                           one more mail, with the time of each step
  .venv/bin/mailagent inbox {demonstration.address(settings)}     what came in and what was answered
  .venv/bin/mailagent trace {found.delivery_id}
"""
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
