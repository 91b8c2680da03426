"""Is the default domain set up, under which every workspace has its name?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from backend.domains import carriers, life
from backend.domains.carriers import Installed, contributions, identities_now, titles
from backend.domains.contributions import Contribution, Key
from backend.domains.desk import Desk
from backend.domains.judging import seen, verdict_to_json
from backend.domains.overview import ShownRecord, shown_record
from backend.domains.record import DomainRecord, Place
from backend.domains.records import default_domain
from backend.domains.stored import Choices, Domain
from mailagent.errors import Misconfigured
from mailagent.identity import Identity
from mailagent.store import signing_keys, zone_answers
from mailagent.store.transaction import Transaction

__all__ = ["Infrastructure", "accounts_with_our_own", "ask", "check", "expected_now", "records_now"]


@dataclass(frozen=True, slots=True)
class Infrastructure:
    """The default domain; `checked_at` is None where it was not looked at now."""

    domain: str
    wildcard: str
    verification_status: str
    """`verified`, `verifying`, `pending`, or `unknown`: nobody looked, or DNS did not answer."""
    verification_failure: dict[str, str] | None
    dns_records: tuple[ShownRecord, ...]
    name_servers: tuple[str, ...]
    checked_at: datetime | None


def accounts_with_our_own(
    tx: Transaction, installed: Installed, *, receive_by: str
) -> tuple[Contribution, ...]:
    """What every account asks of the default domain where our own server sends as well, and takes
    its mail in unless that comes by the account `receive_by`. What only a provider knows is as it
    said last. Raises Misconfigured for an account that can bring no mail.
    """
    domain = _in_our_zone(installed, tx.now, receive_by)
    return contributions(installed, domain, _keys(tx, domain.name), _answers(tx))


def _in_our_zone(installed: Installed, now: datetime, receive_by: str) -> Domain:
    account = installed.account(receive_by)
    if receive_by and (account is None or not carriers.collects(account)):
        able = [one.name for one in installed.accounts if carriers.collects(one)]
        raise Misconfigured(
            "MAILAGENT_DNS_MX",
            f"is {receive_by}, which is no account that brings mail: name one of "
            f"{', '.join(able) or 'none, as there is none'}, or leave it empty for this server",
        )
    domain = _as_domain(installed, now)
    carried_by = (*domain.choices.carried_by, carriers.OWN)
    choices = replace(domain.choices, carried_by=carried_by, receive_by=receive_by)
    return replace(domain, choices=choices)


def _of_settings(desk: Desk, installed: Installed, now: datetime) -> Domain:
    """The default domain as it is to be published: as our own zone has it, where we serve one."""
    if desk.settings.dns_name_servers:
        return _in_our_zone(installed, now, desk.settings.mailagent_dns_mx)
    return _as_domain(installed, now)


def _as_domain(installed: Installed, now: datetime) -> Domain:
    """The default domain in the form of a workspace's own: every account carries it."""
    names, receive_by = carriers.chosen(installed, "send_receive", None, None)
    return Domain(
        id="",
        workspace_id="",
        name=installed.default_domain,
        mode="send_receive",
        delegation="records",
        token="",
        region=None,
        life=life.begun(now),
        choices=Choices(carried_by=names, receive_by=receive_by),
        held=frozenset(),
        verdict=None,
        created_at=now,
        verified_at=None,
        checked_at=None,
        next_look=None,
        removing_at=None,
    )


def _keys(tx: Transaction, domain: str) -> list[Key]:
    found = signing_keys.published(tx, domain)
    return [Key(one.selector, one.public_record) for one in found]


async def records_now(desk: Desk) -> tuple[DomainRecord, ...]:
    """What is to be published, with what providers said when they were asked last."""
    installed, keys, answers = await desk.store.read_unscoped(_known, desk)
    domain = _of_settings(desk, installed, desk.store.now())
    asked = contributions(installed, domain, keys, answers)
    return default_domain(Place.of(domain.name), asked)


async def ask(desk: Desk, accounts: Collection[str] | None = None) -> dict[str, Identity]:
    """Ask these accounts, or all, what they know of the default domain, and keep what they say.

    One that cannot be asked says `unknown`, and what it said before stays.
    """
    installed = await desk.store.read_unscoped(desk.installed)
    able = [
        one.name
        for one in installed.accounts
        if carriers.identifies(one) and (accounts is None or one.name in accounts)
    ]
    told, lost = await identities_now(installed, installed.default_domain, able)
    await desk.store.write_unscoped(_keep, told, lost)
    return told


def _keep(tx: Transaction, told: Mapping[str, Identity], lost: Collection[str]) -> None:
    for name, identity in told.items():
        if name in lost:
            zone_answers.forget(tx, name)
        elif identity.sending != "unknown":
            zone_answers.keep(tx, name, carriers.identity_to_json(identity))


def _answers(tx: Transaction) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(name, "sending"): answer for name, answer in zone_answers.kept(tx).items()}


async def expected_now(desk: Desk) -> Infrastructure:
    """The default domain with its records, where nobody has looked."""
    records, domain = await records_now(desk), desk.flow.default_domain
    shown = tuple(shown_record(each, {}) for each in records)
    return Infrastructure(domain, f"*.{domain}", "unknown", None, shown, (), None)


async def check(desk: Desk) -> Infrastructure:
    """Ask the accounts and DNS about the default domain."""
    told = await ask(desk)
    installed, keys, answers = await desk.store.read_unscoped(_known, desk)
    domain = _of_settings(desk, installed, desk.store.now())
    zone = await desk.zone_servers.zone_of(domain.name)
    place = Place.of(domain.name, zone.name if zone else None)
    records = default_domain(place, contributions(installed, domain, keys, answers))
    words = titles(installed, told)
    identities = {words[name]: identity for name, identity in told.items()}
    verdict = await desk.judged(records, zone, identities)
    sides = seen(verdict, domain.life, domain.held, identities.values())
    shown = verdict_to_json(verdict, sides)
    return Infrastructure(
        domain.name,
        f"*.{domain.name}",
        _status(sides.sides),
        shown["failure"],
        tuple(shown_record(each, shown) for each in records),
        zone.hosts if zone else (),
        desk.store.now(),
    )


def _known(
    tx: Transaction, desk: Desk
) -> tuple[Installed, list[Key], dict[tuple[str, str], Mapping[str, Any]]]:
    return desk.installed(tx), _keys(tx, desk.flow.default_domain), _answers(tx)


def _status(sides: tuple[str, ...]) -> str:
    for standing, status in (
        ("wrong", "pending"),
        ("unknown", "unknown"),
        ("waiting", "verifying"),
    ):
        if standing in sides:
            return status
    return "verified"
