"""How fast is mail answered, from accepted to captured reply, and what does the process cost?

    python -m bench.flow [--quick] [--database sqlite|postgresql]

Runs the whole system as a process (`bench.node`), writes to its SMTP door over several connections
and watches its rows. Prints mails answered a second by the `builtin` agent with a backlog that
never runs dry, the time from 250 to captured reply at rest, memory (PSS of the process tree) and
the time from process start to the SMTP greeting. Ratios in the same run: to the same node when it
only accepts, and to a bare loop that does the least anybody could do (`least_work`). Writers,
watcher and system share the machine. Loopback only; ends within about a minute a database.
"""

from __future__ import annotations

import argparse
import email
import email.message
import email.policy
import os
import platform
import smtplib
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, func, select

from bench.node import AGENT, QUESTION, Node, furnish, memory_mib
from bench.smtp_load import LeanClient, disk
from bench.smtp_targets import cpu_seconds
from mailagent.store.engine import driver_url
from mailagent.store.migrations import upgrade
from mailagent.store.tables import deliveries, outbound_recipients
from tests.databases import DATABASES, PostgresServer

PARTS = ("smtp", "webhooks", "worker", "backend")
CONNECTIONS = 4
BACKLOG = 200
_LONGEST_WAIT = 30.0
_QUOTED = "> Thank you for your order, which we have handed to the carrier this morning.\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    starts: int
    mails_at_rest: int
    seconds: float


QUICK = Plan(starts=1, mails_at_rest=15, seconds=5)
FULL = Plan(starts=3, mails_at_rest=100, seconds=20)


def mail(sender: str) -> bytes:
    """A question of about 2 kB above what it answers, by a writer of its own."""
    return (
        f"From: {sender}\r\nTo: {AGENT}\r\nSubject: opening hours\r\nMessage-ID: <{sender}>\r\n"
        f"\r\n{QUESTION}\r\n\r\nOn Monday the shop wrote:\r\n{_QUOTED * 20}"
    ).encode()


class Rows:
    """The node's database, watched from here."""

    def __init__(self, url: str) -> None:
        engine = create_engine(driver_url(url))
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def accepted(self) -> int:
        """How many mails were acknowledged."""
        statement = select(func.count()).select_from(deliveries)
        return int(self._connection.execute(statement).scalar_one())

    def answered(self) -> int:
        """How many replies were captured."""
        statement = select(func.count()).where(outbound_recipients.c.state == "sent")
        return int(self._connection.execute(statement).scalar_one())

    def close(self) -> None:
        """Let the database be dropped."""
        self._connection.close()
        self._connection.engine.dispose()


@dataclass
class Load:
    """Writers that keep `backlog` mails ahead of what `done` counts."""

    port: int
    backlog: int
    done: int = 0
    sent: list[float] = field(default_factory=list)
    """When each 250 came, `time.monotonic()`."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Write as long as the block runs."""
        self._stop = threading.Event()
        threads = [threading.Thread(target=self._write, args=[n]) for n in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _write(self, connection: int) -> None:
        number = 0
        with LeanClient(self.port) as client:
            while not self._stop.is_set():
                if len(self.sent) - self.done >= self.backlog:
                    self._stop.wait(0.02)
                    continue
                sender = f"load-{connection}-{number}@client.bench.test"
                client.begin(sender, AGENT)
                client.send(mail(sender))
                self.sent.append(time.monotonic())
                number += 1


def seconds_to_reply(port: int, rows: Rows, mails: int) -> list[float]:
    """From the 250 to the captured reply of one mail at a time, the node being idle before."""
    taken = []
    answered = rows.answered()
    for _ in range(mails):
        sender = f"rest-{answered}@client.bench.test"
        with smtplib.SMTP("127.0.0.1", port, "client.bench.test") as client:
            client.sendmail(sender, [AGENT], mail(sender))
            begin = time.monotonic()
            answered += 1
            while rows.answered() < answered:
                if time.monotonic() - begin > _LONGEST_WAIT:
                    raise SystemExit(f"no reply within {_LONGEST_WAIT:.0f} s")
                time.sleep(0.003)
            taken.append(time.monotonic() - begin)
        time.sleep(0.1)
    return taken


@dataclass(frozen=True, slots=True)
class Sustained:
    """A node under a backlog that never runs dry."""

    rate: float
    cpu_ms: float
    memory: float


def sustained(node: Node, rows: Rows, seconds: float) -> Sustained:
    """Answered mails a second, after a second of warming up."""
    load = Load(node.port, BACKLOG)
    before = rows.answered()
    with load.running():
        warm = time.monotonic() + 1
        end = warm + seconds
        begin, first, cpu = 0.0, 0, 0.0
        while (now := time.monotonic()) < end:
            load.done = rows.answered() - before
            if not begin and now >= warm:
                begin, first, cpu = now, load.done, cpu_seconds(node.pid)
            time.sleep(0.1)
        memory = memory_mib(node.pid)
        last, spent = rows.answered() - before, cpu_seconds(node.pid) - cpu
        rate = (last - first) / (time.monotonic() - begin)
    mails = max(last - first, 1)
    return Sustained(rate, spent * 1000 / mails, memory)


def accepted_alone(folder: Path, url: str, seconds: float) -> float:
    """Mails a second that the same node acknowledges when it does nothing else."""
    with Node(folder, url, parts=["smtp"]) as node:
        load = Load(node.port, backlog=10**9)
        with load.running():
            time.sleep(seconds)
        return len(load.sent) / (load.sent[-1] - load.sent[0])


def least_work(folder: Path, seconds: float) -> float:
    """Mails a second of a loop without a door, checks, threads or a story, one commit a mail.

    The standard library parses the mail and writes a reply; SQLite keeps both durably.
    """
    database = sqlite3.connect(folder / "least.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE mail(message_id PRIMARY KEY, raw, reply)")
    number = 0
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        raw = mail(f"least-{number}@client.bench.test")
        read = email.message_from_bytes(raw, policy=email.policy.default)
        reply = email.message.EmailMessage()
        reply["To"], reply["In-Reply-To"] = read["From"], read["Message-ID"]
        reply["Subject"] = f"Re: {read['Subject']}"
        reply.set_content(str(read.get_content()))
        row = (read["Message-ID"], raw, reply.as_bytes())
        database.execute("INSERT INTO mail VALUES (?, ?, ?)", row)
        number += 1
    database.close()
    return number / (time.monotonic() - begin)


def show(name: str, value: str, aim: str = "", *, met: bool | None = None) -> None:
    """Print one line."""
    verdict = {True: "met", False: "MISSED", None: ""}[met]
    print(f"  {name:44}{value:>14}  {aim:16}{verdict}", flush=True)


def measure(url: str, folder: Path, plan: Plan) -> None:
    """Print one database's table."""
    upgrade(url)
    furnish(url)
    starts = []
    for _ in range(plan.starts):
        with Node(folder, url, parts=PARTS) as node:
            starts.append(node.seconds_to_ready)
    ready = statistics.median(starts)
    show("process start to SMTP greeting", f"{ready:.2f} s", "aim 3 s", met=ready <= 3)
    rows = Rows(url)
    with Node(folder, url, parts=PARTS) as node:
        time.sleep(2)
        memory = memory_mib(node.pid)
        (first,) = seconds_to_reply(node.port, rows, 1)
        taken = seconds_to_reply(node.port, rows, plan.mails_at_rest)
        p50, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        loaded = sustained(node, rows, plan.seconds)
    show("memory at rest, PSS of the tree", f"{memory:.0f} MiB", "aim 220 MiB", met=memory <= 220)
    show("memory under load", f"{loaded.memory:.0f} MiB")
    show("250 to captured reply, first mail", f"{first * 1000:.0f} ms")
    show("250 to captured reply at rest, p50", f"{p50 * 1000:.0f} ms", "aim 300 ms", met=p50 <= 0.3)
    show("250 to captured reply at rest, p99", f"{p99 * 1000:.0f} ms")
    rate = loaded.rate
    show("answered, sustained", f"{rate:.0f} mails/s", "aim 100 mails/s", met=rate >= 100)
    show("CPU of the tree", f"{loaded.cpu_ms:.1f} ms/mail")
    rows.close()
    accepted = accepted_alone(folder, url, min(plan.seconds, 5))
    show("the same node, accepting only", f"{accepted:.0f} mails/s", f"ratio {rate / accepted:.3f}")
    least = least_work(folder, min(plan.seconds, 3))
    show("the least anybody could do", f"{least:.0f} mails/s", f"ratio {rate / least:.3f}")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds each")
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    return parser.parse_args()


def main() -> None:
    chosen = options()
    plan = QUICK if chosen.quick else FULL
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
          f"load before {load:.1f}")  # fmt: skip
    for kind in chosen.database or DATABASES:
        with tempfile.TemporaryDirectory(prefix="bench-flow-") as name:
            folder = Path(name)
            rate, p50 = disk(folder, size=2_000, seconds=0.5)
            print(f"\n{kind}; disk, 2 kB append + fdatasync: {rate:.0f} /s, p50 {p50:.2f} ms")
            if kind == "sqlite":
                measure(f"sqlite:///{folder / 'flow.db'}", folder, plan)
                continue
            print("  (the tests' own server: fsync is off)")
            server = PostgresServer()
            try:
                server.start()
                measure(server.url, folder, plan)
            finally:
                server.remove()


if __name__ == "__main__":
    main()
