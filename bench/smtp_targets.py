"""Which servers are measured, and what do they cost? Each is started, emptied and stopped here."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["Given", "PostfixHold", "Served", "Target", "cpu_seconds", "free_port"]

_TICKS = os.sysconf("SC_CLK_TCK")


class Target:
    """A server on loopback and the process whose tree is its cost."""

    name: str
    port: int
    pid: int

    def start(self) -> None:
        """Return when it answers."""

    def empty(self) -> None:
        """Drop the mails of a cell, so that they do not weigh on the next."""

    def stop(self) -> None:
        """End it and remove what it kept."""


class Given(Target):
    """A server that runs already, e.g. `mailagent serve`: NAME=HOST:PORT@PID, loopback only."""

    def __init__(self, spec: str) -> None:
        self.name, _, place = spec.partition("=")
        address, _, pid = place.partition("@")
        host, _, port = address.rpartition(":")
        if host not in {"127.0.0.1", "localhost"} or not port.isdigit() or not pid.isdigit():
            raise SystemExit(f"--target {spec}: wanted NAME=127.0.0.1:PORT@PID")
        self.port, self.pid = int(port), int(pid)

    def start(self) -> None:
        wait_for(self.port)


class Served(Target):
    """One of `bench.smtp_servers` in a process of its own."""

    def __init__(self, name: str, kind: str, folder: Path) -> None:
        self.name, self._kind, self._folder = name, kind, folder / kind

    def start(self) -> None:
        self._folder.mkdir(parents=True)
        command = [sys.executable, "-m", "bench.smtp_servers", self._kind, "--folder"]
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([*command, str(self._folder)], text=True, **quiet)  # type: ignore[call-overload]
        self.pid = self._process.pid
        # The door logs a line before the port is printed.
        for line in self._process.stdout:
            if line.strip().isdigit():
                self.port = int(line)
                return
        raise SystemExit(f"{self.name} did not start")

    def empty(self) -> None:
        self._process.send_signal(signal.SIGUSR1)
        wait_for(self.port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()


_MAIN_CF = """compatibility_level = 3.6
queue_directory = {top}/queue
data_directory = {top}/data
maillog_file = {top}/maillog
maillog_file_prefixes = {top}
myhostname = mx.bench.test
mydestination =
local_recipient_maps =
alias_maps =
relay_domains = bench.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
smtpd_peername_lookup = no
default_process_limit = 250
in_flow_delay = 0
message_size_limit = 33554432
smtpd_client_restrictions = check_client_access static:HOLD
"""
_MASTER_CF = """{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class PostfixHold(Target):
    """A private Postfix that puts each mail into its hold queue: durable, and no more.

    Tuned in its favour: no DNS, no inflow delay, 250 processes.
    """

    name = "postfix-hold"

    def __init__(self, folder: Path, port: int) -> None:
        self.port, self._top = port, folder / "postfix"

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be measured here, or None."""
        if shutil.which("postfix", path="/usr/sbin:/usr/bin") is None:
            return "Postfix is not installed (apt-get install postfix)"
        return None if os.geteuid() == 0 else "Postfix needs root"

    def start(self) -> None:
        etc = self._top / "etc"
        for folder in (etc, self._top / "queue", self._top / "data"):
            folder.mkdir(parents=True)
        shutil.chown(self._top / "data", "postfix", "postfix")
        (etc / "main.cf").write_text(_MAIN_CF.format(top=self._top))
        (etc / "master.cf").write_text(_MASTER_CF.format(port=self.port))
        self._run("start")
        wait_for(self.port)
        self.pid = int((self._top / "queue/pid/master.pid").read_text())

    def _run(self, verb: str) -> None:
        command = ["/usr/sbin/postfix", "-c", str(self._top / "etc"), verb]
        quiet = subprocess.DEVNULL
        subprocess.run(command, check=True, timeout=30, stdout=quiet, stderr=quiet)

    def empty(self) -> None:
        # Moved away, not deleted: freeing thousands of files slows the file system for a minute.
        hold = self._top / "queue/hold"
        state = hold.stat()
        hold.rename(self._top / f"emptied-{time.time_ns()}")
        hold.mkdir()
        os.chown(hold, state.st_uid, state.st_gid)
        hold.chmod(state.st_mode & 0o7777)

    def stop(self) -> None:
        self._run("stop")


_GIVEN: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody has at the moment, and that was not asked for before.

    Below those that the system gives to clients: one of them may be taken before it is used.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        if port in _GIVEN:
            continue
        _GIVEN.add(port)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


def wait_for(port: int, seconds: float = 20) -> None:
    """Until the server greets. Raises SystemExit when it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                if client.recv(3) == b"220":
                    client.sendall(b"QUIT\r\n")
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"port {port} did not greet in {seconds:.0f} s")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all below it, those that ended included."""
    children: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it ended while we looked
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            spent[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        total += spent.get(one, 0.0)
        todo += children.get(one, [])
    return total
