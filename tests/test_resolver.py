"""The resolver gives three answers, over a real socket, and never raises for DNS trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import dns.query
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.dns_answers import Absent, Found, Question, Unknown, ascii_name
from mailagent.errors import Misconfigured
from mailagent.resolver import Resolver
from tests.dns_server import DnsServer


@pytest.fixture
def server() -> Iterator[DnsServer]:
    zone = {
        "example.com": {
            "TXT": ["v=spf1 -all", "x" * 700],
            "MX": ["10 MX.example.com."],
            "A": ["192.0.2.1"],
        },
        "alias.example.com": {"CNAME": ["example.com."]},
        "a.b.example.com": {"A": ["192.0.2.2"]},
        "*.wild.example.com": {"MX": ["5 mx.example.com."]},
        "xn--mnchen-3ya.example": {"A": ["192.0.2.3"]},
    }
    with DnsServer(zone) as running:
        yield running


def patient(server: DnsServer, **options: object) -> Resolver:
    """One that waits for its answer however busy the machine is."""
    attempt, lifetime = timedelta(seconds=10), timedelta(seconds=30)
    return Resolver(server.address, attempt=attempt, lifetime=lifetime, **options)  # type: ignore[arg-type]


def hurried(address: str) -> Resolver:
    """One whose questions are not answered: it need not wait for long."""
    short = timedelta(milliseconds=200)
    return Resolver(address, attempt=short, lifetime=short)


async def test_txt_strings_are_joined_even_when_the_answer_needs_tcp(server: DnsServer) -> None:
    server.add({"long.example.com": {"TXT": ["y" * 3000]}})
    assert await patient(server).ask(Question("long.example.com", "TXT")) == Found(("y" * 3000,))


async def test_names_in_records_are_lower_case_without_a_final_dot(server: DnsServer) -> None:
    answer = await patient(server).ask(Question("EXAMPLE.com.", "mx"))
    assert answer == Found(("10 mx.example.com",))


async def test_an_alias_is_followed(server: DnsServer) -> None:
    answer = await patient(server).ask(Question("alias.example.com", "A"))
    assert answer == Found(("192.0.2.1",))


async def test_a_name_that_does_not_exist_differs_from_one_without_that_record(
    server: DnsServer,
) -> None:
    answers = await patient(server).ask_all(
        [
            Question("nowhere.example.com", "A"),
            Question("example.com", "AAAA"),
            Question("b.example.com", "A"),
        ]
    )
    assert list(answers.values()) == [Absent(True), Absent(False), Absent(False)]


async def test_wildcards_answer_as_in_rfc_4592(server: DnsServer) -> None:
    server.add({"taken.wild.example.com": {"TXT": ["here"]}})
    answers = await patient(server).ask_all(
        [Question("any.wild.example.com", "MX"), Question("taken.wild.example.com", "MX")]
    )
    assert list(answers.values()) == [Found(("5 mx.example.com",)), Absent(False)]


async def test_servfail_is_unknown_and_says_so(server: DnsServer) -> None:
    server.failing("example.com")
    answer = await patient(server).ask(Question("example.com", "TXT"))
    assert isinstance(answer, Unknown)
    assert "SERVFAIL" in answer.reason


async def test_silence_is_unknown(server: DnsServer) -> None:
    server.silent("example.com")
    answer = await hurried(server.address).ask(Question("example.com", "TXT"))
    assert answer == Unknown("DNS did not answer in time")


async def test_nobody_listening_is_unknown() -> None:
    with DnsServer() as gone:
        address = gone.address
    assert isinstance(await hurried(address).ask(Question("example.com", "A")), Unknown)


async def test_an_answer_is_remembered_for_its_ttl(server: DnsServer) -> None:
    now = 0.0
    resolver = patient(server, clock=lambda: now)
    question = Question("example.com", "A")
    await resolver.ask(question)
    server.add({"example.com": {"A": ["192.0.2.9"]}})
    assert await resolver.ask(question) == Found(("192.0.2.1",))
    now = 301.0
    assert await resolver.ask(question) == Found(("192.0.2.9",))


async def test_an_absent_record_is_asked_again_within_a_minute(server: DnsServer) -> None:
    now = 0.0
    resolver = patient(server, clock=lambda: now)
    question = Question("new.example.com", "TXT")
    assert await resolver.ask(question) == Absent(nxdomain=True)
    server.add({"new.example.com": {"TXT": ["here"]}})
    now = 61.0
    assert await resolver.ask(question) == Found(("here",))


async def test_an_unknown_answer_is_forgotten_after_seconds(server: DnsServer) -> None:
    now = 0.0
    resolver = patient(server, clock=lambda: now)
    server.failing("example.com")
    question = Question("example.com", "A")
    assert isinstance(await resolver.ask(question), Unknown)
    server.well("example.com")
    now = 4.0
    assert await resolver.ask(question) == Found(("192.0.2.1",))


async def test_a_record_without_lifetime_is_not_remembered(server: DnsServer) -> None:
    server.ttl = 0
    resolver = patient(server)
    for _ in range(2):
        await resolver.ask(Question("example.com", "A"))
    assert server.asked.count(("example.com", "A")) == 2


async def test_memory_is_bounded_and_the_least_used_goes_first(server: DnsServer) -> None:
    resolver = patient(server, remembered=2)
    first, second, third = (Question(f"{n}.b.example.com", "A") for n in "axy")
    for question in (first, second, first, third, first, second):
        await resolver.ask(question)
    assert [name[0] for name, _ in server.asked] == ["a", "x", "y", "x"]


async def test_the_same_question_at_once_is_one_packet(server: DnsServer) -> None:
    resolver = patient(server)
    question = Question("example.com", "A")
    answers = await asyncio.gather(*(resolver.ask(question) for _ in range(20)))
    assert set(answers) == {Found(("192.0.2.1",))}
    assert len(server.asked) == 1


async def test_who_stops_waiting_does_not_take_the_answer_from_others(server: DnsServer) -> None:
    server.slow("example.com", 0.1)
    resolver = patient(server)
    question = Question("example.com", "A")
    leaves = asyncio.create_task(resolver.ask(question))
    stays = asyncio.create_task(resolver.ask(question))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == Found(("192.0.2.1",))


async def test_three_hundred_questions_at_once_all_get_their_answer(server: DnsServer) -> None:
    questions = [Question(f"h{n}.wild.example.com", "MX") for n in range(300)]
    answers = await patient(server).ask_all(questions)
    assert set(answers.values()) == {Found(("5 mx.example.com",))}


async def test_letters_beyond_ascii_are_asked_as_a_labels(server: DnsServer) -> None:
    answer = await patient(server).ask(Question("MÜNCHEN.example", "A"))
    assert answer == Found(("192.0.2.3",))


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "x" * 64 + ".com", "a b.com", "a\\.com", "a." * 127 + "com", "\ud800.com"],
)
async def test_a_name_that_cannot_exist_is_absent_without_asking(
    server: DnsServer, name: str
) -> None:
    assert await patient(server).ask(Question(name, "A")) == Absent(nxdomain=True)
    assert server.asked == []


async def test_a_type_that_does_not_exist_is_unknown(server: DnsServer) -> None:
    assert isinstance(await patient(server).ask(Question("example.com", "NOSUCH")), Unknown)


async def test_records_of_a_zone_file_are_served(server: DnsServer) -> None:
    server.add_zone_text('c IN TXT "one" "two"\nc IN MX 5 mail\n', "example.org.")
    answers = await patient(server).ask_all(
        [Question("c.example.org", "TXT"), Question("c.example.org", "MX")]
    )
    assert list(answers.values()) == [Found(("onetwo",)), Found(("5 mail.example.org",))]


def test_https_is_refused_with_the_mend_where_its_library_is_missing() -> None:
    if dns.query.have_doh:
        Resolver("https://dns.example/dns-query")
        return
    with pytest.raises(Misconfigured, match="host:port instead"):
        Resolver("https://dns.example/dns-query")


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:dns", "127.0.0.1:99999", "udp://127.0.0.1", "a@127.0.0.1"],
)
def test_a_wrong_address_is_refused_with_the_settings_name(address: str) -> None:
    with pytest.raises(Misconfigured, match="MAILAGENT_RESOLVER"):
        Resolver(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]:5353", "localhost:5353"])
def test_an_address_may_be_a_host_with_or_without_port(address: str) -> None:
    Resolver(address)


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_a_normal_name_stays_as_it_is(name: str) -> None:
    once = ascii_name(name)
    assert once is None or ascii_name(once) == once
    if once is not None:
        assert Question(name, "a") == Question(once, "A")
