"""`mailagent serve` and `mailagent migrate`: run the parts; bring the tables to this version."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from typing import Annotated, get_args

import typer

from backend import demo as demonstration
from backend import logs
from backend.access import sign_in
from backend.app import PARTS, Part, Serving, installation, serving, stop_on_signals
from mailagent.errors import Misconfigured
from mailagent.settings import Settings, load
from mailagent.store import migrations
from mailagent.store.engine import Store

__all__ = ["migrate", "serve"]


def serve(
    demo: Annotated[
        bool, typer.Option("--demo", help="A demo workspace on the loopback; nothing is sent out.")
    ] = False,
    only: Annotated[
        str, typer.Option(help="Only these parts, by commas: smtp, webhooks, worker, backend.")
    ] = "",
    workers: Annotated[
        int, typer.Option(help="Acceptors on the SMTP port; more than 1 later.")
    ] = 1,
) -> None:
    """Run the doors, the workers, the API and the web page until SIGTERM."""
    if workers != 1:
        raise Misconfigured("--workers", "more than one acceptor is not built yet: see the roadmap")
    logs.configure()
    settings = load(os.environ)
    if demo:
        settings = demonstration.settings_for(settings, hosted="MAILAGENT_HOST" in os.environ)
    settings.secret_key()
    if demo or settings.database.startswith("sqlite"):
        settings.mailagent_data.mkdir(parents=True, exist_ok=True)
    if demo:
        migrations.upgrade(settings.database)
    elif not migrations.is_current(settings.database):
        raise Misconfigured("DATABASE_URL", "its tables are not this version's: mailagent migrate")
    _run(_serve(settings, _parts(only), demo=demo))


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when there is something to do.")
    ] = False,
) -> None:
    """Bring the tables of DATABASE_URL to this version."""
    settings = load(os.environ)
    if not settings.database_url:
        settings.mailagent_data.mkdir(parents=True, exist_ok=True)
    current = migrations.is_current(settings.database)
    if check:
        typer.echo(json.dumps({"current": current}))
        raise typer.Exit(0 if current else 1)
    if not current:
        migrations.upgrade(settings.database)
    typer.echo(json.dumps({"current": True, "changed": not current}))


def _parts(only: str) -> tuple[Part, ...]:
    named = tuple(part.strip() for part in only.split(",") if part.strip())
    unknown = [part for part in named if part not in get_args(Part)]
    if unknown:
        raise Misconfigured("--only", f"{unknown[0]!r} is no part: use {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in named) or PARTS


def _run(main: object) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)  # type: ignore[arg-type]
    else:
        uvloop.run(main)  # type: ignore[arg-type]


async def _serve(settings: Settings, parts: tuple[Part, ...], *, demo: bool) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop, lambda: typer.echo("stopping: finishing what is in flight", err=True))
    async with AsyncExitStack() as stack:
        if demo:
            store = Store(settings.database)
            await store.write_unscoped(demonstration.prepare, settings.default_email_domain)
            await asyncio.to_thread(store.close)
        shared = await stack.enter_async_context(installation(settings, demo=demo))
        ports = await stack.enter_async_context(
            serving(shared, parts, host=settings.mailagent_host, stop=stop)
        )
        if demo:
            link = await shared.services.store.write_unscoped(
                sign_in.create_link, demonstration.OWNER
            )
            _greet(settings, ports, link)
            if ports.smtp_port is not None and "worker" in parts:
                await asyncio.to_thread(
                    _first_mail, settings, ports.smtp_port, shared.services.store
                )
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


def _first_mail(settings: Settings, port: int, store: Store) -> None:
    question = demonstration.question(settings)
    typer.echo(f"A first mail goes in by SMTP, to {question.recipient}:\n")
    typer.echo(_indented(f"Subject: {question.subject}\n\n{question.text}"))
    demonstration.send(question, "127.0.0.1", port)
    found = demonstration.answered(store, question, within=30)
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
