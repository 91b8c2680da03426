"""Whose is a domain?

A wish excludes nobody; the first workspace at which a side of the domain is verified has it. What
is below a verified domain is its owner's, who may give a sub-domain away. Public suffixes, the
default domain and what looks like it are nobody's. Functions say `tx` for an unscoped transaction:
claims are between workspaces.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from publicsuffixlist import PublicSuffixList
from sqlalchemy import delete, select, update

from backend.domains.record import checked_domain
from backend.domains.stored import Domain, made
from mailagent.authentication.dmarc_record import registrable_domain
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow.directory import changed
from mailagent.store.tables import addresses, agents, domain_grants, domains
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = [
    "allow",
    "checked_claim",
    "forget_senders",
    "granted",
    "nearest",
    "release",
    "take",
    "why_not",
]

# Cyrillic, Greek and digits that most fonts show like Latin letters; accents are stripped.
_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u04cf\u0501\u051b\u0455\u0458\u04bb\u03bf\u03b1"
    "\u03b5\u03b9\u03ba\u03bd\u03c1\u03c4\u03c50135",
    "aeopcyxildqsjhoaeikvptuoles",
)
_TAKEN = "another workspace has verified {name}: ask its owner, or use a sub-domain of another"
_BELOW = (
    "{name} is below {parent}, which another workspace has verified: its owner can give it to you "
    "with mailagent domain allow {name} WORKSPACE"
)


def checked_claim(field: str, name: str, default_domain: str) -> str:
    """A name that a workspace may want, in A-labels. Raises Malformed with the mend."""
    domain = checked_domain(field, name)
    if domain == default_domain or domain.endswith(f".{default_domain}"):
        raise Malformed(
            field, f"{domain} is the installation's own: every workspace has a name there already"
        )
    if _suffixes().is_public(domain):
        raise Malformed(
            field, f"{domain} is a public suffix, below which anybody registers: name a domain"
        )
    ours = _seen(default_domain)
    labels = _seen(domain).split(".")
    first, inside = len(ours.split(".")), ours.split(".")
    if any(labels[at : at + first] == inside for at in range(len(labels))):
        raise Malformed(
            field, f"{domain} looks like {default_domain}, the installation's own: use another"
        )
    return domain


def why_not(tx: Transaction, workspace_id: str, name: str) -> str:
    """Why the workspace cannot have the name, in a sentence; empty when it can."""
    above = _above(name)
    rows = tx.rows(
        select(domains.c.name, domains.c.workspace_id).where(
            domains.c.name.in_([name, *above]), domains.c.verified_at.is_not(None)
        )
    )
    foreign = {row.name for row in rows if row.workspace_id != workspace_id}
    if name in foreign:
        return _TAKEN.format(name=name)
    own = {row.name for row in rows} - foreign
    for parent in above:  # the nearest owner decides
        if parent in own:
            return ""
        if parent in foreign:
            given = select(domain_grants.c.id).where(
                domain_grants.c.name.in_([name, *above[: above.index(parent)]]),
                domain_grants.c.grantee_id == workspace_id,
            )
            return "" if tx.value(given) else _BELOW.format(name=name, parent=parent)
    return ""


def take(tx: Transaction, domain: Domain) -> str:
    """Make the name the workspace's, unless `why_not`; returns that reason.

    Whoever held it and lost it has no addresses there any more, and the addresses that were wanted
    are made.
    """
    tx.lock(f"domain claim {registrable_domain(domain.name)}")
    if reason := why_not(tx, domain.workspace_id, domain.name):
        return reason
    tx.execute(update(domains).where(domains.c.id == domain.id).values(verified_at=tx.now))
    tx.execute(
        delete(addresses).where(
            addresses.c.domain == domain.name, addresses.c.workspace_id != domain.workspace_id
        )
    )
    inside = tx.of(domain.workspace_id)
    for wanted in domain.choices.wanted:
        row = {
            "id": new_id("adr"),
            "agent_id": wanted.agent_id,
            "local_part": wanted.local_part,
            "domain": domain.name,
            "alias": True,
            "created_at": tx.now,
        }
        inside.insert_new(addresses, row, unique=["local_part", "domain"])
    changed(inside)
    return ""


def release(tx: Transaction, domain: Domain) -> None:
    """Give the name up: another workspace may verify it. Addresses stay, and serve no more."""
    tx.execute(update(domains).where(domains.c.id == domain.id).values(verified_at=None))
    changed(tx)


def allow(tx: Transaction, domain: Domain, name: str, grantee_id: str) -> str:
    """Let another workspace have a sub-domain (scoped transaction); returns its name.

    Raises Malformed for what is not below the domain; Conflict while the domain is not ours.
    """
    wanted = checked_domain("name", name)
    if not wanted.endswith(f".{domain.name}"):
        raise Malformed("name", f"{wanted} is not below {domain.name}")
    if domain.verified_at is None:
        raise Conflict(f"{domain.name} is not verified: only its owner gives sub-domains away")
    row = {
        "id": new_id("grt"),
        "domain_id": domain.id,
        "name": wanted,
        "grantee_id": grantee_id,
        "created_at": tx.now,
    }
    tx.insert_new(domain_grants, row, unique=["name", "grantee_id"])
    return wanted


def nearest(tx: Transaction, name: str) -> Domain:
    """The workspace's own domain just above a name (scoped transaction). Raises NotFound."""
    wanted = checked_domain("name", name)
    rows = tx.rows(select(domains).where(domains.c.name.in_(_above(wanted))))
    if not rows:
        raise NotFound(f"the workspace has no domain above {wanted}")
    return made(max(rows, key=lambda row: len(row.name)))


def granted(tx: Transaction, domain: Domain) -> tuple[str, ...]:
    """The sub-domains that were given away (scoped transaction)."""
    rows = tx.rows(
        select(domain_grants.c.name)
        .where(domain_grants.c.domain_id == domain.id)
        .order_by(domain_grants.c.name)
    )
    return tuple(dict.fromkeys(row.name for row in rows))


def forget_senders(tx: Transaction, domain: Domain) -> None:
    """No agent writes as an address of the domain any more (scoped transaction)."""
    for row in tx.rows(select(agents.c.id, agents.c.settings)):
        if str(row.settings.get("sends_as", "")).endswith(f"@{domain.name}"):
            left = {name: value for name, value in row.settings.items() if name != "sends_as"}
            tx.execute(update(agents).where(agents.c.id == row.id).values(settings=left))


def _above(name: str) -> list[str]:
    """The names above, the nearest first, to the registered domain."""
    top = registrable_domain(name)
    found: list[str] = []
    while name != top:
        name = name.partition(".")[2]
        found.append(name)
    return found


def _seen(name: str) -> str:
    """The name as an eye takes it."""
    try:
        shown = name.encode("ascii").decode("idna")
    except UnicodeError:
        shown = name
    bare = "".join(
        each
        for each in unicodedata.normalize("NFKD", shown.lower())
        if not unicodedata.combining(each)
    )
    return bare.translate(_ALIKE).replace("rn", "m").replace("vv", "w").replace("-", "")


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
