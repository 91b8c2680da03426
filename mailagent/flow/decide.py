"""Step 5: who may get an automatic answer? Decided in code, by what was proven.

A mail's headers are written by its sender; an answer to an unproven one is backscatter, or a way to
make us write to somebody. So an automatic answer goes only to the From address, and only when DMARC
passed for it or SPF passed for an envelope sender that equals it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailagent.mail import Address, DmarcPolicy, Mail

__all__ = ["Addressee", "AskPerson", "Hold", "MayAnswer", "addressee", "forged", "proven"]


@dataclass(frozen=True, slots=True)
class MayAnswer:
    """An automatic answer may go to this address; `why` is the evidence."""

    to: Address
    why: str


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Only a person may let an answer go."""

    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """No answer: nothing proves who wrote."""

    reason: str


Addressee = MayAnswer | AskPerson | Hold


def proven(mail: Mail) -> str | None:
    """The evidence, in words, that the From address's owner sent this; None without any."""
    evidence = mail.authentication
    if len(mail.content.from_) != 1:
        return None
    author = mail.content.from_[0].address.lower()
    if evidence.judged_by == "nobody":
        return "local test, authentication not judged"
    if evidence.aligned:
        return f"DMARC passed for {mail.content.from_[0].domain}, aligned by {_by(mail)}"
    spf = evidence.spf
    same = mail.mail_from is not None and mail.mail_from.lower() == author
    if spf.result == "pass" and spf.identity == "mailfrom" and same:
        return "SPF passed for the envelope sender, and From is the same address"
    return None


def forged(mail: Mail) -> str | None:
    """Why a mail must not reach an agent: its From domain disowns it (RFC 9989); None if not."""
    verdict = mail.authentication.dmarc
    asked: tuple[DmarcPolicy, ...] = ("reject", "quarantine")
    if verdict.result == "fail" and verdict.policy in asked:
        return f"DMARC failed and {verdict.domain} asks to {verdict.policy} such mail"
    return None


def addressee(mail: Mail) -> Addressee:
    """Whether the answer to this mail may go out by itself, and to whom."""
    authors = mail.content.from_
    if mail.mail_from is None:
        return Hold("the envelope sender is empty (RFC 5321 §4.5.5): never answered")
    if len(authors) != 1:
        return Hold(f"From holds {len(authors)} mailboxes: nobody to answer for certain")
    evidence = proven(mail)
    if evidence is None:
        dmarc, spf = mail.authentication.dmarc.result, mail.authentication.spf.result
        return Hold(f"nothing proves that {authors[0].address} sent it (DMARC {dmarc}, SPF {spf})")
    elsewhere = [
        one.address
        for one in mail.content.reply_to
        if one.address.lower() != authors[0].address.lower()
    ]
    if elsewhere:
        return AskPerson(f"Reply-To ({elsewhere[0]}) is not the address that was proven")
    return MayAnswer(authors[0], evidence)


def _by(mail: Mail) -> str:
    evidence = mail.authentication
    match evidence.dmarc.aligned_by:
        case "spf":
            return "SPF"
        case "dkim":
            return "DKIM"
        case "arc":
            return f"ARC of {evidence.arc.trusted if evidence.arc else 'a sealer'}"
        case None:
            return "its provider"
