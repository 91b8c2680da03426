"""Nodes that are forked from a process which has imported everything: ready in a fraction of it.

A node is killed and started again at each of dozens of steps, and most of a start is imports. What
is forked is the node's own program, a process of its own that dies alone.

    with Nest() as nest:
        node = NestNode(nest, folder, url, …)
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from bench.node import ROOT, Node, main

__all__ = ["Nest", "NestNode"]


class _Hatched:
    """A node's process, which is the nest's child and not ours."""

    def __init__(self, pid: int, stdout: IO[bytes]) -> None:
        self.pid = pid
        self.stdout: IO[bytes] | None = stdout
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return 0

    def send_signal(self, sig: int) -> None:
        try:
            signal.pidfd_send_signal(self._pidfd, sig)
        except ProcessLookupError:
            return  # it has ended by itself

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self) -> None:
        if self.stdout is not None:
            self.stdout.close()
            self.stdout = None
            os.close(self._pidfd)

    def _ended(self, timeout: float | None) -> bool:
        return bool(select.select([self._pidfd], [], [], timeout)[0])


class Nest:
    """The process from which nodes are forked."""

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nest"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def hatch(self, given: str, log: Path, said: Path) -> _Hatched:
        """Fork a node that is `given` this, writes its log, and says its port into a FIFO."""
        said.unlink(missing_ok=True)
        os.mkfifo(said)
        wish = json.dumps({"given": given, "log": str(log), "said": str(said)})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{wish}\n")
            self._process.stdin.flush()
            pid = int(self._process.stdout.readline())
        return _Hatched(pid, said.open("rb"))


class NestNode(Node):
    """A node that a nest forks."""

    def __init__(self, nest: Nest, folder: Path, url: str, **options: Any) -> None:
        super().__init__(folder, url, **options)
        self._nest = nest

    def _launch(self, given: str) -> _Hatched:
        return self._nest.hatch(given, self.log, self.log.with_name("said"))


# --- inside the nest --------------------------------------------------------------------------


_IMPORTED = ("backend.app", "backend.installation", "anthropic")
"""What a node imports when it starts, and when its agent is first asked."""


def _main() -> None:
    for module in _IMPORTED:
        importlib.import_module(module)
    # Whoever ends is forgotten; and it is our end, not that of what we are told, that ends nodes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    living, held = os.pipe()
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(held)
        os.dup2(living, 0)
        log = os.open(wish["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 2)
        os.dup2(os.open(wish["said"], os.O_WRONLY), 1)
        sys.argv[1:] = [wish["given"]]
        main()
        os._exit(0)


if __name__ == "__main__":
    _main()
