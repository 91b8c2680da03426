"""Does it stay as quick with a million mails in the database as with a thousand?

    python -m bench.scale [--quick] [--database sqlite|postgresql] [--report FILE]

Fills one database of each size in bulk with mails of 0.7 kB and all their rows (`bench.filling`;
half of them in one inbox), then times what workers, people and monitors ask, the sizes in turn, so
that a disturbance meets all of them: p10, p50 and p99 in ms through our own functions, and the
ratio of p10, which neighbours disturb least, to the smallest size. Aim: at most 2, and lists within
50 ms at p99. Accepting is measured through the group commit, in mails a second. --quick stops at
100,000; a million takes 11 GB on SQLite and 14 on PostgreSQL (the tests' own server, fsync off),
deleted in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url, select, update

from backend import health
from backend.inboxes import listing
from backend.inboxes.filtering import Filter
from backend.inboxes.story import story
from backend.inboxes.words import Status
from backend.interpreter import settle
from backend.outbound import listing as outbound
from backend.paging import Window
from bench import filling
from bench.filling import House
from bench.report import Report
from mailagent.flow.accept import GroupAcceptor
from mailagent.flow.directory import Place
from mailagent.flow.read import READING_QUEUE
from mailagent.flow.services import FlowSettings
from mailagent.flow.states import DeliveryState
from mailagent.flow.think import THINKING
from mailagent.inbound import Accepted, Envelope, Inbound, Origin
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets, new_id
from mailagent.work import claim, claim_fairly
from tests.databases import DATABASES, PostgresServer

SIZES = (1_000, 100_000, 1_000_000)
FLAT = 2.0
LIST_MS = 50.0
ACCEPTING_SECONDS = 0.7
_FEW = Window(5)
"""What is rare is asked for five at a time: the smallest database holds no more of it."""


class _Undo(Exception):
    pass


@dataclass
class Filled:
    """One database of one size."""

    size: int
    url: str
    house: House
    store: Store
    bytes_a_mail: float
    ids: list[str] = field(default_factory=list)
    """Of answered deliveries of the large inbox, at random."""
    message_ids: list[str] = field(default_factory=list)
    middle: datetime = filling.NEVER
    """When the mail in the middle of the year was received."""
    accepted: list[float] = field(default_factory=list)

    @property
    def large(self) -> tuple[str, str]:
        """The inbox with every other mail."""
        return self.house.agents[0]

    @property
    def small(self) -> tuple[str, str]:
        """One of the many others."""
        return self.house.agents[-1]


Ask = Callable[[Filled, int], object]


def read(of: Filled, workspace_id: str | None, ask: Callable[..., Any], *args: Any) -> Any:
    return of.store.read_now(workspace_id, ask, *args)


def _undone(tx: Transaction, take: Callable[..., Any], *args: Any, **more: Any) -> None:
    if not take(tx, *args, **more):
        raise SystemExit("there was nothing to claim")
    raise _Undo


def _claims(of: Filled, take: Callable[..., Any], *args: Any, **more: Any) -> None:
    try:
        of.store.write_now(None, _undone, take, *args, **more)
    except _Undo:
        return


def _deep(of: Filled) -> Window:
    """The page that begins in the middle of the large inbox."""
    key = json.dumps([of.middle.isoformat(), "dlv_"])
    return Window(50, base64.urlsafe_b64encode(key.encode()).decode())


def _inbox(of: Filled, which: Mapping[str, Any], window: Window, *, small: bool = False) -> Any:
    workspace_id, agent_id = of.small if small else of.large
    return read(of, workspace_id, listing.listing, Filter(agent_id, **which), window)


def _workspace(of: Filled, which: Mapping[str, Any], window: Window) -> Any:
    return read(of, of.large[0], listing.listing, Filter(**which), window)


def _search(of: Filled, words: str, window: Window) -> Any:
    workspace_id, agent_id = of.large
    return read(of, workspace_id, listing.search, Filter(agent_id), words, window)


def _sent(of: Filled, which: Mapping[str, Any], window: Window) -> Any:
    return read(of, of.large[0], outbound.listing, outbound.Filter(**which), window)


HANDED = DeliveryState.HANDED_TO_A_PERSON
WORD = filling.VOCABULARY.words
CAP = FlowSettings("d", "h", "u").turns_at_once_per_workspace
ASKS: dict[str, Ask] = {
    "claim of 10 to read": lambda of, _: _claims(of, claim, READING_QUEUE, 10),
    "fair claim of 20 to think": lambda of, _: _claims(of, claim_fairly, THINKING, 20, cap=CAP),
    "inbox, first page": lambda of, _: _inbox(of, {}, Window()),
    "inbox, page in the middle": lambda of, _: _inbox(of, {}, _deep(of)),
    "inbox of a small agent": lambda of, _: _inbox(of, {}, _FEW, small=True),
    "inbox, state answered": lambda of, _: _inbox(of, {"state": DeliveryState.ANSWERED}, Window()),
    "inbox, state handed to a person": lambda of, _: _inbox(of, {"state": HANDED}, _FEW),
    "inbox, state failed (none)": lambda of, _: _inbox(
        of, {"state": DeliveryState.FAILED}, Window()
    ),
    "inbox, status escalated": lambda of, _: _inbox(of, {"status": Status.ESCALATED}, _FEW),
    "inbox, status responded": lambda of, _: _inbox(of, {"status": Status.RESPONDED}, Window()),
    "inbox, since half a year": lambda of, _: _inbox(of, {"since": of.middle}, Window()),
    "workspace, first page": lambda of, _: _workspace(of, {}, Window()),
    "workspace, state handed to a person": lambda of, _: _workspace(of, {"state": HANDED}, _FEW),
    "search, a word of every second mail": lambda of, _: _search(of, WORD[8], Window()),
    "search, a rare word": lambda of, _: _search(of, WORD[700], _FEW),
    "search, two words": lambda of, _: _search(of, f"{WORD[3]} {WORD[300]}", _FEW),
    "search, nothing found": lambda of, _: _search(of, f"{WORD[3]} nosuchword", Window()),
    "trace by id": lambda of, n: read(of, None, story, of.ids[n % len(of.ids)]),
    "trace by Message-ID": lambda of, n: read(of, None, story, of.message_ids[n % len(of.ids)]),
    "sent, first page": lambda of, _: _sent(of, {}, Window()),
    "sent, state refused (none)": lambda of, _: _sent(of, {"state": "refused"}, Window()),
    "sent, purpose person (none)": lambda of, _: _sent(of, {"purpose": "person"}, Window()),
    "counts of health and metrics": lambda of, _: read(of, None, health.count),
}
LISTS = ("inbox", "workspace", "search", "sent")


class _OnePlace:
    """Leads every address to one agent."""

    def __init__(self, workspace_id: str, agent_id: str) -> None:
        self._place = Place("agent", workspace_id, agent_id)

    def locate(self, address: str) -> Place:
        return self._place


async def accepting(of: Filled, seconds: float) -> float:
    """Mails a second made durable, 50 senders at a time."""
    secrets = Secrets(["a key of benchmarks, never of an installation"])
    acceptor = GroupAcceptor(of.store, _OnePlace(*of.small), secrets, on_accepted=lambda: None)
    raw = b"Subject: scale\r\n\r\n" + b"So it goes, and so it went, and so it will go.\r\n" * 13
    done = 0

    async def sender(end: float) -> None:
        nonlocal done
        while time.monotonic() < end:
            origin = Origin(datetime.now(UTC), client_ip="127.0.0.1", helo="client.bench.test")
            envelope = Envelope("s@client.bench.test", ("a@scale.test",))
            inbound = Inbound(envelope, raw, "smtp", new_id("x")[2:], origin)
            (outcome,) = await acceptor.accept([inbound])
            if not isinstance(outcome, Accepted):
                raise SystemExit(f"not accepted: {outcome}")
            done += 1

    begin = time.monotonic()
    try:
        await asyncio.gather(*(sender(begin + seconds) for _ in range(50)))
    finally:
        await acceptor.close()
    return done / (time.monotonic() - begin)


def open_work(of: Filled) -> None:
    """Leave `filling.OPEN` mails to read and as many threads to think about."""

    def leave(tx: Transaction) -> None:
        newest = tx.rows(
            select(t.deliveries.c.id, t.deliveries.c.thread_id)
            .where(t.deliveries.c.thread_id.is_not(None))
            .order_by(t.deliveries.c.id.desc())
            .limit(2 * filling.OPEN)
        )
        ready, accepted = newest[: filling.OPEN], newest[filling.OPEN :]
        for rows, state in ((ready, "routed"), (accepted, "accepted")):
            ids = [row.id for row in rows]
            tx.execute(update(t.deliveries).where(t.deliveries.c.id.in_(ids)).values(state=state))
        threads = [row.thread_id for row in ready]
        tx.execute(update(t.threads).where(t.threads.c.id.in_(threads)).values(ready=True))
        of.middle = tx.value(
            select(t.deliveries.c.received_at)
            .where(t.deliveries.c.received_at >= tx.now - timedelta(days=182))
            .order_by(t.deliveries.c.received_at)
            .limit(1)
        )
        answered = tx.rows(
            select(t.deliveries.c.id, t.messages.c.message_id)
            .join(t.messages, t.messages.c.delivery_id == t.deliveries.c.id)
            .where(t.deliveries.c.state == "answered")
            .limit(500)
        )
        for row in random.Random(1).sample(list(answered), 100):
            of.ids.append(row.id)
            of.message_ids.append(row.message_id)

    of.store.write_now(None, leave)


@dataclass(frozen=True, slots=True)
class Times:
    """How long one question took, in ms."""

    p10: float
    p50: float
    p99: float

    @classmethod
    def of(cls, taken: Sequence[float]) -> Times:
        cuts = statistics.quantiles(taken, n=100)
        return cls(cuts[9], cuts[49], cuts[98])

    def __str__(self) -> str:
        return f"{self.p10:.2f} / {self.p50:.2f} / {self.p99:.1f}"


def timed(databases: Sequence[Filled], *, seconds: float) -> dict[str, dict[int, Times]]:
    """What each question took at each size."""
    found: dict[str, dict[int, Times]] = {}
    for name, ask in ASKS.items():
        taken: dict[int, list[float]] = {of.size: [] for of in databases}
        for of in databases:
            ask(of, 0)
        number, end = 0, time.monotonic() + seconds
        while time.monotonic() < end or number < 20:
            for of in databases:
                begin = time.perf_counter()
                ask(of, number)
                taken[of.size].append((time.perf_counter() - begin) * 1000)
            number += 1
        found[name] = {size: Times.of(times) for size, times in taken.items()}
    return found


@contextmanager
def addresses(kind: str, folder: Path, sizes: Sequence[int]) -> Iterator[dict[int, str]]:
    """An empty database for each size, gone in the end."""
    if kind == "sqlite":
        yield {size: f"sqlite:///{folder / f'{size}.db'}" for size in sizes}
        return
    server = PostgresServer()
    try:
        server.start()
        urls = {}
        with psycopg.connect(server.url, autocommit=True) as connection:
            for size in sizes:
                connection.execute(f"CREATE DATABASE scale_{size}".encode())
                made = make_url(server.url).set(database=f"scale_{size}")
                urls[size] = made.render_as_string(hide_password=False)
        yield urls
    finally:
        server.remove()


def bytes_kept(url: str) -> int:
    """How much disk a database takes."""
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).stat().st_size
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return int(row[0])


def measure(kind: str, sizes: Sequence[int], folder: Path, *, seconds: float) -> list[str]:
    """Fill, ask, accept; the lines of one database's table."""
    kinds = filling.stories(folder)
    with addresses(kind, folder, sizes) as urls:
        databases = []
        for size, url in urls.items():
            house = filling.furnished(url)
            empty, begin = bytes_kept(url), time.monotonic()
            filling.fill(url, house, kinds, range(1, size + 1), size)
            print(f"{kind}, {size:,} filled in {time.monotonic() - begin:.0f} s", flush=True)
            disk = (bytes_kept(url) - empty) / size
            databases.append(Filled(size, url, house, Store(url), disk))
        try:
            for of in databases:
                open_work(of)
            settle()
            asked = timed(databases, seconds=seconds)
            for _ in range(5):
                for of in databases:
                    of.accepted.append(asyncio.run(accepting(of, ACCEPTING_SECONDS)))
        finally:
            for of in databases:
                of.store.close()
    return table(kind, databases, asked)


def table(
    kind: str, databases: Sequence[Filled], asked: Mapping[str, Mapping[int, Times]]
) -> list[str]:
    """One database's results as Markdown."""
    sizes = [of.size for of in databases]
    smallest, largest = sizes[0], sizes[-1]
    head = " | ".join(f"{size:,}" for size in sizes)
    lines = [
        f"## {kind}",
        "",
        f"p10 / p50 / p99 in ms | {head} | ratio of p10 | ",
        " | ".join(["---"] * (len(sizes) + 3)),
    ]
    for name, found in asked.items():
        ratio = found[largest].p10 / found[smallest].p10
        slow = name.startswith(LISTS) and found[largest].p99 > LIST_MS
        missed = [word for word, so in (("not flat", ratio > FLAT), ("p99", slow)) if so]
        cells = " | ".join(map(str, found.values()))
        lines.append(f"{name} | {cells} | {ratio:.2f} | {', '.join(missed)}")
    rates = [statistics.median(of.accepted) for of in databases]
    ratio = rates[0] / rates[-1]
    cells = " | ".join(f"{rate:,.0f}" for rate in rates)
    verdict = "not flat" if ratio > FLAT else ""
    lines.append(f"mails accepted a second | {cells} | {ratio:.2f} | {verdict}")
    cells = " | ".join(f"{of.bytes_a_mail / 1000:.1f}" for of in databases)
    ratio = databases[-1].bytes_a_mail / databases[0].bytes_a_mail
    lines.append(f"kB of disk a mail (0.7 kB raw) | {cells} | {ratio:.2f} | ")
    return [*(f"| {line} |" if "|" in line else line for line in lines), ""]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="up to 100,000 mails")
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    parser.add_argument("--sizes", type=int, nargs="+", help="instead of the usual ones")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each question")
    parser.add_argument("--report", type=Path, help="write the tables there, as Markdown")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    sizes = chosen.sizes or (SIZES[:2] if chosen.quick else SIZES)
    with Report("Size", "bench.scale", chosen.report) as report:
        for kind in chosen.database or DATABASES:
            with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
                report.add(measure(kind, sizes, Path(name), seconds=chosen.seconds))


if __name__ == "__main__":
    main()
