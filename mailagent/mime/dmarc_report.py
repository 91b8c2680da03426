"""What does a DMARC aggregate report say of a domain's mail?

RFC 9990 and RFC 7489 appendix C, as gzip, zip or plain XML. The library dmarc-report unpacks and
parses within bounds (entities are refused, archives in archives too); here its values become ours,
and records that say the same are summed.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from datetime import datetime

from dmarc_report import exceptions, schema
from dmarc_report.parser import DMARCParser, ParserLimits

from mailagent.errors import Malformed

__all__ = ["DmarcReport", "DmarcRow", "read"]

_LIMITS = ParserLimits(
    max_input_bytes=5 * 1024 * 1024,
    max_decompressed_bytes=32 * 1024 * 1024,
    max_zip_members=4,
    max_records=20_000,
    max_dkim_results_per_record=20,
    max_spf_results_per_record=5,
    max_text_bytes=2_000,
)
"""A report of a day with 20,000 different sources has about 15 MB of XML."""
_MOST_ROWS = 5_000
_NAME = 253
_MOST_MESSAGES = 10**12  # a sum of such counts still fits the database


@dataclass(frozen=True, slots=True)
class DmarcRow:
    """Messages of one source that came out alike."""

    source: str
    """The address that handed them in."""
    header_from: str
    messages: int
    aligned: bool
    """Whether DKIM or SPF passed for a domain that is aligned with From."""
    disposition: str
    """What the receiver did: `none`, `pass`, `quarantine` or `reject`."""
    dkim: tuple[str, ...]
    """Domains for which DKIM passed."""
    spf: tuple[str, ...]
    """Domains for which SPF passed."""


@dataclass(frozen=True, slots=True)
class DmarcReport:
    """One report of one receiver."""

    reporter: str
    report_id: str
    domain: str
    """The domain whose policy was found, lower case."""
    begins_at: datetime
    ends_at: datetime
    policy: str
    """The `p` that was found: `none`, `quarantine` or `reject`."""
    rows: tuple[DmarcRow, ...]
    """At most 5,000, those with the most messages."""


def read(octets: bytes) -> DmarcReport:
    """Read a report as it was attached. Raises Malformed, also for one beyond the bounds."""
    try:
        _check_compression(octets)
        found = DMARCParser.parse_bytes(octets, limits=_LIMITS)
    except exceptions.DMARCParseError as error:
        raise Malformed("DMARC report", f"{error} [{error.code}]") from error
    except Malformed:
        raise
    except Exception as error:  # broken archives and XML make zipfile and expat raise of all kinds
        raise Malformed("DMARC report", f"is corrupt: {type(error).__name__}") from error
    about = found.report_metadata
    return DmarcReport(
        reporter=about.org_name[:_NAME],
        report_id=about.report_id[:_NAME],
        domain=_domain(found.policy_published.domain),
        begins_at=about.date_range.begin_datetime,
        ends_at=about.date_range.end_datetime,
        policy=found.policy_published.p.value,
        rows=_rows(found),
    )


def _check_compression(octets: bytes) -> None:
    """Only what zipfile unpacks step by step: of bzip2 and LZMA it unpacks 90 MB in one."""
    if octets.startswith(b"PK") and len(octets) <= _LIMITS.max_input_bytes:
        with zipfile.ZipFile(io.BytesIO(octets)) as archive:
            kinds = {member.compress_type for member in archive.infolist()}
        if not kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Malformed("DMARC report", "is packed by another method than Deflate")


def _rows(found: schema.Report) -> tuple[DmarcRow, ...]:
    sums: dict[tuple[str, str, bool, str, tuple[str, ...], tuple[str, ...]], int] = {}
    for record in found.records:
        verdict = record.policy_evaluated
        alike = (
            record.source_ip,
            _domain(record.identifiers.header_from),
            schema.DMARCResult.PASS in (verdict.dkim, verdict.spf),
            verdict.disposition.value,
            _passed(record.auth_results.dkim),
            _passed(record.auth_results.spf),
        )
        sums[alike] = min(sums.get(alike, 0) + record.count, _MOST_MESSAGES)
    rows = [
        DmarcRow(source, header_from, messages, aligned, disposition, dkim, spf)
        for (source, header_from, aligned, disposition, dkim, spf), messages in sums.items()
    ]
    return tuple(sorted(rows, key=lambda row: row.messages, reverse=True)[:_MOST_ROWS])


def _passed(
    results: list[schema.DKIMAuthResult] | list[schema.SPFAuthResult],
) -> tuple[str, ...]:
    return tuple(sorted({_domain(one.domain) for one in results if one.result.value == "pass"}))


def _domain(name: str) -> str:
    return name.strip().rstrip(".").lower()[:_NAME]
