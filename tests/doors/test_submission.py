"""Who hands mail in speaks TLS first, logs in, and is not let to guess passwords."""

from __future__ import annotations

import asyncio
import base64
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mailagent.doors import SubmissionDoor
from mailagent.doors.login_throttle import LoginThrottle, ThrottleLimits
from mailagent.doors.smtp import listening_socket
from mailagent.doors.smtp_tls import Certificate
from mailagent.inbound import Later
from mailagent.submission import Declined, Denied, Fault, Login, Submission, Submitted
from tests.doors.smtp_client import Client

Tls = Callable[[], ssl.SSLContext]

NAME, PASSWORD = "hello@our.example", "right pässword"
MAIL = b"From: hello@our.example\r\n\r\nx\r\n"


class Doorman:
    """Knows one name and its password."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.away = False

    async def log_in(self, name: str, password: str) -> Login | Denied | Later:
        self.asked.append((name, password))
        if self.away:
            return Later("OperationalError: secrets of the database")
        if (name, password) == (NAME, PASSWORD):
            return Login("wsp_1", name, "key:ma_1", "key", "key_1")
        return Denied("wrong")


class Tray:
    """Takes what is handed in; `says` replaces its yes."""

    def __init__(self) -> None:
        self.taken: list[Submission] = []
        self.says: Submitted | Declined | Later = Submitted("out_1")

    async def submit(self, submission: Submission) -> Submitted | Declined | Later:
        self.taken.append(submission)
        return self.says


class Desk:
    """A running submission door with what stands behind it."""

    def __init__(self, tls: Tls, throttle: LoginThrottle | None) -> None:
        self.doorman, self.tray = Doorman(), Tray()
        self.door = SubmissionDoor(
            self.doorman,
            self.tray,
            hostname="mx.our.example",
            tls=tls,
            throttle=throttle,
        )
        self.port = 0
        self.clients: list[Client] = []

    async def client(self, *, secure: bool = True, login: bool = False) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(client)
        await client.reply()
        if secure:
            await client.ask("STARTTLS")
            await client.secure()
        await client.ask("EHLO client.example")
        if login:
            assert (await client.ask(plain(NAME, PASSWORD))).startswith("235 2.7.0")
        return client


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    return Certificate(None, None, hostname="mx.our.example", folder=folder).context


@asynccontextmanager
async def opened(tls: Tls, throttle: LoginThrottle | None = None) -> AsyncIterator[Desk]:
    desk = Desk(tls, throttle)
    listening = listening_socket("127.0.0.1", 0)
    desk.port = listening.getsockname()[1]
    await desk.door.start(listening)
    try:
        yield desk
    finally:
        await desk.door.stop(timedelta(0))
        for client in desk.clients:
            client.writer.close()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def plain(name: str, password: str, acting: str = "") -> str:
    return "AUTH PLAIN " + b64("\0".join((acting, name, password)))


async def test_in_the_clear_no_login_is_offered_and_no_password_is_heard(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client(secure=False)
        assert "AUTH" not in await client.ask("EHLO client.example")
        assert (await client.ask(plain(NAME, PASSWORD))).startswith("538 5.7.11")
        assert (await client.ask("AUTH LOGIN")).startswith("538 5.7.11")
        assert (await client.ask(f"MAIL FROM:<{NAME}>")).startswith("530 5.7.0 Say STARTTLS")
        assert desk.doorman.asked == []


async def test_inside_tls_nothing_is_taken_before_the_login(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client()
        assert "250-AUTH PLAIN LOGIN" in await client.ask("EHLO client.example")
        assert (await client.ask(f"MAIL FROM:<{NAME}>")).startswith("530 5.7.0 Log in first")
        assert (await client.ask("RCPT TO:<ann@customer.example>")).startswith("503")


async def test_what_came_before_the_handshake_is_no_login(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client(secure=False)
        client.send(f"STARTTLS\r\n{plain(NAME, PASSWORD)}")
        assert (await client.reply()).startswith("220")
        await client.secure()
        await client.ask("EHLO client.example")
        assert (await client.ask(f"MAIL FROM:<{NAME}>")).startswith("530")
        assert desk.doorman.asked == []


async def test_a_mail_is_handed_in_with_what_the_door_knows_of_it(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client(login=True)
        reply = await client.begin("ann@customer.example", "Bob@customer.example", sender=NAME)
        assert reply.startswith("250")
        await client.ask("DATA")
        assert await client.ask(MAIL + b".") == "250 2.0.0 Ok: queued as out_1"
        (taken,) = desk.tray.taken
        assert taken.raw == MAIL
        assert (taken.mail_from, taken.login.workspace_id) == (NAME, "wsp_1")
        assert taken.rcpt_to == ("ann@customer.example", "Bob@customer.example")
        assert taken.tls.startswith("TLSv1.3")
        assert desk.door.stats().accepted == 1


@pytest.mark.parametrize(
    "steps",
    [
        ["AUTH PLAIN", b64("\0".join(("", NAME, PASSWORD)))],
        [plain(NAME, PASSWORD, acting=NAME)],
        [plain(NAME.upper(), PASSWORD)],
        ["AUTH LOGIN", b64(NAME), b64(PASSWORD)],
        [f"AUTH login {b64(NAME)}", b64(PASSWORD)],
    ],
)
async def test_each_way_of_logging_in_is_understood(tls: Tls, steps: list[str]) -> None:
    async with opened(tls) as desk:
        client = await desk.client()
        *before, last = [await client.ask(step) for step in steps]
        assert all(reply.startswith("334 ") for reply in before)
        assert last.startswith("235 2.7.0")
        assert (await client.ask(plain(NAME, PASSWORD))).startswith("503 5.5.1")


async def test_python_logs_in_and_sends(tls: Tls) -> None:
    def hand_in(port: int) -> None:
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        for method in ("auth_plain", "auth_login"):
            with smtplib.SMTP("127.0.0.1", port, "client.example") as client:
                client.starttls(context=trusting)
                client.ehlo()
                client.user, client.password = NAME, "right password"
                name = method.removeprefix("auth_").upper()
                code, _ = client.auth(name, getattr(client, method))
                assert code == 235
                assert client.sendmail(NAME, ["ann@customer.example"], MAIL) == {}

    async with opened(tls) as desk:

        async def known(name: str, password: str) -> Login | Denied | Later:
            assert password == "right password"
            return Login("wsp_1", name, "key:ma_1", "key", "key_1")

        desk.doorman.log_in = known  # type: ignore[method-assign]
        await asyncio.to_thread(hand_in, desk.port)
        assert [one.raw for one in desk.tray.taken] == [MAIL, MAIL]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("AUTH CRAM-MD5", "504 5.5.4"),
        ("AUTH", "504 5.5.4"),
        ("AUTH PLAIN !!!", "501 5.5.2"),
        ("AUTH PLAIN =", "501 5.5.2"),
        (f"AUTH PLAIN {b64('one part')}", "501 5.5.2"),
        (plain("", PASSWORD), "501 5.5.2"),
        (f"AUTH PLAIN {base64.b64encode(bytes([0, 0xFF, 0, 0xFE])).decode()}", "501 5.5.2"),
        (plain(NAME, PASSWORD, acting="root@our.example"), "535 5.7.8"),
    ],
)
async def test_what_is_no_login_is_told_so(tls: Tls, line: str, said: str) -> None:
    async with opened(tls) as desk:
        client = await desk.client()
        assert (await client.ask(line)).startswith(said)
        assert (await client.ask(f"MAIL FROM:<{NAME}>")).startswith("530")


async def test_a_login_may_be_broken_off(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client()
        assert (await client.ask("AUTH LOGIN")).startswith("334 VXNlcm5hbWU6")
        assert (await client.ask("*")).startswith("501 5.7.0")
        assert (await client.ask("AUTH PLAIN")) == "334 "
        client.reset()
        assert desk.doorman.asked == []


async def test_an_unknown_name_and_a_wrong_password_sound_alike(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client()
        wrong = await client.ask(plain(NAME, "guess"))
        unknown = await client.ask(plain("nobody@our.example", PASSWORD))
        assert wrong == unknown == "535 5.7.8 Name or password is wrong"


async def test_the_same_wrong_password_by_another_mechanism_is_one_guess(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client()
        assert (await client.ask(plain(NAME, "old"))).startswith("535")
        await client.ask("AUTH LOGIN")
        await client.ask(b64(NAME))
        assert (await client.ask(b64("old"))).startswith("535")
        assert len(desk.doorman.asked) == 1


async def test_while_logins_cannot_be_looked_up_the_client_is_told_to_come_again(tls: Tls) -> None:
    async with opened(tls) as desk:
        desk.doorman.away = True
        client = await desk.client()
        assert await client.ask(plain(NAME, PASSWORD)) == (
            "454 4.7.0 Cannot check that now, try again"
        )


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Declined(Fault.SENDER, "From is {not} yours"), "550 5.7.1 From is {not} yours"),
        (Declined(Fault.CONTENT, "From: is missing"), "550 5.6.0 From: is missing"),
        (Later("OperationalError: secret"), "451 4.3.1 Cannot keep the mail now, try again"),
    ],
)
async def test_the_final_dot_is_answered_with_what_became_of_the_mail(
    tls: Tls, outcome: Declined | Later, said: str
) -> None:
    async with opened(tls) as desk:
        desk.tray.says = outcome
        client = await desk.client(login=True)
        assert await client.deliver(MAIL, "ann@customer.example") == said
        assert desk.door.stats().accepted == 0


async def test_recipients_are_bounded_and_must_be_addresses(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client(login=True)
        await client.ask(f"MAIL FROM:<{NAME}>")
        assert (await client.ask("RCPT TO:<a@[192.0.2.1]>")).startswith("501 5.1.3")
        assert (await client.ask("RCPT TO:<postmaster>")).startswith("501 5.1.3")
        for number in range(100):
            reply = await client.ask(f"RCPT TO:<a{number}@customer.example>")
            assert reply.startswith("250")
        assert (await client.ask("RCPT TO:<more@customer.example>")).startswith("452 4.5.3")


async def test_a_mail_with_a_line_that_may_not_be_sent_is_refused(tls: Tls) -> None:
    async with opened(tls) as desk:
        client = await desk.client(login=True)
        reply = await client.deliver(MAIL + b"x" * 999 + b"\r\n", "ann@customer.example")
        assert reply.startswith("554 5.6.0")
        assert desk.tray.taken == []


async def open_inside_tls(desk: Desk) -> int:
    """The door's second port, where TLS comes before the banner."""
    listening = listening_socket("127.0.0.1", 0)
    port: int = listening.getsockname()[1]
    await desk.door.start_inside_tls(listening)
    return port


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_on_the_port_of_implicit_tls_the_login_comes_at_once(tls: Tls) -> None:
    async with opened(tls) as desk:
        port = await open_inside_tls(desk)
        client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=unverified()))
        desk.clients.append(client)
        assert (await client.reply()).startswith("220 mx.our.example")
        offered = await client.ask("EHLO client.example")
        assert "250-AUTH PLAIN LOGIN" in offered
        assert "STARTTLS" not in offered
        assert (await client.ask("STARTTLS")).startswith("503")
        assert (await client.ask(plain(NAME, PASSWORD))).startswith("235")
        await client.ask(f"MAIL FROM:<{NAME}>")
        await client.ask("RCPT TO:<ann@customer.example>")
        await client.ask("DATA")
        assert (await client.ask("Subject: 1\r\n\r\nHello\r\n.")).startswith("250")
        (taken,) = desk.tray.taken
        assert taken.tls is not None
        assert taken.tls.startswith("TLSv1.")
        # The other port is the same door's.
        await desk.client(login=True)
        assert desk.door.stats().open_connections == 2


async def test_who_speaks_no_tls_there_is_told_nothing_and_costs_nobody(tls: Tls) -> None:
    async with opened(tls) as desk:
        port = await open_inside_tls(desk)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"EHLO client.example\r\nAUTH PLAIN AGEAYg==\r\n")
        said = await asyncio.wait_for(reader.read(), 30)
        assert b"220" not in said
        assert desk.doorman.asked == []
        writer.close()
        await desk.client(login=True)


class Watch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


LIMITS = ThrottleLimits(per_address=3, per_name=5, within=timedelta(minutes=15))


async def test_who_fails_too_often_is_not_even_asked_until_the_time_is_over(tls: Tls) -> None:
    watch = Watch()
    async with opened(tls, LoginThrottle(LIMITS, now=watch)) as desk:
        client = await desk.client()
        for guess in ("1", "2", "3"):
            assert (await client.ask(plain("nobody@our.example", guess))).startswith("535")
        late = await client.ask(plain(NAME, PASSWORD))
        assert late == "421 4.7.0 Too many failed logins, try again in 15 minutes"
        assert await client.closed()
        assert len(desk.doorman.asked) == 3
        watch.seconds = 901
        await desk.client(login=True)


async def test_a_name_is_guessed_from_many_addresses_but_its_owner_is_not_locked_out() -> None:
    throttle = LoginThrottle(LIMITS, now=Watch())
    await throttle.succeeded("2001:db8::1", NAME)
    for number in range(5):
        await throttle.failed(f"192.0.2.{number}", NAME)
    assert await throttle.wait("198.51.100.1", NAME) == timedelta(minutes=15)
    assert await throttle.wait("198.51.100.1", "other@our.example") is None
    # Its own network, another host of it.
    assert await throttle.wait("2001:db8::2", NAME) is None


async def test_what_is_remembered_of_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailagent.doors.login_throttle._MOST_ENTRIES", 10)
    throttle = LoginThrottle(LIMITS, now=Watch())
    for number in range(100):
        await throttle.failed("192.0.2.1", f"name{number}")
        await throttle.succeeded(f"192.0.2.{number}", NAME)
    assert len(throttle._failures) == 10
    assert len(throttle._welcome) == 10
