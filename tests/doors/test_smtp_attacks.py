"""Who means no good meets the SMTP door: each row of what goes wrong, over a real socket."""

from __future__ import annotations

import asyncio
import resource
from datetime import timedelta
from ipaddress import ip_network

import pytest

from mailagent.doors import SmtpLimits
from tests.doors.smtp_client import House, house

SOON = timedelta(milliseconds=50)


@pytest.mark.parametrize(
    "content",
    [
        b"one\n.\nMAIL FROM:<a@b.example>\r\n",
        b"one\n.\r\nMAIL FROM:<a@b.example>\r\n",
        b"one\r\n.\nMAIL FROM:<a@b.example>\r\n",
        b"one\r.\rMAIL FROM:<a@b.example>\r\n",
        b"one\r\n.\rMAIL FROM:<a@b.example>\r\n",
        b"one\r\r\n",
        b"one\n\r\n",
    ],
)
async def test_a_bare_newline_never_ends_a_mail_and_is_refused(content: bytes) -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.deliver(content)).startswith("554 5.6.11")
        assert (await client.ask("NOOP")).startswith("250")
        assert h.shelf.mails == []


async def test_bare_newlines_become_line_ends_where_the_operator_chose_so() -> None:
    async with house(bare_newlines="normalize") as h:
        client = await h.client()

        assert (await client.deliver(b"one\n.\ntwo\r.\r\nthree\r\n")).startswith("250")
        assert h.shelf.mails[0].raw == b"one\r\n.\r\ntwo\r\n.\r\nthree\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP\nNOOP",
        b"NOOP\rMAIL FROM:<a@b.example>",
        b"EHLO a\x00b",
        b"EHLO \xff\xfe",
        b"MAIL FROM:<a\tb@c.example>",
        b"EHLO x\xe2\x80\xa8y",
    ],
)
async def test_a_command_with_controls_bare_newlines_or_broken_text_is_refused(line: bytes) -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.ask(line)).startswith("500 5.5.2")


async def test_a_command_line_has_a_limit() -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.ask("NOOP " + "x" * 505)).startswith("250")
        assert (await client.ask("NOOP " + "x" * 506)).startswith("500 5.5.2")
        await client.ask("EHLO c")
        assert (await client.ask(f"MAIL FROM:<a@b.example> AUTH={'x' * 500}")).startswith("250")
        assert (await client.ask(f"RCPT TO:<{'x' * 3000}@our.example>")).startswith("500 5.5.2")
        assert (await client.ask("RSET")).startswith("250")


async def test_a_command_without_end_is_cut_off() -> None:
    async with house() as h:
        client = await h.client()

        client.writer.write(b"x" * 100_000)

        assert (await client.reply()).startswith("500 5.5.2")
        assert await client.closed()
        await h.gone()


async def test_a_line_without_end_is_cut_off_and_its_memory_is_bounded() -> None:
    async with house() as h:
        client = await h.client()
        await client.begin()
        await client.ask("DATA")
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        megabyte = b"x" * 1_000_000

        async def send() -> None:
            for _ in range(50):
                client.writer.write(megabyte)
                await client.writer.drain()

        with pytest.raises(ConnectionError):
            await send()
        await h.gone()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 8_000
        assert h.door.stats().refused == {"552 5.3.4": 1}
        assert h.shelf.mails == []


async def test_a_line_too_long_is_refused_and_the_connection_goes_on() -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.deliver(b"ok\r\n" + b"x" * 65537 + b"\r\nok\r\n")).startswith(
            "554 5.6.0"
        )
        assert (await client.deliver(b"ok\r\n")).startswith("250")


async def test_a_mail_that_never_ends_is_cut_off() -> None:
    async with house(limits=SmtpLimits(size_bytes=10_000)) as h:
        client = await h.client()
        await client.begin()
        await client.ask("DATA")

        client.writer.write(b"line\r\n" * 6_000)

        assert (await client.reply()).startswith("552 5.3.4")
        assert await client.closed()


async def test_mails_of_all_connections_together_do_not_fill_the_memory() -> None:
    async with house(limits=SmtpLimits(held_bytes=100_000)) as h:
        first, second = await h.client(), await h.client()
        for client in (first, second):
            await client.begin()
            await client.ask("DATA")
        first.writer.write(b"line\r\n" * 10_000)
        while h.door.stats().held_bytes < 60_000:
            await asyncio.sleep(0)

        second.writer.write(b"line\r\n" * 10_000)

        assert (await second.reply()).startswith("452 4.3.1")
        assert await second.closed()
        assert (await first.ask(".")).startswith("250")
        assert h.door.stats().held_bytes == 0


async def test_a_client_that_goes_away_inside_a_mail_leaves_nothing() -> None:
    async with house() as h:
        client = await h.client()
        await client.begin()
        await client.ask("DATA")

        client.writer.write(b"half a mail\r\n")
        client.writer.transport.abort()

        await h.gone()
        assert h.shelf.mails == []


async def test_a_reset_connection_leaves_nothing() -> None:
    async with house() as h:
        client = await h.client()
        await client.begin()

        client.send(b"DATA")
        client.reset()

        await h.gone()
        assert h.shelf.mails == []


async def test_a_client_that_goes_away_while_its_mail_is_kept_does_not_disturb_the_keeping() -> (
    None
):
    async with house() as h:
        h.shelf.open.clear()
        client = await h.client()
        await client.begin()
        await client.ask("DATA")
        client.send(b"whole\r\n.")
        await h.shelf.asked.wait()

        client.reset()
        await h.gone()
        h.shelf.open.set()

        while not h.shelf.mails:
            await asyncio.sleep(0)
        assert h.shelf.mails[0].raw == b"whole\r\n"


@pytest.mark.parametrize("beginning", [b"", b"NO", b"EHLO c\r\nMAIL"])
async def test_a_client_that_dawdles_is_timed_out(beginning: bytes) -> None:
    async with house(limits=SmtpLimits(command_timeout=SOON)) as h:
        client = await h.client()

        client.writer.write(beginning)

        while not (reply := await client.reply()).startswith("421"):
            assert reply.startswith("250")
        assert reply.startswith("421 4.4.2")
        assert await client.closed()


async def test_content_that_trickles_is_timed_out_however_it_trickles() -> None:
    async with house(limits=SmtpLimits(data_timeout=SOON)) as h:
        client = await h.client()
        await client.begin()
        await client.ask("DATA")

        async def trickle() -> None:
            while not client.writer.is_closing():
                client.writer.write(b"x\r\n")
                await asyncio.sleep(0.005)

        trickling = asyncio.create_task(trickle())
        assert (await client.reply()).startswith("421 4.4.2")
        trickling.cancel()
        await h.gone()
        assert h.shelf.mails == []


async def test_a_client_that_reads_no_reply_is_dropped() -> None:
    limits = SmtpLimits(command_timeout=SOON, answer_timeout=SOON, commands=10**9)
    async with house(limits=limits) as h:
        client = await h.client()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]

        async def flood() -> None:
            while True:
                client.writer.write(b"HELP\r\n" * 10_000)
                await client.writer.drain()

        with pytest.raises(ConnectionError):
            await flood()
        await h.gone()


async def test_who_errs_too_often_is_sent_away() -> None:
    async with house(limits=SmtpLimits(errors=3)) as h:
        client = await h.client()

        await client.begin("nobody@our.example", "nobody@our.example")
        assert (await client.ask("RCPT TO:<nobody@our.example>")).startswith("550")
        assert (await client.reply()).startswith("421 4.7.0")
        assert await client.closed()


async def test_who_talks_and_never_brings_a_mail_is_sent_away() -> None:
    async with house(limits=SmtpLimits(commands=6)) as h:
        client = await h.client()

        await client.deliver(b"one\r\n")
        await client.deliver(b"two\r\n")
        for _ in range(6):
            assert (await client.ask("NOOP")).startswith("250")
        assert (await client.ask("NOOP")).startswith("421 4.7.0")


@pytest.mark.parametrize(
    "limits",
    [SmtpLimits(mails_per_connection=1), SmtpLimits(connection_lifetime=timedelta(0))],
)
async def test_one_connection_does_not_last_for_ever(limits: SmtpLimits) -> None:
    async with house(limits=limits) as h:
        client = await h.client()

        await client.ask("EHLO c")
        reply = ""
        for _ in range(2):
            reply = await client.ask("MAIL FROM:<a@b.example>")
            if reply.startswith("421"):
                break
            await client.ask("RCPT TO:<bob@our.example>")
            await client.ask("DATA")
            await client.ask(".")

        assert reply == "421 4.7.0 Enough for one connection, connect again"
        assert await client.closed()


@pytest.mark.parametrize(
    "limits",
    [
        SmtpLimits(connections=2),
        SmtpLimits(connections_per_address=2, cap_loopback=True),
    ],
)
async def test_too_many_connections_are_refused_and_room_is_made_again(limits: SmtpLimits) -> None:
    async with house(limits=limits) as h:
        first, _ = await h.client(), await h.client()

        third = await h.knock()
        assert (await third.reply()).startswith("421 4.7.0")
        assert await third.closed()

        await first.ask("QUIT")
        assert await first.closed()
        while h.door.stats().open_connections > 1:
            await asyncio.sleep(0)
        assert (await (await h.knock()).reply()).startswith("220")


async def test_loopback_is_not_counted_by_address_by_default() -> None:
    async with house(limits=SmtpLimits(connections_per_address=1)) as h:
        for _ in range(3):
            await h.client()


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST /x HTTP/1.1", "CONNECT a:25 HTTP/1.1"])
async def test_a_web_request_is_cut_off_before_its_body_can_speak_smtp(line: str) -> None:
    async with house() as h:
        client = await h.client()

        client.send(line + "\r\nHost: x\r\n\r\nEHLO a\r\nMAIL FROM:<a@b.example>")

        assert (await client.reply()).startswith("554 5.5.1")
        assert await client.closed()


async def _through_proxy(h: House, header: bytes) -> str:
    client = await h.knock()
    client.writer.write(header)
    if not (banner := await client.reply()):
        return ""
    assert banner.startswith("220")
    await client.deliver(b"x\r\n")
    return h.shelf.mails[-1].origin.client_ip or ""


async def test_a_proxy_of_ours_names_the_client() -> None:
    async with house(proxy_networks=[ip_network("127.0.0.0/8")]) as h:
        v1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n"
        v2 = (
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
            + bytes([192, 0, 2, 8, 192, 0, 2, 1])
            + b"\x12\x67\x00\x19"
        )

        assert await _through_proxy(h, v1) == "192.0.2.7"
        assert await _through_proxy(h, v2) == "192.0.2.8"
        # LOCAL, the proxy's own health check: an address in it is ignored.
        local = v2.replace(b"QUIT\n\x21", b"QUIT\n\x20")
        assert await _through_proxy(h, local) == "127.0.0.1"
        assert await _through_proxy(h, b"PROXY UNKNOWN\r\n") == "127.0.0.1"
        assert await _through_proxy(h, b"EHLO c.example\r\n") == ""


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711\r\n",
        b"PROXY TCP4 2001:db8::7 192.0.2.1 4711 25\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 25" + b" " * 200 + b"\r\n",
        b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04\xc0\x00\x02\x08",
        b"\r\n\r\n\x00\r\nQUIX\n\x21\x11\x00\x0c" + b"\x00" * 12,
    ],
)
async def test_a_proxy_header_that_is_broken_gets_no_banner(header: bytes) -> None:
    async with house(proxy_networks=[ip_network("127.0.0.0/8")]) as h:
        client = await h.knock()
        client.writer.write(header)
        assert await client.reply() == ""


async def test_a_proxy_that_never_says_for_whom_is_cut_off() -> None:
    limits = SmtpLimits(tls_timeout=timedelta(milliseconds=50))
    async with house(proxy_networks=[ip_network("127.0.0.0/8")], limits=limits) as h:
        client = await h.knock()
        client.writer.write(b"PROXY TCP4 ")
        assert await client.closed()
        await h.gone()


async def test_a_proxy_header_from_a_stranger_is_no_command() -> None:
    async with house(proxy_networks=[ip_network("192.0.2.0/24")]) as h:
        client = await h.client()

        assert (await client.ask("PROXY TCP4 192.0.2.7 192.0.2.1 1 2")).startswith("500 5.5.1")


async def test_the_cap_for_one_address_counts_the_client_behind_the_proxy() -> None:
    limits = SmtpLimits(connections_per_address=1)
    async with house(proxy_networks=[ip_network("127.0.0.0/8")], limits=limits) as h:

        async def arrive(source: bytes) -> str:
            client = await h.knock()
            client.writer.write(b"PROXY TCP6 %s 2001:db8::1 4711 25\r\n" % source)
            return await client.reply()

        assert (await arrive(b"2001:db8:1:2::1")).startswith("220")
        assert (await arrive(b"2001:db8:1:2:ffff::1")).startswith("421 4.7.0")
        assert (await arrive(b"2001:db8:1:3::1")).startswith("220")
