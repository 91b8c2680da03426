"""How fast does mail come in by each webhook, beside the SMTP door, and what do large mails cost?

    python -m bench.webhooks [--size BYTES] [--seconds N] [--report FILE]

One node with its workers stopped, on SQLite. Mails of their own, 20 at a time over connections that
stay open, by one client written the same way for SMTP (pipelined) and HTTP: mails a second made
durable and the ratio to the SMTP door, repetitions interleaved. Then ten mails of the largest size
that a door takes, up to 30 MB, at once: seconds, and the most memory of the node (sum of PSS).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from backend.simulating import MAKERS, Mail
from bench.node import AGENT, Node, furnish, memory_mib
from bench.report import Report
from bench.smtp_targets import free_port
from mailagent.store.migrations import upgrade
from mailagent.webhook import WebhookSettings

_SECRET = "an-inbound-secret-of-forty-eight-characters-0000"
_SENDER = "ann@customer.example"
_CONNECTIONS = 20
_REPETITIONS = 3
_LARGE = 30_000_000
_AT_ONCE = 10
_SMTP = "smtp"
DOORS = (_SMTP, *MAKERS)
# A notification of SNS has at most 256 KB, so SES brings larger mails by S3: no POST of theirs.
_SMALL_ONLY = {"ses"}

Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
_numbers = itertools.count()


def mail(size: int) -> Mail:
    """A mail that no other is equal to."""
    head = f"From: {_SENDER}\r\nSubject: load {next(_numbers)}\r\n\r\n".encode()
    lines = (b"X" * 78 + b"\r\n") * (max(size - len(head), 0) // 80 + 1)
    return Mail(_SENDER, (AGENT,), (head + lines)[: size - 2] + b"\r\n")


def request(door: str, one: Mail) -> bytes:
    """What brings a mail in by a webhook, as octets on the wire."""
    settings = WebhookSettings({"INBOUND_WEBHOOK_SECRET": _SECRET})
    (post,) = MAKERS[door](one, settings, datetime.now(UTC))
    headers = {**post.headers, "Host": "127.0.0.1", "Content-Length": str(len(post.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {post.path} HTTP/1.1\r\n{lines}\r\n".encode() + post.body


async def by_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes) -> None:
    """One POST over an open connection. Raises RuntimeError unless it is answered 200."""
    writer.write(wire)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    body = await reader.readexactly(length)
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(f"{head!r} {body!r}")


async def by_smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes) -> None:
    """One mail over an open session. Raises RuntimeError unless it is taken."""
    writer.write(f"MAIL FROM:<{_SENDER}>\r\nRCPT TO:<{AGENT}>\r\nDATA\r\n".encode())
    for wanted in (b"250", b"250", b"354"):
        await _expect(reader, wanted)
    writer.write(raw + b".\r\n")
    await writer.drain()
    await _expect(reader, b"250")


async def _expect(reader: asyncio.StreamReader, code: bytes) -> None:
    line = await reader.readline()
    while line[3:4] == b"-":
        line = await reader.readline()
    if not line.startswith(code):
        raise RuntimeError(f"{line!r} instead of {code!r}")


async def drive(door: str, port: int, wires: Sequence[bytes], connections: int) -> float:
    """Bring all in over so many connections; the seconds it took."""
    waiting = list(wires)
    exchange: Exchange = by_smtp if door == _SMTP else by_http

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if door == _SMTP:
            await _expect(reader, b"220")
            writer.write(b"EHLO customer.example\r\n")
            await _expect(reader, b"250")
        while waiting:
            await exchange(reader, writer, waiting.pop())
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    return time.perf_counter() - begin


def wires(door: str, number: int, size: int) -> list[bytes]:
    """What `drive` is given, made before the clock runs."""
    mails = (mail(size) for _ in range(number))
    return [one.raw if door == _SMTP else request(door, one) for one in mails]


def rates(ports: Mapping[str, int], size: int, seconds: float) -> Mapping[str, list[float]]:
    """Mails a second of each door, one for each repetition."""
    found: dict[str, list[float]] = {door: [] for door in ports}
    numbers: dict[str, int] = {}
    for door, port in ports.items():
        took = asyncio.run(drive(door, port, wires(door, 200, size), _CONNECTIONS))
        numbers[door] = max(100, int(200 / took * seconds))
    for repetition in range(_REPETITIONS):
        for door in ports if repetition % 2 == 0 else reversed(list(ports)):
            load = wires(door, numbers[door], size)
            found[door].append(
                len(load) / asyncio.run(drive(door, ports[door], load, _CONNECTIONS))
            )
    return found


@contextmanager
def most_memory(pid: int) -> Iterator[list[float]]:
    """The most memory of a process tree in MiB while the block runs, as the list's one value."""
    most = [memory_mib(pid)]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            most[0] = max(most[0], memory_mib(pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield most
    finally:
        done.set()
        looking.join()


def report(node: Node, ports: Mapping[str, int], size: int, seconds: float) -> list[str]:
    """Both tables as Markdown."""
    found = rates(ports, size, seconds)
    base = statistics.median(found[_SMTP])
    lines = [
        f"## {size / 1000:.0f} kB, {_CONNECTIONS} connections",
        "",
        "| door | mails/s | range | ratio to SMTP |",
        "|---|---|---|---|",
    ]
    for door, each in found.items():
        rate = statistics.median(each)
        lines.append(
            f"| {door} | {rate:.0f} | {min(each):.0f}-{max(each):.0f} | {rate / base:.2f} |"
        )
    lines += [
        "",
        f"## {_AT_ONCE} mails of {_LARGE // 1_000_000} MB at once",
        "",
        "| door | seconds | memory before, most (MiB) |",
        "|---|---|---|",
    ]
    for door, port in ports.items():
        if door not in _SMALL_ONLY:
            load = wires(door, _AT_ONCE, _LARGE)
            before = memory_mib(node.pid)
            with most_memory(node.pid) as most:
                took = asyncio.run(drive(door, port, load, _AT_ONCE))
            lines.append(f"| {door} | {took:.1f} | {before:.0f}, {most[0]:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=2_000, help="octets of a mail")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each repetition, about")
    parser.add_argument("--report", type=Path, help="write the tables there, as Markdown")
    chosen = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-webhooks-") as name,
        Report("Mail by webhooks", "bench.webhooks", chosen.report) as told,
    ):
        folder = Path(name)
        url, port = f"sqlite:///{folder}/mail.db", free_port()
        upgrade(url)
        furnish(url)
        settings = {"MAILAGENT_PORT": str(port), "INBOUND_WEBHOOK_SECRET": _SECRET}
        with Node(folder, url, parts=("smtp", "webhooks"), settings=settings) as node:
            ports = {door: node.port if door == _SMTP else port for door in DOORS}
            told.add(report(node, ports, chosen.size, chosen.seconds))


if __name__ == "__main__":
    main()
