"""`mailagent dns`: the zone of our own, as a file or served to the operator's name servers."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import typer

from backend import logs
from backend.cli.shell import Shell
from backend.cli.writing import desk_of
from backend.domains.served_zone import current_zone
from mailagent.store import migrations

__all__ = ["commands"]

commands = typer.Typer(help="The DNS zone of the default domain.")


@commands.command()
def zone(context: typer.Context) -> None:
    """Print the zone as a master file (RFC 1035) for a name server of yours."""
    shell: Shell = context.obj
    made = current_zone(shell.store, shell.settings, desk_of(shell).installed)
    records: list[dict[str, Any]] = [
        {
            "name": rrset.name.to_text(omit_final_dot=True),
            "type": rrset.rdtype.name,
            "ttl": rrset.ttl,
            "value": rdata.to_text(),
        }
        for rrset in made.rrsets()
        for rdata in rrset
    ]
    shell.show(made.to_text().rstrip("\n"), {"serial": made.serial, "records": records})


@commands.command()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="UDP and TCP.  [default: MAILAGENT_DNS_PORT]"),
    ] = None,
) -> None:
    """Serve the zone as hidden primary to your name servers, until SIGTERM.

    Not meant to face the internet: it limits no rates. NSD or Knot answer the world.
    """
    from backend.app import stop_on_signals
    from backend.domains.name_service import name_service

    shell: Shell = context.obj
    settings = shell.settings
    logs.configure(level=logs.LEVELS[settings.mailagent_log_level])
    migrations.check(settings.database)

    async def run() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop, lambda: shell.tell("stopping"))
        wanted = settings.mailagent_dns_port if port is None else port
        async with name_service(
            shell.store, settings, desk_of(shell).installed, host=host, port=wanted
        ) as listening:
            shell.show(
                f"hidden primary of {settings.default_email_domain} on {host}:{listening}, UDP and "
                "TCP; not meant to face the internet",
                {"zone": settings.default_email_domain, "host": host, "port": listening},
            )
            sys.stdout.flush()
            if not (settings.dns_secondaries and settings.mailagent_dns_tsig):
                shell.tell(
                    "nobody may copy the zone: set MAILAGENT_DNS_SECONDARIES and MAILAGENT_DNS_TSIG"
                )
            await stop.wait()

    asyncio.run(run())
