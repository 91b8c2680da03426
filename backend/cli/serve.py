"""`mailagent serve`: run the parts."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from backend import demo as demonstration
from backend import logs
from backend.interpreter import starting
from mailagent.errors import Misconfigured
from mailagent.settings import load
from mailagent.store import migrations

__all__ = ["serve"]


def serve(
    demo: Annotated[
        bool, typer.Option("--demo", help="A demo workspace on the loopback; nothing is sent out.")
    ] = False,
    only: Annotated[
        str, typer.Option(help="Only these parts, by commas: smtp, webhooks, worker, backend.")
    ] = "",
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, help="Acceptors on the SMTP port, each a process if several."),
    ] = 1,
) -> None:
    """Run the doors, the workers, the API and the web page until SIGTERM."""
    if workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise Misconfigured("--workers", "this system cannot share a port among processes: use 1")
    # Imported here: the web stack costs a second that no other command should wait for.
    with starting():
        from backend import edge as remote
        from backend import running

    parts = running.parts_named(only)
    settings = load(os.environ)
    logs.configure(level=logs.LEVELS[settings.mailagent_log_level])
    if demo:
        settings = demonstration.settings_for(settings, hosted="MAILAGENT_HOST" in os.environ)
    edge = not demo and remote.is_edge(settings, parts)
    if edge and workers > 1:
        raise Misconfigured("--workers", "an edge has one acceptor: use 1, or several edges")
    if not edge:
        settings.secret_keys()
    if edge or demo or settings.database.startswith("sqlite"):
        settings.mailagent_data.mkdir(parents=True, exist_ok=True)
    if demo:
        migrations.upgrade(settings.database)
    elif not edge:
        migrations.check(settings.database)
    running.run(settings, parts, demo=demo, acceptors=workers)
