"""Processes take turns at a SQLite file; the lock of each here stands for a process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from mailagent.store.process_lock import ProcessLock
from mailagent.store.write_lock import WriteLock

_DEADLINE = 10.0
_HOLDER = """
import sys, pathlib
from mailagent.store.process_lock import ProcessLock
print(ProcessLock(pathlib.Path(sys.argv[1])).take(), flush=True)
sys.stdin.read()
"""


def test_who_waits_is_next_however_soon_the_writer_comes_back(tmp_path: Path) -> None:
    here, there = (ProcessLock(tmp_path / "mail.db") for _ in range(2))
    had_its_turn = threading.Event()

    def take_a_turn() -> None:
        there.wait()
        had_its_turn.set()

    assert here.take()
    assert not here.wanted
    waiting = threading.Thread(target=take_a_turn)
    waiting.start()
    while not here.wanted:
        threading.Event().wait(0.001)
    here.give()
    assert not here.take()
    assert had_its_turn.wait(_DEADLINE)
    waiting.join(_DEADLINE)
    assert not here.take()
    there.give()
    assert here.take()
    for lock in (here, there):
        lock.close()


def test_the_turn_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "mail.db")
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / "mail.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        assert not lock.take()
        holder.kill()
    assert lock.take()
    lock.close()


def test_a_process_that_froze_in_its_turn_stops_nobody_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "mail.db"
    frozen, patient = ProcessLock(file), ProcessLock(file, patience_seconds=0.01)
    assert frozen.take()
    with WriteLock(patient).hold():
        assert not patient.take()  # it went on without its turn, to SQLite's own lock
    for lock in (frozen, patient):
        lock.close()
