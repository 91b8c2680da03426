"""DMARC and TLS reports as others attach them, for tests."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"  # RFC 9990


def record(
    source: str = "192.0.2.1",
    count: int = 1,
    *,
    dkim: str = "pass",
    spf: str = "fail",
    header_from: str = "agents.example",
    dkim_domain: str = "agents.example",
    spf_domain: str = "bounce.provider.example",
    disposition: str = "none",
    raw_dkim: str = "pass",
    raw_spf: str = "pass",
) -> str:
    """One record; `dkim` and `spf` are the aligned results, `raw_` those of the checks."""
    return (
        f"<record><row><source_ip>{source}</source_ip><count>{count}</count><policy_evaluated>"
        f"<disposition>{disposition}</disposition><dkim>{dkim}</dkim><spf>{spf}</spf>"
        f"</policy_evaluated></row><identifiers><header_from>{header_from}</header_from>"
        f"</identifiers><auth_results><dkim><domain>{dkim_domain}</domain><selector>s1</selector>"
        f"<result>{raw_dkim}</result></dkim><spf><domain>{spf_domain}</domain>"
        f"<scope>mfrom</scope><result>{raw_spf}</result></spf></auth_results></record>"
    )


def xml(
    *records: str,
    domain: str = "agents.example",
    report_id: str = "r1",
    namespace: str = "",
    begin: int = 1_790_000_000,
    policy: str = "quarantine",
) -> bytes:
    """An aggregate report of receiver.example."""
    said = f' xmlns="{namespace}"' if namespace else ""
    version = "<version>1.0</version>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><feedback{said}>{version}<report_metadata>'
        "<org_name>receiver.example</org_name><email>dmarc@receiver.example</email>"
        f"<report_id>{report_id}</report_id><date_range><begin>{begin}</begin>"
        f"<end>{begin + 86_399}</end></date_range></report_metadata><policy_published>"
        f"<domain>{domain}</domain><p>{policy}</p></policy_published>"
        f"{''.join(records or (record(),))}</feedback>"
    ).encode()


def zipped(octets: bytes, name: str = "report.xml") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, octets)
    return made.getvalue()


def tls(
    *, domain: str = "agents.example", good: int = 5326, bad: int = 303, report_id: str = "t1"
) -> dict[str, Any]:
    """The report of RFC 8460 appendix B, about our domain."""
    return {
        "organization-name": "Company-X",
        "date-range": {
            "start-datetime": "2026-11-01T00:00:00Z",
            "end-datetime": "2026-11-01T23:59:59Z",
        },
        "contact-info": "sts-reporting@company-x.example",
        "report-id": report_id,
        "policies": [
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": domain,
                    "mx-host": ["*.mail.company-y.example"],
                },
                "summary": {
                    "total-successful-session-count": good,
                    "total-failure-session-count": bad,
                },
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "sending-mta-ip": "2001:db8:abcd:0012::1",
                        "receiving-mx-hostname": "mx1.mail.company-y.example",
                        "failed-session-count": bad - 3,
                    },
                    {
                        "result-type": "validation-failure",
                        "sending-mta-ip": "198.51.100.62",
                        "receiving-ip": "203.0.113.58",
                        "receiving-mx-hostname": "mx-backup.mail.company-y.example",
                        "failed-session-count": 3,
                        "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
                    },
                ],
            }
        ],
    }


def tls_gzip(report: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps(report).encode())


def mail_with(
    octets: bytes,
    *,
    name: str = "receiver.example!agents.example!1790000000!1790086399.xml.gz",
    type_: Sequence[str] = ("application", "gzip"),
    sender: str = "ann@customer.example",
    domain: str = "agents.example",
) -> bytes:
    """A mail with a report in it."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, f"dmarc@{domain}"
    mail["Subject"] = f"Report Domain: {domain} Submitter: receiver.example Report-ID: <r1>"
    mail.set_content("This is an aggregate report.\n")
    mail.add_attachment(octets, maintype=type_[0], subtype=type_[1], filename=name)
    return mail.as_bytes().replace(b"\n", b"\r\n")
