"""Was every mail that left one that the policy gave? Derived anew from rows, not asked of the flow.

Nothing here is imported from what decided: standing, what is new in a mail, the policy's cells (the
default ones are read from the page about policy) and a person's yes are worked out from evidence,
lists, people, threads and the ledger. What cannot be explained is a breach, in words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from functools import cache
from pathlib import Path
from typing import Any

from tests.smtp_sink import Taken

__all__ = ["Facts", "breaches"]

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "policy.md"
_LEFT = ("sent", "delivered", "delayed", "bounced", "complained")
_STANDINGS = ("blocked", "unproven", "stranger", "correspondent", "allowed", "member")
_LINK = re.compile(r"https?://[^\s>\"]+|\bwww\.[^\s>\"]+")
_SUM = re.compile(r"(\d+(?:\.\d\d)?) ?(?:EUR|USD|euros?|dollars?)|[€$] ?(\d+(?:\.\d\d)?)", re.I)
_SECRET = re.compile(r"\b(?:AKIA[0-9A-Z]{16}|sk-[\w-]{20,}|ma_[\w-]{20,})")


@dataclass(frozen=True)
class Facts:
    """What stands in a workspace's rows, and what the relay took."""

    deliveries: Mapping[str, Any]
    messages: Mapping[str, Any]
    """By delivery."""
    outbound: Sequence[Any]
    recipients: Sequence[Any]
    approvals: Sequence[Any]
    tool_calls: Sequence[Any]
    questions: Sequence[Any]
    policies: Sequence[Any]
    blocked: Sequence[str]
    people: Sequence[str]
    approvers: Sequence[str]
    documents: Sequence[str]
    assessments: Mapping[str, Any]
    """By turn."""
    ledger: Sequence[Any]
    taken: Sequence[Taken]
    confidence: float = 0.8
    """What the template sets: below it nothing goes without a yes."""
    amount: Decimal = Decimal(100)
    replies_to_one: int = 4

    def told(self, taken: Taken) -> str:
        """An envelope in words: `purpose to`."""
        row = self.mail_of(taken)
        return f"{row.purpose if row else 'unknown'} {', '.join(taken.rcpt_to)}"

    def mail_of(self, taken: Taken) -> Any:
        """The outbound row of what the relay took; None when there is none."""
        message_id = _parsed(taken)["Message-ID"]
        return next((row for row in self.outbound if row.message_id == message_id), None)

    def suppressed(self, delivery_id: str) -> Iterator[str]:
        """What answers a mail and was kept back, for its recipient is suppressed."""
        for row in self.outbound:
            if row.answers_delivery_id == delivery_id:
                states = {one.address: one.state for one in _to(self, row)}
                yield from (f"{row.purpose} {to}" for to in states if states[to] == "suppressed")

    def proof_of(self, delivery_id: str) -> str:
        """What proves who wrote a mail, in a few words."""
        evidence = self.messages[delivery_id].authentication
        dmarc, spf = evidence["dmarc"], evidence["spf"]
        if dmarc["result"] == "pass":
            return f"DMARC by {dmarc['aligned_by'].upper()}"
        if self._same_sender(delivery_id):
            return "SPF, same address"
        return f"nothing (SPF {spf['result']}, DMARC {dmarc['result']})"

    def proven(self, delivery_id: str) -> bool:
        """Whether the From address's owner wrote it."""
        evidence = self.messages[delivery_id].authentication
        return evidence["dmarc"]["result"] == "pass" or self._same_sender(delivery_id)

    def by_person(self, delivery_id: str, person: str) -> bool:
        """Whether DMARC proves for exactly their domain that a person wrote it."""
        dmarc = self.messages[delivery_id].authentication["dmarc"]
        author = self.messages[delivery_id].from_address.lower()
        domain = person.partition("@")[2]
        return bool(author == person and dmarc["result"] == "pass" and dmarc["domain"] == domain)

    def _same_sender(self, delivery_id: str) -> bool:
        spf = self.messages[delivery_id].authentication["spf"]
        mail_from = (self.deliveries[delivery_id].mail_from or "").lower()
        author = self.messages[delivery_id].from_address.lower()
        return bool(
            spf["result"] == "pass" and spf["identity"] == "mailfrom" and mail_from == author
        )


def breaches(facts: Facts) -> list[str]:
    """All that is not as it should be, in words; empty for a day without."""
    found = list(_envelopes(facts))
    for row in facts.outbound:
        if any(one.state in _LEFT for one in _to(facts, row)):
            found += [
                f"{row.purpose} of {row.message_id}: {why}" for why in _unexplained(facts, row)
            ]
    replies = Counter(
        one.address
        for row in facts.outbound
        for one in _to(facts, row)
        if row.purpose == "reply" and one.state in _LEFT
    )
    found += [f"{n} answers to {to}" for to, n in replies.items() if n > facts.replies_to_one]
    return found


def _envelopes(facts: Facts) -> Iterator[str]:
    """What the relay took is what the rows say, each once, and with the words that were frozen."""
    took: Counter[tuple[str, str]] = Counter()
    for one in facts.taken:
        parsed, row = _parsed(one), facts.mail_of(one)
        took.update((str(parsed["Message-ID"]), to.lower()) for to in one.rcpt_to)
        if row is None:
            yield f"nobody froze what {', '.join(one.rcpt_to)} got"
        elif _flat(str(_text(parsed))) != _flat(row.outgoing["text"]):
            yield f"{row.message_id} left with other words than were frozen"
    said = {
        (row.message_id, one.address.lower())
        for row in facts.outbound
        for one in _to(facts, row)
        if one.state in _LEFT
    }
    yield from (f"{to} got {id_} {n} times" for (id_, to), n in took.items() if n > 1)
    yield from (f"{to} got {id_}, and no row says so" for id_, to in took.keys() - said)
    yield from (f"{to} never got {id_}" for id_, to in said - took.keys())


def _unexplained(facts: Facts, row: Any) -> Iterator[str]:
    """Why a mail that left was not given; nothing when it was."""
    match row.purpose:
        case "notice":
            outside = {one.address.lower() for one in _to(facts, row)} - {*facts.people}
            yield from (f"{one} is nobody of the workspace" for one in outside)
        case "person":
            yield from _of_person(facts, row)
        case "tool":
            yield from _of_tool(facts, row)
        case "reply":
            yield from _of_agent(facts, row)
        case other:
            yield f"nobody of this day sends a {other}"


def _of_person(facts: Facts, row: Any) -> Iterator[str]:
    """It was written by somebody of the workspace, whom DMARC proves."""
    author = row.author.removeprefix("person:")
    by_mail = [
        id_
        for id_, one in facts.deliveries.items()
        if row.id in one.reason and facts.by_person(id_, author)
    ]
    if author not in facts.people or not by_mail:
        yield f"no mail of {author} that is proven says so"


def _of_tool(facts: Facts, row: Any) -> Iterator[str]:
    """A call of the tool stands for it, which the policy gives to whoever wrote in that thread."""
    asked = next((one for one in facts.questions if one.thread_id == row.thread_id), None)
    calls = [
        one
        for one in facts.tool_calls
        if asked is not None
        and (one.thread_id, one.name, one.state) == (asked.case_thread_id, "ask_colleague", "done")
        and [to.address for to in _to(facts, row)] == [one.wish["person"]]
    ]
    if len(calls) != 1 or calls[0].wish["person"] not in facts.people:
        yield "no call of a tool stands for it"
        return
    standing = _standing(facts, calls[0].thread_id, calls[0].created_at)
    if _choice(facts, row.agent_id, standing, "tool:ask_colleague", "sends") != "do":
        yield f"a {standing} does not get it"


def _of_agent(facts: Facts, row: Any) -> Iterator[str]:
    """It answers a person's mail that is proven, and what needs a yes has one."""
    delivery = facts.deliveries[row.answers_delivery_id]
    message = facts.messages[row.answers_delivery_id]
    if message.kind != "person" or not facts.proven(delivery.id):
        yield "it answers what no proven person wrote"
        return
    standing = _standing(facts, row.thread_id, row.created_at)
    if standing in ("blocked", "unproven"):
        yield f"it answers somebody {standing}"
        return
    needs = [
        f"{action} for {standing} is {choice}"
        for action in _actions(facts, row, message.from_address.lower())
        if (choice := _choice(facts, row.agent_id, standing, action)) != "do"
    ]
    sure = (facts.assessments.get(row.turn_id) or {}).get("confidence")
    if sure is not None and sure < facts.confidence:
        needs.append(f"the agent was {sure} sure")
    if _SECRET.search(row.outgoing["text"]):
        needs.append("it has a secret")
    if needs and not _agreed(facts, row):
        yield f"nobody agreed: {', '.join(needs)}"


def _agreed(facts: Facts, row: Any) -> bool:
    """Whether one of the approvers said yes to just this mail, by a mail that is proven."""
    for one in facts.approvals:
        if one.outbound_id != row.id or one.state != "approved" or one.digest != row.digest:
            continue
        person = (one.decided_by or "").removeprefix("person:")
        by = re.search(r"by mail (dlv_\w+)", one.decision)
        if person in facts.approvers and by is not None and facts.by_person(by[1], person):
            return any(
                line.actor == one.decided_by and line.step == "approve"
                for line in facts.ledger
                if line.delivery_id == row.answers_delivery_id
            )
    return False


def _standing(facts: Facts, thread_id: str, at: Any) -> str:
    """The least standing of all who had written in a thread by then."""
    found = []
    for id_, message in facts.messages.items():
        delivery = facts.deliveries[id_]
        stopped = delivery.state in ("quarantined", "duplicate", "merged", "rejected")
        if delivery.thread_id != thread_id or message.kind != "person" or stopped:
            continue
        if delivery.received_at > at:
            continue
        author = message.from_address.lower()
        wrote = any(
            one.thread_id == thread_id and one.purpose in ("person", "new") and one.created_at <= at
            for one in facts.outbound
        )
        if author in facts.blocked:
            found.append("blocked")
        elif not facts.proven(id_):
            found.append("unproven")
        elif author in facts.people and facts.by_person(id_, author):
            found.append("member")
        else:
            found.append("correspondent" if wrote else "stranger")
    return min(found, key=_STANDINGS.index, default="unproven")


def _actions(facts: Facts, row: Any, writer: str) -> Iterator[str]:
    """What an answer is and has, in the words of the policy."""
    to = {one.address.lower() for one in _to(facts, row)}
    yield "reply" if to == {writer} else "forward"
    before = [
        *(
            f"{one.content['text']} {one.content['html'] or ''}"
            for id_, one in facts.messages.items()
            if facts.deliveries[id_].thread_id == row.thread_id
        ),
        *(
            one.outgoing["text"]
            for one in facts.outbound
            if one.thread_id == row.thread_id and one.created_at < row.created_at
        ),
        *facts.documents,
    ]
    known, words = "\n".join(before), row.outgoing["text"]
    domains = {writer.partition("@")[2]}
    if to - {writer}:
        yield "new_recipient"
    if {one.partition("@")[2] for one in to} - domains:
        yield "new_domain"
    if row.outgoing["attachments"]:
        yield "attachment"
    if any(link not in known for link in _LINK.findall(words)):
        yield "link"
    sums = {Decimal(a or b) for a, b in _SUM.findall(words)}
    if any(one > facts.amount for one in sums - {Decimal(a or b) for a, b in _SUM.findall(known)}):
        yield "amount"


def _choice(facts: Facts, agent_id: str, standing: str, *cells: str) -> str:
    """What the policies say, the agent's before the workspace's before the page's."""
    tables = [
        max(rows, key=lambda one: one.version).cells
        for owner in (agent_id, "")
        if (rows := [one for one in facts.policies if one.agent_id == owner])
    ]
    for cell in cells:
        for table in (*tables, _defaults()):
            if (choice := table.get(standing, {}).get(cell)) is not None:
                return str(choice)
    return "ask"


@cache
def _defaults() -> Mapping[str, Mapping[str, str]]:
    """The default policy as the page about it has it: standing → action → choice."""
    rows = re.findall(r"^\| `(\w+)` \|((?: (?:do|ask|refuse) \|){6})$", _PAGE.read_text(), re.M)
    table: dict[str, dict[str, str]] = {one: {} for one in _STANDINGS}
    for action, cells in rows:
        for standing, choice in zip(_STANDINGS, cells.strip(" |").split(" | "), strict=True):
            table[standing][action] = choice
    return table


def _to(facts: Facts, row: Any) -> list[Any]:
    return [one for one in facts.recipients if one.outbound_id == row.id]


def _parsed(taken: Taken) -> EmailMessage:
    return message_from_bytes(taken.content, _class=EmailMessage, policy=modern)


def _text(parsed: EmailMessage) -> str:
    body = parsed.get_body(("plain",))
    return str(body.get_content()) if body is not None else ""


def _flat(text: str) -> str:
    return " ".join(text.split())
