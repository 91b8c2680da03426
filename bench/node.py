"""How is the real system run, measured and killed from outside?

    python -m bench.node '{"settings": {"MAILAGENT_DATA": "var", …}, "parts": ["smtp", "worker"]}'

runs the same composition as `mailagent serve --demo` (mail from loopback is trusted and answered)
and prints its SMTP port once it greets. With `die_at` it kills itself, as a power cut would, at the
n-th commit that changes a row after a mail was claimed: odd numbers just before a commit, even
numbers just after one. With 0 it lives, and counts these points in its log.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

import uvloop
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from backend import logs
from mailagent.flow import directory
from mailagent.settings import load
from mailagent.store import documents
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.tokens import new_id

if TYPE_CHECKING:
    from backend.installation import Installation

__all__ = [
    "AGENT",
    "DOCUMENT",
    "DOMAIN",
    "QUESTION",
    "SECRET_KEY",
    "UNCAPPED",
    "Change",
    "Node",
    "Process",
    "descendants",
    "furnish",
    "main",
    "memory_mib",
]

Change = Callable[["Installation", Mapping[str, Any]], "Installation"]
"""Makes another installation of the one that would run, by what was asked for."""

ROOT = Path(__file__).parents[1]
SECRET_KEY = "for-benchmarks-and-fault-runs-never-an-installation"
DOMAIN = "bench.test"
AGENT = f"hello@demo.{DOMAIN}"
QUESTION = "What are your opening hours on Monday?"
DOCUMENT = "# Opening hours\n\nWe are open Monday to Friday from 9 to 17, closed on Saturday."
_NO_CAP = 10**9
_POINT = "commit point"
UNCAPPED: Mapping[str, Any] = {
    "turns_per_workspace_a_day": _NO_CAP,
    "turns_per_sender_a_day": _NO_CAP,
    "limits": {"replies_per_agent_a_day": None},
}
"""A workspace's settings without the limits of a day, which a benchmark would meet in a minute."""


def furnish(url: str, *, processor: str = "builtin") -> str:
    """Put a workspace into a migrated database whose agent answers `QUESTION`; returns its id."""
    store = Store(url)
    try:
        return store.write_now(None, _furnish, processor)
    finally:
        store.close()


def _furnish(tx: Any, processor: str) -> str:
    workspace_id, agent_id = new_id("wsp"), new_id("agt")
    tx.insert(
        t.workspaces,
        {
            "id": workspace_id,
            "slug": "demo",
            "name": "Demo",
            "settings": UNCAPPED,
            "created_at": tx.now,
        },
    )
    inside = tx.of(workspace_id)
    inside.insert(
        t.agents,
        {
            "id": agent_id,
            "handle": "hello",
            "name": "Hello",
            "processor": processor,
            "instructions": "",
            "email_enabled": True,
            "settings": {},
            "created_at": tx.now,
        },
    )
    inside.insert(
        t.addresses,
        {
            "id": new_id("adr"),
            "agent_id": agent_id,
            "local_part": "hello",
            "domain": f"demo.{DOMAIN}",
            "alias": False,
            "created_at": tx.now,
        },
    )
    documents.add(inside, "opening-hours.md", DOCUMENT)
    directory.changed(tx)
    return workspace_id


class Process(Protocol):
    """What a node needs of its process; `subprocess.Popen` is one."""

    pid: int
    stdout: IO[bytes] | None

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...
    def communicate(self) -> object: ...


class Node:
    """One process of the system over a migrated database.

    `settings` are further environment variables. `program` is the module that is run: this one, or
    one that calls `main` with a change of its own, which finds there what is `asked` of it. `tree`
    is the checkout that it runs, for an older version of us.
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        *,
        parts: Sequence[str] = ("smtp", "worker"),
        smtp_port: int = 0,
        relay_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        program: str = "bench.node",
        asked: Mapping[str, Any] | None = None,
        acceptors: int = 1,
        tree: Path = ROOT,
    ) -> None:
        self.log = folder / "node.log"
        self.tree = tree
        self._program, self._asked = program, dict(asked or {})
        self._parts = list(parts)
        self._acceptors = acceptors
        self._settings = {
            "MAILAGENT_DATA": str(folder),
            "MAILAGENT_SECRET_KEY": SECRET_KEY,
            "MAILAGENT_SMTP_PORT": str(smtp_port),
            "MAILAGENT_PORT": "0",
            "MAILAGENT_SUBMISSION_PORT": "0",
            "BACKEND_PORT": "0",
            "DATABASE_URL": database_url,
            "DEFAULT_EMAIL_DOMAIN": DOMAIN,
            "LLM_PROVIDER": "builtin",
        }
        if relay_port is not None:
            self._settings["SMTP_RELAY_URL"] = f"smtp://127.0.0.1:{relay_port}?tls=none"
        self._settings |= settings or {}
        self._process: Process | None = None
        self.port = smtp_port
        self.seconds_to_ready = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The main process; its children are the sandbox's."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, die_at: int | None = None) -> None:
        """Return when the SMTP door greets. Raises RuntimeError with the log when it does not."""
        given = {
            "settings": self._settings,
            "parts": self._parts,
            "acceptors": self._acceptors,
            "die_at": die_at,
            "asked": self._asked,
        }
        begin = time.monotonic()
        self._process = self._launch(json.dumps(given))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            self.kill()
            raise RuntimeError(f"the node did not start:\n{self.log.read_text()[-3000:]}")
        self.seconds_to_ready = time.monotonic() - begin
        self.port = int(line)

    def _launch(self, given: str) -> Process:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", self._program, given],
                cwd=self.tree,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def points(self) -> int:
        """How many commit points a process has come to that was started with `die_at=0`."""
        return self.log.read_text().count(_POINT)

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as an operator does; SIGKILL when 30 seconds do not suffice."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.communicate()
        self._process = None


def memory_mib(pid: int) -> float:
    """The proportional set size of a process and all below it, in MiB.

    The sandbox's processes show theirs to root alone; for others their resident size stands in,
    which counts shared pages twice.
    """
    kib = 0
    for one in (pid, *descendants(pid)):
        try:
            kib += _pss_kib(one)
        except FileNotFoundError:
            continue  # it ended while we looked
    return kib / 1024


def descendants(pid: int) -> list[int]:
    """All processes below one that runs now; Linux only."""
    found: list[int] = []
    todo = [pid]
    while todo:
        one = todo.pop()
        try:
            children = Path(f"/proc/{one}/task").glob("*/children")
            below = [int(child) for file in children for child in file.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found += below
        todo += below
    return found


def _pss_kib(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except PermissionError:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def _environment() -> Mapping[str, str]:
    # An installation keeps its bytecode: without, half of a start would be compiling.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


# --- inside the process -----------------------------------------------------------------------


def _die_at(engine: Engine, number: int) -> None:
    """Kill this process at a numbered point of its commits, told by the engine's own events."""
    points = itertools.count(1)
    armed = False

    def point() -> None:
        if next(points) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 0:
            print(_POINT, file=sys.stderr, flush=True)

    @event.listens_for(engine, "after_cursor_execute")
    def _changed(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        nonlocal armed
        if statement.startswith(("INSERT", "UPDATE", "DELETE")) and cursor.rowcount > 0:
            armed = armed or statement.startswith("UPDATE deliveries")
            connection.info["changed"] = armed

    @event.listens_for(engine, "commit")
    def _committing(connection: Connection) -> None:
        if connection.info.get("changed"):
            point()

    @event.listens_for(engine, "checkin")
    def _committed(_: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        if entry.info.pop("changed", False):
            point()


async def _run(given: Mapping[str, Any], change: Change | None) -> None:
    from backend.interpreter import settle, starting

    with starting():
        from backend import app
        from backend.installation import installation

    settings = load(given["settings"], env_file=None)
    stop = asyncio.Event()
    app.stop_on_signals(stop, lambda: None)
    # Nobody writes there: it ends when who started us has gone, and then so do we.
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    async with installation(settings, demo=True) as shared:
        if change is not None:
            shared = change(shared, given["asked"])
        if given["die_at"] is not None:
            _die_at(shared.services.store.engine, given["die_at"])
        async with app.serving(
            shared, given["parts"], host="127.0.0.1", stop=stop, acceptors=given["acceptors"]
        ) as serving:
            settle()
            print(serving.smtp_port, flush=True)
            await stop.wait()


def main(change: Change | None = None) -> None:
    """Run the node that the command line describes until SIGTERM."""
    logs.configure(level=logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(json.loads(sys.argv[1]), change))


if __name__ == "__main__":
    main()
