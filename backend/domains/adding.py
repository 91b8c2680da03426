"""How does a domain come to a workspace? In one transaction, or not at all.

Before it, DNS is asked what stands there; inside it are the row, our keys, and what is to be made
at providers (`steps`, which go on by themselves); after it the first look is due.
"""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from sqlalchemy import select, update

from backend.agents import service as agents
from backend.domain_options import service as domain_options
from backend.domains import carriers, claims, life, regions, steps, stored
from backend.domains.carriers import Installed
from backend.domains.contributions import known
from backend.domains.desk import Desk
from backend.domains.mail_hosts import whose
from backend.domains.publishing import expected
from backend.domains.records import Mode
from backend.domains.stored import CHECKS, Choices, Delegation, Domain, WantedAddress
from backend.naming import checked_local_part
from mailagent.authentication import dkim
from mailagent.authentication.dmarc_record import registrable_domain
from mailagent.dns_answers import Found, Question, Unknown
from mailagent.errors import Conflict, Malformed
from mailagent.flow.directory import normalised
from mailagent.flow.ledger import note
from mailagent.store import signing_keys, zone_version
from mailagent.store.signing_keys import StoredKey
from mailagent.store.tables import agents as agent_rows
from mailagent.store.tables import domains
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["SELECTORS", "Prepared", "Wanted", "add", "add_prepared", "prepare"]

SELECTORS = ("mailagent1", "mailagent2")
"""The second is the Ed25519 key beside the RSA one, or of a managed domain the next RSA key."""

_MODES: tuple[str, ...] = get_args(Mode)
_DELEGATIONS: tuple[str, ...] = get_args(Delegation)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for. `name` is a domain, or an address that an agent shall have there."""

    name: str
    mode: str = "send_receive"
    delegation: str = "records"
    carried_by: Sequence[str] | None = None
    """Accounts, or `own` for our server; None is all that are set up."""
    receive_by: str | None = None
    agent: str | None = None
    """Id or handle of the agent that gets the address; needed with an address. Of a domain alone it
    is the agent whose the domain becomes (`domain_options`).
    """
    group: str | None = None
    """Name or id of the agent group whose the domain becomes."""
    replace_mx: bool = False
    """Whether mail may be taken from the service that has it now."""
    while_pending: str = "wait"
    until_verified: str = "default"
    confirm_apex: bool = False
    """Whether a registered domain may be given to an agent or a group, and not a sub-domain."""
    region: str | None = None
    """`US` or `EU`, for good: accounts that work elsewhere have nothing to do with it. None is
    none, and of a domain that becomes an agent's or a group's the usual one (`regions.usual`).
    """


@dataclass(frozen=True, slots=True)
class Prepared:
    """A wish that was checked as far as the outside world goes."""

    wanted: Wanted
    name: str
    local_part: str
    """Empty where a domain alone was named."""
    warnings: tuple[str, ...]
    keys: tuple[StoredKey, ...]
    """None for a domain that is set up already."""


async def add(desk: Desk, workspace_id: str, wanted: Wanted, *, actor: str) -> Domain:
    """Add a domain. Raises Malformed, NotFound for agent and group, and Conflict: it is there
    already, is another's, mail for it goes elsewhere and `replace_mx` was not said, no account of
    its region may carry it (`regions.within`), or it cannot be given to the agent or group
    (`domain_options.service.give`).
    """
    prepared = await prepare(desk, workspace_id, wanted)
    return await desk.store.write_unscoped(add_prepared, desk, workspace_id, prepared, actor=actor)


async def prepare(desk: Desk, workspace_id: str, wanted: Wanted) -> Prepared:
    """Ask DNS about a wish and make its keys; of a domain that a group has set up nobody is asked.

    Raises Malformed, Conflict.
    """
    local, _, domain = wanted.name.rpartition("@")
    name = claims.checked_claim("name", domain or wanted.name, desk.flow.default_domain)
    if wanted.mode not in _MODES:
        raise Malformed("mode", f"must be one of {', '.join(_MODES)}")
    if wanted.delegation not in _DELEGATIONS:
        raise Malformed("delegation", f"must be one of {', '.join(_DELEGATIONS)}")
    if "@" in wanted.name:
        local = checked_local_part("name", normalised(wanted.name)[0])
        if wanted.agent is None:
            raise Malformed("agent", f"is missing: say which agent gets {local}@{name}")
    if wanted.region is not None:
        regions.checked(wanted.region)
    if wanted.group is not None and wanted.agent is not None and not local:
        raise Malformed("group", "name an agent or a group, and not both")
    asked = Prepared(wanted, name, local, (), ())
    if await desk.store.read(workspace_id, _of_its_group, asked) is not None:
        return asked
    installed = await desk.store.read_unscoped(desk.installed)
    warnings, keys = await asyncio.gather(
        _warnings(desk, installed, wanted, name), _keys(name, wanted.delegation)
    )
    return replace(asked, warnings=tuple(warnings), keys=keys)


def add_prepared(
    tx: Transaction, desk: Desk, workspace_id: str, prepared: Prepared, *, actor: str
) -> Domain:
    """Write everything of a new domain (unscoped transaction). Raises as `add`."""
    wanted, name = prepared.wanted, prepared.name
    if (found := _set_up_already(tx.of(workspace_id), desk, prepared)) is not None:
        return found
    if not prepared.keys:
        raise Conflict(f"{name} has changed meanwhile: add it again")
    if reason := claims.why_not(tx, workspace_id, name):
        raise Conflict(reason)
    inside, installed = tx.of(workspace_id), desk.installed(tx)
    region = _region(installed, prepared)
    there = regions.within(installed, region, name, wanted.carried_by, wanted.receive_by)
    carried_by, receive_by = carriers.chosen(
        there, wanted.mode, wanted.carried_by, wanted.receive_by
    )
    choices = Choices(
        carried_by=carried_by,
        receive_by=receive_by,
        while_pending=checked_while_pending(wanted.while_pending),
        until_verified=checked_until_verified(wanted.until_verified),
        wanted=_address(inside, prepared),
        warnings=prepared.warnings,
    )
    begun = life.begun(tx.now)
    row = {
        "id": new_id("dom"),
        "workspace_id": workspace_id,
        "name": name,
        "created_at": tx.now,
        "mode": wanted.mode,
        "delegation": wanted.delegation,
        "token": randomness.token_hex(16),
        "region": region,
        "settings": choices.stored(),
        "held_records": [],
        "not_before": tx.now,
        **stored.life_columns(begun),
    }
    if not inside.insert_new(domains, row, unique=["workspace_id", "name"]):
        raise Conflict(f"{name} is in this workspace already: mailagent domain show {name}")
    domain = stored.find(inside, str(row["id"]))
    _demand_delegation(installed, domain)
    for number, key in enumerate(prepared.keys):
        # Two claims on one name share its keys: whoever publishes them proves nothing by that.
        status = "published" if number else "signing"
        signing_keys.add(tx, desk.secrets, key, status=status)  # type: ignore[arg-type]
    if _is_given(prepared):
        _give(inside, installed, desk, prepared)
    steps.plan(inside, installed, domain)
    note(inside, "domain", f"{name} added", f"mode {wanted.mode}", actor=actor)
    inside.wake(CHECKS.name)
    zone_version.changed(tx)  # its keys may have been there before it
    expected(inside, installed, domain)  # what cannot be published must not be added
    return domain


def _is_given(prepared: Prepared) -> bool:
    """Whether the domain becomes an agent's or a group's; with an address only the address does."""
    return prepared.wanted.group is not None or (
        prepared.wanted.agent is not None and not prepared.local_part
    )


def _set_up_already(tx: Transaction, desk: Desk, prepared: Prepared) -> Domain | None:
    """The domain, where an agent of the group that has it adds it: what is set up is used."""
    domain_id = _of_its_group(tx, prepared)
    if domain_id is None:
        return None
    _give(tx, desk.installed(tx), desk, prepared)
    return stored.find(tx, domain_id)


def _of_its_group(tx: Transaction, prepared: Prepared) -> str | None:
    """The id of a domain that a group has, where one agent is named for it, and no address."""
    if prepared.wanted.agent is None or not _is_given(prepared) or prepared.wanted.group:
        return None
    row = tx.row(select(domains).where(domains.c.name == prepared.name))
    if row is None or row.group_id is None or row.removing_at is not None:
        return None
    return str(row.id)


def _region(installed: Installed, prepared: Prepared) -> str | None:
    wanted = prepared.wanted
    if wanted.region is not None or not _is_given(prepared):
        return wanted.region
    named = [installed.account(name) for name in wanted.carried_by or ()]
    return regions.usual(filter(None, named) if named else installed.accounts)


def _give(tx: Transaction, installed: Installed, desk: Desk, prepared: Prepared) -> None:
    domain_options.give(
        tx,
        installed,
        prepared.name,
        most_of_a_group=desk.settings.mailagent_domains_per_group,
        agent=None if prepared.wanted.group is not None else prepared.wanted.agent,
        group=prepared.wanted.group,
        apex_confirmed=prepared.wanted.confirm_apex,
    )


def checked_while_pending(value: str) -> Literal["wait", "go_on"]:
    """What mail does while the domain is pending again. Raises Malformed."""
    if value not in ("wait", "go_on"):
        raise Malformed("while_pending", "must be wait or go_on")
    return cast("Literal['wait', 'go_on']", value)


def checked_until_verified(value: str) -> Literal["default", "wait"]:
    """What answers do until the domain may send. Raises Malformed."""
    if value not in ("default", "wait"):
        raise Malformed("until_verified", "must be default or wait")
    return cast("Literal['default', 'wait']", value)


def _demand_delegation(installed: Installed, domain: Domain) -> None:
    if domain.delegation == "records":
        return
    if reason := carriers.we_hold_the_keys(installed, domain):
        raise Conflict(f"{domain.name} cannot be CNAME-managed: {reason}")


def _address(tx: Transaction, prepared: Prepared) -> tuple[WantedAddress, ...]:
    """The address that was asked for; its agent writes as it from the day that it may."""
    if not prepared.local_part or prepared.wanted.agent is None:
        return ()
    agent = agents.get(tx, prepared.wanted.agent)
    row = tx.row(agent_rows.select().where(agent_rows.c.id == agent.id))
    assert row is not None
    address = f"{prepared.local_part}@{prepared.name}"
    tx.execute(
        update(agent_rows)
        .where(agent_rows.c.id == agent.id)
        .values(settings={**row.settings, "sends_as": address})
    )
    return (WantedAddress(agent.id, prepared.local_part),)


async def _warnings(desk: Desk, installed: Installed, wanted: Wanted, name: str) -> Sequence[str]:
    """What a person must know first. Raises Conflict for mail that goes elsewhere."""
    found: list[str] = []
    apex = registrable_domain(name)
    if name == apex and wanted.mode != "send_only":
        found.append(
            f"{name} is a registered domain itself: all of its mail will come here. A sub-domain "
            f"such as agents.{name} leaves its other mail as it is."
        )
    if wanted.mode == "send_only":
        return found
    answer = await desk.resolver.ask(Question(name, "MX"))
    if isinstance(answer, Unknown):
        found.append(f"DNS of {name} could not be asked ({answer.reason}): its MX is not known.")
    elif isinstance(answer, Found):
        foreign = [host for host in _hosts(answer) if host and not _is_ours(installed, host)]
        if foreign:
            words = ", ".join(map(whose, foreign))
            if not wanted.replace_mx:
                raise Conflict(
                    f"mail for {name} goes to {words} now, and would come here: confirm with "
                    f"replace_mx (--replace-mx), use a sub-domain such as agents.{name}, or the "
                    "mode send_only"
                )
            found.append(f"Mail for {name} goes to {words} until you replace its MX.")
    return found


def _hosts(answer: Found) -> list[str]:
    return [record.partition(" ")[2].rstrip(".") for record in answer.records]


def _is_ours(installed: Installed, host: str) -> bool:
    hosts = {installed.hostname}
    for account in installed.accounts:
        if carriers.identifies(account):
            asked = known(account.kind, "x.example", region=carriers.region_of(account))
            hosts |= {mx.value for mx in asked.receiving}
    return host in hosts


async def _keys(name: str, delegation: str) -> tuple[StoredKey, ...]:
    kinds = ("rsa2048", "rsa2048" if delegation == "cname" else "ed25519")
    pairs = await asyncio.gather(*(asyncio.to_thread(dkim.new_key, kind) for kind in kinds))  # type: ignore[arg-type]
    return tuple(
        StoredKey(name, selector, pair.private_pem, pair.public_record)
        for selector, pair in zip(SELECTORS, pairs, strict=True)
    )
