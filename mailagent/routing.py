"""Which agent of the workspace gets a mail, and by which rule?

Pure: a mail, the workspace's rules in order and the agents its envelope named go in, a decision and
the reason for every rule come out. A rule kind is one function in `KINDS`; a condition is JSON:
`{"all": […]}`, `{"any": […]}`, `{"not": …}` or a kind with its value, `{"sender": "a@b.example"}`.
Rules choose among agents of the workspace that the envelope named; they never widen it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mailagent.errors import Malformed
from mailagent.mail import DkimResult, DmarcResult, Kind, Mail, SpfResult

__all__ = [
    "KINDS",
    "Decision",
    "Explained",
    "Rule",
    "check_condition",
    "decide",
    "explain",
    "matches",
]

_DEEPEST = 8
_MOST_CONDITIONS = 100
_LONGEST_VALUE = 500

Condition = Mapping[str, Any]
Action = Literal["agent", "hold", "reject"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a workspace. `overrides` lets it win over the address that was written to."""

    id: str
    name: str
    condition: Condition
    action: Action
    agent_id: str | None = None
    overrides: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a mail goes, and the sentence that says why."""

    action: Action
    agent_id: str | None
    why: str
    rule_id: str | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What one rule made of a mail."""

    rule: Rule
    matched: bool
    why: str


# --- rule kinds: one function each ------------------------------------------------------------


def recipient(mail: Mail, value: str) -> bool:
    """The envelope recipient, `*` stands for anything, the plus tag counts."""
    return fnmatch.fnmatchcase(mail.recipient.lower(), value.lower())


def sender(mail: Mail, value: str) -> bool:
    """Exactly one From mailbox, and it is this address."""
    return _single_from(mail) == value.lower()


def domain(mail: Mail, value: str) -> bool:
    """Exactly one From mailbox, at this domain or (`*.example.com`) at a name below it."""
    at = _single_from(mail).rpartition("@")[2]
    wanted = value.lower().removeprefix("@")
    return at.endswith(wanted[1:]) if wanted.startswith("*.") else at == wanted


def subject_contains(mail: Mail, value: str) -> bool:
    """The subject has these words, whatever their case."""
    return value.casefold() in mail.content.subject.casefold()


def keyword(mail: Mail, value: str) -> bool:
    """What the person wrote (no quotes) has these words, whatever their case."""
    return value.casefold() in mail.content.written.casefold()


def header(mail: Mail, value: str) -> bool:
    """`Name` is present, or with `Name: text` a field of that name contains the text."""
    name, colon, text = value.partition(":")
    name, text = name.strip().lower(), text.strip().casefold()
    found = [v for n, v in mail.content.headers if n.lower() == name]
    return any(text in v.casefold() for v in found) if colon else bool(found)


def has_attachment(mail: Mail, value: str | bool) -> bool:
    """true/false, or a pattern for the file name such as `*.pdf`."""
    names = [a.filename.lower() for a in mail.content.attachments if not a.inline]
    if isinstance(value, bool):
        return bool(names) is value
    return any(fnmatch.fnmatchcase(name, value.lower()) for name in names)


def authentication(mail: Mail, value: str) -> bool:
    """`dmarc=pass`, `spf=fail`, `dkim=none` …: a method of RFC 8601 and its result."""
    method, _, result = value.lower().partition("=")
    verdicts: Mapping[str, set[str]] = {
        "dmarc": {mail.authentication.dmarc.result},
        "spf": {mail.authentication.spf.result},
        "dkim": {one.result for one in mail.authentication.dkim} or {"none"},
    }
    return result in verdicts.get(method, set())


def automatic(mail: Mail, value: bool) -> bool:
    """Whether a machine wrote it (anything but a person's mail)."""
    return (mail.kind is not Kind.PERSON) is value


KINDS: Mapping[str, Callable[[Mail, Any], bool]] = {
    "recipient": recipient,
    "sender": sender,
    "domain": domain,
    "subject_contains": subject_contains,
    "keyword": keyword,
    "header": header,
    "has_attachment": has_attachment,
    "authentication": authentication,
    "automatic": automatic,
}
_TAKES: Mapping[str, tuple[type, ...]] = {"has_attachment": (bool, str), "automatic": (bool,)}
_VERDICTS: Mapping[str, Sequence[str]] = {
    "dmarc": get_args(DmarcResult),
    "spf": get_args(SpfResult),
    "dkim": get_args(DkimResult),
}


def _single_from(mail: Mail) -> str:
    # Several authors, or none: nobody a rule may take for the sender (RFC 5322 §3.6.2 allows it).
    mailboxes = mail.content.from_
    return mailboxes[0].address.lower() if len(mailboxes) == 1 else ""


# --- conditions -------------------------------------------------------------------------------


def check_condition(condition: Any, *, where: str = "condition") -> None:
    """Make sure a condition can be evaluated. Raises Malformed naming the place and the mend."""
    if _check(condition, where, 1) > _MOST_CONDITIONS:
        raise Malformed(where, f"has more than {_MOST_CONDITIONS} parts: split the rule")


def _check(condition: Any, where: str, depth: int) -> int:
    if not isinstance(condition, Mapping) or len(condition) != 1:
        raise Malformed(
            where, 'must be one of {"all": […]}, {"any": […]}, {"not": …}, {kind: value}'
        )
    if depth > _DEEPEST:
        raise Malformed(where, f"is nested deeper than {_DEEPEST}")
    ((name, value),) = condition.items()
    if name in ("all", "any"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise Malformed(f"{where}.{name}", "must be a list with at least one condition")
        parts = [_check(one, f"{where}.{name}[{i}]", depth + 1) for i, one in enumerate(value)]
        return 1 + sum(parts)
    if name == "not":
        return 1 + _check(value, f"{where}.not", depth + 1)
    if name not in KINDS:
        raise Malformed(where, f"unknown kind {str(name)[:40]!r}: use one of {', '.join(KINDS)}")
    takes: tuple[type, ...] = _TAKES.get(name, (str,))
    if not isinstance(value, takes) or value == "":
        wanted = " or ".join("true/false" if one is bool else "text" for one in takes)
        raise Malformed(f"{where}.{name}", f"takes {wanted}")
    if isinstance(value, str) and len(value) > _LONGEST_VALUE:
        raise Malformed(f"{where}.{name}", f"is longer than {_LONGEST_VALUE} characters")
    if name == "authentication" and not _is_verdict(str(value)):
        raise Malformed(f"{where}.{name}", "write it like dmarc=pass, spf=fail or dkim=none")
    return 1


def _is_verdict(value: str) -> bool:
    method, _, result = value.lower().partition("=")
    return result in _VERDICTS.get(method, ())


def matches(condition: Condition, mail: Mail) -> tuple[bool, str]:
    """Whether a checked condition holds for a mail, and in words why or why not."""
    ((name, value),) = condition.items()
    if name == "not":
        held, why = matches(value, mail)
        return not held, f"not ({why})"
    if name in ("all", "any"):
        results = [matches(one, mail) for one in value]
        held = all(r for r, _ in results) if name == "all" else any(r for r, _ in results)
        # The parts that decided are the reason: the failing of `all`, the holding of `any`.
        telling = [why for r, why in results if r is (held if name == "any" else not held)]
        joined = "; ".join(telling or [why for _, why in results])
        return held, joined
    held = KINDS[name](mail, value)
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return held, f"{name} {shown} {'holds' if held else 'does not hold'}"


def explain(mail: Mail, rules: Sequence[Rule]) -> list[Explained]:
    """What each rule makes of a mail, in order."""
    return [Explained(rule, *matches(rule.condition, mail)) for rule in rules]


def decide(
    mail: Mail,
    *,
    addressed_agent: str | None,
    catch_all_agent: str | None,
    rules: Sequence[Rule],
) -> Decision:
    """Direct address first, unless a rule overrides; then rules in order; then the catch-all."""
    for rule in rules:
        if addressed_agent is not None and not rule.overrides:
            continue
        matched, why = matches(rule.condition, mail)
        if matched:
            return Decision(
                rule.action, rule.agent_id, f"rule {rule.name!r} matched: {why}", rule.id
            )
    if addressed_agent is not None:
        return Decision("agent", addressed_agent, f"{mail.recipient} is this agent's address")
    if catch_all_agent is not None:
        return Decision("agent", catch_all_agent, "no rule matched: the workspace's catch-all")
    return Decision("hold", None, "no address, no rule and no catch-all leads to an agent")
