"""What rspamd says is understood, and what it does not say stops no mail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from mailagent.screening import NotScreened, Rspamd, Screened, Stranger
from tests.rspamd_server import RspamdServer, verdict

RAW = b"From: ann@customer.example\r\nSubject: hi\r\n\r\nHello \xff\r\n"
STRANGER = Stranger(
    client_ip="2001:db8::1",
    helo="mx.customer.example",
    mail_from="ann@customer.example",
    rcpt_to="hello@shop.example",
    queue_id="dlv_1",
)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RspamdServer]:
    async with RspamdServer() as running:
        yield running


async def asked(
    server: RspamdServer, raw: bytes = RAW, stranger: Stranger = STRANGER, **more: Any
) -> Screened | NotScreened:
    filter_ = Rspamd(server.url, **more)
    try:
        return await filter_.screen(raw, stranger)
    finally:
        await filter_.close()


async def test_the_mail_goes_as_received_with_all_that_the_door_knows(
    server: RspamdServer,
) -> None:
    await asked(server, password="hunter2")
    (request,) = server.asked
    assert (request.path, request.body) == ("/checkv2", RAW)
    told = {
        "ip": "2001:db8::1",
        "helo": "mx.customer.example",
        "from": "ann@customer.example",
        "rcpt": "hello@shop.example",
        "queue-id": "dlv_1",
        "password": "hunter2",
    }
    assert {name: request.headers[name] for name in told} == told


async def test_what_is_not_known_is_not_told(server: RspamdServer) -> None:
    await asked(server, stranger=Stranger(None, None, None, "hello@shop.example", "dlv_1"))
    headers = server.asked[0].headers
    assert headers["from"] == "<>"
    assert headers.keys().isdisjoint({"ip", "helo", "password"})


async def test_no_word_of_a_stranger_becomes_a_header(server: RspamdServer) -> None:
    stranger = Stranger("8.7.6.5", "a\r\nSettings-Id: allow", "jörg@\x00.example", "x@y", "d")
    assert isinstance(await asked(server, stranger=stranger), Screened)
    headers = server.asked[0].headers
    assert "settings-id" not in headers
    assert headers["helo"] == "a??Settings-Id: allow"
    assert headers["from"] == "j?rg@?.example"


@pytest.mark.parametrize(
    ("action", "meaning"),
    [
        ("reject", "spam"),
        ("add header", "spam"),
        ("rewrite subject", "spam"),
        ("discard", "spam"),
        ("quarantine", "spam"),
        ("greylist", "none"),
        ("soft reject", "none"),
        ("no action", "none"),
        ("an action of next year", "none"),
    ],
)
async def test_each_action_has_its_meaning(server: RspamdServer, action: str, meaning: str) -> None:
    server.answers = verdict(action, 8.5, {"WEAK": 0.1, "HAM": -3.0, "LOOKED": 0.0, "HEAVY": 7})
    assert await asked(server) == Screened(
        by="rspamd",
        action=action,
        verdict=meaning,  # type: ignore[arg-type]
        score=8.5,
        required=15.0,
        symbols=(("HEAVY", 7.0), ("HAM", -3.0), ("WEAK", 0.1), ("LOOKED", 0.0)),
    )


async def test_the_evidence_is_told_in_words_and_bounded(server: RspamdServer) -> None:
    server.answers = verdict("reject", 99.5, {f"RULE_{n:03}\x1b": n / 10 for n in range(500)})
    screened = await asked(server)
    assert str(screened).startswith("99.5 of 15: RULE_499? (+49.9), ")
    assert isinstance(screened, Screened)
    assert len(screened.symbols) == 20


@pytest.mark.parametrize(("status", "away"), [(500, True), (503, True), (403, False), (302, False)])
async def test_an_error_is_no_opinion(server: RspamdServer, status: int, away: bool) -> None:
    server.status = status
    screened = await asked(server)
    assert screened == NotScreened("rspamd", f"it answered with status {status}", away)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"action": 5, "score": 1, "required_score": 2}',
        b'{"action": "reject"}',
        b'{"action": "reject", "score": "x", "required_score": 15}',
        b'{"action": "reject", "score": NaN, "required_score": 15}',
        b'{"action": "reject", "score": true, "required_score": 15}',
        b'{"action": "reject", "score": 1' + b"0" * 400 + b', "required_score": 15}',
        b'{"action": "reject", "score": 9, "required_score": 15, "x": "' + b"x" * 2_000_000 + b'"}',
    ],
    ids=lambda answer: repr(answer[:40]),
)
async def test_garbage_is_no_opinion(server: RspamdServer, answer: bytes) -> None:
    server.answers = answer
    assert await asked(server) == NotScreened("rspamd", "its answer cannot be read", away=False)


@pytest.mark.parametrize("symbols", [None, [], "x", {"A": None}, {"": 1}])
async def test_odd_symbols_leave_the_verdict(server: RspamdServer, symbols: object) -> None:
    told = json.loads(verdict("reject", 20)) | {"symbols": symbols}
    server.answers = json.dumps(told).encode()
    screened = await asked(server)
    assert isinstance(screened, Screened)
    assert (screened.verdict, screened.symbols) == ("spam", ())


async def test_a_filter_that_does_not_answer_is_not_waited_for(server: RspamdServer) -> None:
    server.silent = True
    screened = await asked(server, timeout=timedelta(milliseconds=100))
    assert screened == NotScreened("rspamd", "no answer in 0.1 s", away=True)


async def test_a_filter_that_is_not_there_is_away() -> None:
    async with RspamdServer() as gone:
        pass
    assert await asked(gone) == NotScreened("rspamd", "not reachable (ConnectError)", away=True)


async def test_a_mail_that_the_filter_would_refuse_for_its_size_is_not_sent(
    server: RspamdServer,
) -> None:
    screened = await asked(server, raw=bytes(50 * 1024**2 + 1))
    assert screened == NotScreened("rspamd", "larger than 50 MiB", away=False)
    assert server.asked == []
