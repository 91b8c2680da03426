"""`mailagent doctor`: is this installation fit to run?"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from backend import demo as demonstration
from backend.doctor import Check, examine
from backend.production import Line, checklist, gather
from mailagent.resolver import Resolver
from mailagent.settings import Settings, load

__all__ = ["doctor"]

_MARKS = {"ok": "ok", "wrong": "WRONG", "not tested": "not tested"}


def doctor(
    context: typer.Context,
    production: Annotated[
        bool,
        typer.Option("--production", help="The checklist of a system that the internet writes to."),
    ] = False,
) -> None:
    """Check settings, database, ports, certificate, sandbox, agents, sending and DNS.

    Exit code 1 when something is wrong, or with --production when an answer is no.
    """
    settings = load(os.environ)
    if settings.mailagent_secret_key is None and demonstration.demo_key(settings.mailagent_data):
        settings = demonstration.settings_for(settings, hosted="MAILAGENT_HOST" in os.environ)
    if production:
        lines = asyncio.run(_checklist(settings))
        _show(context, lines, [(one.answer, one.name, one.found, one.mend) for one in lines])
        wrong = any(line.answer == "no" for line in lines)
    else:
        checks = asyncio.run(_all(settings))
        rows = [(_MARKS[one.verdict], one.name, one.found, one.mend) for one in checks]
        _show(context, checks, rows)
        wrong = any(check.verdict == "wrong" for check in checks)
    if wrong:
        raise typer.Exit(1)


def _show(
    context: typer.Context, values: Sequence[Any], rows: Iterable[tuple[str, str, str, str]]
) -> None:
    if context.obj and context.obj.json:
        typer.echo(json.dumps([asdict(value) for value in values]))
        return
    for mark, name, found, mend in rows:
        typer.echo(f"{mark:10}  {name}: {found}")
        if mend:
            typer.echo(f"{'':12}→ {mend}")


async def _all(settings: Settings) -> list[Check]:
    return [check async for check in examine(settings)]


async def _checklist(settings: Settings) -> list[Line]:
    facts = await asyncio.to_thread(gather, settings)
    resolver = Resolver(settings.mailagent_resolver or None)
    return [line async for line in checklist(facts, resolver)]
