"""Step 5: who may get an automatic answer? Decided in code, by what was proven.

A mail's headers are written by its sender; an answer to an unproven one is backscatter, or a way to
make us write to somebody. So an automatic answer goes only to the From address, and only when DMARC
passed for it or SPF passed for an envelope sender that equals it. What it says is then held against
the policy: `gate` says whether it goes, waits for a person's yes, or is left to a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailagent.agents.limits import Limits
from mailagent.agents.outbound_guard import Finding
from mailagent.agents.trust import Action, Ask, Do, Policy, Refuse, Standing, decide
from mailagent.mail import Address, DmarcPolicy, Mail
from mailagent.outgoing import Reply

__all__ = [
    "Addressee",
    "AskFirst",
    "AskPerson",
    "Gate",
    "Hold",
    "LeaveToPerson",
    "MayAnswer",
    "MaySend",
    "addressee",
    "forged",
    "gate",
    "proven",
]


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


@dataclass(frozen=True, slots=True)
class MaySend:
    """The draft goes out; `rules` are the policies' cells that said so."""

    rules: str


@dataclass(frozen=True, slots=True)
class AskFirst:
    """The draft waits for a person's yes."""

    reasons: tuple[str, ...]
    only_person: bool
    """No lapse of time may stand for that yes."""


@dataclass(frozen=True, slots=True)
class LeaveToPerson:
    """The draft goes nowhere: a person answers."""

    reason: str


Gate = MaySend | AskFirst | LeaveToPerson


def gate(
    reply: Reply,
    findings: Sequence[Finding],
    *,
    policy: Policy,
    standing: Standing,
    limits: Limits,
    because: Sequence[str] = (),
) -> Gate:
    """What becomes of a draft: the strictest of what confidence, policy and guard say.

    `because` are further reasons for a person to look. A confidence that is no number is none.
    """
    sure = reply.confidence
    if sure is not None and not sure >= limits.hand_over_below:
        reason = f"the agent is {sure:.2f} sure, and below {limits.hand_over_below:.2f}"
        return LeaveToPerson(f"{reason} a person answers")
    asked = list(because)
    if sure is not None and not sure >= limits.approve_below:
        asked.append(f"the agent is {sure:.2f} sure, below {limits.approve_below:.2f}")
    if reply.ask is not None:
        asked.append(f"the agent asks for it: {reply.ask}")
    if not limits.auto_reply:
        asked.append("automatic answers are off")
    grave = [one.words for one in findings if one.action is None]
    asked += grave
    rules = []
    for action, words in _actions(reply, findings):
        match decide(policy, standing, Action(action)):
            case Do(rule):
                rules.append(rule)
            case Ask(reason, rule):
                asked.append(f"{words or reason} ({rule})")
            case Refuse(reason, rule):
                return LeaveToPerson(f"{words or reason}: refused ({rule})")
    if asked:
        return AskFirst(tuple(asked), only_person=bool(grave or because))
    return MaySend("; ".join(dict.fromkeys(rules)))


def _actions(reply: Reply, findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """The policy's actions that a draft is, each with words for a person where there are some."""
    found = [(one.action, one.words) for one in findings if one.action is not None]
    return [("forward" if reply.to else "reply", ""), *found]


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
