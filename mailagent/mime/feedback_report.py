"""Who complained about which of our mails?

RFC 5965 (feedback reports), RFC 6591 §3.1 (authentication failures), and the older form of
Microsoft's junk mail reporting programme, which marks the returned mail instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailagent.mail import Complaint
from mailagent.mime.report_fields import Fields, address_value, fields_of
from mailagent.mime.report_parts import Part
from mailagent.mime.report_prose import original_message_id

__all__ = ["feedback_report"]

_RECIPIENTS = 50


def feedback_report(parts: Sequence[Part]) -> Complaint | None:
    """The feedback report among the parts of a mail; None when there is none."""
    for part in parts:
        if part.content_type == "message/feedback-report":
            return _complaint(fields_of(part.text.strip("\n").replace("\n\n", "\n")), parts)
    for part in parts:
        if part.content_type == "message/rfc822":
            marked = fields_of(part.text.partition("\n\n")[0]).first("x-hmxmroriginalrecipient")
            if marked:
                recipient = address_value(marked)
                return Complaint(
                    feedback_type="abuse",
                    original_recipients=(recipient,) if recipient else (),
                    original_message_id=original_message_id(parts),
                )
    return None


def _complaint(report: Fields, parts: Sequence[Part]) -> Complaint:
    recipients = (address_value(value) for value in report.every("original-rcpt-to"))
    kind = (report.first("feedback-type") or "").split(" ", 1)[0].strip(";,").lower()
    source = report.first("source-ip")
    return Complaint(
        # RFC 5965 §3.5: a type that is absent or not known is read as "other".
        feedback_type=kind[:40] or "other",
        original_recipients=tuple(dict.fromkeys(r for r in recipients if r))[:_RECIPIENTS],
        original_message_id=original_message_id(parts),
        source_ip=source[:45] if source else None,
    )
