"""`mailagent demo`: one more mail to the running demo, its reply, and the time of each step."""

from __future__ import annotations

import json
import os
import random
import smtplib
from dataclasses import asdict
from datetime import timedelta

import typer

from backend import demo as demonstration
from mailagent.errors import Misconfigured, NotFound
from mailagent.settings import load
from mailagent.store.engine import Store

__all__ = ["demo"]


def demo(context: typer.Context) -> None:
    """Send one more mail to the running system by SMTP and show its reply and its story."""
    settings = demonstration.settings_for(load(os.environ), hosted="MAILAGENT_HOST" in os.environ)
    question = demonstration.question(settings, random.randrange(1_000))  # noqa: S311
    host = settings.mailagent_host.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    try:
        demonstration.send(question, host, settings.mailagent_smtp_port)
    except (OSError, smtplib.SMTPException) as error:
        where = f"{host}:{settings.mailagent_smtp_port}"
        raise Misconfigured(
            "MAILAGENT_SMTP_PORT", f"nothing takes mail at {where} ({error}): make run first"
        ) from error
    store = Store(settings.database)
    try:
        found = demonstration.answered(store, question, within=30)
    except NotFound as error:
        raise NotFound(
            f"{error}: is the running system on the data in {settings.database}?"
        ) from error
    finally:
        store.close()
    if context.obj and context.obj.json:
        typer.echo(json.dumps(asdict(found), default=str))
        return
    typer.echo(f"Sent to {question.recipient}: {question.subject}\n")
    typer.echo(found.reply or f"No answer yet: {found.state}")
    for line in found.told.lines:
        typer.echo(f"  {_milliseconds(line.since_start):>9}  {line.what}  {line.why}")


def _milliseconds(time: timedelta) -> str:
    return f"{time / timedelta(milliseconds=1):,.0f} ms"
