"""Several doors on one port keep their caps together; each stands for a process here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from mailagent.doors import SmtpLimits
from mailagent.doors.smtp_shared_counts import SharedCounts
from tests.doors.smtp_client import house


@contextmanager
def _counts_of_two_processes() -> Iterator[tuple[SharedCounts, SharedCounts]]:
    with (
        closing(SharedCounts(2, own=0)) as one,
        closing(SharedCounts(2, own=1, fd=os.dup(one.fd), salt=one.salt)) as other,
    ):
        yield one, other


async def test_the_caps_hold_for_all_the_processes_on_a_port_together() -> None:
    limits = SmtpLimits(connections=3, connections_per_address=2, cap_loopback=True)
    with _counts_of_two_processes() as (one, other):
        async with (
            house(limits=limits, shared_counts=one) as here,
            house(limits=limits, shared_counts=other) as there,
        ):
            assert (await (await here.knock()).reply()).startswith("220")
            second = await there.client()
            for full in (here, there):
                refused = await full.knock()
                assert "from your address" in await refused.reply()
                assert await refused.closed()
                await full.left(1)
            assert one.connections == other.connections == 2

            await second.ask("QUIT")
            await there.left(0)
            await here.client()

            # What a process that died had counted is forgotten by who looks after it.
            other.tell(connections=7, held_bytes=0)
            assert (await (await here.knock()).reply()).startswith("421 4.7.0 Too many conn")
            other.clear(1)
            await here.left(2)
            assert one.connections == 2


async def test_memory_for_unfinished_mails_is_bounded_for_all_processes_together() -> None:
    limits = SmtpLimits(held_bytes=100_000)
    with _counts_of_two_processes() as (one, other):
        async with (
            house(limits=limits, shared_counts=one) as here,
            house(limits=limits, shared_counts=other) as there,
        ):
            first, second = await here.client(), await there.client()
            for client in (first, second):
                await client.begin()
                await client.ask("DATA")
            first.writer.write(b"line\r\n" * 10_000)
            while other.held_bytes < 60_000:
                await asyncio.sleep(0)

            second.writer.write(b"line\r\n" * 10_000)

            assert (await second.reply()).startswith("452 4.3.1")
            first.writer.write(b".\r\n")
            assert (await first.reply()).startswith("250")
            await there.left(0)
            assert one.held_bytes == 0
