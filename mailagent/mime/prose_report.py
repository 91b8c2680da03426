"""What does a bounce say that is written for people only?

qmail, Exim, old Exchange and many others report a failure as prose with a copy of the mail behind
it. flufl.bounce knows the layouts of many servers and finds whose address failed; why it failed,
and what no layout fits, is read from the wording by general rules.
"""

from __future__ import annotations

import email
import re
from collections.abc import Sequence

from flufl.bounce import all_failures

from mailagent.mail import NonDelivery
from mailagent.mime.failure_cause import has_reply_code, precise_status, worded_cause
from mailagent.mime.report_fields import Fields
from mailagent.mime.report_parts import Part
from mailagent.mime.report_prose import answer_about, original_message_id, prose_in
from mailagent.mime.status_report import failed_recipient

__all__ = ["prose_report"]

_RECIPIENTS = 50
_PROSE_CHARACTERS = 8_000
_LIBRARY_OCTETS = 65_536
"""flufl.bounce runs regular expressions over every line: 1.2 s were measured on larger input."""

_ADDRESS = re.compile(
    r"(?<![^\s<>()\[\],;:\"'=*])[^\s<>()\[\],;:\"'@=*]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10}",
    re.I,
)
_DAEMONS = (
    "mailer-daemon",
    "mailer daemon",
    "mailerdaemon",
    "mail-daemon",
    "maildaemon",
    "mail deliver",
    "mail system",
)
_POSTMASTERS = ("postmaster", "post_master")
"""Names that programs and people share."""
_SUBJECTS = (
    "mail could not be delivered",
    "mail delivery failed",
    "delivery failed",
    "delivery failure",
    "delivery has failed",
    "delivery report",
    "delivery status notification",
    "error sending your mail",
    "failed delivery",
    "failure notice",
    "could not be delivered",
    "could not send mail",
    "mail failure",
    "mail system error",
    "returned mail",
    "returned to sender",
    "returning message to sender",
    "returning to sender",
    "undeliver",
    "nicht zustellbar",
    "unzustellbar",
    "zustellung fehlgeschlagen",
    "échec de la remise",
    "non remis",
    "error de entrega",
    "no se puede entregar",
    "mancata consegna",
    "não entregue",
    "onbestelbaar",
    "недоставлен",
    "配信エラー",
    "配信不能",
    "退信",
)
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


def prose_report(
    raw: bytes, fields: Fields, parts: Sequence[Part], *, automatic: bool
) -> NonDelivery | None:
    """The bounce that a mail without status fields is, or None.

    A daemon's name, `X-Failed-Recipients` or a bounce's subject is asked for, and words that name a
    failure. With a null envelope sender (`automatic`) alone the words must hold the far side's
    answer in figures: an out-of-office note has a null sender too.
    """
    prose = prose_in(parts)[:_PROSE_CHARACTERS]
    if not (_is_from_a_daemon(fields, prose) or (automatic and _answers_in_figures(prose))):
        return None
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


def _is_from_a_daemon(fields: Fields, prose: str) -> bool:
    author = (fields.first("from") or "").casefold()
    subject = (fields.first("subject") or "").casefold()
    # An answer to a bounce is a person's mail and carries the bounce's subject behind "Re:".
    speaks_of_failure = subject.startswith(_SUBJECTS)
    return (
        "x-failed-recipients" in fields
        or author.strip() == "<>"
        or any(name in author for name in _DAEMONS)
        or (speaks_of_failure and "auto-submitted" in fields)
        or (
            any(name in author for name in _POSTMASTERS)
            and (speaks_of_failure or _names_a_failure(prose))
        )
    )


def _names_a_failure(prose: str) -> bool:
    return bool(precise_status((prose,)) or worded_cause(prose) or has_reply_code(prose))


def _answers_in_figures(prose: str) -> bool:
    """An address, a reply code and an enhanced status: no note about rooms and dates has these."""
    return (
        has_reply_code(prose)
        and precise_status((prose,)) is not None
        and _ADDRESS.search(prose) is not None
    )


def _failed_addresses(raw: bytes, fields: Fields, prose: str) -> tuple[str, ...]:
    """Whose mail failed: the header that says it, the library's finding, the first in the prose."""
    header = " ".join(fields.every("x-failed-recipients"))
    stated = _ADDRESS.findall(header[:_PROSE_CHARACTERS])
    if stated:
        return tuple(dict.fromkeys(stated))[:_RECIPIENTS]
    # An address that stands only in the copy of the mail is not the one that failed.
    known = tuple(address for address in _library_findings(raw) if address in prose)
    if known:
        return known
    ours = {
        found.casefold()
        for name in ("to", "from")
        for found in _ADDRESS.findall((fields.first(name) or "")[:_PROSE_CHARACTERS])
    }
    in_prose = (found for found in _ADDRESS.findall(prose) if found.casefold() not in ours)
    return tuple(next(([found] for found in in_prose), []))


def _library_findings(raw: bytes) -> tuple[str, ...]:
    try:
        temporary, permanent = all_failures(email.message_from_bytes(raw[:_LIBRARY_OCTETS]))
    # Seventeen detectors and the stdlib parser on hostile bytes: whatever they raise (measured:
    # RecursionError, LookupError, ValueError, TypeError) means that they found nothing.
    except Exception:  # noqa: BLE001
        return ()
    found = (address.decode("utf-8", "replace").strip() for address in (*permanent, *temporary))
    return tuple(sorted({address for address in found if _ADDRESS.fullmatch(address)}))[
        :_RECIPIENTS
    ]
