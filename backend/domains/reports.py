"""What do others report of our domains' mail, summed, and what is to be done about it?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from mailagent.store.tables import domain_report_rows, domain_reports
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["DomainReports", "Source", "TlsFailures", "summed"]

_SOURCES = 100
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Source:
    """An address that sent mail with the domain in From."""

    address: str
    messages: int
    aligned: int
    """Of them, those for which DKIM or SPF passed in alignment."""
    signed_by: tuple[str, ...]
    """Domains for which DKIM passed."""
    sent_as: tuple[str, ...]
    """Domains for which SPF passed."""
    advice: str


@dataclass(frozen=True, slots=True)
class TlsFailures:
    """TLS sessions to one of the domain's hosts that failed for one reason (RFC 8460 §4.3)."""

    reason: str
    mx: str
    sessions: int
    advice: str


@dataclass(frozen=True, slots=True)
class DomainReports:
    """All reports about one domain that end within the time asked for."""

    domain: str
    reports: int
    reporters: tuple[str, ...]
    policy: str
    """The policy that the newest DMARC report found; empty without one."""
    messages: int
    aligned: int
    sources: tuple[Source, ...]
    """At most 100, those with the most messages that are not aligned first."""
    tls_sessions: int
    tls_failed: int
    tls_failures: tuple[TlsFailures, ...]
    advice: str


def summed(
    tx: Transaction, *, within: timedelta, domain: str | None = None
) -> tuple[DomainReports, ...]:
    """The reports of the last while, by domain; of one domain if it is named."""
    wanted = domain_reports.c.ends_at >= tx.now - within
    if domain is not None:
        wanted &= domain_reports.c.domain == domain.rstrip(".").lower()
    sums: dict[str, _Sums] = {}
    for report in tx.rows(select(domain_reports).where(wanted).order_by(domain_reports.c.ends_at)):
        sums.setdefault(report.domain, _Sums(report.domain)).add_report(report)
    rows = (
        select(domain_reports.c.domain, domain_reports.c.kind, domain_report_rows)
        .join(domain_reports, domain_reports.c.id == domain_report_rows.c.report_ref)
        .where(wanted)
    )
    for row in tx.rows(rows):
        sums[row.domain].add_row(row)
    return tuple(sums[name].total() for name in sorted(sums))


class _Sums:
    """The sums of one domain."""

    def __init__(self, domain: str) -> None:
        self._domain, self._policy = domain, ""
        self._reporters: Counter[str] = Counter()
        self._dmarc, self._tls = _Dmarc(), _Tls()

    def add_report(self, report: AnyRow) -> None:
        self._reporters[report.reporter] += 1
        if report.kind == "dmarc":
            self._policy = report.policy  # they come in the order of their time

    def add_row(self, row: AnyRow) -> None:
        (self._dmarc if row.kind == "dmarc" else self._tls).add(row)

    def total(self) -> DomainReports:
        messages, aligned = self._dmarc.messages.total(), self._dmarc.aligned.total()
        return DomainReports(
            domain=self._domain,
            reports=self._reporters.total(),
            reporters=tuple(sorted(self._reporters)),
            policy=self._policy,
            messages=messages,
            aligned=aligned,
            sources=self._dmarc.sources(self._domain, self._policy),
            tls_sessions=self._tls.sessions,
            tls_failed=self._tls.failed,
            tls_failures=self._tls.failures(),
            advice=_advice(self._policy, messages, aligned),
        )


class _Dmarc:
    """The sums by source."""

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.aligned: Counter[str] = Counter()
        self._signed: dict[str, Counter[str]] = {}
        self._sent: dict[str, Counter[str]] = {}

    def add(self, row: AnyRow) -> None:
        self.messages[row.source] += row.total
        self.aligned[row.source] += row.good
        for names, kept in ((row.detail["dkim"], self._signed), (row.detail["spf"], self._sent)):
            kept.setdefault(row.source, Counter()).update(dict.fromkeys(names, row.total))

    def sources(self, domain: str, policy: str) -> tuple[Source, ...]:
        worst = sorted(
            self.messages,
            key=lambda one: (self.aligned[one] - self.messages[one], -self.messages[one], one),
        )
        return tuple(self._source(one, domain, policy) for one in worst[:_SOURCES])

    def _source(self, address: str, domain: str, policy: str) -> Source:
        signed, sent = _most(self._signed[address]), _most(self._sent[address])
        messages, aligned = self.messages[address], self.aligned[address]
        foreign = [one for one in (*signed, *sent) if not f".{one}".endswith(f".{domain}")]
        if aligned == messages:
            advice = "aligned: nothing to do"
        elif foreign:
            advice = (
                f"a service that authenticates as {foreign[0]}: if it sends for you, set up "
                f"{domain} there, so that it signs with this domain; a list or forwarder may look "
                "the same and needs nothing"
            )
        elif aligned:
            advice = (
                f"{messages - aligned:,} of {messages:,} came without a valid signature: changed "
                "on the way, or from a second program on that host that does not sign"
            )
        else:
            advice = (
                f"not authenticated: if the host is yours, send through an account of {domain}; "
                f"if not, somebody forges the domain, and {_protection(policy)}"
            )
        return Source(address, messages, aligned, signed, sent, advice)


class _Tls:
    """The sums by reason and host."""

    def __init__(self) -> None:
        self.sessions = self.failed = 0
        self._failures: Counter[tuple[str, str]] = Counter()

    def add(self, row: AnyRow) -> None:
        self.sessions += row.total
        self.failed += row.total - row.good
        for one in row.detail["failures"]:
            self._failures[one["reason"], one["mx"]] += one["sessions"]

    def failures(self) -> tuple[TlsFailures, ...]:
        return tuple(
            TlsFailures(reason, mx, sessions, _TLS_ADVICE.get(reason, _TLS_OTHER))
            for (reason, mx), sessions in self._failures.most_common(_SOURCES)
        )


_TLS_ADVICE = {
    "starttls-not-supported": "the host offers no STARTTLS: see that its port 25 is ours",
    "certificate-host-mismatch": "the certificate lacks the MX's name: set MAILAGENT_HOSTNAME and "
    "fetch one for it",
    "certificate-expired": "the certificate has expired: renew it",
    "certificate-not-trusted": "the certificate is not publicly trusted: set MAILAGENT_TLS_CERT "
    "and MAILAGENT_TLS_KEY",
    "validation-failure": "the certificate was refused for another reason: try it from outside",
    "sts-policy-fetch-error": "the MTA-STS policy cannot be fetched: see to the host mta-sts",
    "sts-policy-invalid": "the MTA-STS policy is not valid: compare it with RFC 8461 §3.2",
    "sts-webpki-invalid": "the certificate of the host mta-sts is not valid: renew it",
    "tlsa-invalid": "the TLSA record fits no certificate: take it out or renew it",
    "dnssec-invalid": "DNSSEC fails for the MX: look at the signatures of its zone",
    "dane-required": "the sender needs DANE, and there is no TLSA record",
}
"""By RFC 8460 §4.3."""
_TLS_OTHER = "a reason that RFC 8460 does not name: ask the reporter"


def _most(counted: Counter[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in counted.most_common(_NAMED))


def _protection(policy: str) -> str:
    if policy in ("quarantine", "reject"):
        return f"p={policy} keeps its mail from inboxes"
    return "p=none lets it through"


def _advice(policy: str, messages: int, aligned: int) -> str:
    if not messages:
        return "no DMARC report in this time"
    share = f"{aligned:,} of {messages:,} messages are aligned"
    if policy == "none" and aligned == messages:
        return f"{share}: p=none can become p=quarantine"
    if policy == "none":
        return f"{share}: mend your own sources below, then change p=none to p=quarantine"
    return share
