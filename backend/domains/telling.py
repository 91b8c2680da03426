"""What do a domain's owners hear, and what does its ledger say?

Only what a person must act on is a mail: that the domain failed or is another's, and that it is
pending for three days. Each owner gets one, from `postmaster@` of the default domain: the failing
domain could not vouch for it. Where no account can send, it waits in the outbox and the ledger has
it all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.domains.life import News
from backend.domains.stored import Domain
from mailagent.errors import Malformed
from mailagent.flow import people
from mailagent.flow.ledger import note
from mailagent.flow.services import FlowSettings
from mailagent.store.transaction import Transaction

__all__ = ["tell", "wrong_records"]

_WORDS: Mapping[News, str] = {
    "receiving": "receives mail",
    "sending": "may send mail",
    "verified": "is verified",
    "broken": "is pending again: a record that was right is wrong",
    "failed": "has failed: it was wrong at two regular looks in a row",
    "slow": "has been pending for three days",
    "taken": "cannot be verified: another workspace was quicker",
}
_MOST_LISTED = 20


def tell(
    tx: Transaction,
    flow: FlowSettings,
    domain: Domain,
    news: Sequence[News],
    verdict: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write the ledger, and mails where a person must act; returns who gets one."""
    reasons = wrong_records(verdict)
    for one in news:
        note(tx, "domain", f"{domain.name} {_WORDS[one]}", "; ".join(reasons)[:2_000])
    told: list[str] = []
    for one in news:
        if one in ("failed", "slow", "taken"):
            told += _write(tx, flow, domain, one, reasons)
    return tuple(told)


def wrong_records(verdict: Mapping[str, Any]) -> list[str]:
    """The sentences of what is wrong, each with its mend."""
    found = [
        each["message"]
        for each in verdict.get("records", ())
        if each["message"] and each["status"] not in ("valid", "extra", "unknown")
    ]
    failure = verdict.get("failure")
    if failure is not None and failure["message"] not in found:
        found.append(failure["message"])
    return found


def _write(
    tx: Transaction, flow: FlowSettings, domain: Domain, what: News, reasons: Sequence[str]
) -> list[str]:
    subjects = {"failed": "has failed", "taken": "is another workspace's"}
    subject = f"{domain.name} {subjects.get(what, 'still waits for its DNS')}"
    lines = [
        f"The domain {domain.name} {_WORDS[what]}.",
        "",
        *(f"- {reason}" for reason in reasons[:_MOST_LISTED]),
        "",
        _PATIENCE if what == "slow" else _consequence(domain),
        "",
        "The records, as they should be:",
        f"  mailagent domain records {domain.name}",
        "and to look at once:" if what == "slow" else "and when they are right:",
        f"  mailagent domain check {domain.name}",
        f"  {flow.ui_url}/domains/{domain.id}",
        "",
    ]
    told: list[str] = []
    for owner in people.owners(tx):
        try:
            people.write(tx, flow, (owner,), subject, "\n".join(lines), by_operator=True)
        except Malformed as error:
            note(tx, "domain", f"{owner} could not be told of {domain.name}", str(error))
        else:
            told.append(owner)
    if not told:
        note(tx, "domain", f"nobody was told of {domain.name}", "the workspace has no owner")
    return told


_PATIENCE = (
    "It is looked at every six hours, and goes on by itself as soon as its records are right.\n"
    "Providers take 1 to 12 hours to verify a domain, at most 72; a DNS change takes up to 48."
)


def _consequence(domain: Domain) -> str:
    goes_on = [
        word
        for word, since in (
            ("receives", domain.life.receiving_since),
            ("sends", domain.life.sending_since),
        )
        if since is not None
    ]
    left = f"It still {' and '.join(goes_on)}. " if goes_on else ""
    return (
        f"{left}It is not looked at any more until somebody asks for it; agents answer from their\n"
        "default addresses until then."
    )
