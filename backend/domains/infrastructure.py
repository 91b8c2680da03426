"""Is the default domain set up, under which every workspace has its name?"""

from __future__ import annotations

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
from mailagent.store import signing_keys
from mailagent.store.transaction import Transaction

__all__ = ["Infrastructure", "accounts_with_our_own", "check", "expected_now", "records_now"]


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


def accounts_with_our_own(tx: Transaction, installed: Installed) -> tuple[Contribution, ...]:
    """What every account asks of the default domain where our own server takes its mail in and
    sends as well, as far as it is known without asking anybody.
    """
    domain = _as_domain(installed, tx.now)
    carried_by = (*domain.choices.carried_by, carriers.OWN)
    choices = replace(domain.choices, carried_by=carried_by, receive_by="")
    keys = _keys(tx, domain.name)
    return contributions(installed, replace(domain, choices=choices), keys, {})


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
    """What is to be published, as far as it is known without asking anybody."""
    installed, keys = await desk.store.read_unscoped(_known, desk)
    domain = _as_domain(installed, desk.store.now())
    return default_domain(Place.of(domain.name), contributions(installed, domain, keys, {}))


async def expected_now(desk: Desk) -> Infrastructure:
    """The default domain with its records, where nobody has looked."""
    records, domain = await records_now(desk), desk.flow.default_domain
    shown = tuple(shown_record(each, {}) for each in records)
    return Infrastructure(domain, f"*.{domain}", "unknown", None, shown, (), None)


async def check(desk: Desk) -> Infrastructure:
    """Ask the accounts and DNS about the default domain."""
    installed, keys = await desk.store.read_unscoped(_known, desk)
    domain = _as_domain(installed, desk.store.now())
    able = [
        name
        for name in domain.choices.carried_by
        if (account := installed.account(name)) is not None and carriers.identifies(account)
    ]
    told, _ = await identities_now(installed, domain.name, able)
    answers: dict[tuple[str, str], Any] = {
        (name, "sending"): carriers.identity_to_json(identity)
        for name, identity in told.items()
        if identity.records
    }
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


def _known(tx: Transaction, desk: Desk) -> tuple[Installed, list[Key]]:
    return desk.installed(tx), _keys(tx, desk.flow.default_domain)


def _status(sides: tuple[str, ...]) -> str:
    for standing, status in (
        ("wrong", "pending"),
        ("unknown", "unknown"),
        ("waiting", "verifying"),
    ):
        if standing in sides:
            return status
    return "verified"
