"""Run the day, and keep what was seen.

Real are the SMTP door, DNS, SPF, DKIM and DMARC, the sandbox, rows, the template's agent with
Claude's SDK, and the relay; played are the senders, the model, the spam filter, and the clock.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import partial
from typing import Any

from mailagent.agents import Turn
from mailagent.agents.claude import Claude
from mailagent.flow import approval_times, chores, reminding
from mailagent.outgoing import Handoff, Reply, Silence
from mailagent.screening import Rspamd
from mailagent.store import tables as t
from mailagent.tokens import new_id
from tests.day.audit import Facts
from tests.day.mind import Mind
from tests.day.post import (
    THERE,
    Happens,
    InThread,
    Post,
    ToNotice,
    ToQuestion,
    ToReturnPath,
)
from tests.day.script import DAY, POSTS, SPAM
from tests.day.senders import ZONE, signed
from tests.day.workspace import cap, facts_of, founded
from tests.flow.house import House, keep_house
from tests.flow.test_bounces import arf, dsn
from tests.front_door import FrontDoor, front_door
from tests.model_server import ModelServer
from tests.rspamd_server import RspamdServer, verdict
from tests.smtp_sink import Taken

__all__ = ["Seen", "TheDay", "run"]

_FAR_OFF = timedelta(minutes=5)
_A_WHILE = timedelta(minutes=2)
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of the script, and what came of it."""

    entry: Post | Happens
    number: int | None
    """Of a mail, as they are counted in the transcript."""
    delivery_id: str | None
    door: str
    """What the door said; empty for what is no mail."""
    taken: tuple[Taken, ...]
    """What the relay took before the next entry."""
    left: tuple[str, ...] = ()
    """The same as `purpose to`."""
    kept: tuple[str, ...] = ()
    """Answers to it that did not leave, because their recipient is suppressed: `purpose to`."""
    state: str = ""
    """In the evening."""
    reason: str = ""
    proven: str = ""


@dataclass(frozen=True, slots=True)
class TheDay:
    """The whole day."""

    seen: Sequence[Seen]
    facts: Facts
    """What stands in rows, and what the relay took."""


async def run(url: str) -> TheDay:
    """Have the day happen on a migrated database."""
    # On a busy machine this takes longer than the first mail is waited for.
    importlib.import_module("anthropic")
    async with RspamdServer() as filter_:
        rspamd = Rspamd(filter_.url, timeout=_FAR_OFF)
        try:
            async with keep_house(url, screener=rspamd) as house, front_door(house) as door:
                return await _Running(house, door, filter_).day()
        finally:
            await rspamd.close()


@dataclass
class _Running:
    house: House
    door: FrontDoor
    filter_: RspamdServer
    mind: Mind = field(default_factory=lambda: Mind(POSTS))
    seen: list[Seen] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)
    """The octets of a mail by its name."""

    async def day(self) -> TheDay:
        self.house.dns.add(ZONE)
        self.space = await founded(self.house)
        clock: timedelta | None = None
        async with ModelServer(self.mind) as model:
            claude = Claude("sk-test", base_url=model.url)

            async def think(turn: Turn) -> Reply | Silence | Handoff:
                return await claude.think(turn, deadline=datetime.now(UTC) + _FAR_OFF)

            self.house._agents.minds[self.agent] = think
            try:
                for number, entry in enumerate(DAY):
                    at = _time(entry.at)
                    if clock is not None and at > clock:
                        await self.house.later(at - clock)
                    clock = at
                    await self._happen(entry, DAY[number + 1 : number + 2])
            finally:
                await claude.close()
        facts = await facts_of(self.space, self.house.sink.taken)
        return TheDay([self._in_the_evening(one, facts) for one in self.seen], facts)

    @property
    def agent(self) -> str:
        return f"support@{self.space.domain}"

    async def _happen(self, entry: Post | Happens, next_: Sequence[Post | Happens]) -> None:
        before = len(self.house.sink.taken)
        if isinstance(entry, Happens):
            if entry.budget is not None:
                await self.space.write(partial(cap, dollars=entry.budget))
            await self._run_chores()
            await self.space.at_rest()
            self._see(entry, None, "", before)
            return
        interrupted = any(isinstance(one, Post) and one.meanwhile for one in next_)
        if interrupted:
            self.mind.go[entry.name] = asyncio.Event()
        delivery_id, said = await self._receive(entry)
        if interrupted:
            async with asyncio.timeout(_PATIENCE):
                await self.mind.asked[entry.name].wait()
        elif entry.meanwhile:
            assert delivery_id is not None
            await self.space.delivery(delivery_id, "routed")
            for event in self.mind.go.values():
                event.set()
        if entry.busy:
            assert delivery_id is not None
            await self._until_put_off(delivery_id)
            await self.house.later(_A_WHILE)
        if not interrupted:
            await self.space.at_rest()
        self._see(entry, delivery_id, said, before)

    def _see(self, entry: Post | Happens, delivery_id: str | None, door: str, before: int) -> None:
        number = None
        if isinstance(entry, Post):
            number = 1 + sum(one.number is not None for one in self.seen)
        taken = tuple(self.house.sink.taken[before:])
        self.seen.append(Seen(entry, number, delivery_id, door, taken))

    async def _run_chores(self) -> None:
        store = self.house.store
        await approval_times.pass_time(self.house.services)
        await store.write_unscoped(reminding.wake_due)
        await store.write_unscoped(chores.release_held)

    async def _until_put_off(self, delivery_id: str) -> None:
        async def look() -> bool:
            return "goes on at" in await self.space.story(delivery_id)

        await self.house.until(look)

    # --- a mail ---------------------------------------------------------------------------------

    async def _receive(self, post: Post) -> tuple[str | None, str]:
        to, raw = await self._written(post)
        known = {row.id for row in await self.space.rows(t.deliveries)}
        mail_from = post.who if post.mail_from == "" else post.mail_from
        ip = post.ip
        if post.relayed:
            # Whoever passes it on keeps the envelope sender, and SPF does not vouch for them.
            ip = "203.0.113.7"
        objects = post.subject == SPAM
        self.filter_.answers = verdict("add header" if objects else "no action", 8.0 * objects)
        said = await self.door.send(raw, to, mail_from=mail_from, ip=ip)
        new = [row.id for row in await self.space.rows(t.deliveries) if row.id not in known]
        return (new[0] if new else None), said

    async def _written(self, post: Post) -> tuple[str, bytes]:
        """The envelope's recipient, and the octets."""
        if post.again:
            return self.agent, self.raw[self._before()]
        headers: dict[str, str] = {}
        match post.to:
            case str(local):
                to = f"{local}@{self.space.domain}"
            case InThread(of):
                to, headers = await self._in_thread(of)
            case ToNotice(of):
                (*_, notice) = await self._mails(of, "notice")
                to = notice["reply_to"][0]["address"]
            case ToQuestion(of):
                to = await self._question(of)
            case ToReturnPath(of, report):
                to, about = await self._return_path(of)
                made = dsn(about["to"][0]["address"], about=about["message_id"])
                if report == "complaint":
                    made = arf("abuse", about["to"][0]["address"], about["message_id"])
                return to, made
        raw = _octets(post, to, {**headers, **post.headers})
        if post.signed and (post.relayed or post.ip == THERE):
            raw = signed(raw, post.who.partition("@")[2])
        self.raw[post.name] = raw
        return to, raw

    def _before(self) -> str:
        entry = self.seen[-1].entry
        assert isinstance(entry, Post)
        return entry.name

    def _delivery(self, name: str) -> str:
        found = (s for s in self.seen if isinstance(s.entry, Post) and s.entry.name == name)
        return str(next(found).delivery_id)

    async def _in_thread(self, of: str) -> tuple[str, dict[str, str]]:
        said = [*await self._mails(of, "reply"), *await self._mails(of, "person")]
        if not said:
            (own,) = await self.space.rows(
                t.messages, t.messages.c.delivery_id == self._delivery(of)
            )
            return self.agent, {"In-Reply-To": own.message_id}
        last = said[-1]
        return last["reply_to"][0]["address"], {"In-Reply-To": last["message_id"]}

    async def _mails(self, of: str, purpose: str) -> list[Any]:
        """What was frozen about a mail, oldest first."""
        table = t.outbound_mails
        rows = await self.space.outbound(
            table.c.answers_delivery_id == self._delivery(of), table.c.purpose == purpose
        )
        return [row.outgoing for row in rows]

    async def _question(self, of: str) -> str:
        (row,) = await self.space.rows(t.deliveries, t.deliveries.c.id == self._delivery(of))
        (asked,) = await self.space.rows(t.questions, t.questions.c.case_thread_id == row.thread_id)
        (mail,) = await self.space.outbound(t.outbound_mails.c.thread_id == asked.thread_id)
        address: str = mail.outgoing["reply_to"][0]["address"]
        return address

    async def _return_path(self, of: str) -> tuple[str, Any]:
        (*_, answer) = await self._mails(of, "reply")
        taken = self.house.taken(answer["to"][0]["address"])
        found = [one for one in taken if answer["message_id"].encode() in one.content]
        return found[0].mail_from, answer

    # --- in the evening -------------------------------------------------------------------------

    def _in_the_evening(self, one: Seen, facts: Facts) -> Seen:
        one = replace(one, left=tuple(sorted(map(facts.told, one.taken))))
        if isinstance(one.entry, Happens):
            return one
        if one.delivery_id is None:
            return replace(one, state="refused", reason=one.door, proven="not asked")
        row = facts.deliveries[one.delivery_id]
        proven = facts.proof_of(one.delivery_id)
        kept = tuple(facts.suppressed(one.delivery_id))
        return replace(one, state=row.state, reason=row.reason, proven=proven, kept=kept)


def _octets(post: Post, to: str, headers: dict[str, str]) -> bytes:
    made = EmailMessage()
    named = {
        "From": post.who,
        "To": to,
        "Subject": post.subject,
        "Message-ID": f"<{new_id('m')}@{post.who.partition('@')[2]}>",
        "Date": "Mon, 30 Nov 2026 08:00:00 +0000",
        **headers,
    }
    for name, value in named.items():
        made[name] = value
    made.set_content(post.text)
    if post.file is not None:
        name, content = post.file
        made.add_attachment(content, filename=name)
    return made.as_bytes().replace(b"\n", b"\r\n")


def _time(at: str) -> timedelta:
    hours, minutes = map(int, at.split(":"))
    return timedelta(hours=hours, minutes=minutes)
