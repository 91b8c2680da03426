"""Which accounts may carry a domain that is kept to one region?

A region is fixed when a domain is added. From then on it is told to, sent by and received by
accounts that work there, and by those of no region in particular, as a relay of one's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

from backend.domains.carriers import OWN, Installed, title
from backend.domains.stored import Domain
from mailagent.errors import Conflict, Malformed
from mailagent.providers import Account, region_of

__all__ = ["REGIONS", "Region", "checked", "demand", "elsewhere", "usual", "within"]

Region = Literal["US", "EU"]
REGIONS: tuple[Region, ...] = get_args(Region)


def checked(value: str) -> Region:
    """A region as somebody gave it. Raises Malformed."""
    found = next((one for one in REGIONS if one == value), None)
    if found is None:
        raise Malformed("region", f"must be one of {', '.join(REGIONS)}")
    return found


def elsewhere(account: Account, region: str | None) -> str:
    """Where an account works that may not carry a domain of this region; empty for one that may."""
    where = region_of(account)
    return where if region is not None and where and where != region else ""


def usual(accounts: Iterable[Account]) -> Region:
    """The region where none was named: the United States, unless all accounts work in the EU."""
    tied = {where for one in accounts if (where := region_of(one))}
    return "EU" if tied == {"EU"} else "US"


def within(
    installed: Installed,
    region: str | None,
    domain: str,
    carried_by: Iterable[str] | None,
    receive_by: str | None,
) -> Installed:
    """The installation as a new domain of the region may use it.

    Raises Conflict for an account that was named and works elsewhere, and where no account was
    named and none works there.
    """
    named = [*(carried_by or ()), *filter(None, [receive_by])]
    for name in named:
        account = installed.account(name)
        if account is not None and (where := elsewhere(account, region)):
            raise Conflict(
                f"{title(account)} works in {where}, and {domain} is to be kept to {region}: name "
                f"accounts that work in {region}, or say {where}"
            )
    there = tuple(one for one in installed.accounts if not elsewhere(one, region))
    if carried_by is None and installed.accounts and not there:
        raise Conflict(
            f"no account works in {region}, to which {domain} is to be kept: set one up there "
            f"(mailagent provider add), or have it carried by this server (--by {OWN})"
        )
    return replace(installed, accounts=there)


def demand(installed: Installed, domain: Domain, region: str) -> None:
    """Pass a domain that may be given the region. Raises Conflict naming what works elsewhere."""
    for name in dict.fromkeys((*domain.choices.carried_by, domain.choices.receive_by)):
        account = installed.account(name)
        if account is not None and (where := elsewhere(account, region)):
            raise Conflict(
                f"{domain.name} is carried by {title(account)}, which works in {where}: "
                f"add a new sub-domain for {region}"
            )
