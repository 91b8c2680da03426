"""No test leaves the machine."""

import asyncio
import socket

import pytest

from tests.network import ForeignConnection


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "2001:db8::1"])
def test_a_connection_to_another_machine_is_refused(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connection, pytest.raises(ForeignConnection):
        connection.connect((address, 25))


def test_a_datagram_to_another_machine_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection,
        pytest.raises(ForeignConnection),
    ):
        connection.sendto(b"?", ("192.0.2.1", 53))


async def test_a_name_of_another_machine_is_not_looked_up() -> None:
    with pytest.raises(ForeignConnection):
        await asyncio.open_connection("mx.example.com", 25)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_is_open(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as door, socket.socket(family) as client:
        door.bind((host, 0))
        door.listen()
        client.connect(door.getsockname()[:2])
        assert client.getpeername() == door.getsockname()
