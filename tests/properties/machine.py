"""Everything that may happen to an installation, in any order.

Each rule is one thing that a sender, a customer's server, a person, a worker, a crash or the clock
does. Hypothesis chooses; after each step and at rest the promises are checked. No rule has a
precondition: ids are random and order some rows, and what is drawn must not depend on that.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select
from structlog.testing import capture_logs

from backend.inboxes import handling
from backend.outbound import deciding, suppressions, writing
from mailagent.errors import Conflict, NotFound
from mailagent.flow import answers
from mailagent.inbound import Accepted, Duplicate
from mailagent.mail import Address
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import renew
from tests.properties.fate import Fate
from tests.properties.house import QUEUES, Asleep, InHand, QuietHouse, Space
from tests.properties.letters import REPORTS, SENDERS, Letter, follow_up, letter, report
from tests.properties.outside import AGENTS, FAR_SIDES, mark

__all__ = ["Installation"]

T = TypeVar("T")

_PERSON = "person:owner"
_STORY = ("read", "think", "send")
_WAITS = tuple(map(timedelta, (0, 0, 0, 0, 1, 4), (1, 9, 40, 4_000, 0, 0)))
_HEADERS = {
    "": "",
    "is of one part": "Content-Type: text/plain\r\n",
    "from a machine": "Auto-Submitted: auto-replied\r\n",
    "answers go elsewhere": "Reply-To: else@elsewhere.example\r\n",
    "has many parts and no end": "Content-Type: multipart/mixed; boundary=x\r\n",
}
_ANY = st.integers(0, 10_000)
"""Picks one of a list that is known when the rule runs; 0 picks the newest."""

_stops = st.none() | st.integers(0, 5) | st.integers(0, 9)
_mostly = st.sampled_from((True, True, True, False))
_senders = st.sampled_from(("ann", "ann", "ben", *SENDERS))
_spaces = st.integers(0, 1)


class Installation(RuleBasedStateMachine):
    """Two workspaces, their writers, their people and their workers."""

    def __init__(self, url: str, counted: Counter[str]) -> None:
        super().__init__()
        self._counted, self._begun = counted, False
        self._runner = asyncio.Runner()
        self._logs = capture_logs()
        self._logs.__enter__()
        self.house: QuietHouse = self._run(
            QuietHouse.found(url, at_once=1 + counted["installations"] % 3)
        )
        counted["installations"] += 1
        self.letters: list[Letter] = []
        self.in_hand: list[InHand] = []
        self.asleep: list[Asleep] = []

    # --- the outside world -------------------------------------------------------------------

    @rule(
        space=_spaces,
        sender=_senders,
        to=st.lists(st.sampled_from(("hello", "hi", "desk", "postmaster")), min_size=1, max_size=3),
        also_elsewhere=st.sampled_from((False, False, True)),
        header=st.sampled_from(tuple(_HEADERS)),
    )
    def a_mail_comes(
        self, space: int, sender: str, to: list[str], also_elsewhere: bool, header: str
    ) -> None:
        here, there = self._spaces(space)
        recipients = tuple(dict.fromkeys(here.at(one) for one in to))
        text = f"A question to {mark(here.slug)}"
        if also_elsewhere:
            recipients, text = (*recipients, there.at("hello")), "A question to many"
        self._come(letter(self._number, sender, recipients, text, header=_HEADERS[header]))

    @rule(which=_ANY, as_new=st.booleans())
    def a_mail_comes_again(self, which: int, as_new: bool) -> None:
        """The yes was not heard: a webhook repeats its id, an SMTP transaction is a new one."""
        if not self.letters:
            return
        before = _pick(self.letters, which)
        if as_new or before.source == "smtp":
            self._come(Letter(before.raw, before.to, before.mail_from, before.ip,
                              f"again-{self._number}", "smtp"))  # fmt: skip
        else:
            assert isinstance(self._hand_in(before), Duplicate)

    @rule(which=_ANY, sender=st.sampled_from((None, None, *SENDERS)))
    def somebody_adds_something(self, which: int, sender: str | None) -> None:
        """The writer (None) or another, to a mail that perhaps is being read or thought about."""
        if not self.letters:
            return
        self._come(follow_up(self._number, _pick(self.letters, which), sender))

    @rule(
        which=_ANY,
        sender=_senders,
        by_token=st.booleans(),
        to_the_other=st.sampled_from((False, False, True)),
    )
    def somebody_answers(self, which: int, sender: str, by_token: bool, to_the_other: bool) -> None:
        """By our reply address or our Message-ID; perhaps to whom it is no business of."""
        if not self.house.far.offered:
            return
        of = _pick(self.house.far.offered, which)
        mail = self._row(select(t.outbound_mails).where(
            t.outbound_mails.c.message_id == of.outgoing.message_id))  # fmt: skip
        spaces = self.house.spaces
        here = spaces[0] if mail.workspace_id == spaces[0].id else spaces[1]
        there = spaces[1] if here is spaces[0] else spaces[0]
        local = of.outgoing.from_.address.partition("@")[0]
        if by_token and of.outgoing.reply_to:
            local = of.outgoing.reply_to[0].address.partition("@")[0]
        at = there if to_the_other else here
        text = f"An answer to {mark(at.slug)}"
        answers = None if by_token else mail
        self._come(letter(self._number, sender, (at.at(local),), text, answers=answers))

    @rule(which=_ANY, says=st.sampled_from(REPORTS), by_return_path=st.sampled_from((True, False)))
    def a_report_comes(self, which: int, says: str, by_return_path: bool) -> None:
        """About a mail that was offered, perhaps before its worker has recorded that."""
        if not self.house.far.offered:
            return
        of = _pick(self.house.far.offered, which)
        to = None if by_return_path else of.outgoing.from_.address
        self._come(report(self._number, of, says, to=to))

    # --- workers and time ----------------------------------------------------------------------

    @rule(stops_at=_stops, dns_answers=_mostly, reader_lives=_mostly)
    def a_mail_is_read(self, stops_at: int | None, dns_answers: bool, reader_lives: bool) -> None:
        fate = Fate(stops_at, dns_answers=dns_answers, reader_dies=not reader_lives)
        self._work_next("read", fate)

    @rule(stops_at=_stops, agent=st.sampled_from(AGENTS))
    def a_turn_is_thought(self, stops_at: int | None, agent: str) -> None:
        self._work_next("think", Fate(stops_at, agent=agent))

    @rule(stops_at=_stops, far_side=st.sampled_from(FAR_SIDES))
    def a_mail_is_sent(self, stops_at: int | None, far_side: str) -> None:
        self._work_next("send", Fate(stops_at, far_side=far_side))

    @rule(queue=st.sampled_from(tuple(QUEUES)))
    def all_is_worked_well(self, queue: str) -> None:
        for one in self._run(self.house.claim(queue, most=20)):
            self._work(one, Fate())

    @rule(queue=st.sampled_from(tuple(QUEUES)), most=st.integers(1, 3), rescue=st.booleans())
    def a_worker_takes_rows(self, queue: str, most: int, rescue: bool) -> None:
        self.in_hand += self._run(self.house.claim(queue, most=most, rescue=rescue))

    @rule(which=_ANY, stops_at=_stops, agent=st.sampled_from(AGENTS),
          far_side=st.sampled_from(FAR_SIDES))  # fmt: skip
    def a_worker_begins(self, which: int, stops_at: int | None, agent: str, far_side: str) -> None:
        """In any order, and perhaps long after its lease has run out."""
        if not self.in_hand:
            return
        one = _pick(self.in_hand, which)
        self.in_hand.remove(one)
        self._work(one, Fate(stops_at, agent=agent, far_side=far_side))

    @rule()
    def leases_are_renewed(self) -> None:
        for queue in {one.queue for one in self.in_hand}:
            claims = [one.claim for one in self.in_hand if one.queue == queue]
            self._run(self.house.store.write_unscoped(renew, QUEUES[queue], claims))

    @rule(which=_ANY)
    def a_frozen_worker_wakes(self, which: int) -> None:
        if not self.asleep:
            return
        one = _pick(self.asleep, which)
        self.asleep.remove(one)
        self._run(self.house.wake(one))

    @rule()
    def all_processes_die(self) -> None:
        for one in self.asleep:
            self._run(one.frozen.die())
        self.asleep.clear()
        self.in_hand.clear()

    @rule(wait=st.sampled_from(_WAITS))
    def time_passes(self, wait: timedelta) -> None:
        self._run(self.house.later(wait))

    # --- people --------------------------------------------------------------------------------

    @rule(
        space=_spaces,
        to=st.lists(st.sampled_from(("ann", "ben", "cleo", "dan")), min_size=1, max_size=3),
    )
    def a_person_writes(self, space: int, to: list[str]) -> None:
        here, _ = self._spaces(space)
        people = tuple(Address(f"{one}@customer.example") for one in dict.fromkeys(to))
        draft = writing.Draft(people, "News", f"We have moved. {mark(here.slug)}\n")

        def write(tx: Transaction) -> None:
            agent_id = tx.value(select(t.agents.c.id).order_by(t.agents.c.id))
            writing.write(tx, self.house.services, agent_id, draft, author=_PERSON)

        self._decide(here.id, write)

    @rule(which=_ANY)
    def a_person_cancels(self, which: int) -> None:
        queued = select(t.outbound_mails).where(t.outbound_mails.c.state == "queued")
        if mail := self._pick_row(queued, which):
            self._decide(mail.workspace_id, deciding.cancel, mail.id, actor=_PERSON)

    @rule(which=_ANY, sent=st.booleans())
    def a_person_decides_what_is_unknown(self, which: int, sent: bool) -> None:
        table = t.outbound_recipients
        unknown = self._pick_row(select(table).where(table.c.state == "unknown"), which)
        if unknown is None:
            return
        if sent:
            self._decide(unknown.workspace_id, deciding.declare_sent, unknown.id, actor=_PERSON)
        elif self._decide(unknown.workspace_id, deciding.send_again, unknown.id, actor=_PERSON,
                          expiry=timedelta(hours=72)):  # fmt: skip
            self.house.far.permit(unknown.id)

    @rule(which=_ANY)
    def a_person_answers(self, which: int) -> None:
        if delivery := self._pick_row(select(t.deliveries), which):
            slug = next(one.slug for one in self.house.spaces if one.id == delivery.workspace_id)
            self._decide(delivery.workspace_id, answers.answer, self.house.services, delivery.id,
                         f"I see to it. {mark(slug)}", author=_PERSON)  # fmt: skip

    @rule(which=_ANY)
    def a_person_drives_a_mail_again(self, which: int) -> None:
        if delivery := self._pick_row(select(t.deliveries), which):
            self._decide(delivery.workspace_id, handling.replay, delivery.id, actor=_PERSON)

    @rule(space=_spaces, who=st.sampled_from(("ann", "ben", "cleo")), lift=st.booleans())
    def a_person_stops_mail_to_somebody(self, space: int, who: str, lift: bool) -> None:
        here, _ = self._spaces(space)
        address = f"{who}@customer.example"
        if lift:
            self._decide(here.id, suppressions.remove, address, actor=_PERSON)
        else:
            self._decide(here.id, suppressions.add, address, detail="", actor=_PERSON)

    # --- what must hold --------------------------------------------------------------------------

    @invariant()
    def every_promise_is_kept(self) -> None:
        self._run(self.house.check())
        self._counted.update(steps=self._begun)
        self._begun = True

    def teardown(self) -> None:
        try:
            self._end()
        finally:
            self._runner.close()
            self.house.close()
            self._logs.__exit__(None, None, None)

    # --- how -----------------------------------------------------------------------------------

    def _end(self) -> None:
        """Half of the frozen processes die; the others wake when their work was done by others."""
        asleep = self.asleep[1::2]
        for one in self.asleep[::2]:
            self._run(one.frozen.die())
        self._run(self.house.come_to_rest())
        for one in asleep:
            self._run(self.house.wake(one))
            self._run(self.house.check())
        self._run(self.house.come_to_rest())
        self._run(self.house.check_at_rest())

    @property
    def _number(self) -> int:
        return len(self.letters)

    def _spaces(self, space: int) -> tuple[Space, Space]:
        return self.house.spaces[space], self.house.spaces[1 - space]

    def _run(self, what: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await what

        return self._runner.run(awaited())

    def _come(self, one: Letter) -> None:
        self.letters.append(one)
        assert isinstance(self._hand_in(one), Accepted)

    def _hand_in(self, one: Letter) -> object:
        return self._run(
            self.house.accept(
                one.raw,
                one.to,
                mail_from=one.mail_from,
                ip=one.ip,
                source=one.source,
                source_id=one.source_id,
            )
        )

    def _work_next(self, queue: str, fate: Fate) -> None:
        """One row: that of a dead worker, else the longest due; if need be what leads to one."""
        for before in (*_STORY[: _STORY.index(queue)], None):
            claim = self.house.claim
            if due := self._run(claim(queue, rescue=True)) or self._run(claim(queue)):
                self._work(due[0], fate)
                return
            if before is not None:
                self.all_is_worked_well(before)

    def _work(self, one: InHand, fate: Fate) -> None:
        asleep = self._run(self.house.work(one, fate))
        if asleep is not None:
            self.asleep.append(asleep)

    def _decide(
        self, workspace_id: str, what: Callable[..., Any], *args: Any, **named: Any
    ) -> bool:
        """Do what a person wishes; whether it was possible."""
        try:
            self._run(self.house.store.write(workspace_id, what, *args, **named))
        except (Conflict, NotFound):
            return False
        return True

    def _row(self, statement: Any) -> AnyRow:
        (row,) = self._run(self.house.rows(statement))
        return row

    def _pick_row(self, statement: Any, which: int) -> AnyRow | None:
        rows = self._run(self.house.rows(statement.order_by(statement.selected_columns.id)))
        return _pick(rows, which) if rows else None


def _pick(of: Sequence[T], which: int) -> T:
    return of[-1 - which % len(of)]
