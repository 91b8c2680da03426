"""What does a delivery status notification say of each recipient?

RFC 3464; RFC 6533 for internationalised addresses. Accepted beyond them: the fields in a plain text
part, missing types, a missing Final-Recipient, Action or Status, and comments behind values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mailagent.mail import FailedRecipient, NonDelivery
from mailagent.mime import headers
from mailagent.mime.failure_cause import cause_of, is_answer_to_data, precise_status, status_for
from mailagent.mime.report_fields import Fields, address_value, blocks_of, typed_value
from mailagent.mime.report_parts import Part
from mailagent.mime.report_prose import answer_about, original_message_id, prose_in, prose_of

__all__ = ["failed_recipient", "status_report", "status_report_in_text"]

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

_ACTIONS: dict[str, Action] = {
    "failed": "failed",
    "failure": "failed",
    "error": "failed",
    "expired": "failed",
    "delayed": "delayed",
    "deferred": "delayed",
    "delivered": "delivered",
    "deliverable": "delivered",
    "relayed": "relayed",
    "expanded": "expanded",
}
_BY_CLASS: dict[str, Action] = {"2": "delivered", "4": "delayed", "5": "failed"}

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_MISLABELLED = frozenset({"text/plain", "application/octet-stream"})
_RECIPIENT_FIELDS = ("final-recipient", "original-recipient", "x-actual-recipient")
_RECIPIENTS = 50
_DIAGNOSTIC_CHARACTERS = 500


def status_report(parts: Sequence[Part]) -> NonDelivery | None:
    """The DSN among the parts of a mail; None when no part says it is one and has its fields."""
    for part in parts:
        if part.content_type in _STATUS_TYPES:
            blocks = blocks_of(part.text)
            if any(_speaks_of_recipient(block) for block in blocks):
                return _report(blocks, parts)
    return None


def status_report_in_text(parts: Sequence[Part]) -> NonDelivery | None:
    """The DSN whose fields stand in a part of another type. Only the whole set counts there."""
    for part in parts:
        if part.content_type in _MISLABELLED:
            blocks = blocks_of(prose_of(part.text).report)
            if any(_is_full_recipient(block) for block in blocks):
                return _report(blocks, parts)
    return None


def failed_recipient(
    address: str | None, *, action: Action | None, status: str | None, diagnostic: str, prose: str
) -> FailedRecipient:
    """One recipient with the most telling status, and the cause that status and words give.

    The far side's answer (`diagnostic`) is asked before the reporting server's `prose`.
    """
    telling = precise_status((status or "", diagnostic))
    cause = cause_of(telling, diagnostic)
    if cause is None and prose:
        telling = precise_status((telling or "", prose))
        cause = cause_of(telling, prose)
    if cause == "no_such_address" and is_answer_to_data(f"{diagnostic} {prose}"):
        # RFC 5321 §3.3: an answer to DATA is about the mail, for all its recipients. A server that
        # says "user unknown" only there (mobile carriers do) has filtered it.
        cause = "message"
    return FailedRecipient(
        address=address,
        action=action or _BY_CLASS[telling[0] if telling else "5"],
        status=telling or status_for(cause, f"{diagnostic} {prose}"),
        diagnostic=headers.one_line(" ".join((diagnostic or prose).split()))[
            :_DIAGNOSTIC_CHARACTERS
        ],
        cause=cause,
    )


def _report(blocks: Sequence[Fields], parts: Sequence[Part]) -> NonDelivery:
    per_message, per_recipient = _sorted_blocks(blocks)
    prose = prose_in(parts)
    addressed = [(_address(block), block) for block in per_recipient[:_RECIPIENTS]]
    addresses = [address for address, _ in addressed if address]
    envelope_id = per_message.first("original-envelope-id")
    mta = typed_value(per_message.first("reporting-mta") or "")
    return NonDelivery(
        recipients=tuple(
            _recipient(
                address,
                block,
                # With several recipients only the words beside an address are about it.
                prose
                if len(addressed) == 1
                else answer_about(address or "", prose, others=addresses),
            )
            for address, block in addressed
        ),
        original_message_id=original_message_id(parts),
        original_envelope_id=envelope_id[:200] if envelope_id else None,
        reporting_mta=mta[:255] or None,
    )


def _speaks_of_recipient(block: Fields) -> bool:
    return any(name in block for name in (*_RECIPIENT_FIELDS, "action", "status"))


def _is_full_recipient(block: Fields) -> bool:
    """Prose may have a line `Status:` too."""
    return "final-recipient" in block and ("action" in block or "status" in block)


def _sorted_blocks(blocks: Sequence[Fields]) -> tuple[Fields, tuple[Fields, ...]]:
    """The per-message block, and those of recipients; some servers write both as one."""
    per_message = next((block for block in blocks if "reporting-mta" in block), Fields())
    return per_message, tuple(block for block in blocks if _speaks_of_recipient(block))


def _address(block: Fields) -> str | None:
    named = (value for name in _RECIPIENT_FIELDS if (value := block.first(name)))
    addresses = [address for value in named if (address := address_value(value))]
    return next((found for found in addresses if "@" in found), next(iter(addresses), None))


def _recipient(address: str | None, block: Fields, prose: str) -> FailedRecipient:
    action = (block.first("action") or "").split(" ", 1)[0].strip(";,.").lower()
    return failed_recipient(
        address,
        action=_ACTIONS.get(action),
        status=block.first("status"),
        diagnostic=" ".join(typed_value(value) for value in block.every("diagnostic-code")),
        prose=prose,
    )
