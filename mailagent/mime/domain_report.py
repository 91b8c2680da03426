"""Which report about a domain, of DMARC or of TLS, does a mail carry?"""

from __future__ import annotations

from dataclasses import dataclass

from mailagent.errors import Malformed
from mailagent.mail import Attachment
from mailagent.mime import dmarc_report, parse, tls_report
from mailagent.mime.dmarc_report import DmarcReport
from mailagent.mime.tls_report import TlsReport

__all__ = ["FoundReport", "read"]

_LOOKED_AT = 10
_ARCHIVES = (b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06")
_BEGINS = 64


@dataclass(frozen=True, slots=True)
class FoundReport:
    """One of the two; a mail carries one report (RFC 9990 §3.1.2, RFC 8460 §5.3)."""

    dmarc: DmarcReport | None = None
    tls: TlsReport | None = None


def read(raw: bytes) -> FoundReport:
    """The first attachment that is a report. Raises Malformed when none is, or it is broken."""
    for one in parse.read(raw).attachments[:_LOOKED_AT]:
        octets = parse.attachment(raw, one.part)
        start = octets[:_BEGINS].lstrip(b"\xef\xbb\xbf \t\r\n")
        if _is_json(one, start):
            return FoundReport(tls=tls_report.read(octets))
        if octets.startswith(_ARCHIVES) or start.startswith(b"<"):
            return FoundReport(dmarc=dmarc_report.read(octets))
    raise Malformed("attachments", "none of them is a DMARC or TLS report")


def _is_json(one: Attachment, start: bytes) -> bool:
    # RFC 8460 §5.3 and §5.4: the types, and the names of files, which some senders get right alone.
    named = one.filename.lower().endswith((".json", ".json.gz"))
    return one.content_type.startswith("application/tlsrpt") or named or start.startswith(b"{")
