"""`mailagent reports`: what others report of our domains, by DMARC and TLS reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer

from backend.cli.shell import InWorkspace, Shell, table
from backend.domains.report_schemas import DomainReportsOut
from backend.domains.reports import DomainReports, summed

__all__ = ["reports"]


def reports(
    context: typer.Context,
    domain: Annotated[str | None, typer.Argument(help="Only of this one.")] = None,
    workspace: InWorkspace = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="That end within so many days.")] = 30,
) -> None:
    """DMARC and TLS reports about a workspace's domains, summed: sources, and what to do.

    Those about the default domain are the operator's workspace's.
    """
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    found = shell.read(where, summed, within=timedelta(days=days), domain=domain)
    text = "\n\n".join("\n".join(_lines(one)) for one in found)
    shell.show(text or f"no report in {days} days", found, list[DomainReportsOut])


def _lines(one: DomainReports) -> Iterator[str]:
    policy = f", p={one.policy}" if one.policy else ""
    yield f"{one.domain}{policy}: {one.reports} reports by {', '.join(one.reporters)}"
    yield f"  {one.advice}"
    rows = [(f"  {s.address}", f"{s.aligned:,}/{s.messages:,}", s.advice) for s in one.sources]
    if rows:
        yield table(rows, empty="")
    if one.tls_sessions:
        yield f"  TLS: {one.tls_failed:,} of {one.tls_sessions:,} sessions failed"
    for failure in one.tls_failures:
        yield f"  {failure.sessions:,} {failure.reason} at {failure.mx}: {failure.advice}"
