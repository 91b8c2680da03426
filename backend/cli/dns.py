"""`mailagent dns`: the zone of our own, as a file or served to the operator's name servers."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any, cast

import typer

from backend import logs
from backend.cli.shell import Shell, table
from backend.cli.writing import desk_of
from backend.domains import zone_editing
from backend.domains.served_zone import current_zone
from backend.domains.zone_editing import OwnRecord, Type
from mailagent.identity import DnsRecord
from mailagent.store import migrations

__all__ = ["commands"]

commands = typer.Typer(help="The DNS zone of the default domain.")
records = typer.Typer(help="Records of your own in the zone: a web site, another service's proof.")
commands.add_typer(records, name="record")


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


@records.command("add")
def add_record(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="www, or in full; @ is the domain itself.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="A, AAAA, CNAME, SRV or TXT.")],
    value: Annotated[str, typer.Argument(help="As in a zone file; TXT without quotation marks.")],
    priority: Annotated[int | None, typer.Option(help="Of SRV.", min=0, max=65535)] = None,
) -> None:
    """Put a record of your own into the zone; refused where it would take one of ours away."""
    shell: Shell = context.obj
    desk = desk_of(shell)
    # Checked against the types that can be added before it is written.
    record = DnsRecord(cast("Type", type_.upper()), name, value, priority)
    made = shell.write(
        None,
        lambda tx: zone_editing.add(tx, shell.settings, desk.installed(tx), record),
    )
    shell.show(f"{made.id}: {made.name} {made.type} {made.value}", made, OwnRecord)


@records.command("list")
def list_records(context: typer.Context) -> None:
    """Your own records of the zone, and why one is left out of it."""
    shell: Shell = context.obj
    desk = desk_of(shell)
    found = shell.read(None, lambda tx: zone_editing.listed(tx, shell.settings, desk.installed(tx)))
    rows = [(one.id, one.name, one.type, one.value, one.left_out) for one in found]
    text = table(rows, empty="none: mailagent dns record add NAME TYPE VALUE")
    shell.show(text, found, list[OwnRecord])


@records.command("remove")
def remove_record(
    context: typer.Context, record: Annotated[str, typer.Argument(help="Its id.")]
) -> None:
    """Take a record of your own out of the zone."""
    shell: Shell = context.obj
    shell.write(None, zone_editing.remove, record)
    shell.show(f"{record} is removed", {"removed": record})


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
