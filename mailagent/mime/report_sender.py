"""Did a mail server write this mail, to say that another one failed?

Asked of everything that is no well-formed report, before its prose is believed: people write about
bounces, paste and forward them, and are out of office with a null sender.
"""

from __future__ import annotations

import re

from mailagent.mime.failure_cause import has_reply_code, precise_status, worded_cause
from mailagent.mime.report_fields import Fields

__all__ = ["ADDRESS", "is_mail_server"]

ADDRESS = re.compile(
    r"(?<![^\s<>()\[\],;:\"'=*])[^\s<>()\[\],;:\"'@=*]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,10}",
    re.I,
)
"""An address in prose; internationalised domains occur there in their ASCII form."""

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


def is_mail_server(fields: Fields, prose: str, *, automatic: bool) -> bool:
    """Whether a report of a failure comes from a mail server, by its header and its words.

    With a null envelope sender (`automatic`) anybody's name will do when the words hold the far
    side's answer in figures.
    """
    author = (fields.first("from") or "").casefold()
    subject = (fields.first("subject") or "").casefold()
    # An answer to a bounce is a person's mail and carries the bounce's subject behind "Re:".
    speaks_of_failure = subject.startswith(_SUBJECTS)
    return (
        "x-failed-recipients" in fields
        or author.strip() == "<>"
        or any(name in author for name in _DAEMONS)
        or _is_declared(fields.first("content-type") or "")
        or (speaks_of_failure and "auto-submitted" in fields)
        or (
            any(name in author for name in _POSTMASTERS)
            and (speaks_of_failure or _names_a_failure(prose))
        )
        or (automatic and _answers_in_figures(prose))
    )


def _is_declared(content_type: str) -> bool:
    lowered = content_type.lower()
    return lowered.startswith("multipart/report") and "delivery-status" in lowered


def _names_a_failure(prose: str) -> bool:
    return bool(precise_status((prose,)) or worded_cause(prose) or has_reply_code(prose))


def _answers_in_figures(prose: str) -> bool:
    """An address, a reply code and an enhanced status: no note about rooms and dates has these."""
    return (
        has_reply_code(prose)
        and precise_status((prose,)) is not None
        and ADDRESS.search(prose) is not None
    )
