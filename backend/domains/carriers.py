"""Which accounts carry a domain's mail, and what does each of them ask to be published?

An account at a provider asks what `contributions` knows of its kind, and what it has answered since
it was told of the domain. Everything else is carried by our own server, whose DKIM keys we hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.domains.contributions import Contribution, Key, answered, known, own_server
from backend.domains.stored import Domain
from mailagent.errors import Delivery, Malformed, Misconfigured
from mailagent.identity import DnsRecord, Identity
from mailagent.providers import KINDS, Account, identifier
from mailagent.providers.account import CanCollect, CanIdentify, ProviderKind

__all__ = [
    "OWN",
    "Installed",
    "chosen",
    "contributions",
    "identities_now",
    "identity_from_json",
    "identity_to_json",
    "region_of",
    "titles",
    "we_hold_the_keys",
]

OWN = "own"
"""What our own server is called among accounts."""
TAKES_OUR_KEY = frozenset({"ses", "mailgun"})
"""Providers that sign with a key that we give them."""
_LONGEST_ASKED = 15.0
_SENDER_FIRST = frozenset({"mailgun"})
"""Its receiver records are looked at only when those of the sender are right."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What the installation has to carry mail with."""

    default_domain: str
    hostname: str
    public_ips: tuple[str, ...]
    accounts: tuple[Account, ...]
    """Those that are set up, in the order of preference."""

    def account(self, name: str) -> Account | None:
        return next((one for one in self.accounts if one.name == name), None)


def identifies(account: Account) -> bool:
    """Whether the provider verifies domains for sending."""
    return isinstance(_kind(account), CanIdentify)


def collects(account: Account) -> bool:
    """Whether the provider must be told for which domains mail comes in."""
    return isinstance(_kind(account), CanCollect)


def _kind(account: Account) -> ProviderKind | None:
    return next((kind for kind in KINDS if kind.kind == account.kind), None)


def region_of(account: Account) -> str:
    """The region in which an account works: SES's, or Mailgun's `us` or `eu`; else empty."""
    match account.kind:
        case "ses":
            return account.settings.get("AWS_SES_REGION") or account.settings.get("AWS_REGION", "")
        case "mailgun":
            return account.settings.get("MAILGUN_REGION", "") or "us"
        case _:
            return ""


def chosen(
    installed: Installed, mode: str, carried_by: Sequence[str] | None, receive_by: str | None
) -> tuple[tuple[str, ...], str]:
    """The accounts that are to send for a domain, and the one that receives, checked.

    Without a wish every account that is set up sends, and the first that can bring mail receives;
    our own server is called `own`. Raises Malformed naming the accounts there are.
    """
    there = {one.name for one in installed.accounts}
    wanted = [one.name for one in installed.accounts] if carried_by is None else list(carried_by)
    names = tuple(dict.fromkeys(name for name in wanted if name != OWN))
    for name in (*names, *([receive_by] if receive_by not in (None, "", OWN) else [])):
        if name not in there:
            known_ = ", ".join(sorted({*there, OWN}))
            raise Malformed("carried_by", f"there is no account {name!r}: use {known_}")
    if mode == "send_only":
        return names, ""
    if receive_by is not None:
        return names, "" if receive_by == OWN else receive_by
    able = [name for name in names if _can_bring(installed, name)]
    return names, able[0] if able else ""


def _can_bring(installed: Installed, name: str) -> bool:
    account = installed.account(name)
    return account is not None and collects(account)


def we_hold_the_keys(installed: Installed, domain: Domain) -> str:
    """Why the records cannot be kept by us behind CNAMEs; empty when they can."""
    for name in domain.choices.carried_by:
        account = installed.account(name)
        if account is not None and account.kind not in TAKES_OUR_KEY and identifies(account):
            return (
                f"{title(account)} signs with a DKIM key of its own, which we cannot rotate for "
                "you: publish plain records, or carry it by our own server, SES or Mailgun"
            )
    return ""


def title(account: Account) -> str:
    """The account in words: its kind's name, and its own where that differs."""
    words = {"ses": "Amazon SES", "sendgrid": "SendGrid", "mailgun": "Mailgun"}
    kind = words.get(account.kind, account.kind.title())
    return kind if account.name == account.kind else f"{kind} ({account.name})"


def titles(installed: Installed, names: Iterable[str]) -> Mapping[str, str]:
    """The accounts' words by their names."""
    found = ((name, installed.account(name)) for name in names)
    return {name: title(account) for name, account in found if account is not None}


def sender_first(installed: Installed, domain: Domain) -> bool:
    """Whether receiving waits for sending, because a provider looks in that order."""
    account = installed.account(domain.choices.receive_by)
    return account is not None and account.kind in _SENDER_FIRST


def contributions(
    installed: Installed,
    domain: Domain,
    keys: Sequence[Key],
    answers: Mapping[tuple[str, str], Mapping[str, Any] | None],
) -> tuple[Contribution, ...]:
    """What every account of a domain asks; `answers` by (account, side), as they were stored."""
    found: list[Contribution] = []
    own = own_server(
        domain.name, host=installed.hostname, addresses=installed.public_ips, keys=keys
    )
    receive_by = domain.choices.receive_by
    sends_by_own = False
    for name in dict.fromkeys((*domain.choices.carried_by, *filter(None, [receive_by]))):
        account = installed.account(name)
        if account is None or not identifies(account):
            sends_by_own = True
            continue
        first = account.kind == "ses" and not any(one.title.startswith("Amazon") for one in found)
        asked = known(account.kind, domain.name, region=region_of(account), mail_from=first)
        asked = replace(asked, title=title(account))
        if (identity := answers.get((name, "sending"))) is not None:
            asked = asked.joined(
                answered(title(account), domain.name, identity_from_json(identity))
            )
        if (brought := answers.get((name, "receiving"))) is not None:
            receiving = tuple(DnsRecord(**each) for each in brought["records"])
            asked = replace(asked, receiving=receiving or asked.receiving)
        if name != receive_by:
            asked = asked.sending_only()
        if name not in domain.choices.carried_by:
            asked = replace(asked, spf=(), dkim=(), bounces=(), tracking=())
        found.append(asked)
    if sends_by_own or not domain.choices.carried_by:
        found.append(own if not receive_by else own.sending_only())
    elif not receive_by and domain.mode != "send_only":
        found.append(replace(own, spf=(), dkim=(), bounces=()))
    return tuple(found)


async def identities_now(
    installed: Installed, domain: str, accounts: Sequence[str]
) -> tuple[dict[str, Identity], tuple[str, ...]]:
    """What these accounts say of a domain now, and which of them do not know it.

    An account that cannot be asked says `unknown`; nothing is resubmitted.
    """
    there = [one for name in accounts if (one := installed.account(name)) is not None]
    told = await asyncio.gather(*(_identity_now(account, domain) for account in there))
    found = {one.name: identity for one, identity in zip(there, told, strict=True)}
    lost = tuple(name for name, identity in found.items() if identity is None)
    unknown = Identity(domain, (), "unknown")
    return {name: identity or unknown for name, identity in found.items()}, lost


async def _identity_now(account: Account, domain: str) -> Identity | None:
    try:
        async with asyncio.timeout(_LONGEST_ASKED):
            opened = identifier(account)
            assert opened is not None, "only accounts that verify domains have identities"
            async with opened as identities:
                return await identities.identity(domain)
    except TimeoutError:
        return Identity(domain, (), "unknown", detail=f"{title(account)} did not answer in time")
    except (Delivery, Misconfigured) as error:
        return Identity(domain, (), "unknown", detail=str(error))


# --- as JSON ----------------------------------------------------------------------------------


def identity_to_json(identity: Identity) -> dict[str, Any]:
    """What a provider knows, to be stored."""
    return {
        "domain": identity.domain,
        "records": records_to_json(identity.records),
        "sending": identity.sending,
        "words": dict(identity.words),
        "detail": identity.detail,
    }


def identity_from_json(stored: Mapping[str, Any]) -> Identity:
    """The reverse of `identity_to_json`."""
    return Identity(
        stored["domain"],
        tuple(DnsRecord(**each) for each in stored["records"]),
        stored["sending"],
        stored["words"],
        stored["detail"],
    )


def records_to_json(records: Iterable[DnsRecord]) -> list[dict[str, Any]]:
    """Records, to be stored."""
    return [
        {"type": each.type, "name": each.name, "value": each.value, "priority": each.priority}
        for each in records
    ]
