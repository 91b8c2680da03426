"""Step 2: what does the mail say, who vouches for it, and what follows from that?

The bytes are read in the sandbox, between two transactions; the second one writes the message,
finds its agent (step 3) and thread, and leaves the delivery in the state that is the next order.
What cannot be read is quarantined with its raw bytes kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import bindparam, func, select

from mailagent.dns_answers import Answer, Question, Unknown
from mailagent.errors import Malformed, SandboxFailure
from mailagent.flow import (
    answer_by_mail,
    approval_by_mail,
    approvals,
    forwarding,
    held_mail,
    octets,
    own_agents,
    people,
    reports,
    screening,
    stored,
    threads,
    track,
    unread,
)
from mailagent.flow.decide import AskPerson, Hold, MayAnswer, addressee, forged, proven
from mailagent.flow.ledger import note
from mailagent.flow.route import foresee_rules, route
from mailagent.flow.services import Services
from mailagent.flow.standing import blocked, foresee_blocked
from mailagent.flow.states import DeliveryState
from mailagent.flow.tools.persons import take_answer
from mailagent.flow.values import ORIGIN, READING, form_of, to_json
from mailagent.inbound import Origin
from mailagent.mail import Authentication, Kind, Mail
from mailagent.mime import threading as anchoring
from mailagent.mime.domain_report import FoundReport
from mailagent.outgoing import OutgoingAttachment
from mailagent.reading import Reading, answers_to_json
from mailagent.screening import NotScreened, Screened
from mailagent.store import mail_search
from mailagent.store.tables import attachments, deliveries, messages, raw_messages
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from mailagent.work import Claim, Queue, finish

__all__ = ["READING_QUEUE", "give_up", "next_order", "read", "write_message"]

READING_QUEUE = Queue("read", deliveries, deliveries.c.state == DeliveryState.ACCEPTED)

_DNS_ROUNDS = 20
_TO_AGENTS = ("agent", "catch_all")
_DNS_TRIES = 3
_DNS_AGAIN = timedelta(minutes=5)
_SAME_MAIL_WITHIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _End:
    """The state a delivery gets, and why."""

    state: DeliveryState
    reason: str


async def read(services: Services, claim: Claim) -> None:
    """Read one accepted delivery and write where it stands."""
    row = await services.store.read(claim.workspace_id, _load, claim.id)
    raw = await stored.octets_of(services, READING_QUEUE, claim, row)
    if raw is None:
        return
    origin = ORIGIN.validate_python(row.origin)
    if origin.body_format == "stored":
        fetched = await stored.fetch(services, READING_QUEUE, claim, row, origin)
        if fetched is None:
            return
        raw, origin = fetched
    try:
        reading = await _understand(services, row, origin, raw)
    except Malformed as error:
        why = f"cannot be read: {error}"
        await services.store.write(claim.workspace_id, unread.quarantine, READING_QUEUE, claim, why)
        return
    except (SandboxFailure, ValidationError) as error:
        if await services.store.write(
            claim.workspace_id, unread.has_failed_twice, READING_QUEUE, claim, str(error)
        ):
            return
        raise
    assert reading.authentication is not None
    if _dns_was_silent(reading.authentication) and claim.attempts + 1 < _DNS_TRIES:
        await services.store.write(claim.workspace_id, _wait_for_dns, claim)
        return
    screened = await screening.screen(services, row, origin, raw, reading.kind)
    if screening.may_wait(services, row, screened):
        await services.store.write(claim.workspace_id, _wait_for_screening, claim)
        return
    answers = row.place == "role" and answer_by_mail.is_answer(row.recipient)
    along = await answer_by_mail.files(services, raw, origin, reading) if answers else ()
    reported = None
    if row.place == "role":
        reported = await reports.read(services, raw, row.recipient, origin, reading)
    await services.store.write(
        claim.workspace_id,
        _record,
        services,
        claim,
        row,
        origin,
        reading,
        screened,
        along,
        reported,
    )


def give_up(tx: Transaction, claim: Claim, reason: str) -> None:
    """The end of a delivery that could not be read, or over which workers died: a dead letter."""
    finish(tx, READING_QUEUE, claim, state=DeliveryState.FAILED, reason=reason[:500])
    note(tx, "read", "failed for good", reason, delivery_id=claim.id)


_ACCEPTED = (
    select(deliveries, *octets.COLUMNS)
    .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
    .where(deliveries.c.id == bindparam("delivery"))
)


def _load(tx: Transaction, delivery_id: str) -> AnyRow:
    row = tx.row(_ACCEPTED, {"delivery": delivery_id}, last=True)
    assert row is not None
    return row


async def _understand(services: Services, row: AnyRow, origin: Origin, raw: bytes) -> Reading:
    """Parse, class and judge in the sandbox; DNS is asked outside, between its runs."""
    settings = services.settings
    answers: dict[Question, Answer] = {}
    arguments = {
        "mail_from": row.mail_from,
        "client_ip": origin.client_ip,
        "helo": origin.helo,
        "hostname": settings.hostname,
        "now": row.received_at.isoformat(),
        "judged_by": _judge_of(row.source, origin, trusted=settings.trusts(origin.client_ip)),
        "verdicts": dict(origin.provider_verdicts),
        "arc_sealers": settings.arc_sealers,
        **form_of(origin),
    }
    if origin.authenticated_as == "local":
        # Our own send step has checked the From of what comes by local delivery.
        arguments["verdicts"] = {"spf": "PASS", "dkim": "PASS", "dmarc": "PASS"}
    for asked in range(_DNS_ROUNDS + 1):
        reading = await _run(services, raw, arguments, answers)
        if reading.authentication is not None:
            return reading
        if asked < _DNS_ROUNDS - 1:
            answers |= await services.resolver.ask_all(reading.needs)
        else:
            # Who publishes more than that is judged by what was found until here.
            answers |= dict.fromkeys(reading.needs, Unknown("too many rounds of questions"))
    raise Malformed("authentication", f"needs more than {_DNS_ROUNDS} rounds of DNS questions")


async def _run(
    services: Services,
    raw: bytes,
    arguments: Mapping[str, Any],
    answers: Mapping[Question, Answer],
) -> Reading:
    job = {**arguments, "answers": answers_to_json(answers)}
    return READING.validate_json(await services.sandbox.run("mailagent.reading:read", raw, job))


def _judge_of(source: str, origin: Origin, *, trusted: bool) -> str:
    if origin.authenticated_as == "local":
        return "local"
    if origin.provider_verdicts:
        return source
    return "nobody" if trusted else "mailagent"


def _dns_was_silent(evidence: Authentication) -> bool:
    # A provider's verdict is what it is: only what we judge ourselves may come out better later.
    if evidence.dmarc.result == "pass" or evidence.judged_by != "mailagent":
        return False
    results = {evidence.spf.result, evidence.dmarc.result, *(one.result for one in evidence.dkim)}
    if evidence.arc is not None and evidence.arc.trusted is not None:
        results.add(evidence.arc.result)
    return "temperror" in results


def _wait_for_dns(tx: Transaction, claim: Claim) -> None:
    finish(tx, READING_QUEUE, claim, attempts=claim.attempts + 1, not_before=tx.now + _DNS_AGAIN)
    note(tx, "read", "waits for DNS", "a DNS answer could not be had", delivery_id=claim.id)


def _wait_for_screening(tx: Transaction, claim: Claim) -> None:
    again = tx.now + screening.AGAIN
    finish(tx, READING_QUEUE, claim, attempts=claim.attempts, not_before=again)
    note(tx, "read", "waits to be screened", "the spam filter is away", delivery_id=claim.id)


def _record(
    tx: Transaction,
    services: Services,
    claim: Claim,
    row: AnyRow,
    origin: Origin,
    reading: Reading,
    screened: Screened | NotScreened | None,
    along: tuple[OutgoingAttachment, ...],
    reported: FoundReport | str | None,
) -> None:
    """The second transaction: message, class, agent, thread, next state."""
    assert reading.authentication is not None
    kind, why_kind = reading.kind, reading.why_kind
    if kind is Kind.PERSON and origin.provider_verdicts.get("spam", "").upper() == "FAIL":
        kind, why_kind = Kind.SPAM, "the delivering provider took it for spam"
    if screened is not None and (objection := screening.tell(tx, screened, row.id)):
        kind, why_kind = Kind.SPAM, objection
    mail = Mail(
        delivery_id=row.id,
        workspace_id=row.workspace_id,
        recipient=row.recipient,
        mail_from=row.mail_from,
        received_at=row.received_at,
        content=reading.content,
        authentication=reading.authentication,
        kind=kind,
        why_kind=why_kind,
    )
    # One after the other for one workspace: a twin that is read at the same moment must be seen.
    tx.lock(f"inbox {tx.workspace_id}")
    _foresee(tx, mail, row)
    note(tx, "read", f"{mail.kind} mail", f"{mail.why_kind}; {_in_words(mail)}", delivery_id=row.id)
    end = _before_routing(tx, services, mail, row, origin, reading, along, reported)
    agent_id: str | None = row.agent_id
    thread_id: str | None = None
    if end is None:
        decision = route(tx, mail, place=row.place, agent_id=row.agent_id)
        by_rule = decision.action == "hold" and decision.rule_id is not None
        if by_rule and held_mail.let_in(tx, row.id):
            by_rule = False
            decision = route(tx, mail, place=row.place, agent_id=row.agent_id, passed=True)
        agent_id = decision.agent_id
        note(tx, "route", decision.action, decision.why, delivery_id=row.id)
        if decision.action == "agent" and agent_id is not None:
            thread_id, end = _with_agent(tx, services, mail, row, agent_id)
        else:
            state = DeliveryState.REJECTED if decision.action == "reject" else DeliveryState.HELD
            end = _End(state, decision.why)
            if by_rule:
                held_mail.hold_by_rule(tx, services, mail, row.place, row.agent_id, decision.why)
    ours = {"agent_id": agent_id, "thread_id": thread_id}
    message_id = write_message(tx, mail, ours)
    finish(
        tx,
        READING_QUEUE,
        claim,
        state=end.state,
        reason=end.reason[:500],
        message_ref=message_id,
        **ours,
    )
    if row.place in _TO_AGENTS and end.state is not DeliveryState.DUPLICATE:
        forwarding.order(tx, row)
    if end.state is not DeliveryState.ROUTED:
        note(tx, "route", str(end.state), end.reason, delivery_id=row.id)


def _foresee(tx: Transaction, mail: Mail, row: AnyRow) -> None:
    """What nearly every mail is asked on its way to an agent."""
    if mail.content.message_id is not None:
        tx.foresee(_TWIN, _twin_of(mail))
    foresee_rules(tx, row.agent_id if row.place == "agent" else None)
    if row.agent_id is not None:
        tx.foresee(_OF_RAW, _raw_of(row, row.agent_id))
        threads.foresee(tx, mail, row.agent_id)
    foresee_blocked(tx, mail, answers=bool(anchoring.anchors(mail.content)))
    forwarding.foresee(tx, row)


def _before_routing(
    tx: Transaction,
    services: Services,
    mail: Mail,
    row: AnyRow,
    origin: Origin,
    reading: Reading,
    along: tuple[OutgoingAttachment, ...],
    reported: FoundReport | str | None,
) -> _End | None:
    """What ends a mail's way before any agent is looked for; None lets it go on."""
    if origin.provider_verdicts.get("virus", "").upper() == "FAIL":
        return _End(DeliveryState.QUARANTINED, "the delivering provider found a virus")
    if twin := _same_mail(tx, mail):
        return _End(DeliveryState.DUPLICATE, f"the same mail came as {twin}")
    if reading.hops >= services.settings.hops_before_loop:
        return _End(DeliveryState.LOOPED, f"it has passed here {reading.hops} times already")
    if reading.report is not None or reading.complaint is not None:
        told = track.from_mail(tx, services.secrets, mail, reading.report, reading.complaint)
        return _End(DeliveryState.RECORDED, told)
    if isinstance(reported, FoundReport):
        return _End(DeliveryState.RECORDED, reports.take(tx, services, mail, reported))
    if mail.kind is Kind.REPORT:
        unread = f"{mail.why_kind}; not kept: {reported}" if reported else mail.why_kind
        return _End(DeliveryState.RECORDED, unread)
    if row.place == "return":
        return _End(DeliveryState.RECORDED, "mail to a return address that reports nothing")
    if disowned := forged(mail):
        return _End(DeliveryState.QUARANTINED, disowned)
    if row.place == "role" and answer_by_mail.is_answer(row.recipient):
        taken = answer_by_mail.take(tx, services, mail, along)
        return _End(taken.state, taken.reason)
    if row.place == "role" and approval_by_mail.is_decision(row.recipient):
        taken = approval_by_mail.take(tx, services, mail)
        return _End(taken.state, taken.reason)
    if row.place == "role":
        if mail.kind is not Kind.PERSON:
            return _End(
                DeliveryState.RECORDED, f"automatic mail to a role address: {mail.why_kind}"
            )
        reason = f"mail for {row.recipient.partition('@')[0]} goes to the owners"
        people.hand_over(tx, services, mail, None, reason)
        return _End(DeliveryState.HANDED_TO_A_PERSON, reason)
    return None


def _with_agent(
    tx: Transaction, services: Services, mail: Mail, row: AnyRow, agent_id: str
) -> tuple[str | None, _End]:
    if twin := _same_raw(tx, row, agent_id):
        reason = f"the same mail reached this agent as {twin.id} ({twin.recipient})"
        return twin.thread_id, _End(DeliveryState.MERGED, reason)
    joined = threads.join(
        tx, services.secrets, mail, agent_id, authenticated=proven(mail) is not None
    )
    note(
        tx,
        "thread",
        f"{'opened' if joined.new else 'joined'} {joined.thread_id}",
        joined.why,
        delivery_id=row.id,
    )
    return joined.thread_id, next_order(tx, services, mail, agent_id, joined)


def next_order(
    tx: Transaction, services: Services, mail: Mail, agent_id: str, joined: threads.Joined
) -> _End:
    """What follows for a mail that has found its agent: wait for its turn, or why not."""
    if (entry := blocked(tx, mail, answers=not joined.new)) is not None:
        return _End(DeliveryState.REJECTED, f"a list says: {entry}")
    if mail.kind is not Kind.PERSON:
        own_agents.tell(tx, services, mail, agent_id)
        return _End(DeliveryState.SILENT, f"not answered: {mail.why_kind}")
    if not joined.new and (case := take_answer(tx, mail, joined.thread_id)) is not None:
        return _End(DeliveryState.RECORDED, f"a colleague's answer, brought into {case}")
    if not joined.new:
        approvals.new_message(tx, joined.thread_id, mail.delivery_id)
    match addressee(mail):
        case Hold(reason):
            # Whom nobody could answer, nobody needs to let in.
            if mail.mail_from is not None and len(mail.content.from_) == 1:
                if held_mail.let_in(tx, mail.delivery_id):
                    threads.set_ready(tx, joined.thread_id)
                    return _End(DeliveryState.ROUTED, f"a person let it in, though {reason}")
                held_mail.hold(tx, services, mail, agent_id, joined.thread_id, reason)
            return _End(DeliveryState.HELD, reason)
        case AskPerson(reason):
            people.hand_over(tx, services, mail, agent_id, reason)
            return _End(DeliveryState.HANDED_TO_A_PERSON, reason)
        case MayAnswer(_, why):
            threads.set_ready(tx, joined.thread_id)
            return _End(DeliveryState.ROUTED, f"waits for the agent: {why}")


def write_message(tx: Transaction, mail: Mail, ours: Mapping[str, str | None]) -> str:
    """Keep what was read of a mail; `ours` are its `agent_id` and `thread_id`."""
    content = mail.content
    author = content.from_[0] if content.from_ else None
    message_id = new_id("msg")
    tx.insert(
        messages,
        {
            "id": message_id,
            "delivery_id": mail.delivery_id,
            "recipient": mail.recipient,
            "message_id": content.message_id,
            "content_sha256": content.content_sha256,
            "from_address": author.address[:320] if author else "",
            "from_name": author.name if author else "",
            "subject": content.subject,
            "written": content.written,
            "kind": mail.kind,
            "why_kind": mail.why_kind,
            "content": to_json(content),
            "authentication": to_json(mail.authentication),
            "at": mail.received_at,
            **ours,
        },
    )
    tx.insert(
        attachments,
        *(
            {
                "id": new_id("att"),
                "owner_id": message_id,
                "part": one.part,
                "filename": one.filename,
                "content_type": one.content_type,
                "size_bytes": one.size_bytes,
                "sha256": one.sha256,
                "content_id": one.content_id,
            }
            for one in content.attachments
        ),
    )
    if (agent_id := ours["agent_id"]) is not None:
        sender = (author.name, author.address) if author else ()
        mail_search.add(tx, message_id, agent_id, content.subject, *sender, content.written)
    return message_id


_TWIN = (
    select(messages.c.delivery_id)
    .join(deliveries, deliveries.c.id == messages.c.delivery_id)
    .where(
        deliveries.c.state != DeliveryState.DUPLICATE,
        messages.c.message_id == bindparam("message_id"),
        func.lower(messages.c.recipient) == bindparam("recipient"),
        messages.c.content_sha256 == bindparam("content_sha256"),
        messages.c.delivery_id != bindparam("delivery"),
        messages.c.at >= bindparam("since"),
    )
    .limit(1)
)


def _same_mail(tx: Transaction, mail: Mail) -> str | None:
    """Another delivery of the same recipient, Message-ID and content within a day.

    One that ended as a duplicate itself is none: else a mail that is driven again would end as the
    copy of its own copy.
    """
    if mail.content.message_id is None:
        return None
    found: str | None = tx.value(_TWIN, _twin_of(mail))
    return found


def _twin_of(mail: Mail) -> Mapping[str, object]:
    return {
        "message_id": mail.content.message_id,
        "recipient": mail.recipient.lower(),
        "content_sha256": mail.content.content_sha256,
        "delivery": mail.delivery_id,
        "since": mail.received_at - _SAME_MAIL_WITHIN,
    }


_OF_RAW = select(deliveries.c.id, deliveries.c.recipient, deliveries.c.thread_id).where(
    deliveries.c.raw_id == bindparam("raw"),
    deliveries.c.agent_id == bindparam("agent"),
    deliveries.c.id != bindparam("delivery"),
    deliveries.c.thread_id.is_not(None),
)


def _same_raw(tx: Transaction, row: AnyRow, agent_id: str) -> AnyRow | None:
    """The delivery of the very same message that this agent has already, by another address."""
    return tx.row(_OF_RAW, _raw_of(row, agent_id))


def _raw_of(row: AnyRow, agent_id: str) -> Mapping[str, object]:
    return {"raw": row.raw_id, "agent": agent_id, "delivery": row.id}


def _in_words(mail: Mail) -> str:
    evidence = mail.authentication
    if evidence.judged_by == "nobody":
        return (
            "local test, authentication not judged; "
            "a real sender would be held to DMARC before any answer"
        )
    dkim: Sequence[str] = [f"{one.result} ({one.domain})" for one in evidence.dkim] or ["none"]
    arc = evidence.arc
    sealed = f", ARC {arc.result} ({', '.join(arc.sealers) or arc.reason})" if arc else ""
    why = f" ({evidence.dmarc.reason})" if evidence.dmarc.aligned_by == "arc" else ""
    return (
        f"SPF {evidence.spf.result}, DKIM {', '.join(dkim)}{sealed}, DMARC {evidence.dmarc.result} "
        f"for {evidence.dmarc.domain or 'no domain'}{why}, judged by {evidence.judged_by}"
    )
