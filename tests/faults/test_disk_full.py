"""The disk of SQLite is full: mail is told to come later, and once there is room all goes on."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from bench.node import Node, furnish
from tests.databases import SqliteDatabases
from tests.faults.evidence import Evidence, judge
from tests.faults.peers import SinkProcess, Writers
from tests.faults.report import LONG, Report

ROUNDS = 10 if LONG else 1
SETTLE_SECONDS = 180
_MIB = 1024 * 1024


class Room(Protocol):
    """The room that a database has, and that a test can take away."""

    name: str
    folder: Path

    def fill(self, node: Node) -> None: ...
    def free(self, node: Node) -> None: ...


class SmallDisk:
    """A file system of its own in memory: what is full there is full as on a disk (ENOSPC).

    Twice the 128 MiB that SQLite's log may grow to while writers leave its checkpoints no pause.
    """

    name = "a file system of 256 MiB was filled"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, node: Node) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(_MIB)) == _MIB:
                    pass
            except OSError:
                return  # full to the last byte

    def free(self, node: Node) -> None:
        self._ballast.unlink()


class FileLimit:
    """No file of the node's process may grow (EFBIG): where this user may not mount."""

    name = "the node's files could not grow, because this user may not mount a small disk"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, node: Node) -> None:
        largest = max(file.stat().st_size for file in self.folder.glob("*.sqlite*"))
        self._limit(node, largest)

    def free(self, node: Node) -> None:
        self._limit(node, resource.RLIM_INFINITY)

    def _limit(self, node: Node, size: int) -> None:
        _, most = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (size, most))


@contextmanager
def small_room(folder: Path) -> Iterator[Room]:
    """A small disk if this user may make one, else files that cannot grow."""
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    small = ("-t", "tmpfs", "-o", "size=256m,mode=700", "tmpfs", str(folder))
    if os.geteuid() != 0 or not mount or not unmount or subprocess.run([mount, *small]).returncode:
        yield FileLimit(folder)
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run([unmount, "--lazy", str(folder)], check=True)


@pytest.mark.timeout(900 if LONG else 300)
def test_on_a_full_disk_mail_is_told_to_come_later_and_goes_on_when_there_is_room(
    sqlite_databases: SqliteDatabases, tmp_path: Path, faults: Report
) -> None:
    with (
        faults.scenario("the disk is full", "sqlite") as entry,
        small_room(tmp_path / "disk") as room,
        SinkProcess(tmp_path / "taken.log") as sink,
    ):
        url = sqlite_databases.create(room.folder)
        database = Path(url.removeprefix("sqlite:///"))
        furnish(url)
        evidence = Evidence(url)
        with Node(tmp_path, url, relay_port=sink.port) as node:
            with Writers(node.port, threads=3) as writers:
                for _ in range(ROUNDS):
                    writers.wait_for(10, SETTLE_SECONDS)
                    room.fill(node)
                    some_refused(evidence, writers)
                    room.free(node)
                    writers.wait_for(10, SETTLE_SECONDS)
                # Its log is still moved into the file, from time to time.
                before = database.stat().st_mtime_ns
                evidence.wait_until(lambda: database.stat().st_mtime_ns > before, SETTLE_SECONDS)
            evidence.wait_until_settled(SETTLE_SECONDS)
            assert node.alive
            assert set(writers.refusals) <= {451, 452}
            told = f"{room.name}; 451 given {writers.refusals[451]} times"
            verdict = judge(evidence, writers.acknowledged, sink.log)
            entry.concludes(verdict, told, rounds=ROUNDS)


def some_refused(evidence: Evidence, writers: Writers) -> None:
    """Wait until mail is no longer taken."""
    awaited = writers.refusals.total() + 20
    evidence.wait_until(lambda: writers.refusals.total() >= awaited, SETTLE_SECONDS)
