"""What is a delivery failure about: the address, its host, the mailbox, the mail, or us?

The one table between the words of the world's mail servers and ours. Suppression hangs on it: a
wrong `no_such_address` silences a living correspondent, a missed one harms our reputation.
"""

from __future__ import annotations

import re

from mailagent.mail import FailureCause

__all__ = [
    "cause_of",
    "has_reply_code",
    "is_answer_to_data",
    "precise_status",
    "status_for",
    "worded_cause",
]

_CHARACTERS = 8_000

_PHRASES: tuple[tuple[FailureCause, tuple[str, ...]], ...] = (
    # In order: a full mailbox and a block are often wrapped in "unknown address error 550".
    (
        "mailbox_full",
        (
            "mailbox full",
            "mailbox is full",
            "mailbox for user is full",
            "mail box full",
            "inbox is full",
            "user is full",
            "over quota",
            "overquota",
            "over the quota",
            "quota exceeded",
            "quota exceed",
            "exceeded quota",
            "exceeded its quota",
            "exceeds quota",
            "exceeded the space",
            "exceeded storage",
            "exceeded his/her disk space",
            "over disk quota",
            "disk quota",
            "out of storage",
            "insufficient disk space",
            "mailbox has exceeded",
            "mailbox size limit",
            "account is over",
            "user has too many messages",
            "postfach ist voll",
            "postfach voll",
            "mailbox voll",
            "speicherplatz erschöpft",
            "boîte pleine",
            "boite pleine",
            "boîte aux lettres est pleine",
            "boite aux lettres pleine",
            "buzón lleno",
            "buzon lleno",
            "buzón está lleno",
            "casella piena",
            "casella di posta è piena",
            "caixa postal cheia",
            "caixa de correio cheia",
            "skrzynka jest pełna",
            "ящик переполнен",
            "почтовый ящик полон",
            "メールボックスがいっぱい",
            "容量を超え",
            "邮箱已满",
            "郵箱已滿",
            "메일함이 가득",
        ),
    ),
    (
        "policy",
        (
            "sender rejected",
            "sender address rejected",
            "domain of sender",
            "sender domain",
            "sender denied",
            "blocked using",
            "blocked by",
            "blocked for",
            "blocked ip",
            "client host blocked",
            "client host rejected",
            "blacklist",
            "blocklist",
            "dnsbl",
            "spamhaus",
            "spamcop",
            "reputation",
            "as spam",
            "spam message",
            "unsolicited",
            "dmarc",
            "dkim",
            "spf check",
            "spf record",
            "reverse dns",
            "ptr record",
            "relay access denied",
            "relaying denied",
            "relay not permitted",
            "not permitted to relay",
            "policy",
            "frequency limited",
            "too many connections",
            "rate that prevents",
            "rate limit",
            "greylist",
            "graylist",
            "denied by",
            "permission to post",
            "not allowed to post",
            "unauthenticated",
            "authentication required",
            "not authorized",
        ),
    ),
    (
        "message",
        (
            "virus",
            "message too large",
            "message size exceeds",
            "message length exceeds",
            "size limit",
            "too big",
            "content rejected",
            "content denied",
            "message filtered",
            "rfc 5322",
            "rfc 2822",
            "headers too large",
            "invalid header",
        ),
    ),
    (
        "disabled",
        (
            "account is disabled",
            "account disabled",
            "account has been disabled",
            "mailbox disabled",
            "mailbox is disabled",
            "disabled recipient",
            "you tried to reach is disabled",
            "you tried to reach is inactive",
            "account is inactive",
            "account inactive",
            "mailbox is inactive",
            "account is blocked",
            "account is locked",
            "account has been suspended",
            "account suspended",
            "user suspended",
            "mailbox suspended",
            "mailbox is frozen",
            "temporary locked",
            "temporarily locked",
            "konto ist gesperrt",
            "compte du destinataire est bloque",
            "cuenta suspendida",
        ),
    ),
    (
        "no_such_host",
        (
            "unknown host",
            "host unknown",
            "host not found",
            "host or domain name not found",
            "could not find any mail server",
            "domain not found",
            "domain does not exist",
            "domain name not found",
            "no such domain",
            "no such host",
            "unknown domain",
            "illegal host/domain",
            "unrouteable mail domain",
            "unrouteable address",
            "unroutable address",
            "couldn't find any host",
            "could not resolve host",
            "nxdomain",
            "does not accept mail",
            "indicated no smtp service",
            "not accepting network messages",
            "doesn't accept mail",
            "do not accept mail",
            "not accept any mail",
            "null mx",
            "nullmx",
            "no mx record",
            "no mail server",
        ),
    ),
    (
        "no_such_address",
        (
            "user unknown",
            "unknown user",
            "user not found",
            "user not exist",
            "user doesn't exist",
            "user does not exist",
            "unknown address",
            "address unknown",
            "address does not exist",
            "address doesn't exist",
            "address not found",
            "address no longer",
            "you tried to reach does not exist",
            "no such user",
            "no such address",
            "no such recipient",
            "no such mailbox",
            "no such local",
            "no such person",
            "not our customer",
            "no mailbox here",
            "no mailbox found",
            "mailbox not found",
            "mailbox does not exist",
            "mailbox doesn't exist",
            "mailbox unavailable or not",
            "unknown mailbox",
            "invalid mailbox",
            "invalid user",
            "invalid recipient",
            "invalid address",
            "invalid final delivery userid",
            "bad destination mailbox",
            "bad address",
            "bad recipient",
            "unknown recipient",
            "recipient unknown",
            "recipient not found",
            "recipient does not exist",
            "recipient no longer",
            "recipient name is not recognized",
            "recipnotfound",
            "account does not exist",
            "account doesn't exist",
            "account is unavailable",
            "account not found",
            "account has been deleted",
            "unknown local",
            "unknown or illegal alias",
            "not a valid mailbox",
            "not a valid user",
            "not a known user",
            "not listed in",
            "doesn't have a",
            "does not have an account",
            "recipient address rejected: access denied",
            "user has moved",
            "no longer on server",
            "no longer in use",
            "benutzer unbekannt",
            "empfänger unbekannt",
            "empfänger existiert nicht",
            "adresse existiert nicht",
            "postfach existiert nicht",
            "utilisateur inconnu",
            "destinataire invalide",
            "destinataire inconnu",
            "adresse inexistante",
            "usuario desconocido",
            "usuario no existe",
            "no existe el usuario",
            "utente sconosciuto",
            "casella inesistente",
            "usuário desconhecido",
            "usuário inexistente",
            "onbekende gebruiker",
            "nieznany użytkownik",
            "пользователь не найден",
            "нет такого пользователя",
            "ユーザーが見つかりません",
            "宛先のメールアドレスが見つかり",
            "존재하지 않는",
            "用户不存在",
            "收件人不存在",
        ),
    ),
    (
        "route",
        (
            "name service error",
            "timed out",
            "timeout",
            "time-out",
            "message expired",
            "queue too long",
            "connection refused",
            "no route to host",
            "network is unreachable",
            "not reachable",
            "lost connection",
            "connection dropped",
            "too many hops",
            "hop count exceeded",
            "mail loop",
            "routing loop",
            "retry timeout exceeded",
            "could not connect",
            "unable to connect",
            "wasn't able to establish",
            "service currently unavailable",
            "temporary failure",
        ),
    ),
)

_STATUS_CAUSES: dict[str, FailureCause] = {
    # RFC 3463 §3 and the IANA registry; class 5 where the detail differs by class.
    "1.1": "no_such_address",
    "1.2": "no_such_host",
    "1.3": "no_such_address",
    "1.6": "no_such_address",
    "1.7": "policy",  # the sender's own address
    "1.8": "policy",
    "1.10": "no_such_host",  # RFC 7505: null MX
    "2.0": "policy",  # §3.3: the mailbox exists, but something about it refuses
    "2.2": "mailbox_full",
    "2.3": "message",
    "3.2": "no_such_host",  # the system accepts no mail at all
    "7.13": "disabled",
    "7.27": "no_such_host",
}
_UNLESS_WORDED: dict[str, FailureCause] = {
    "4.4": "no_such_host",  # "unable to route": no such name, but also a name server at fault
}
_SUBJECT_CAUSES: dict[str, FailureCause] = {"4": "route", "6": "message", "7": "policy"}

_STATUSES: dict[FailureCause, str] = {
    "no_such_address": "5.1.1",
    "no_such_host": "5.1.2",
    "mailbox_full": "4.2.2",
    "disabled": "5.2.1",
    "message": "5.6.0",
    "policy": "5.7.0",
    "route": "4.4.0",
}

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)")
_REPLY = re.compile(r"(?<![\d.])([45])[0-5]\d(?=[\s-])(?![\s-]{1,2}(?:bytes|octets))")
_HOST_NOT_FOUND = re.compile(r"\bhost [^\s]{1,255} (?:was )?not found")
_UNSPECIFIC = frozenset({"0.0", "1.0", "3.0"})


def worded_cause(words: str) -> FailureCause | None:
    """The cause that a far side's wording names, in any of the languages of the table."""
    text = " ".join(words[:_CHARACTERS].casefold().replace("’", "'").split())
    found = (cause for cause, phrases in _PHRASES if any(phrase in text for phrase in phrases))
    return next(found, "no_such_host" if _HOST_NOT_FOUND.search(text) else None)


def cause_of(status: str | None, words: str) -> FailureCause | None:
    """The cause of a failure with this enhanced status and this wording; None when neither tells.

    RFC 3463 §3.7, §3.8 (X.6, X.7) speak of the content and of policy whatever the words around them
    are, X.1.1 and its like of the address, unless the words say that the mailbox is full.
    """
    worded = worded_cause(words)
    if status is None:
        return worded
    klass, _, detail = status.partition(".")
    subject = detail.partition(".")[0]
    by_status = _STATUS_CAUSES.get(detail) if klass == "5" or detail == "2.2" else None
    if by_status:
        return "mailbox_full" if worded == "mailbox_full" else by_status
    if subject in ("6", "7"):
        return worded if worded in ("disabled", "mailbox_full") else _SUBJECT_CAUSES[subject]
    return worded or _UNLESS_WORDED.get(detail) or _SUBJECT_CAUSES.get(subject)


def precise_status(texts: tuple[str, ...]) -> str | None:
    """The most telling enhanced status in texts, first come first; `5.0.0` only if alone."""
    found: list[str] = []
    for text in texts:
        found += [
            f"{code[1]}.{int(code[2])}.{int(code[3])}"
            for code in _ENHANCED.finditer(text[:_CHARACTERS])
        ]
    telling = (code for code in found if code.partition(".")[2] not in _UNSPECIFIC)
    return next(telling, found[0] if found else None)


def status_for(cause: FailureCause | None, words: str) -> str:
    """A status for a failure that was reported without one.

    An SMTP reply code in the words gives the class (RFC 3463 §3: 5yz is class 5), else the cause.
    """
    reply = _REPLY.search(words[:_CHARACTERS])
    usual = _STATUSES[cause] if cause else "5.0.0"
    return f"{reply[1]}{usual[1:]}" if reply else usual


def is_answer_to_data(words: str) -> bool:
    """Whether the words say that the refusal came after the mail itself, as Postfix's do.

    sendmail's transcript is no evidence: it pipelines, so `>>> DATA` may stand before answers to
    RCPT.
    """
    return "in reply to end of data" in " ".join(words[:_CHARACTERS].casefold().split())


def has_reply_code(words: str) -> bool:
    """Whether the words hold an SMTP reply of class 4 or 5, e.g. `550 `."""
    return _REPLY.search(words[:_CHARACTERS]) is not None
