"""How do the services of the compose files run without an engine?

As processes with the same commands and variables. What an engine would give them is given in its
place: a folder for each mount, a free port of the loopback for each port of a container.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.deploy.compose import Service
from tests.end_to_end.system import free_port

__all__ = ["Stack"]

PORTS = (
    "MAILAGENT_SMTP_PORT",
    "MAILAGENT_SUBMISSION_PORT",
    "MAILAGENT_PORT",
    "BACKEND_PORT",
)
_READY_SECONDS = 60.0
_FROM_HERE = ("PATH", "HOME", "LANG")


@dataclass
class Stack:
    """The services of an installation in `folder`, in which each mount has a folder of its name.

    `program` runs instead of the image's `mailagent`, in `workdir`; `dotenv` is what `.env` says.
    """

    folder: Path
    services: Mapping[str, Service]
    dotenv: Mapping[str, str]
    program: Sequence[str]
    workdir: Path
    path: str = os.environ["PATH"]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[tuple[str, str], int] = field(default_factory=dict)

    def mounts(self, service: str) -> dict[str, Path]:
        """Folders of the container, and what stands for each here."""
        found = {}
        for one in self.services[service].what.get("volumes", []):
            source, target = one.split(":")[:2]
            found[target] = self.folder / Path(source).name
        return found

    def environment(self, service: str) -> dict[str, str]:
        """What the container's processes find in theirs, in terms of this machine."""
        given = {**self.dotenv, **self.services[service].environment}
        for target, here in self.mounts(service).items():
            here.mkdir(parents=True, exist_ok=True)
            for name, value in given.items():
                given[name] = value.replace(f"{target}/", f"{here}/")
                if value == target:
                    given[name] = str(here)
        for name in PORTS:
            given[name] = str(self.ports.setdefault((service, name), free_port()))
        given["MAILAGENT_HOST"] = "127.0.0.1"
        ours = {name: os.environ[name] for name in _FROM_HERE if name in os.environ}
        return {**ours, **given, "PATH": self.path}

    def port(self, service: str, inner: int) -> int:
        """Where the port of a container is here."""
        declared = self.services[service].environment
        (name,) = [one for one in PORTS if declared[one] == str(inner)]
        return self.ports[service, name]

    def run(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command in a container of the service until its end; its own one for none."""
        return subprocess.run(
            [*self.program, *(arguments or self.services[service].command)],
            env=self.environment(service),
            cwd=self.workdir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """The service's own command; what it says is in `<service>.log`."""
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.program, *self.services[service].command],
                env=self.environment(service),
                cwd=self.workdir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running[service] = process
        return process

    def checked(self, service: str, test: Sequence[str]) -> bool:
        """Whether a healthcheck of the container says that it is well."""
        kind, *command, port = test
        assert kind == "CMD"
        done = subprocess.run(
            [*command, str(self.port(service, int(port)))],
            env=self.environment(service),
            cwd=self.workdir,
            check=False,
        )
        return done.returncode == 0

    def wait_until_healthy(self, service: str, test: Sequence[str]) -> float:
        """Seconds until the healthcheck passed. Raises AssertionError with the log."""
        begin = time.monotonic()
        while not self.checked(service, test):
            log = (self.folder / f"{service}.log").read_text()
            assert self.running[service].poll() is None, log
            assert time.monotonic() - begin < _READY_SECONDS, log
        return time.monotonic() - begin

    def kill(self) -> None:
        """SIGKILL to all at once, as when the machine loses its power."""
        for process in self.running.values():
            process.kill()
        self._reap()

    def stop(self) -> dict[str, int]:
        """SIGTERM to all; the exit code of each."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> dict[str, int]:
        codes = {name: process.wait(40) for name, process in self.running.items()}
        self.running.clear()
        return codes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
