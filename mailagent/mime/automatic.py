"""Did a person write this mail, or a machine, a list, a filter's victim?

RFC 3834 and the older marks that are still in use. Only `person` is answered by itself, so each
rule returns its evidence in words: they stand in the story of the mail. The sure marks are asked
first, the subject last.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mailagent.mail import Content, Kind

__all__ = ["classify", "loop_hops"]

_QUOTED_CHARACTERS = 120
"""How much of a header's value is repeated as evidence."""

_LIST_FIELDS = (
    # RFC 2369 §3, RFC 2919 §3, RFC 8058 §3.1; the last one is ezmlm's and older lists' only mark.
    "list-id",
    "list-post",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-help",
    "list-subscribe",
    "list-owner",
    "list-archive",
    "mailing-list",
)
_BULK = frozenset({"bulk", "junk"})
_ROLE_SENDERS = frozenset(
    {
        "daemon",
        "do-not-reply",
        "do_not_reply",
        "donotreply",
        "listserv",
        "mailer-daemon",
        "majordomo",
        "no-reply",
        "no_reply",
        "noreply",
        "postmaster",
    }
)
_OUT_OF_OFFICE = (
    "out of office",
    "out of the office",
    "out-of-office",
    "automatic reply",
    "automatic response",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto response",
    "auto-response",
    "autoresponse",
    "auto:",
    "on vacation",
    "on holiday",
    "vacation reply",
    "away from my mail",
    "abwesenheitsnotiz",
    "abwesenheitsbenachrichtigung",
    "automatische antwort",
    "réponse automatique",
    "reponse automatique",
    "message d'absence",
    "absence du bureau",
    "respuesta automática",
    "respuesta automatica",
    "fuera de la oficina",
    "risposta automatica",
    "fuori ufficio",
    "fuori sede",
    "resposta automática",
    "resposta automatica",
    "ausência do escritório",
    "fora do escritório",
    "automatisch antwoord",
    "afwezigheidsbericht",
    "automatiskt svar",
    "frånvaro",
    "automatisk svar",
    "autosvar",
    "automaattinen vastaus",
    "odpowiedź automatyczna",
    "automatická odpověď",
    "automatikus válasz",
    "otomatik yanıt",
    "автоматический ответ",
    "автоответ",
    "自動応答",
    "自動返信",
    "不在通知",
    "自动回复",
    "自動回覆",
    "자동 회신",
    "부재중",
    "رد تلقائي",
)
_OF_ONE_WRITER = re.compile(r"(?:re|aw|sv|vs|fw|fwd|wg|tr|rv|antw)\s{0,3}[::]", re.I)
_NOT_ABOUT_ONESELF = re.compile(
    r"\b(?:policy|template|calendar|schedule|question|request|setup|how|form)\b|\?"
)

_REPORT_SUBJECT = re.compile(r"\s{0,8}report\s{1,8}domain:\s{0,8}\S{1,255}", re.I)
_REPORT_FILE = re.compile(
    # RFC 9990 §3.1.2: receiver "!" policy-domain "!" begin "!" end [ "!" unique-id ] "." extension
    r"[^!\s]{1,255}![^!\s]{1,255}!\d{8,12}!\d{8,12}(?:![^!\s]{1,100})?\.(?:xml|xml\.gz|gz|zip)",
    re.I,
)
_TLS_REPORT_FILE = re.compile(
    # RFC 8460 §5.1
    r"[^!\s]{1,255}![^!\s]{1,255}!\d{8,12}!\d{8,12}(?:![^!\s]{1,100})?\.json(?:\.gz)?",
    re.I,
)

_Rule = Callable[[Content, str | None], str | None]
"""The evidence in words, or None when the rule does not speak of this mail."""


def classify(content: Content, *, mail_from: str | None) -> tuple[Kind, str]:
    """The kind of a mail and the evidence for it, e.g. `Auto-Submitted: auto-replied`.

    `mail_from` is the envelope sender, None for the null reverse-path. Bounces and complaints are
    not told apart here (`bounce.read` does, and is asked first): they come out as `automatic`.
    """
    for kind, rule in _RULES:
        evidence = rule(content, mail_from)
        if evidence:
            return kind, evidence
    return Kind.PERSON, "no mark of an automatic mail"


def loop_hops(content: Content, *, host: str) -> int:
    """How often this mail has already passed through us: our loop fields, our Received lines.

    `host` is the name that our SMTP door writes into `Received: … by <host>` (RFC 5321 §4.4).
    """
    by_us = re.compile(rf"\bby\s{{1,8}}{re.escape(host)}(?![\w.-])", re.I)
    return sum(
        name.lower() == "x-mailagent-loop"
        or (name.lower() == "received" and by_us.search(value[:2_000]) is not None)
        for name, value in content.headers
    )


def _shown(name: str, value: str) -> str:
    return f"{name}: {' '.join(value.split())[:_QUOTED_CHARACTERS]}"


def _spam_flag(content: Content, _: str | None) -> str | None:
    flag = content.header("X-Spam-Flag")
    return _shown("X-Spam-Flag", flag) if flag and flag.strip().lower() == "yes" else None


def _aggregate_report(content: Content, _: str | None) -> str | None:
    if _REPORT_SUBJECT.match(content.subject[:400]) and "submitter:" in content.subject.lower():
        return _shown("Subject", content.subject)
    for attachment in content.attachments:
        if _REPORT_FILE.fullmatch(attachment.filename):
            return f"attachment named like a DMARC report: {attachment.filename[:120]}"
        if _TLS_REPORT_FILE.fullmatch(attachment.filename):
            return f"attachment named like a TLS report: {attachment.filename[:120]}"
    return None


def _list_field(content: Content, _: str | None) -> str | None:
    for name, value in content.headers:
        if name.lower() in _LIST_FIELDS:
            return _shown(name, value)
        if name.lower() == "precedence" and value.strip().lower() == "list":
            return _shown(name, value)
    return None


def _auto_submitted(content: Content, _: str | None) -> str | None:
    # RFC 3834 §2: no answer to a mail whose Auto-Submitted is not "no"; parameters follow a ";".
    value = content.header("Auto-Submitted")
    if value is None or re.split(r"[;(\s]", value.strip(), maxsplit=1)[0].lower() == "no":
        return None
    return _shown("Auto-Submitted", value)


def _multipart_report(content: Content, _: str | None) -> str | None:
    value = (content.header("Content-Type") or "").partition(";")[0].strip().lower()
    return f"Content-Type: {value}" if value == "multipart/report" else None


def _null_sender(_: Content, mail_from: str | None) -> str | None:
    # RFC 5321 §4.5.5: a null reverse-path must never be answered.
    return None if mail_from else "null envelope sender"


def _precedence(content: Content, _: str | None) -> str | None:
    value = content.header("Precedence")
    if value is None:
        return None
    word = value.strip().lower().replace("-", "_")
    return _shown("Precedence", value) if word in _BULK or word == "auto_reply" else None


def _response_suppressed(content: Content, _: str | None) -> str | None:
    """Exchange's mark [MS-OXCMAIL] of who wants no automatic answer.

    `None` is a person's mail, and DR, NDR, RN and NRN ask for no receipts, which a person's mail
    may do as well. All, OOF and AutoReply speak of answers.
    """
    value = content.header("X-Auto-Response-Suppress")
    if value is None:
        return None
    words = {word.strip().lower() for word in value[:400].split(",")}
    return (
        _shown("X-Auto-Response-Suppress", value) if words & {"all", "oof", "autoreply"} else None
    )


def _responder_field(content: Content, _: str | None) -> str | None:
    marks = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-loop")
    for name, value in content.headers:
        if name.lower() in marks and value.strip().lower() not in ("no", "false"):
            return _shown(name, value)
    return None


def _role_sender(content: Content, mail_from: str | None) -> str | None:
    authors = [("envelope sender", mail_from)] if mail_from else []
    authors += [("From", author.address) for author in content.from_]
    for where, address in authors:
        if address and _is_role(address):
            return f"{where} {address[:_QUOTED_CHARACTERS]} is no person's"
    return None


def _is_role(address: str) -> bool:
    local = address.rpartition("@")[0].lower()
    # BATV (`prvs=KDDDSSSSSS=local`) and tags (`local+…`) hide the name behind which a program is.
    name = local.rpartition("=")[2] if local.startswith("prvs=") else local.partition("+")[0]
    return (
        name in _ROLE_SENDERS
        or name.startswith(("owner-", "bounce", "no-reply", "noreply", "donotreply"))
        or name.endswith(("-owner", "-request", "-bounces", "-noreply", "-no-reply"))
    )


def _out_of_office_subject(content: Content, _: str | None) -> str | None:
    """The last and weakest mark: only a subject that begins with an absence note's words.

    A responder puts them first; a person writes *about* them behind `Re:`, or goes on ("out of
    office policy").
    """
    subject = " ".join(content.subject[:400].casefold().replace("’", "'").split()).lstrip("[(*# ")
    if _OF_ONE_WRITER.match(subject) or _NOT_ABOUT_ONESELF.search(subject):
        return None
    return _shown("Subject", content.subject) if subject.startswith(_OUT_OF_OFFICE) else None


_RULES: tuple[tuple[Kind, _Rule], ...] = (
    (Kind.SPAM, _spam_flag),
    (Kind.REPORT, _aggregate_report),
    (Kind.LIST, _list_field),
    (Kind.AUTOMATIC, _auto_submitted),
    (Kind.AUTOMATIC, _multipart_report),
    (Kind.AUTOMATIC, _null_sender),
    (Kind.AUTOMATIC, _precedence),
    (Kind.AUTOMATIC, _response_suppressed),
    (Kind.AUTOMATIC, _responder_field),
    (Kind.AUTOMATIC, _role_sender),
    (Kind.AUTOMATIC, _out_of_office_subject),
)
