"""Everything that may happen to an installation, in any order.

Each step is one thing that a sender, a customer's server, a person, a worker, a crash or the clock
does. A story is drawn whole, by weight, before it is told: of our steps most must be work, or
little happens. After each step and at rest the promises are checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as st
from sqlalchemy import select

from backend.inboxes import handling
from backend.outbound import deciding, suppressions, writing
from mailagent.errors import Conflict, NotFound
from mailagent.flow import answers, approval_edits, approvals
from mailagent.inbound import Accepted, Duplicate
from mailagent.mail import Address
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.work import renew
from tests.properties.fate import Fate
from tests.properties.house import QUEUES, Asleep, InHand, QuietHouse, Space
from tests.properties.letters import REPORTS, SENDERS, Letter, follow_up, letter, report
from tests.properties.outside import AGENTS, FAR_SIDES, mark

__all__ = ["Happening", "Installation", "Story", "stories"]

T = TypeVar("T")

_NOTHING = "nothing_happens"
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
Draw = Callable[[Random], Any]
"""Draws one argument of a step."""
_STEPS: dict[str, tuple[int, Mapping[str, Draw]]] = {}


def _step(weight: int, **draws: Draw) -> Callable[[T], T]:
    """Mark a method as a step that is taken `weight` times as often as one of weight 1."""

    def mark_as_step(method: T) -> T:
        _STEPS[method.__name__] = (weight, draws)  # type: ignore[attr-defined]
        return method

    return mark_as_step


def _one_of(*values: Any) -> Draw:
    return lambda chance: chance.choice(values)


def _some_of(*values: Any) -> Draw:
    return lambda chance: [chance.choice(values) for _ in range(chance.randint(1, 3))]


def _any(chance: Random) -> int:
    """Picks one of a list that is known when the step is taken, of the newest ones more often."""
    return min(chance.randrange(40), chance.randrange(40))


_stops = _one_of(None, None, None, *range(6), *range(4))
_mostly = _one_of(True, True, True, False)
_senders = _one_of("ann", "ann", "ann", "ben", "a forger of ann", "nobody knows whom")
_agents = _one_of("replies", "replies", "asks first", "asks first", *AGENTS)
_far_sides = _one_of("takes", "takes", "takes", *FAR_SIDES)
_space = _one_of(0, 1)


@dataclass(frozen=True, slots=True)
class Happening:
    """One step with what was drawn for it."""

    name: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to one installation; `at_once` recipients fit one hand-over."""

    at_once: int
    happenings: tuple[Happening, ...]

    def __str__(self) -> str:
        told = (str(one) for one in self.happenings if one.name != _NOTHING)
        return "\n".join((f"at_once={self.at_once}", *told))


def stories(length: int) -> st.SearchStrategy[Story]:
    """Stories of so many steps; one that breaks a promise shrinks to the few that matter."""
    steps = st.randoms(use_true_random=False).map(_happening)
    happenings = st.lists(steps, min_size=length, max_size=length).map(tuple)
    return st.builds(Story, st.integers(1, 3), happenings)


def _happening(chance: Random) -> Happening:
    name = chance.choice(_WEIGHTED)
    return Happening(name, {one: draw(chance) for one, draw in _STEPS[name][1].items()})


class Installation:
    """Two workspaces, their writers, their people and their workers."""

    def __init__(self, url: str, *, at_once: int) -> None:
        self.letters: list[Letter] = []
        self.in_hand: list[InHand] = []
        self.asleep: list[Asleep] = []
        self._runner = asyncio.Runner()
        self.house: QuietHouse = self._run(QuietHouse.found(url, at_once=at_once))

    def take(self, step: Happening) -> None:
        """Take one step. Raises AssertionError naming every promise that is broken then."""
        getattr(self, step.name)(**step.arguments)
        self._run(self.house.check())

    def end(self) -> None:
        """Come to rest and be judged. Half of the frozen processes die; the others wake when their
        work was done by others.
        """
        asleep = self.asleep[1::2]
        for one in self.asleep[::2]:
            self._run(one.frozen.die())
        self._run(self.house.come_to_rest())
        for one in asleep:
            self._run(self.house.wake(one))
            self._run(self.house.check())
        self._run(self.house.come_to_rest())
        self._run(self.house.check_at_rest())

    def close(self) -> None:
        """Give back what was opened."""
        self._run(self.house.close())
        self._runner.close()

    @_step(1)
    def nothing_happens(self) -> None:
        """What a step shrinks to that does not matter, so it is the first of all."""

    # --- the outside world -------------------------------------------------------------------

    @_step(
        6,
        space=_space,
        sender=_senders,
        to=_some_of("hello", "hi", "desk", "postmaster"),
        also_elsewhere=_one_of(False, False, True),
        header=_one_of(*_HEADERS),
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

    @_step(2, which=_any, as_new=_one_of(False, True))
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

    @_step(4, which=_any, sender=_one_of(None, None, *SENDERS))
    def somebody_adds_something(self, which: int, sender: str | None) -> None:
        """The writer (None) or another, to a mail that perhaps is being read or thought about."""
        if not self.letters:
            return
        self._come(follow_up(self._number, _pick(self.letters, which), sender))

    @_step(
        4,
        which=_any,
        sender=_senders,
        by_token=_one_of(False, True),
        to_the_other=_one_of(False, False, True),
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

    @_step(4, which=_any, says=_one_of(*REPORTS), by_return_path=_one_of(True, False))
    def a_report_comes(self, which: int, says: str, by_return_path: bool) -> None:
        """About a mail that was offered, perhaps before its worker has recorded that."""
        if not self.house.far.offered:
            return
        of = _pick(self.house.far.offered, which)
        to = None if by_return_path else of.outgoing.from_.address
        self._come(report(self._number, of, says, to=to))

    # --- workers and time ----------------------------------------------------------------------

    @_step(8, stops_at=_stops, dns_answers=_mostly, reader_lives=_mostly)
    def a_mail_is_read(self, stops_at: int | None, dns_answers: bool, reader_lives: bool) -> None:
        fate = Fate(stops_at, dns_answers=dns_answers, reader_dies=not reader_lives)
        self._work_next("read", fate)

    @_step(8, stops_at=_stops, agent=_agents)
    def a_turn_is_thought(self, stops_at: int | None, agent: str) -> None:
        self._work_next("think", Fate(stops_at, agent=agent))

    @_step(10, stops_at=_stops, far_side=_far_sides)
    def a_mail_is_sent(self, stops_at: int | None, far_side: str) -> None:
        self._work_next("send", Fate(stops_at, far_side=far_side))

    @_step(2, queue=_one_of(*QUEUES))
    def all_is_worked_well(self, queue: str) -> None:
        for one in self._run(self.house.claim(queue, most=20)):
            self._work(one, Fate())

    @_step(3, queue=_one_of(*QUEUES), most=_one_of(1, 2, 3), rescue=_one_of(False, True))
    def a_worker_takes_rows(self, queue: str, most: int, rescue: bool) -> None:
        self.in_hand += self._run(self.house.claim(queue, most=most, rescue=rescue))

    @_step(4, which=_any, stops_at=_stops, agent=_agents, far_side=_far_sides)
    def a_worker_begins(self, which: int, stops_at: int | None, agent: str, far_side: str) -> None:
        """In any order, and perhaps long after its lease has run out."""
        if not self.in_hand:
            return
        one = _pick(self.in_hand, which)
        self.in_hand.remove(one)
        self._work(one, Fate(stops_at, agent=agent, far_side=far_side))

    @_step(1)
    def leases_are_renewed(self) -> None:
        for queue in {one.queue for one in self.in_hand}:
            claims = [one.claim for one in self.in_hand if one.queue == queue]
            self._run(self.house.store.write_unscoped(renew, QUEUES[queue], claims))

    @_step(5, which=_any)
    def a_frozen_worker_wakes(self, which: int) -> None:
        if not self.asleep:
            return
        one = _pick(self.asleep, which)
        self.asleep.remove(one)
        self._run(self.house.wake(one))

    @_step(1)
    def all_processes_die(self) -> None:
        for one in self.asleep:
            self._run(one.frozen.die())
        self.asleep.clear()
        self.in_hand.clear()

    @_step(6, wait=_one_of(*_WAITS))
    def time_passes(self, wait: timedelta) -> None:
        self._run(self.house.later(wait))

    # --- people --------------------------------------------------------------------------------

    @_step(3, space=_space, to=_some_of("ann", "ben", "cleo", "dan"))
    def a_person_writes(self, space: int, to: list[str]) -> None:
        here, _ = self._spaces(space)
        people = tuple(Address(f"{one}@customer.example") for one in dict.fromkeys(to))
        draft = writing.Draft(people, "News", f"We have moved. {mark(here.slug)}\n")

        def write(tx: Transaction) -> None:
            agent_id = tx.value(select(t.agents.c.id).order_by(t.agents.c.id))
            writing.write(tx, self.house.services, agent_id, draft, author=_PERSON)

        self._decide(here.id, write)

    @_step(2, which=_any)
    def a_person_cancels(self, which: int) -> None:
        queued = select(t.outbound_mails).where(t.outbound_mails.c.state == "queued")
        if mail := self._pick_row(queued, which):
            self._decide(mail.workspace_id, deciding.cancel, mail.id, actor=_PERSON)

    @_step(3, which=_any, sent=_one_of(False, True))
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

    @_step(2, which=_any)
    def a_person_answers(self, which: int) -> None:
        if delivery := self._pick_row(select(t.deliveries), which):
            slug = next(one.slug for one in self.house.spaces if one.id == delivery.workspace_id)
            self._decide(delivery.workspace_id, answers.answer, self.house.services, delivery.id,
                         f"I see to it. {mark(slug)}", author=_PERSON)  # fmt: skip

    @_step(4, which=_any, how=_one_of("approves", "approves", "rejects", "changes"))
    def a_person_decides_about_what_waits(self, which: int, how: str) -> None:
        """A draft, or a mail before its agent; perhaps one that waits no longer."""
        one = self._pick_row(select(t.approvals), which)
        if one is None:
            return
        here, services = one.workspace_id, self.house.services
        if how == "approves":
            self._decide(here, approvals.approve, services, one.id, actor=_PERSON)
        elif how == "rejects":
            self._decide(here, approvals.reject, one.id, actor=_PERSON)
        elif one.outgoing is not None:
            text = f"{one.outgoing['text']}Changed.\n"
            changes = approval_edits.Changes(text=text)
            given = (services, one.id, changes)
            self._decide(here, approval_edits.edit, *given, actor=_PERSON, widening=len)

    @_step(2, which=_any)
    def a_person_drives_a_mail_again(self, which: int) -> None:
        if delivery := self._pick_row(select(t.deliveries), which):
            self._decide(delivery.workspace_id, handling.replay, delivery.id, actor=_PERSON)

    @_step(2, space=_space, who=_one_of("ann", "ben", "cleo"), lift=_one_of(False, True))
    def a_person_stops_mail_to_somebody(self, space: int, who: str, lift: bool) -> None:
        here, _ = self._spaces(space)
        address = f"{who}@customer.example"
        if lift:
            self._decide(here.id, suppressions.remove, address, actor=_PERSON)
        else:
            self._decide(here.id, suppressions.add, address, detail="", actor=_PERSON)

    # --- how -----------------------------------------------------------------------------------

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


_WEIGHTED = [name for name, (weight, _) in _STEPS.items() for _ in range(weight)]
