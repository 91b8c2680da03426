"""What does a bounce say that is written for people only?

qmail, Exim, old Exchange and many others report a failure as prose with a copy of the mail behind
it. flufl.bounce knows the layouts of many servers and finds whose address failed; why it failed,
and what no layout fits, is read from the wording by general rules.
"""

from __future__ import annotations

import email
import logging
from collections.abc import Sequence

from flufl.bounce import all_failures

from mailagent.mail import NonDelivery
from mailagent.mime.report_fields import Fields
from mailagent.mime.report_parts import Part
from mailagent.mime.report_prose import answer_about, original_message_id, prose_in
from mailagent.mime.report_sender import ADDRESS
from mailagent.mime.status_report import failed_recipient

__all__ = ["prose_report"]

_RECIPIENTS = 50
_PROSE_CHARACTERS = 8_000
_LIBRARY_OCTETS = 65_536
"""flufl.bounce runs regular expressions over every line: 1.2 s were measured on larger input."""

_STILL_TRYING = (
    "delivery is delayed",
    "delivery to the following recipient has been delayed",
    "has been delayed",
    "is delayed",
    "no action is required",
    "not yet been delivered",
    "not yet delivered",
    "this is a warning message only",
    "warning message",
    "will be retried",
    "will continue to be",
    "will keep trying",
    "you do not need to resend",
)

# It logs a traceback, with words of the mail, for each detector that hostile input breaks.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)


def prose_report(raw: bytes, fields: Fields, parts: Sequence[Part]) -> NonDelivery:
    """The bounce that a mail without status fields is, once its sender is known for a program."""
    prose = prose_in(parts)[:_PROSE_CHARACTERS]
    addresses = _failed_addresses(raw, fields, prose)
    delayed = any(phrase in prose.casefold() for phrase in _STILL_TRYING)
    return NonDelivery(
        recipients=tuple(
            failed_recipient(
                address,
                action="delayed" if delayed else "failed",
                status=None,
                diagnostic=answer_about(address, prose, others=addresses) if address else "",
                prose=prose if len(addresses) < 2 else "",
            )
            for address in addresses or (None,)
        ),
        original_message_id=original_message_id(parts),
    )


def _failed_addresses(raw: bytes, fields: Fields, prose: str) -> tuple[str, ...]:
    """Whose mail failed: the header that says it, the library's finding, the first in the prose."""
    header = " ".join(fields.every("x-failed-recipients"))
    stated = ADDRESS.findall(header[:_PROSE_CHARACTERS])
    if stated:
        return tuple(dict.fromkeys(stated))[:_RECIPIENTS]
    # An address that stands only in the copy of the mail is not the one that failed.
    known = tuple(address for address in _library_findings(raw) if address in prose)
    if known:
        return known
    ours = {
        found.casefold()
        for name in ("to", "from")
        for found in ADDRESS.findall((fields.first(name) or "")[:_PROSE_CHARACTERS])
    }
    in_prose = (found for found in ADDRESS.findall(prose) if found.casefold() not in ours)
    return tuple(next(([found] for found in in_prose), []))


def _library_findings(raw: bytes) -> tuple[str, ...]:
    try:
        temporary, permanent = all_failures(email.message_from_bytes(raw[:_LIBRARY_OCTETS]))
    # Seventeen detectors and the stdlib parser on hostile bytes: whatever they raise (measured:
    # RecursionError, LookupError, ValueError, TypeError) means that they found nothing.
    except Exception:  # noqa: BLE001
        return ()
    found = (address.decode("utf-8", "replace").strip() for address in (*permanent, *temporary))
    return tuple(sorted({address for address in found if ADDRESS.fullmatch(address)}))[:_RECIPIENTS]
