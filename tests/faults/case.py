"""A case with everything that must happen once: tools with effects, a yes that is asked, a reply.

A customer to whom we have written before orders something; the agent makes a task (known by its
key), books (known by nothing), sets a follow-up, writes to a supplier, and asks for a yes to its
answer, which its owner gives by mail. `Town` is all that stands around the node: the model, the
task system, the bookings and the relay. It can kill the node at any of the calls that it gets,
after the call has had its effect and before it is answered.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import create_engine, select, update

from bench.node import AGENT, DOMAIN, SECRET_KEY, Node, furnish
from mailagent.authentication import dkim
from mailagent.egress import Egress
from mailagent.flow import agent_secrets, outbox, policies, threads
from mailagent.flow.states import RecipientState
from mailagent.flow.tools import custom
from mailagent.mail import Address
from mailagent.outgoing import Outgoing
from mailagent.store import signing_keys
from mailagent.store import tables as t
from mailagent.store.engine import Store, driver_url
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets, new_id, new_reply_key
from tests.api_server import ApiServer, Reply, Request
from tests.faults.evidence import Evidence
from tests.faults.peers import aside
from tests.model_server import Answer, ModelServer, decide, message, wish
from tests.smtp_sink import Sink, Taken

__all__ = [
    "EVA",
    "ORDER",
    "SETTINGS",
    "WRITER",
    "Town",
    "approval_address",
    "broken",
    "decision",
    "goes_on",
    "let_leases_end",
    "prepare",
    "reply_states",
    "town",
]

WRITER = "ann@writer.example"
EVA = "eva@people.example"
SUPPLIER = "stock@supplier.example"
SETTINGS = {"ANTHROPIC_API_KEY": "key-of-a-test", "MAILAGENT_INTERNAL_HOSTS": "127.0.0.1"}
_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
_KEY = dkim.new_key("rsa2048")
"""The node's first start would take seconds for one of its own."""
_SECRETS = Secrets([SECRET_KEY])
_BEFORE = f"<before@demo.{DOMAIN}>"
ORDER = (
    f"From: {WRITER}\r\nTo: {AGENT}\r\nSubject: My order\r\nMessage-ID: <order@writer.example>\r\n"
    f"In-Reply-To: {_BEFORE}\r\n\r\nPlease order a pump for me.\r\n"
).encode()
_TOOLS = ("create_task", "schedule_follow_up", "send_mail")
_CELLS = {"correspondent": {"changes": "do", "sends": "do"}}


def decision(reply_to: str) -> bytes:
    """Eva's yes."""
    return (
        f"From: {EVA}\r\nTo: {reply_to}\r\nSubject: Re: Approve?\r\n"
        "Message-ID: <yes@people.example>\r\n\r\napprove\r\n"
    ).encode()


# --- what stands before -------------------------------------------------------------------------


def prepare(url: str, far: str) -> None:
    """Put the workspace into a migrated database; the far side's HTTP is at `far`."""
    workspace_id = furnish(url, processor="claude")
    store = Store(url)
    key = signing_keys.StoredKey(DOMAIN, "mailagent1", _KEY.private_pem, _KEY.public_record)
    try:
        store.write_now(None, signing_keys.add, _SECRETS, key)
        store.write_now(workspace_id, _prepare, far)
    finally:
        store.close()


def _prepare(tx: Transaction, far: str) -> None:
    agent_id = tx.value(select(t.agents.c.id))
    settings = {"tools": list(_TOOLS), "task_url": f"{far}/tasks"}
    tx.execute(update(t.agents).values(settings=settings))
    agent_secrets.keep(tx, _SECRETS, agent_id, "tasks", _SECRET)
    custom.add(
        tx,
        _SECRETS,
        Egress(frozenset({"127.0.0.1"})),
        agent_id,
        name="book",
        description="Books a pump; nobody knows a repeated booking.",
        input_schema={"type": "object", "properties": {"what": {"type": "string"}}},
        effect="changes",
        method="POST",
        url=f"{far}/bookings",
    )
    policies.save(tx, _CELLS, author="cli")
    person = {"id": new_id("per"), "email": EVA, "name": "", "created_at": tx.now}
    tx.insert_new(t.people, person, unique=["email"])
    tx.insert(t.memberships, {"person_id": person["id"], "role": "owner"})
    _wrote_before(tx, agent_id)


def _wrote_before(tx: Transaction, agent_id: str) -> None:
    """We wrote to the customer first: that makes them a correspondent."""
    thread_id = new_id("thr")
    row = {"id": thread_id, "agent_id": agent_id, "subject": "Offer", "reply_key": new_reply_key()}
    times = {"created_at": tx.now, "last_at": tx.now, "not_before": tx.now, "ready": False}
    tx.insert(t.threads, {**row, **times})
    offer = Outgoing(_BEFORE, tx.now, Address(AGENT), (Address(WRITER),), "Offer", "A pump?\n")
    envelope = outbox.Envelope("new", "person:eva", agent_id, thread_id)
    outbound_id = outbox.queue(tx, offer, envelope, expiry=timedelta(hours=1))
    threads.participate(tx, thread_id, [WRITER], authenticated=True)
    mine = t.outbound_recipients.c.outbound_id == outbound_id
    tx.execute(update(t.outbound_recipients).where(mine).values(state="delivered"))
    mine = t.outbound_mails.c.id == outbound_id
    tx.execute(update(t.outbound_mails).where(mine).values(state="delivered"))


# --- what stands around -------------------------------------------------------------------------


@dataclass
class Town:
    """The far sides, and what they saw."""

    kill_at: int | None = None
    """At which of the calls the node dies."""
    calls: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    """The key of each request for a task."""
    bookings: int = 0
    mails: list[Taken] = field(default_factory=list)
    node: Node | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def called(self, what: str) -> None:
        """A call has had its effect, and is not answered yet."""
        with self._lock:
            self.calls.append(what)
            if len(self.calls) == self.kill_at and self.node is not None:
                os.kill(self.node.pid, signal.SIGKILL)


class _FarSide(ApiServer):
    """The task system, and bookings."""

    def __init__(self, town: Town) -> None:
        super().__init__()
        self._town = town

    def reply(self, request: Request) -> Reply:
        if request.path == "/tasks":
            self._town.tasks.append(request.headers["webhook-id"])
        else:
            self._town.bookings += 1
        self._town.called(request.path)
        return Reply(200, {"booked": True})


class _Relay(Sink):
    """The relay; a mail that it has taken stays taken, whoever hears of it."""

    town: Town

    def keep(self, mail: Taken) -> None:
        super().keep(mail)
        self.town.mails.append(mail)
        self.town.called(f"mail to {mail.rcpt_to[0]}")


@contextmanager
def town(kill_at: int | None = None) -> Iterator[tuple[Town, Mapping[str, str], str, int]]:
    """The town, the node's settings for it, where its HTTP and its relay's port are."""
    made = Town(kill_at)

    async def model(request: Mapping[str, Any]) -> Answer:
        made.called("model")
        rounds = sum(one["role"] == "assistant" for one in request["messages"])
        return _said(rounds - 1)  # what we wrote before is the assistant's, too

    relay = _Relay()
    relay.town = made
    with ExitStack() as kept:
        asked = kept.enter_context(aside(ModelServer(model)))
        far = kept.enter_context(aside(_FarSide(made)))
        kept.enter_context(aside(relay))
        settings = {**SETTINGS, "ANTHROPIC_BASE_URL": asked.url}
        yield made, settings, far.url, relay.port


def _said(rounds: int) -> Answer:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    wishes = (
        ("create_task", {"title": "Order a pump"}),
        ("book", {"what": "pump"}),
        ("schedule_follow_up", {"at": tomorrow, "note": "Has it come?"}),
        ("send_mail", {"to": [SUPPLIER], "subject": "A pump", "text": "One pump, please."}),
    )
    if rounds < len(wishes):
        name, given = wishes[rounds]
        return message(wish(name, given, number=rounds), stop_reason="tool_use")
    return decide("Your pump is ordered.", action="request_approval", reason="a promise")


# --- what must be so in the end -----------------------------------------------------------------


def let_leases_end(url: str) -> None:
    """What a dead node had in hand is free, as after its lease's six seconds."""
    engine = create_engine(driver_url(url))
    with engine.begin() as connection:
        for table in t.metadata.sorted_tables:
            if "lease_until" in table.c:
                over = datetime.now(UTC) - timedelta(seconds=1)
                held = table.c.claimed_by.is_not(None)
                connection.execute(update(table).where(held).values(lease_until=over))
    engine.dispose()


def broken(evidence: Evidence, seen: Town, died_sending: set[str]) -> list[str]:
    """Each promise that a finished case broke, in words.

    `died_sending` are the recipients (ids) whose hand-over had begun when the node died.
    """
    found: list[str] = []

    def must(so: bool, words: str) -> None:
        if not so:
            found.append(words)

    came = evidence.rows(select(t.deliveries.c.state, t.deliveries.c.reason))
    states = Counter(row.state for row in came)
    must(states["answered"] == 1, f"the order ended as {came}")
    must(states["recorded"] == 1, f"the yes ended as {came}")
    must(set(states) <= {"answered", "recorded", "duplicate"}, f"a mail ended as {came}")

    must(len(set(seen.tasks)) == 1, f"tasks were made under the keys {seen.tasks}")
    calls = {row.name: row for row in evidence.rows(select(t.tool_calls))}
    must(set(calls) == {*_TOOLS, "book"}, f"the calls are {sorted(calls)}")
    must(seen.bookings <= 1, f"{seen.bookings} bookings")
    unsure = calls["book"].state == "unknown"
    must(seen.bookings == 1 or unsure, "no booking, and nobody knows of it")
    must(calls["create_task"].state == "done", f"the task is {calls['create_task'].state}")
    must(len(evidence.rows(select(t.reminders))) == 1, "not just one follow-up")
    must(len(evidence.rows(select(t.turns))) == 1, "not just one turn")

    asked = evidence.rows(select(t.approvals))
    must([row.state for row in asked] == ["approved"], f"approvals: {[r.state for r in asked]}")
    columns = (t.outbound_mails.c[name] for name in ("id", "purpose", "message_id", "subject"))
    wrote = evidence.rows(select(*columns))
    recipients = evidence.rows(select(t.outbound_recipients))
    took = Counter(id_ for one in seen.mails for id_ in [_message_id(one)])
    must(max(took.values(), default=0) <= 1, f"taken twice: {took}")
    purposes = Counter(row.purpose for row in wrote if row.purpose != "notice")
    must(purposes == {"new": 1, "tool": 1, "reply": 1}, f"frozen: {[*map(tuple, wrote)]}")
    notices = [row.subject for row in wrote if row.purpose == "notice"]
    must(sum("Approve" in one for one in notices) == 1, f"Eva was asked once? {notices}")
    # People hear of what nobody knows: once for each.
    ours = {row.id for row in wrote if row.purpose != "notice"}
    lost = sum(one.state == RecipientState.UNKNOWN for one in recipients if one.outbound_id in ours)
    must(len(notices) - 1 == unsure + lost, f"told of {unsure + lost} unknown: {notices}")
    for row in wrote:
        if row.purpose == "new":
            continue
        (to,) = [one for one in recipients if one.outbound_id == row.id]
        what = f"the {row.purpose} to {to.address} is {to.state} ({to.reason})"
        if to.state == RecipientState.UNKNOWN:
            must(to.id in died_sending, f"{what}, though no node died sending it")
        else:
            must(to.state == RecipientState.SENT, what)
            must(took[row.message_id] == 1, f"{what}, and the relay has it {took[row.message_id]}x")
    return found


def _message_id(taken: Taken) -> str:
    lines = taken.content.decode("utf-8", "replace").splitlines()
    return next(one.partition(": ")[2] for one in lines if one.lower().startswith("message-id:"))


def reply_states(evidence: Evidence) -> list[str]:
    """What became of each answer to the customer."""
    statement = (
        select(t.outbound_recipients.c.state)
        .join(t.outbound_mails, t.outbound_mails.c.id == t.outbound_recipients.c.outbound_id)
        .where(t.outbound_mails.c.purpose == "reply")
    )
    return [row.state for row in evidence.rows(statement)]


def goes_on(evidence: Evidence) -> list[Any]:
    """What still goes on by itself, a hand-over that has begun too."""
    sending = t.outbound_recipients.c.state == RecipientState.SENDING
    return [
        *evidence.unsettled(),
        *evidence.rows(select(t.outbound_recipients.c.address).where(sending)),
    ]


def approval_address(evidence: Evidence) -> str | None:
    """The Reply-To of the notice that asks Eva, once an approval waits; None before and after."""
    waits = evidence.rows(select(t.approvals.c.id).where(t.approvals.c.state == "waiting"))
    notices: Sequence[Any] = evidence.rows(
        select(t.outbound_mails.c.outgoing).where(t.outbound_mails.c.subject.like("%Approve%"))
    )
    return notices[0].outgoing["reply_to"][0]["address"] if waits and notices else None
