"""What was proven about a sender, in one sentence for a person?"""

from __future__ import annotations

from mailagent.mail import Authentication

__all__ = ["in_words"]


def in_words(evidence: Authentication) -> str:
    """The sentence that stands above a mail. Names what was proven first, then by which checks."""
    if evidence.judged_by == "nobody":
        return "A local test mail: its sender was not checked. A real one would be held to DMARC."
    dkim = ", ".join(
        f"{one.result} for {one.domain}" if one.domain else one.result for one in evidence.dkim
    )
    checks = (
        f"SPF {_of(evidence.spf.result, evidence.spf.domain)}, DKIM {dkim or 'none'}, "
        f"DMARC {_of(evidence.dmarc.result, evidence.dmarc.domain)}{_sealed(evidence)}"
    )
    judge = "" if evidence.judged_by == "mailagent" else f", as {evidence.judged_by} says"
    return f"{_verdict(evidence)} ({checks}{judge})."


def _verdict(evidence: Authentication) -> str:
    domain = evidence.dmarc.domain or "the sender's domain"
    match evidence.dmarc.result:
        case "pass" if evidence.dmarc.aligned_by == "arc" and evidence.arc is not None:
            return f"{evidence.arc.trusted}, who forwarded this mail, saw {domain} vouch for it"
        case "pass":
            return f"{domain} vouches for this mail"
        case "fail" if evidence.dmarc.policy in ("reject", "quarantine"):
            return f"{domain} disowns this mail and asks to {evidence.dmarc.policy} such ones"
        case "fail":
            return f"{domain} does not vouch for this mail"
        case "temperror":
            return f"Whether {domain} vouches for this mail could not be looked up"
        case _:
            return "Nobody vouches for the address in From"


def _sealed(evidence: Authentication) -> str:
    if evidence.arc is None:
        return ""
    return f", ARC {_of(evidence.arc.result, ', '.join(evidence.arc.sealers))}"


def _of(result: str, domain: str | None) -> str:
    return f"{result} for {domain}" if domain else result
