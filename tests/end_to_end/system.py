"""A running `mailagent serve` and its command line, as a person has them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.smtp_targets import free_port

__all__ = ["System", "free_port", "running"]

_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class System:
    """Where a running system listens; `command` runs `mailagent …` on its data."""

    environment: dict[str, str]
    smtp_port: int
    backend_port: int
    webhooks_port: int
    submission_port: int
    process: subprocess.Popen[bytes]
    output: Path

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Standard output of one command that must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "backend.cli", *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def result(self, *arguments: str) -> Any:
        """What a command says as JSON."""
        return json.loads(self.command(*arguments, "--json"))

    def shown(self) -> str:
        """What the process has printed."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def running(folder: Path, *arguments: str, **settings: str) -> Iterator[System]:
    """`mailagent serve` with these arguments, until its first page answers; stopped at the end."""
    ports = [free_port() for _ in range(4)]
    environment = {
        **{k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")},
        "MAILAGENT_DATA": str(folder / "data"),
        "MAILAGENT_SMTP_PORT": str(ports[0]),
        "BACKEND_PORT": str(ports[1]),
        "MAILAGENT_PORT": str(ports[2]),
        "MAILAGENT_SUBMISSION_PORT": str(ports[3]),
        **settings,
    }
    output = folder / "output.txt"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "serve", *arguments],
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    system = System(environment, ports[0], ports[1], ports[2], ports[3], process, output)
    try:
        _wait_until_listening(system, ports[1])
        yield system
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_listening(system: System, port: int) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end:
        assert system.process.poll() is None, system.shown()
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"not ready in {_READY_SECONDS} s:\n{system.shown()}")
