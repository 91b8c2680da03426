"""`mailagent doctor`: is this installation fit to run?"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict

import typer

from backend import demo as demonstration
from backend.doctor import Check, examine
from mailagent.settings import Settings, load

__all__ = ["doctor"]

_MARKS = {"ok": "ok        ", "wrong": "WRONG     ", "not tested": "not tested"}


def doctor(context: typer.Context) -> None:
    """Check settings, database, ports, certificate, sandbox, agents, sending and DNS.

    Exit code 1 when something is wrong.
    """
    settings = load(os.environ)
    if settings.mailagent_secret_key is None and demonstration.demo_key(settings.mailagent_data):
        settings = demonstration.settings_for(settings, hosted="MAILAGENT_HOST" in os.environ)
    checks = asyncio.run(_all(settings))
    if context.obj and context.obj.json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            typer.echo(f"{_MARKS[check.verdict]}  {check.name}: {check.found}")
            if check.mend:
                typer.echo(f"              → {check.mend}")
    if any(check.verdict == "wrong" for check in checks):
        raise typer.Exit(1)


async def _all(settings: Settings) -> list[Check]:
    return [check async for check in examine(settings)]
