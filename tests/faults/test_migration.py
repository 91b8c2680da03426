"""A database with mail in it is migrated while mail arrives: no acknowledged mail is lost.

The first version's door is played by its statements, as they were: they may not follow the tables
of today. It goes on beside the migration and after it, as in a rolling upgrade.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, column, create_engine, insert, table, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import NullType, TypeEngine

from bench.node import AGENT, DOCUMENT, DOMAIN, ROOT, SECRET_KEY, UNCAPPED, Node
from mailagent.store import documents
from mailagent.store.engine import Store, driver_url
from mailagent.store.migrations import is_current, upgrade_within
from mailagent.store.tables import workspaces
from mailagent.store.types import Json, Moment
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, mail
from tests.faults.report import LONG, Report

FIRST = "0001"
BEFORE, MEANWHILE, AFTER = (50, 20, 20) if LONG else (10, 3, 3)
SETTLE_SECONDS = 180


@pytest.mark.timeout(300)
def test_mail_of_before_and_during_a_migration_is_answered_after_it(
    some_empty_database_url: str, tmp_path: Path, faults: Report
) -> None:
    url = some_empty_database_url
    evidence = Evidence(url)
    furnish_as_first_version(url)
    door = FirstVersionsDoor(url)
    with (
        faults.scenario("migration while mail arrives", url.partition(":")[0]) as entry,
        SinkProcess(tmp_path / "taken.log") as sink,
        door,
    ):
        door.wait_for(evidence, BEFORE)
        assert not is_current(url)
        migrate(url, tmp_path)
        assert is_current(url)
        door.wait_for(evidence, MEANWHILE)
        let_it_answer(url)
        with Node(tmp_path, url, relay_port=sink.port):
            door.wait_for(evidence, AFTER)
            door.stop()
            evidence.wait_until_settled(SETTLE_SECONDS)
            verdict = judge(evidence, door.acknowledged, sink.log)
            entry.concludes(verdict, f"{door.refused} mails were told to come later")


def migrate(url: str, folder: Path) -> None:
    """`mailagent migrate`, as an operator runs it."""
    environment = {
        "DATABASE_URL": url,
        "MAILAGENT_DATA": str(folder),
        "MAILAGENT_SECRET_KEY": SECRET_KEY,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "backend.cli", "migrate"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=120)


def let_it_answer(url: str) -> None:
    """What the agent answers from, and as often as mail comes: limits of a day are younger."""
    store = Store(url)
    try:
        store.write_now("wsp_1", documents.add, "opening-hours.md", DOCUMENT)
        uncapped = update(workspaces).values(settings=UNCAPPED)
        store.write_now("wsp_1", lambda tx: tx.execute(uncapped).rowcount)
    finally:
        store.close()


class FirstVersionsDoor:
    """Puts a mail after the other into the first version's tables; each is said yes to or not."""

    def __init__(self, url: str) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.refused = 0
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for(self, evidence: Evidence, more: int) -> None:
        """Until so many more mails are acknowledged."""
        awaited = len(self.acknowledged) + more
        evidence.wait_until(lambda: len(self.acknowledged) >= awaited, SETTLE_SECONDS)

    def _accept(self) -> None:
        engine = create_engine(driver_url(self._url))
        number = 0
        while not self._stop.wait(0.2):
            sender = f"old-{number}@writer.example"
            try:
                with engine.begin() as connection:
                    accept_as_first_version(connection, number, sender)
            except OperationalError:
                self.refused += 1  # a lock that lasts too long: 451, and the same mail again
            else:
                self.acknowledged[sender] = mail(sender)
                number += 1
        engine.dispose()


def furnish_as_first_version(url: str) -> None:
    """The first version's tables, with one workspace and its agent."""
    now = datetime.now(UTC)
    ours = {"workspace_id": "wsp_1", "created_at": now}
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        upgrade_within(connection, FIRST)
        connection.commit()
        put(connection, "workspaces", id="wsp_1", slug="demo", name="Demo", settings={},
            created_at=now)  # fmt: skip
        put(connection, "agents", **ours, id="agt_1", handle="hello", name="Hello",
            processor="builtin", instructions="", email_enabled=True, settings={})  # fmt: skip
        put(connection, "addresses", **ours, id="adr_1", agent_id="agt_1", local_part="hello",
            domain=f"demo.{DOMAIN}", alias=False)  # fmt: skip
        connection.commit()
    engine.dispose()


def accept_as_first_version(connection: Connection, number: int, sender: str) -> None:
    """One mail, as the first version's door made it durable."""
    now, raw = datetime.now(UTC), mail(sender)
    put(connection, "raw_messages", id=f"raw_{number}", workspace_id="wsp_1", sha256="",
        size_bytes=len(raw), received_at=now, content=raw)  # fmt: skip
    origin: dict[str, Any] = {
        "received_at": now.isoformat(), "client_ip": "127.0.0.1", "helo": "writer.example",
        "tls": None, "authenticated_as": None, "parameters": {}, "recipient_parameters": {},
        "provider_verdicts": {}, "body_format": "raw",
    }  # fmt: skip
    put(connection, "deliveries", id=f"dlv_{number}", workspace_id="wsp_1", raw_id=f"raw_{number}",
        source="smtp", source_id=f"src_{number}", recipient=AGENT, mail_from=sender,
        origin=origin, place="agent", agent_id="agt_1", received_at=now, state="accepted",
        not_before=now)  # fmt: skip


def put(connection: Connection, into: str, /, **values: Any) -> None:
    """Insert a row into the columns that are named, and no other."""
    columns = [column(key, _type(value)) for key, value in values.items()]
    connection.execute(insert(table(into, *columns)).values(values))


def _type(value: object) -> TypeEngine[Any]:
    match value:
        case datetime():
            return Moment()
        case dict():
            return Json
        case _:
            return NullType()
