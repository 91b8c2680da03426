"""Is this mail a bounce or a complaint, about whom, and about which of our mails?

A report is a claim of whoever sent it: the caller believes it only for mail to a return path with
a valid token, or about a mail that we did send to that recipient.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailagent.mail import Complaint, NonDelivery
from mailagent.mime.feedback_report import feedback_report
from mailagent.mime.prose_report import prose_report
from mailagent.mime.report_parts import Part, parts_of
from mailagent.mime.report_prose import prose_in
from mailagent.mime.report_sender import is_mail_server
from mailagent.mime.status_report import status_report, status_report_in_text

__all__ = ["read"]


def read(raw: bytes, *, automatic: bool = False) -> NonDelivery | Complaint | None:
    """The report that a mail is, or None for any other mail.

    `raw` is the mail as received; what lies behind the first MiB is not read. `automatic` says
    that its envelope sender was null (RFC 5321 §4.5.5), which lets prose count as a report without
    a daemon's name on it. Never raises; what a report does not say is None or empty.

    A `not-spam` feedback report (RFC 5965 §7.3) is a Complaint too: its `feedback_type` tells.
    """
    fields, parts = parts_of(raw)
    declared = feedback_report(parts) or status_report(parts)
    if declared:
        return declared
    if not is_mail_server(fields, prose_in(parts), automatic=automatic):
        return None
    return (
        status_report_in_text(parts) or _forwarded_report(parts) or prose_report(raw, fields, parts)
    )


def _forwarded_report(parts: Sequence[Part]) -> NonDelivery | None:
    """A report that a gateway put, whole, into a mail of its own as an attachment."""
    for part in parts:
        if part.content_type == "message/rfc822":
            _, inner = parts_of(part.text.encode())
            report = status_report(inner)
            if report:
                return report
    return None
