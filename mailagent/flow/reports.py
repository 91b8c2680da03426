"""Within step 2: what do other mail systems report about a domain of ours?

DMARC and TLS reports come to `dmarc@` and `tls@` of the default domain (the operator's workspace
gets them) and of a custom domain (its workspace, docs/decisions/0020). A report is its sender's
claim: it is kept only if the sender is proven and it speaks of a domain of that workspace; the same
one twice is kept once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, select

from mailagent.errors import Malformed, SandboxFailure
from mailagent.flow.decide import proven
from mailagent.flow.directory import REPORT_ADDRESSES, normalised, without_tag
from mailagent.flow.services import Services
from mailagent.flow.values import form_of
from mailagent.inbound import Origin
from mailagent.mail import Mail
from mailagent.mime.dmarc_report import DmarcReport
from mailagent.mime.domain_report import FoundReport
from mailagent.mime.tls_report import TlsPolicy, TlsReport
from mailagent.reading import Reading
from mailagent.store.tables import domain_report_rows, domain_reports, domains
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

__all__ = ["forget", "read", "take"]

_FOUND = TypeAdapter(FoundReport)
_KEPT = timedelta(days=400)
_AT_ONCE = 500


async def read(
    services: Services, raw: bytes, recipient: str, origin: Origin, reading: Reading
) -> FoundReport | str | None:
    """The report that a mail to a report address carries, or why it cannot be read.

    None for any other mail.
    """
    local, _ = normalised(recipient)
    other = reading.report is not None or reading.complaint is not None
    if without_tag(local) not in REPORT_ADDRESSES or other or not reading.content.attachments:
        return None
    try:
        found = await services.sandbox.run("mailagent.reading:report", raw, form_of(origin))
        return _FOUND.validate_json(found)
    except (Malformed, SandboxFailure, ValidationError) as error:
        return str(error)[:300]


def take(tx: Transaction, services: Services, mail: Mail, found: FoundReport) -> str:
    """Keep a report; what became of it, in words."""
    evidence = proven(mail)
    if evidence is None:
        return "a report that is not kept: nothing proves who sent it"
    told = [_keep(tx, services, mail, one) for one in _reports(found)]
    return "; ".join(told)[:500]


@dataclass(frozen=True, slots=True)
class _Report:
    """A report about one domain, in the form both kinds are kept in."""

    kind: str
    domain: str
    reporter: str
    report_id: str
    begins_at: datetime
    ends_at: datetime
    policy: str
    rows: Sequence[Mapping[str, Any]]


def _reports(found: FoundReport) -> Iterator[_Report]:
    if found.dmarc is not None:
        yield _of_dmarc(found.dmarc)
    if found.tls is not None:
        for domain in dict.fromkeys(one.domain for one in found.tls.policies):
            yield _of_tls(found.tls, domain)


def _of_dmarc(report: DmarcReport) -> _Report:
    return _Report(
        "dmarc",
        report.domain,
        report.reporter,
        report.report_id,
        report.begins_at,
        report.ends_at,
        report.policy,
        [
            {
                "source": row.source[:45],
                "total": row.messages,
                "good": row.messages if row.aligned else 0,
                "detail": {
                    "header_from": row.header_from,
                    "disposition": row.disposition,
                    "dkim": row.dkim,
                    "spf": row.spf,
                },
            }
            for row in report.rows
        ],
    )


def _of_tls(report: TlsReport, domain: str) -> _Report:
    policies = [one for one in report.policies if one.domain == domain]
    return _Report(
        "tls",
        domain,
        report.reporter,
        report.report_id,
        report.begins_at,
        report.ends_at,
        " ".join(dict.fromkeys(one.type for one in policies))[:64],
        [_tls_row(one) for one in policies],
    )


def _tls_row(policy: TlsPolicy) -> dict[str, Any]:
    return {
        "source": "",
        "total": policy.sessions,
        "good": policy.sessions - policy.failed,
        "detail": {
            "policy": policy.type,
            "failures": [
                {"reason": one.reason, "sessions": one.sessions, "mx": one.mx}
                for one in policy.failures
            ],
        },
    }


def _keep(tx: Transaction, services: Services, mail: Mail, report: _Report) -> str:
    name = f"{report.kind.upper()} report of {report.reporter} about {report.domain}"
    if not _is_ours(tx, services, mail, report.domain):
        return f"{name}: not kept, it is no domain of this workspace"
    row = {
        "id": new_id("rep"),
        "kind": report.kind,
        "domain": report.domain,
        "reporter": report.reporter,
        "report_id": report.report_id,
        "sender": mail.content.from_[0].address.lower()[:320],
        "begins_at": report.begins_at,
        "ends_at": report.ends_at,
        "policy": report.policy,
        "delivery_id": mail.delivery_id,
        "received_at": mail.received_at,
    }
    unique = ["workspace_id", "kind", "domain", "reporter", "report_id"]
    if not tx.insert_new(domain_reports, row, unique=unique):
        return f"{name}: kept before"
    tx.insert(
        domain_report_rows,
        *(
            {"report_ref": row["id"], "position": position, **one}
            for position, one in enumerate(report.rows)
        ),
    )
    return f"{name}: kept, {sum(one['total'] for one in report.rows):,} in all"


def _is_ours(tx: Transaction, services: Services, mail: Mail, about: str) -> bool:
    """Whether the domain, or one above it, is of the workspace that the mail came to."""
    default = services.settings.default_domain
    verified = select(domains.c.name).where(domains.c.verified_at.is_not(None))
    ours = [row.name for row in tx.rows(verified)]
    if normalised(mail.recipient)[1] == default:
        ours.append(default)
    return any(f".{about}".endswith(f".{one}") for one in ours)


def forget(tx: Transaction) -> None:
    """Drop reports that are older than 400 days: last year can still be compared."""
    old = tx.rows(
        select(domain_reports.c.id)
        .where(domain_reports.c.received_at < tx.now - _KEPT)
        .limit(_AT_ONCE)
    )
    ids = [row.id for row in old]
    tx.execute(delete(domain_report_rows).where(domain_report_rows.c.report_ref.in_(ids)))
    tx.execute(delete(domain_reports).where(domain_reports.c.id.in_(ids)))
