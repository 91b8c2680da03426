"""What may be called for a user: a pure function of addresses, and one request on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from mailagent.egress import Egress, refusal
from mailagent.errors import Malformed, TransientFailure, UncertainDelivery


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "198.18.0.1", "192.0.0.1", "192.88.99.1", "240.0.0.1"),
        *("255.255.255.255", "224.0.0.1", "192.0.2.1", "203.0.113.9"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
        *("64:ff9b:1::1", "2001::1", "2001:db8::1", "localhost", "", "1.2.3"),
    ],
)
def test_an_address_inside_is_refused(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_an_address_of_the_public_internet_is_not_refused(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    "url",
    [
        *("", "hooks.example", "ftp://hooks.example/", "http://hooks.example/", "https://"),
        *("https://a b.example/", "https://user:pass@hooks.example/", "https://hooks.example:25/"),
        *("https://127.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://2130706433/"),
        *("https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://[", "https://h.example:x/"),
        *("https://hooks.example/\n", "https://hooks.example/" + "x" * 3_000),
    ],
)
def test_an_address_that_may_not_be_saved_is_named(url: str) -> None:
    with pytest.raises(Malformed) as error:
        Egress().check(url, name="webhook_url")
    assert error.value.field == "webhook_url"
    assert "pass@" not in str(error.value)


def resolving(*addresses: str) -> Egress:
    async def look_up(host: str, port: int) -> Sequence[str]:
        return addresses

    return Egress(look_up=look_up)


async def test_a_name_is_called_at_the_address_that_was_looked_at() -> None:
    pinned = await resolving("1.1.1.1", "9.9.9.9").pin("https://hooks.example/x")
    assert (pinned.host, pinned.address, pinned.port) == ("hooks.example", "1.1.1.1", 443)


@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "::1", "10.1.2.3"])
async def test_one_address_inside_is_enough_to_refuse_a_name(inside: str) -> None:
    with pytest.raises(Malformed, match=r"hooks\.example leads to"):
        await resolving("1.1.1.1", inside).pin("https://hooks.example/x")


async def test_a_name_that_cannot_be_resolved_is_tried_again_later() -> None:
    async def look_up(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(TransientFailure):
        await Egress(look_up=look_up).pin("https://hooks.example/")
    with pytest.raises(TransientFailure):
        await resolving().pin("https://hooks.example/")


@dataclass
class Played:
    """A server on loopback that answers each request with the same octets."""

    answer: bytes | None
    requests: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def egress(self) -> Egress:
        return Egress(frozenset({f"127.0.0.1:{self.port}"}))


@asynccontextmanager
async def played(answer: bytes | None) -> AsyncIterator[Played]:
    server = Played(answer)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(OSError, EOFError):
            server.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if server.answer is not None:
                writer.write(server.answer)
            else:
                await reader.read()
            writer.close()
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
        await asyncio.gather(*serving)


async def test_a_host_that_the_operator_lists_is_called() -> None:
    async with played(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi") as server:
        answer = await server.egress.call("POST", server.url, content=b"{}")
    assert (answer.status, answer.body, answer.headers["x-a"]) == (200, b"hi", "b")
    assert f"host: 127.0.0.1:{server.port}".encode() in server.requests[0].lower()


async def test_a_listed_port_lists_no_other() -> None:
    async with played(b"") as server:
        with pytest.raises(Malformed):
            await Egress(frozenset({"127.0.0.1:1"})).call("GET", server.url)
    assert server.requests == []


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    away = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    async with played(away) as server:
        answer = await server.egress.call("GET", server.url)
    assert answer.status == 302
    assert len(server.requests) == 1


async def test_an_answer_that_is_too_long_is_refused() -> None:
    long = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 5_000
    async with played(long) as server:
        with pytest.raises(Malformed, match="longer"):
            await server.egress.call("GET", server.url, most_bytes=1_000)


async def test_packed_octets_stay_packed() -> None:
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
    async with played(packed) as server:
        assert (await server.egress.call("GET", server.url)).body == b"abc"


async def test_a_request_that_may_have_arrived_is_uncertain() -> None:
    async with played(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal") as server:
        with pytest.raises(UncertainDelivery):
            await server.egress.call("POST", server.url)
    async with played(None) as server:
        with pytest.raises(UncertainDelivery):
            await server.egress.call("POST", server.url, seconds=0.2)


async def test_nobody_at_the_port_is_tried_again_later() -> None:
    async with played(b"") as server:
        egress, url = server.egress, server.url
    with pytest.raises(TransientFailure):
        await egress.call("POST", url)
