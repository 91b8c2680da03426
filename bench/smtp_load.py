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

__all__ = ["disk", "drive", "latency"]

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


def latency(port: int, *, size: int, mails: int, to: str) -> tuple[float, float]:
    """p50 and p99 in milliseconds from the final dot to its 250, one mail at a time."""
    content = b"Subject: latency\r\n\r\n" + _LINE * (size // len(_LINE))
    taken: list[float] = []
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = client.makefile("rb")

        def ask(octets: bytes) -> None:
            client.sendall(octets)
            line = b"-" * 4
            while line[3:4] == b"-":
                line = replies.readline()
            if line[:1] not in {b"2", b"3"}:
                raise SystemExit(f"latency on port {port}: {line!r}")

        ask(b"")
        ask(b"EHLO client.bench.test\r\n")
        for _ in range(mails):
            ask(f"MAIL FROM:<{_SENDER}>\r\n".encode())
            ask(f"RCPT TO:<{to}>\r\n".encode())
            ask(b"DATA\r\n")
            client.sendall(content)
            begin = time.perf_counter()
            ask(b".\r\n")
            taken.append((time.perf_counter() - begin) * 1000)
        ask(b"QUIT\r\n")
        replies.close()
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


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
