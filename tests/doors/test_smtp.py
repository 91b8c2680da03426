"""A sender meets the SMTP door, over a real socket."""

from __future__ import annotations

import asyncio
import re
import smtplib
from datetime import timedelta

import pytest

from mailagent.doors import SmtpLimits
from mailagent.inbound import Duplicate, Later, Unrouted
from tests.doors.smtp_client import NOON, house

MAIL = b"From: ann@their.example\r\nSubject: Hi\r\n\r\nHello\r\n"


async def test_a_mail_is_kept_as_it_was_sent_and_answered_with_its_id() -> None:
    async with house() as h:
        client = await h.client()

        reply = await client.deliver(MAIL)

        (mail,) = h.shelf.mails
        assert reply == f"250 2.0.0 Ok: queued as {mail.source_id}"
        assert mail.raw == MAIL
        assert mail.source == "smtp"
        assert mail.envelope.mail_from == "ann@their.example"
        assert mail.envelope.rcpt_to == ("bob@our.example",)
        assert mail.origin.received_at == NOON
        assert mail.origin.client_ip == "127.0.0.1"
        assert mail.origin.helo == "client.example"
        assert mail.origin.tls is None
        assert mail.origin.authenticated_as is None


async def test_the_banner_names_the_host_and_no_software() -> None:
    async with house() as h:
        client = await h.knock()

        assert await client.reply() == "220 mx.our.example ESMTP"


async def test_ehlo_lists_what_is_offered_and_no_starttls_without_a_certificate() -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.ask("EHLO client.example")).split("\n") == [
            "250-mx.our.example",
            "250-PIPELINING",
            "250-SIZE 31457280",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250 ENHANCEDSTATUSCODES",
        ]
        assert await client.ask("STARTTLS") == "454 4.7.0 TLS is not available"


async def test_helo_alone_is_enough() -> None:
    async with house() as h:
        client = await h.client()
        assert await client.ask("HELO old.example") == "250 mx.our.example"
        assert (await client.ask("MAIL FROM:<ann@their.example>")).startswith("250 2.1.0")
        assert (await client.ask("RCPT TO:<bob@our.example>")).startswith("250 2.1.5")
        await client.ask("DATA")
        assert (await client.ask(b"Hello\r\n.")).startswith("250 2.0.0")
        assert h.shelf.mails[0].origin.helo == "old.example"


async def test_the_standard_library_client_is_served() -> None:
    async with house() as h:

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", h.port, local_hostname="c.example") as client:
                client.sendmail("ann@their.example", ["bob@our.example"], "Subject: x\n\n.dot\n")

        await asyncio.to_thread(send)

        assert h.shelf.mails[0].raw == b"Subject: x\r\n\r\n.dot\r\n"


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("nobody@our.example", "550 5.1.1"),
        ("ann@their.example", "550 5.7.1"),
        ("bob@[192.0.2.1]", "550 5.7.1"),
        ("bob@[IPv6:2001:db8::1]", "550 5.7.1"),
        ("off@our.example", "550 5.2.1"),
        ("unknown@our.example", "451 4.4.3"),
        ("Bob@Our.Example", "250 2.1.5"),
        ("postmaster", "250 2.1.5"),
        ("bob+tag@our.example", "250 2.1.5"),
        ('"bob smith"@our.example', "250 2.1.5"),
        ("@relay.example,@other.example:bob@our.example", "250 2.1.5"),
        ("bob", "501 5.1.3"),
        ("", "501 5.1.3"),
        ("@our.example", "501 5.1.3"),
        ("bob@", "501 5.1.3"),
        ("bob@-our.example", "501 5.1.3"),
        ("bob@our..example", "501 5.1.3"),
        ("bob@@our.example", "501 5.1.3"),
        (".bob@our.example", "501 5.1.3"),
        ("a b@our.example", "501 5.1.3"),
        ("x" * 64 + "@our.example", "250 2.1.5"),
        ("x" * 65 + "@our.example", "501 5.1.3"),
        ("x" * 20 + "@" + "a." * 118 + "our.example", "501 5.1.3"),
        ("bücher@our.example", "553 5.6.7"),
    ],
)
async def test_a_recipient_is_answered_by_what_the_directory_knows(
    recipient: str, reply: str
) -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.begin(recipient)).startswith(reply)


async def test_recipients_keep_their_case_and_lose_their_route() -> None:
    async with house() as h:
        client = await h.client()

        await client.deliver(MAIL, "Bob@Our.Example", "@a.example:eve@our.example", "PostMaster")

        assert h.shelf.mails[0].envelope.rcpt_to == (
            "Bob@Our.Example",
            "eve@our.example",
            "PostMaster",
        )


async def test_the_same_recipient_twice_is_one() -> None:
    async with house() as h:
        client = await h.client()

        await client.deliver(MAIL, "bob@our.example", "BOB@our.example", "bob@our.example")

        assert h.shelf.mails[0].envelope.rcpt_to == ("bob@our.example",)


async def test_the_empty_sender_is_taken_and_is_none() -> None:
    async with house() as h:
        client = await h.client()

        await client.begin(sender="")
        await client.ask("DATA")
        await client.ask(MAIL + b".")

        assert h.shelf.mails[0].envelope.mail_from is None


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("FROM:<ann@their.example>", "250 2.1.0"),
        ("from: <ann@their.example>", "250 2.1.0"),
        ("FROM:<ann@[192.0.2.1]>", "250 2.1.0"),
        ("FROM:<ann@their.example> size=100 body=8bitmime", "250 2.1.0"),
        ("FROM:<ann@their.example> AUTH=<> RET=HDRS ENVID=a+2Bb", "250 2.1.0"),
        ("FROM:<bücher@their.example> SMTPUTF8", "250 2.1.0"),
        ("FROM:<bücher@their.example>", "550 5.6.7"),
        ("FROM:<ann@their.example> SIZE=31457281", "552 5.3.4"),
        ("FROM:<ann@their.example> SIZE=99999999999999999999", "552 5.3.4"),
        ("FROM:<ann@their.example> SIZE=-1", "501 5.5.4"),
        ("FROM:<ann@their.example> SIZE", "501 5.5.4"),
        ("FROM:<ann@their.example> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<ann@their.example> SMTPUTF8=yes", "501 5.5.4"),
        ("FROM:<ann@their.example> RET=ALL", "501 5.5.4"),
        ("FROM:<ann@their.example> ENVID=a+b", "501 5.5.4"),
        ("FROM:<ann@their.example> SIZE=1 SIZE=2", "501 5.5.4"),
        ("FROM:<ann@their.example> MT-PRIORITY=3", "555 5.5.4"),
        ("FROM:<ann@their.example> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<ann@their.example", "501 5.1.7"),
        ("FROM:ann@their.example", "501 5.1.7"),
        ("FROM:<ann>", "501 5.1.7"),
        ("TO:<ann@their.example>", "501 5.5.4"),
        ("", "501 5.5.4"),
    ],
)
async def test_a_sender_and_its_parameters_are_read(argument: str, reply: str) -> None:
    async with house() as h:
        client = await h.client()
        await client.ask("EHLO client.example")

        assert (await client.ask(f"MAIL {argument}")).startswith(reply)


@pytest.mark.parametrize(
    ("parameters", "reply"),
    [
        ("NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@our.example", "250 2.1.5"),
        ("notify=never", "250 2.1.5"),
        ("NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("ORCPT=bob", "501 5.5.4"),
        ("RRVS=2014-04-03T23:01:00Z", "555 5.5.4"),
        ("SIZE=1", "555 5.5.4"),
    ],
)
async def test_the_parameters_of_a_recipient_are_read(parameters: str, reply: str) -> None:
    async with house() as h:
        client = await h.client()
        await client.begin("eve@our.example")

        assert (await client.ask(f"RCPT TO:<bob@our.example> {parameters}")).startswith(reply)


async def test_the_parameters_are_kept_with_the_mail() -> None:
    async with house() as h:
        client = await h.client()
        await client.ask("EHLO client.example")
        await client.ask("MAIL FROM:<ann@their.example> SIZE=40 ret=HDRS ENVID=q1 AUTH=<> SMTPUTF8")
        await client.ask("RCPT TO:<bob@our.example> NOTIFY=NEVER ORCPT=rfc822;b@x.example")
        await client.ask("RCPT TO:<käthe@bücher.example>")
        await client.ask("DATA")
        await client.ask(MAIL + b".")

        origin = h.shelf.mails[0].origin
        assert origin.parameters == {
            "SIZE": "40",
            "RET": "HDRS",
            "ENVID": "q1",
            "AUTH": "<>",
            "SMTPUTF8": "",
        }
        assert origin.recipient_parameters == {
            "bob@our.example": {"NOTIFY": "NEVER", "ORCPT": "rfc822;b@x.example"}
        }
        assert h.shelf.mails[0].envelope.rcpt_to == ("bob@our.example", "käthe@bücher.example")


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        (["MAIL FROM:<a@b.example>"], "503 5.5.1"),
        (["RCPT TO:<bob@our.example>"], "503 5.5.1"),
        (["EHLO c", "RCPT TO:<bob@our.example>"], "503 5.5.1"),
        (["EHLO c", "MAIL FROM:<a@b.example>", "MAIL FROM:<a@b.example>"], "503 5.5.1"),
        (["EHLO c", "DATA"], "503 5.5.1"),
        (["EHLO c", "MAIL FROM:<a@b.example>", "DATA"], "554 5.5.1"),
        (["EHLO c", "MAIL FROM:<a@b.example>", "RSET", "DATA"], "503 5.5.1"),
        (["EHLO c", "MAIL FROM:<a@b.example>", "EHLO c", "DATA"], "503 5.5.1"),
        (["EHLO c", "MAIL FROM:<a@b.example>", "RCPT <bob@our.example>"], "501 5.5.4"),
        (["EHLO"], "501 5.5.4"),
        (["HELO"], "501 5.5.4"),
        (["EHLO " + "x" * 300], "501 5.5.4"),
        (["RSET"], "250 2.0.0"),
        (["RSET now"], "501 5.5.4"),
        (["DATA now"], "501 5.5.4"),
        (["noop whatever"], "250 2.0.0"),
        (["VRFY bob@our.example"], "252 2.0.0"),
        (["EXPN list"], "502 5.5.1"),
        (["HELP"], "214 2.0.0"),
        (["AUTH PLAIN AGEAYg=="], "502 5.5.1"),
        (["BDAT 10 LAST"], "502 5.5.1"),
        (["FROB"], "500 5.5.1"),
        (["smtp_MAIL"], "500 5.5.1"),
        ([""], "500 5.5.1"),
        (["QUIT"], "221 2.0.0"),
    ],
)
async def test_commands_and_their_order(commands: list[str], reply: str) -> None:
    async with house() as h:
        client = await h.client()

        for command in commands:
            answer = await client.ask(command)

        assert answer.startswith(reply)


async def test_two_mails_go_over_one_connection_and_are_two() -> None:
    async with house() as h:
        client = await h.client()

        await client.deliver(MAIL)
        await client.deliver(b"Second\r\n")

        assert [m.raw for m in h.shelf.mails] == [MAIL, b"Second\r\n"]
        assert h.shelf.mails[0].source_id != h.shelf.mails[1].source_id


async def test_a_whole_session_in_one_write_is_answered_in_order_and_ends_at_quit() -> None:
    async with house() as h:
        client = await h.knock()
        transaction = (
            b"MAIL FROM:<ann@their.example>\r\nRCPT TO:<bob@our.example>\r\nDATA\r\n%s.\r\n"
        )

        client.writer.write(
            b"EHLO c.example\r\n"
            + transaction % b"one\r\n"
            + transaction % b"two\r\n"
            + b"QUIT\r\n"
            + transaction % b"three\r\n"
        )

        answers = (await client.reader.read()).decode().split("\r\n")
        codes = [a[:3] for a in answers if a and a[3:4] == " "]
        assert codes == ["220", "250", *["250", "250", "354", "250"] * 2, "221"]
        assert [m.raw for m in h.shelf.mails] == [b"one\r\n", b"two\r\n"]


async def test_a_client_that_closes_its_sending_half_is_still_answered() -> None:
    async with house() as h:
        client = await h.client()
        await client.begin()
        await client.ask("DATA")

        client.send(b"one\r\n.")
        client.writer.write_eof()

        assert (await client.reply()).startswith("250 2.0.0")
        assert await client.closed()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b""),
        (b"..\r\n", b".\r\n"),
        (b"..a\r\n...b\r\nc.\r\n", b".a\r\n..b\r\nc.\r\n"),
        (b"\r\n\r\n", b"\r\n\r\n"),
        (b"\x00\xff\xfe\r\n", b"\x00\xff\xfe\r\n"),
        (b"x" * 65536 + b"\r\n", b"x" * 65536 + b"\r\n"),
    ],
)
async def test_octets_are_kept_and_transparency_dots_are_not(sent: bytes, kept: bytes) -> None:
    async with house() as h:
        client = await h.client()

        reply = await client.deliver(sent)

        assert reply.startswith("250 2.0.0")
        assert h.shelf.mails[0].raw == kept


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (Duplicate(("d1",)), "250 2.0.0 Ok: queued as "),
        (Unrouted(("bob@our.example",)), "550 5.1.1"),
        (Later("the disk is full"), "451 4.3.1"),
    ],
)
async def test_the_final_dot_is_answered_with_what_the_acceptor_said(
    answer: Duplicate | Unrouted | Later, reply: str
) -> None:
    async with house() as h:
        h.shelf.answer = answer
        client = await h.client()

        said = await client.deliver(MAIL)

        assert said.startswith(reply)
        assert "disk" not in said


async def test_a_failure_behind_the_door_is_temporary_and_tells_nothing_but_a_trace_id() -> None:
    async with house() as h:
        h.shelf.answer = OSError("/var/secret is full")
        client = await h.client()

        assert re.fullmatch(
            r"451 4\.3\.0 Local trouble, try again \(trace [0-9a-f]{32}\)",
            await client.deliver(MAIL),
        )
        h.shelf.answer = None
        assert (await client.deliver(MAIL)).startswith("250 2.0.0")


async def test_a_failing_directory_does_not_cost_the_other_recipients() -> None:
    async with house() as h:
        client = await h.client()

        assert (await client.begin("bob@our.example", "crash@our.example")).startswith("451 4.3.0")
        await client.ask("DATA")
        assert (await client.ask(MAIL + b".")).startswith("250 2.0.0")
        assert h.shelf.mails[0].envelope.rcpt_to == ("bob@our.example",)


async def test_a_mail_too_big_is_told_so_and_the_connection_goes_on() -> None:
    async with house(limits=SmtpLimits(size_bytes=100)) as h:
        client = await h.client()

        assert (await client.deliver(b"x" * 50 + b"\r\n" + b"y" * 50 + b"\r\n")).startswith(
            "552 5.3.4"
        )
        assert (await client.deliver(b"x" * 98 + b"\r\n")).startswith("250")
        # RFC 1870 §5: transparency dots do not count.
        assert (await client.deliver(b"..\r\n" * 33)).startswith("250")
        assert len(h.shelf.mails) == 2


async def test_the_rest_of_too_many_recipients_is_told_to_come_again() -> None:
    async with house(limits=SmtpLimits(recipients=2)) as h:
        client = await h.client()

        assert (await client.begin("a@our.example", "b@our.example", "c@our.example")).startswith(
            "452 4.5.3"
        )
        assert (await client.ask("RCPT TO:<A@our.example>")).startswith("250 2.1.5")
        await client.ask("DATA")
        assert (await client.ask(MAIL + b".")).startswith("250")
        assert len(h.shelf.mails[0].envelope.rcpt_to) == 2


async def test_stopping_finishes_the_mail_in_flight_and_refuses_who_comes() -> None:
    async with house() as h:
        h.shelf.open.clear()
        idle, busy = await h.client(), await h.client()
        await busy.begin()
        await busy.ask("DATA")
        busy.send(MAIL + b".")
        await h.shelf.asked.wait()

        stopping = asyncio.create_task(h.door.stop(timedelta(seconds=20)))

        assert (await idle.reply()).startswith("421 4.3.2 mx.our.example is shutting down")
        assert h.door.listening == 0
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await h.knock()
        h.shelf.open.set()
        assert (await busy.reply()).startswith("250 2.0.0")
        assert (await busy.reply()).startswith("421 4.3.2")
        await stopping


async def test_stopping_cuts_what_takes_longer_than_the_grace() -> None:
    async with house() as h:
        h.shelf.open.clear()
        client = await h.client()
        await client.begin()
        await client.ask("DATA")
        client.send(MAIL + b".")
        await h.shelf.asked.wait()

        await h.door.stop(timedelta(0))

        assert await client.reply() == ""
        assert h.door.stats().open_connections == 0


async def test_the_counts_tell_what_happened() -> None:
    async with house() as h:
        client = await h.client()
        await client.deliver(MAIL, "bob@our.example", "nobody@our.example")
        await client.ask("FROB")

        stats = h.door.stats()

        assert (stats.open_connections, stats.connections, stats.accepted) == (1, 1, 1)
        assert stats.refused == {"550 5.1.1": 1, "500 5.5.1": 1}
