"""How is load made and timed? By Postfix's `smtp-source` where installed, else by smtplib."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["LeanClient", "disk", "drive", "latency", "warm_memory"]

_SENDER = "from@client.bench.test"
_LONGEST_SECONDS = 120.0
_LINE = b"X" * 78 + b"\r\n"


def drive(port: int, *, sessions: int, mails: int, size: int, to: str, many: bool) -> float:
    """Send `mails` over `sessions` connections at a time; seconds it took.

    `many` sends several mails over each connection, else one. Raises SystemExit if one is refused.
    """
    begin = time.perf_counter()
    source = shutil.which("smtp-source", path="/usr/sbin:/usr/bin")
    if source is None:
        _send(port, sessions=sessions, mails=mails, size=size, to=to, many=many)
        return time.perf_counter() - begin
    command = [source, "-s", str(sessions), "-m", str(mails), "-l", str(size), "-C", "10"]
    command += ["-M", "client.bench.test", "-f", _SENDER, "-t", to]
    command += [*(["-d"] if many else []), f"inet:127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, timeout=_LONGEST_SECONDS, check=False)
    if done.returncode or b"fatal" in done.stderr:
        raise SystemExit(f"load on port {port} failed: {done.stderr.decode()[-300:]}")
    return time.perf_counter() - begin


def _send(port: int, *, sessions: int, mails: int, size: int, to: str, many: bool) -> None:
    """The same with the client of the standard library: slower, and as fair to all."""
    content = b"Subject: load\r\n\r\n" + _LINE * (size // len(_LINE))
    a_connection = -(-mails // sessions) if many else 1

    def connection(_: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.bench.test") as client:
            for _ in range(a_connection):
                client.sendmail(_SENDER, [to], content)

    with ThreadPoolExecutor(sessions) as threads:
        list(threads.map(connection, range(mails // a_connection)))


class LeanClient:
    """A client that costs its machine little: what it measures runs there too."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        self.ask(b"")
        self.ask(b"EHLO client.bench.test\r\n")

    def __enter__(self) -> LeanClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.ask(b"QUIT\r\n")
        self._replies.close()
        self._socket.close()

    def ask(self, octets: bytes, *, replies: int = 1) -> None:
        """Send and await the replies. Raises SystemExit if one is a no."""
        self._socket.sendall(octets)
        for _ in range(replies):
            line = b"-" * 4
            while line[3:4] == b"-":
                line = self._replies.readline()
            if line[:1] not in {b"2", b"3"}:
                raise SystemExit(f"refused: {line!r}")

    def begin(self, sender: str, to: str) -> None:
        """Up to DATA, in one packet (RFC 2920)."""
        envelope = f"MAIL FROM:<{sender}>\r\nRCPT TO:<{to}>\r\nDATA\r\n"
        self.ask(envelope.encode(), replies=3)

    def send(self, content: bytes) -> float:
        """The content, which has no line that begins with a dot; seconds from the final dot to its
        250.
        """
        self._socket.sendall(content)
        begin = time.perf_counter()
        self.ask(b".\r\n")
        return time.perf_counter() - begin


def latency(port: int, *, size: int, mails: int, to: str) -> tuple[float, float]:
    """p50 and p99 in milliseconds from the final dot to its 250, one mail at a time."""
    content = b"Subject: latency\r\n\r\n" + _LINE * (size // len(_LINE))
    taken: list[float] = []
    with LeanClient(port) as client:
        for _ in range(mails):
            client.begin(_SENDER, to)
            taken.append(client.send(content) * 1000)
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def warm_memory(folder: Path, octets: int) -> None:
    """Write so much into a file and delete it: what is written within the next second or two then
    meets memory that the machine has.

    A virtual machine may give unused memory back to its host within seconds, and each page costs
    ten times as much when it is first written again: 680 MB/s where it was 5,400. Who keeps what he
    accepts would pay that for each mail, and who deletes it would not.
    """
    with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as file:
        block = bytes(1 << 20)
        for _ in range(-(-octets // len(block))):
            file.write(block)


def disk(folder: Path, *, size: int, seconds: float) -> tuple[float, float]:
    """Appends with fdatasync a second, and their p50 in ms: what one writer gets at best."""
    taken: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            os.write(file.fileno(), b"x" * size)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begin)
    return len(taken) / seconds, statistics.median(taken) * 1000
