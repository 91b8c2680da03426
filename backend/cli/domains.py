"""`mailagent domain`: domains of a workspace, from typed to verified."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from backend.cli import dns_writing
from backend.cli.shell import InWorkspace, Shell, table
from backend.cli.writing import desk_of
from backend.domains import (
    adding,
    changing,
    checking,
    claims,
    infrastructure,
    placing,
    removing,
    rotation,
    stored,
)
from backend.domains.adding import Wanted
from backend.domains.desk import Desk
from backend.domains.overview import Overview, overview, overviews
from backend.domains.placing import AtHost
from backend.domains.placing_schemas import DifferenceOut, InstructionsOut, SpfOut
from backend.domains.record import Place
from backend.domains.record_forms import as_json, as_text
from backend.domains.schemas import AllowOut, DomainOut, DomainRemovalOut, ResubmittedOut
from backend.domains.zone_text import zone_text
from backend.workspaces.service import find as find_workspace
from mailagent.dns_answers import ascii_name
from mailagent.errors import Malformed
from mailagent.store.transaction import Transaction

__all__ = ["commands"]

T = TypeVar("T")

commands = typer.Typer(help="Domains: a workspace's own, and how they are verified.")

Named = Annotated[str, typer.Argument(metavar="DOMAIN", help="Its name or id.")]
_ACTOR = "person:operator"


@commands.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="acme.example, or sales@acme.example.")],
    workspace: InWorkspace = None,
    mode: Annotated[
        str, typer.Option(help="send_only, send_receive or receive_only.")
    ] = "send_receive",
    delegation: Annotated[
        str, typer.Option(help="records, or cname: we keep the records behind CNAMEs.")
    ] = "records",
    by: Annotated[
        list[str] | None, typer.Option(help="An account that sends for it, or own; else all.")
    ] = None,
    receive_by: Annotated[
        str | None, typer.Option(help="The account that brings its mail, or own.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="Who gets the address; without one, the domain.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="The agent group whose the domain becomes.")
    ] = None,
    replace_mx: Annotated[
        bool, typer.Option("--replace-mx", help="Take its mail from the service that has it.")
    ] = False,
    while_pending: Annotated[
        str, typer.Option(help="wait or go_on: its mail while it is pending again.")
    ] = "wait",
    until_verified: Annotated[
        str, typer.Option(help="default or wait: what answers do until it may send.")
    ] = "default",
    confirm_apex: Annotated[
        bool, typer.Option("--confirm-apex", help="It is no sub-domain, and that is meant.")
    ] = False,
    region: Annotated[
        str | None, typer.Option(help="US or EU, for good: only accounts there carry it.")
    ] = None,
) -> None:
    """Add a domain to a workspace, and say which records to publish."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    wanted = Wanted(
        name,
        mode,
        delegation,
        by,
        receive_by,
        agent,
        group,
        replace_mx,
        while_pending,
        until_verified,
        confirm_apex,
        region,
    )

    async def work(desk: Desk) -> Overview:
        made = await adding.add(desk, where, wanted, actor=_ACTOR)
        return await desk.store.read(where, overview, desk, made.id)

    made = _with_desk(shell, work)
    for warning in made.warnings:
        shell.tell(warning)
    _show(shell, made)


@commands.command("list")
def list_(context: typer.Context, workspace: InWorkspace = None) -> None:
    """The workspace's domains, their state and what is wrong first."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    found = _with_desk(shell, lambda desk: desk.store.read(where, overviews, desk))
    rows = [(one.name, one.mode, one.verification_status, _works(one)) for one in found]
    shell.show(table(rows, empty="no domains: mailagent domain add NAME"), found, list[DomainOut])


@commands.command()
def show(context: typer.Context, name: Named, workspace: InWorkspace = None) -> None:
    """One domain: its state, and each record with what the last look found."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    _show(shell, _with_desk(shell, lambda desk: desk.store.read(where, overview, desk, name)))


@commands.command()
def records(
    context: typer.Context,
    name: Named,
    workspace: InWorkspace = None,
    text: Annotated[bool, typer.Option("--text", help="For a mail to whoever has DNS.")] = False,
    zone: Annotated[bool, typer.Option("--zone", help="As lines of a zone file.")] = False,
    steps: Annotated[
        bool, typer.Option("--steps", help="As your DNS host asks for them, field by field.")
    ] = False,
) -> None:
    """The records to publish: as text, as a zone file, as steps, or as JSON."""
    shell: Shell = context.obj
    if text + zone + steps > 1:
        raise Malformed("--text", "--zone and --steps exclude each other: choose one")
    where = shell.workspace(workspace).id

    if steps:
        told = _with_desk(shell, lambda desk: placing.at_host(desk, where, name))
        shell.show(_steps(told), InstructionsOut.of(told), InstructionsOut)
        return
    found = _with_desk(shell, lambda desk: placing.records_of(desk, where, name))
    shown = zone_text(found) if zone else as_text(found)
    shell.show(shown.rstrip("\n"), as_json(found))


def _steps(told: AtHost) -> str:
    blocks = [f"At {told.host}:"]
    for step in told.steps:
        lines = [f"{title}: {value}" for title, value in step.fields]
        blocks.append("\n".join([*lines, *(f"({note})" for note in step.notes)]))
    return "\n\n".join(blocks)


@commands.command()
def spf(context: typer.Context, name: Named, workspace: InWorkspace = None) -> None:
    """The one SPF record to publish: what stands there, with what this domain needs merged in."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id

    merged = _with_desk(shell, lambda desk: placing.merged_spf(desk, where, name))
    for note in (*merged.notes, merged.unknown):
        if note:
            shell.tell(note)
    shell.tell(f"{merged.lookups} of 10 DNS lookups" if merged.changed else "it stands there")
    shell.show(merged.record, merged, SpfOut)


def _to_write(shell: Shell, name: str, workspace: str | None) -> dns_writing.Wanted:
    """A set for the zone that serves its domain, with the SPF record that keeps what others need.

    Raises NotFound; TransientFailure when DNS does not tell what stands there.
    """
    default = shell.settings.default_email_domain
    where = None if ascii_name(name) == default else shell.workspace(workspace).id

    async def work(desk: Desk) -> dns_writing.Wanted:
        domain = default
        if where is not None:
            domain = (await desk.store.read(where, stored.find, name)).name
        cut = await desk.zone_servers.zone_of(domain)
        zone = Place.of(domain, cut.name if cut else None).zone
        if where is None:
            found = await infrastructure.records_now(desk)
        else:
            found = await placing.records_of(desk, where, name)
        records = [each.record for each in found]
        if (spf := next((each.record for each in found if each.kind == "spf"), None)) is not None:
            merged = replace(spf, value=(await desk.merged_spf(found)).record)
            records = [merged if each == spf else each for each in records]
        return dns_writing.Wanted(zone, records)

    return _with_desk(shell, work)


commands.command("write-dns")(dns_writing.command(_to_write))


@commands.command()
def check(context: typer.Context, name: Named, workspace: InWorkspace = None) -> None:
    """Look now, as often as you wish; what had failed or was paused is looked at again."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id

    async def work(desk: Desk) -> Overview:
        found = await checking.look_now(desk, where, name)
        return await desk.store.read(where, overview, desk, found.id)

    _show(shell, _with_desk(shell, work))


@commands.command()
def resubmit(context: typer.Context, name: Named, workspace: InWorkspace = None) -> None:
    """Have a provider that gave up look again; warns of what is still wrong."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id

    async def work(desk: Desk) -> ResubmittedOut:
        done = await changing.resubmit(desk, where, name, actor=_ACTOR)
        shown = await desk.store.read(where, overview, desk, done.domain.id)
        return ResubmittedOut(
            asked=list(done.asked),
            warnings=list(done.warnings),
            domain=DomainOut.model_validate(shown, from_attributes=True),
        )

    done = _with_desk(shell, work)
    for warning in done.warnings:
        shell.tell(warning)
    shell.show(f"{', '.join(done.asked)} will look again", done, ResubmittedOut)


@commands.command()
def pause(context: typer.Context, name: Named, workspace: InWorkspace = None) -> None:
    """Let its mail wait, and look at it no more, until it is checked again."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    shell.write(where, changing.pause, name, actor=_ACTOR)
    _show(shell, _with_desk(shell, lambda desk: desk.store.read(where, overview, desk, name)))


@commands.command("set")
def set_(
    context: typer.Context,
    name: Named,
    workspace: InWorkspace = None,
    mode: Annotated[
        str | None, typer.Option(help="send_only, send_receive or receive_only.")
    ] = None,
    while_pending: Annotated[str | None, typer.Option(help="wait or go_on.")] = None,
    until_verified: Annotated[str | None, typer.Option(help="default or wait.")] = None,
) -> None:
    """Change the mode, or what mail does while the domain is not in order."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    given = {"mode": mode, "while_pending": while_pending, "until_verified": until_verified}
    changes = {key: value for key, value in given.items() if value is not None}

    async def work(desk: Desk) -> Overview:
        made = await desk.store.write(where, changing.change, desk, name, changes, actor=_ACTOR)
        return await desk.store.read(where, overview, desk, made.id)

    _show(shell, _with_desk(shell, work))


@commands.command("rotate-dkim")
def rotate_dkim(
    context: typer.Context,
    name: Named,
    workspace: InWorkspace = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Drop new keys that are not in DNS yet.")
    ] = False,
) -> None:
    """Give a domain other DKIM keys; they sign when DNS shows them.

    Behind CNAMEs we publish them; else the answer has the records for you to publish.
    """
    shell: Shell = context.obj
    where = shell.workspace(workspace).id

    async def work(desk: Desk) -> Overview:
        if cancel:
            found = await desk.store.write(where, rotation.cancel, name, actor=_ACTOR)
        else:
            found = await rotation.rotate(desk, where, name, actor=_ACTOR)
        return await desk.store.read(where, overview, desk, found.id)

    _show(shell, _with_desk(shell, work))


@commands.command()
def compare(
    context: typer.Context,
    name: Named,
    file: Annotated[Path, typer.Argument(help="What the DNS host exports: BIND or CSV.")],
    workspace: InWorkspace = None,
) -> None:
    """Compare an export of the zone with the records, and mark each difference."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    try:
        export = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed("FILE", f"cannot be read: {error}") from error

    found = _with_desk(shell, lambda desk: placing.compared(desk, where, name, export))
    rows = [(one.status, one.type, one.name, one.message or one.value) for one in found]
    shell.show(table(rows, empty=""), found, list[DifferenceOut])
    if any(one.status not in ("valid", "extra", "beside") for one in found):
        raise typer.Exit(1)


@commands.command()
def allow(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name below a verified domain of yours.")],
    grantee: Annotated[str, typer.Argument(metavar="WORKSPACE", help="Slug or id.")],
    workspace: InWorkspace = None,
) -> None:
    """Let another workspace have a sub-domain."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id
    given = shell.write(None, _allow, where, name, grantee)
    shell.show(f"{given.name} may be verified by {given.workspace}", given, AllowOut)


def _allow(tx: Transaction, where: str, name: str, grantee: str) -> AllowOut:
    inside = tx.of(where)
    owner = claims.nearest(inside, name)
    other = find_workspace(tx, grantee)
    return AllowOut(name=claims.allow(inside, owner, name, other.id), workspace=other.slug)


@commands.command()
def remove(
    context: typer.Context,
    name: Named,
    workspace: InWorkspace = None,
    force: Annotated[
        bool, typer.Option("--force", help="With the addresses and mails that use it.")
    ] = False,
) -> None:
    """Take a domain away, also at the providers; says which records to remove from DNS."""
    shell: Shell = context.obj
    where = shell.workspace(workspace).id

    async def work(desk: Desk) -> removing.Removal:
        return await desk.store.write_unscoped(
            removing.remove, desk, where, name, force=force, actor=_ACTOR
        )

    done = DomainRemovalOut.of(_with_desk(shell, work))
    rows = [(one.type, one.name, one.value) for one in done.records_to_remove]
    state = "is gone" if done.gone else "is being removed at its providers"
    lines = [f"{name} {state}", *done.consequences, "remove from DNS:"]
    shell.show("\n".join([*lines, table(rows, empty="")]), done, DomainRemovalOut)


def _with_desk(shell: Shell, work: Callable[[Desk], Awaitable[T]]) -> T:
    async def run() -> T:
        return await work(desk_of(shell))

    return asyncio.run(run())


def _works(one: Overview) -> str:
    if one.verification_failure is not None:
        return f"{one.verification_failure['code']}: {one.verification_failure['message']}"
    return ""


def _show(shell: Shell, one: Overview) -> None:
    since = {True: "yes", False: "waits"}
    facts = [
        ("domain", one.unicode_name),
        ("state", one.verification_status),
        ("mode", one.mode),
    ]
    if one.region is not None:
        facts.append(("kept to", one.region))
    if one.mode != "send_only":
        facts.append(("receiving", since[one.receiving_verified_at is not None]))
    if one.mode != "receive_only":
        facts.append(("sending", one.sending_status))
    if one.verification_failure is not None:
        facts.append(("what is wrong", one.verification_failure["message"]))
    facts += [("at a provider", f"{step.kind} at {step.account}: {step.reason or step.state}")
              for step in one.steps if step.state == "due"]  # fmt: skip
    if one.next_check_at is not None:
        facts.append(("looked at again", f"{one.next_check_at:%Y-%m-%d %H:%M:%S} UTC"))
    rows: list[tuple[Any, ...]] = [
        (record.status or "new", record.type, record.name, record.value)
        for record in one.dns_records
    ]
    text = f"{table(facts, empty='')}\n\n{table(rows, empty='')}"
    shell.show(text, one, DomainOut)
