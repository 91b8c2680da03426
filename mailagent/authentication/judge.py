"""What is proven about a sender? The one entry to SPF, DKIM, ARC and DMARC.

A pure function over the message, DNS answers and a time. The caller resolves what is missing:

    answers = {}
    while isinstance(outcome := judge(..., answers=answers), Needs):
        answers |= await resolver.ask_all(outcome.questions)

Fourteen rounds suffice for the deepest chain that SPF allows; a caller that stops at twenty gives
`Unknown` for what is still missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import cast

from mailagent.authentication import arc, dkim, dmarc, spf
from mailagent.authentication.answers import Inquiry, Needs
from mailagent.authentication.dkim_signature import Signature
from mailagent.authentication.message import Message
from mailagent.dns_answers import Answer, Question, ascii_name
from mailagent.mail import (
    Authentication,
    Content,
    DkimResult,
    DkimVerdict,
    DmarcPolicy,
    DmarcResult,
    DmarcVerdict,
    SpfResult,
    SpfVerdict,
)

__all__ = ["from_provider", "judge", "spf_of_provider", "unjudged"]

_METHODS = ("spf", "dkim", "dmarc")
_NOT_COMPUTABLE = DkimVerdict("neutral", reason="not computable: no raw message was handed over")

_POLICY_WORDS: Mapping[str, DmarcPolicy] = {
    "none": "none",
    "quarantine": "quarantine",
    "reject": "reject",
}

# Words of delivering providers, lower case. What is not listed is never a pass.
_SPF_WORDS: Mapping[str, SpfResult] = {
    "pass": "pass",
    "fail": "fail",
    "softfail": "softfail",
    "neutral": "neutral",
    "none": "none",
    "temperror": "temperror",
    "permerror": "permerror",
    "gray": "none",
    "processing_failed": "temperror",
}
_DKIM_WORDS: Mapping[str, DkimResult] = {
    "pass": "pass",
    "fail": "fail",
    "policy": "policy",
    "neutral": "neutral",
    "none": "none",
    "temperror": "temperror",
    "permerror": "permerror",
    "gray": "none",
    "processing_failed": "temperror",
}
_DMARC_WORDS: Mapping[str, DmarcResult] = {
    "pass": "pass",
    "fail": "fail",
    "none": "none",
    "temperror": "temperror",
    "permerror": "permerror",
    "gray": "none",
    "processing_failed": "temperror",
}


def judge(
    raw: bytes | None,
    content: Content,
    *,
    mail_from: str | None,
    client_ip: str | None,
    helo: str | None,
    answers: Mapping[Question, Answer],
    now: datetime,
    arc_sealers: Collection[str] = (),
    vouched: SpfVerdict | None = None,
) -> Authentication | Needs:
    """Judge one mail, or name the DNS answers that are missing.

    `raw` are the octets as received, None when a provider gave only parts of the mail (then DKIM
    is `neutral`, not computable). `client_ip` None: SPF is `not_judged`. `arc_sealers` are the
    domains whose ARC seals count; without any, seals are not looked at. `vouched` is the SPF
    verdict of a provider, which counts where we do not know the client ourselves. Never raises.
    """
    inquiry = Inquiry(answers)
    message = Message.of(raw) if raw is not None else None
    author = _author(message, content)
    claims = dkim.signatures(message, now) if message is not None else (_NOT_COMPUTABLE,)
    spf_verdict = (
        vouched
        if vouched is not None and client_ip is None
        else spf.check(inquiry, client_ip=client_ip, mail_from=mail_from, helo=helo)
    )
    chain = None
    if message is not None and arc_sealers:
        chain = arc.read_chain(message, sealers=arc_sealers, now=now)
    for claim in claims:
        if isinstance(claim, Signature):
            inquiry.ask(claim.question.name, claim.question.type)
    if isinstance(chain, arc.Chain):
        for question in chain.questions:
            inquiry.ask(question.name, question.type)
    envelope = ascii_name((mail_from or helo or "").rpartition("@")[2])
    dmarc.foresee(author, [envelope, *(claim.domain for claim in claims)], inquiry)
    # Nothing is hashed before all answers are there: a body costs its time once.
    if (needs := inquiry.needs) is not None:
        return needs
    sealed = None
    if message is None:
        dkim_verdicts: tuple[DkimVerdict, ...] = (_NOT_COMPUTABLE,)
    else:
        dkim_verdicts = tuple(dkim.verify(claim, message, inquiry) for claim in claims)
        sealed = arc.verify(chain, message, inquiry)
    spf_verdict = cast("SpfVerdict", spf_verdict)
    dmarc_verdict = dmarc.judge(author, spf_verdict, dkim_verdicts, inquiry)
    if dmarc_verdict is None:
        return cast("Needs", inquiry.needs)
    dmarc_verdict = arc.apply(dmarc_verdict, chain, sealed)
    return Authentication(spf_verdict, dkim_verdicts, dmarc_verdict, "mailagent", sealed)


def from_provider(
    verdicts: Mapping[str, str], provider: str, content: Content
) -> Authentication | None:
    """Take the verdicts of the provider that delivered a mail; None when it gave none.

    `verdicts` has its words under `spf`, `dkim` and `dmarc`, and what From's domain asks for where
    that failed under `dmarc_policy`. Only its pass is a pass, a word that is not known never is.
    Providers name no domains, so `pass` says nothing of another domain than From's.
    """
    words = {name: verdicts[name].strip().lower() for name in _METHODS if name in verdicts}
    if not words:
        return None
    author = _author(None, content)
    result = _DMARC_WORDS.get(words.get("dmarc", ""), "not_judged")
    reason = f"{provider}: {words['dmarc'][:100]}" if "dmarc" in words else ""
    if author.domain is None:
        result, reason = "fail", author.problem
    dkim_word = words.get("dkim")
    return Authentication(
        spf=SpfVerdict(_SPF_WORDS.get(words.get("spf", ""), "not_judged"), reason=provider),
        dkim=()
        if dkim_word is None
        else (DkimVerdict(_DKIM_WORDS.get(dkim_word, "neutral"), reason=provider),),
        dmarc=DmarcVerdict(
            result,
            author.domain,
            policy=_POLICY_WORDS.get(verdicts.get("dmarc_policy", ""))
            if result == "fail"
            else None,
            reason=reason,
        ),
        judged_by=provider,
    )


def spf_of_provider(
    verdicts: Mapping[str, str], provider: str, mail_from: str | None
) -> SpfVerdict | None:
    """What the delivering provider says of the envelope sender's SPF; None when it says nothing."""
    if "spf" not in verdicts or not mail_from:
        return None
    result = _SPF_WORDS.get(verdicts["spf"].strip().lower(), "not_judged")
    return SpfVerdict(result, ascii_name(mail_from.rpartition("@")[2]), reason=f"by {provider}")


def unjudged() -> Authentication:
    """For local test mail: nobody was asked and nothing is proven."""
    return Authentication(
        spf=SpfVerdict("not_judged"),
        dkim=(),
        dmarc=DmarcVerdict("not_judged"),
        judged_by="nobody",
    )


def _author(message: Message | None, content: Content) -> dmarc.Author:
    """The one From domain. Zero or several mailboxes or fields are nobody's mail (F.4)."""
    fields = 1 if message is None else len(message.all(b"from"))
    if len(content.from_) != 1 or fields != 1:
        return dmarc.Author(None, "no single From")
    domain = ascii_name(content.from_[0].domain)
    if domain is None or "." not in domain:
        return dmarc.Author(None, "From is not of a domain")
    return dmarc.Author(domain)
