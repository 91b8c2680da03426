"""An hour of DNS in every kind of trouble, of regular looks and of others between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Literal, get_args

import dns.flags
import dns.message
import dns.rcode
import pytest

from backend.domains import checking
from backend.domains.zone_servers import ZoneServers
from mailagent.resolver import Resolver
from tests.dns_server import DnsServer
from tests.domains.town import NAME, Town, open_town

Trouble = Literal[
    "servfail", "silence", "lame", "refused", "empty answer", "no octets", "cut short",
    "0.3 s", "10 s",
]  # fmt: skip
_TROUBLES: tuple[Trouble, ...] = get_args(Trouble)
_BETWEEN = timedelta(minutes=4)


class Troubled(DnsServer):
    """Answers every question in one way of going wrong, while it has one."""

    trouble: Trouble | None = None

    def answer(self, wire: bytes, *, limit: int | None) -> bytes | None:
        if self.trouble is None:
            return super().answer(wire, limit=limit)
        response = dns.message.make_response(dns.message.from_wire(wire))
        match self.trouble:
            case "silence":
                return None
            case "servfail":
                response.set_rcode(dns.rcode.SERVFAIL)
            case "refused":
                response.set_rcode(dns.rcode.REFUSED)
            case "lame" if not response.flags & dns.flags.RD:
                pass  # no authority: it knows nothing of the zone
            case "lame":
                return super().answer(wire, limit=limit)
            case "empty answer":
                response.flags |= dns.flags.RA
            case "no octets":
                return b""
            case "cut short":
                return response.to_wire()[:11]
            case "0.3 s" | "10 s":
                self._stopping.wait(float(self.trouble.removesuffix(" s")))
                return super().answer(wire, limit=limit)
        return response.to_wire()


@pytest.fixture
def troubled() -> Iterator[Troubled]:
    with Troubled() as server:
        yield server


@pytest.fixture
def town(database_url: str, troubled: Troubled) -> Iterator[Town]:
    with open_town(database_url, troubled) as opened:
        yield opened


def hurry(town: Town) -> None:
    """Ask with less patience than any delay here has, so that the test is short."""
    hurried = Resolver(
        town.dns.address,
        attempt=timedelta(seconds=0.05),
        lifetime=timedelta(seconds=0.1),
        remembered=0,
    )
    servers = ZoneServers(hurried, town.desk.addresses_of, attempt=timedelta(seconds=0.05))
    vars(town.desk).update(resolver=hurried, zone_servers=servers)


@pytest.mark.parametrize("patient", [False, True])
async def test_no_trouble_of_dns_demotes_a_verified_domain_within_an_hour_of_looks(
    town: Town, troubled: Troubled, patient: bool
) -> None:
    """Each trouble has looks of both kinds; two regular ones that were wrong would demote. Delays
    that the looks wait out have two of each, because those take their time for real.
    """
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    assert (await town.domain()).life.state == "verified"
    usual = {name: vars(town.desk)[name] for name in ("resolver", "zone_servers")}
    if not patient:
        hurry(town)
    # With patience a delay of 0.3 s is no trouble: the answers come, and are right.
    troubles = ("0.3 s",) if patient else _TROUBLES
    lasts = timedelta(minutes=8) if patient else timedelta(hours=1)
    seen: dict[str, str] = {}
    passed = timedelta()
    number = 0
    while passed < lasts:
        troubled.trouble = troubles[number // 2 % len(troubles)]
        if number % 2:
            await town.later(_BETWEEN)
            await town.look()
            passed += _BETWEEN
        else:
            await town.next_look()
        domain = await town.domain()
        life = domain.life
        now = (life.state, life.sending, life.failures)
        assert now == ("verified", "active", 0), troubled.trouble
        assert domain.verdict is not None
        seen[troubled.trouble] = (domain.verdict["failure"] or {}).get("code", "")
        number += 1
    assert set(seen) == set(troubles)
    assert await town.notices() == []

    troubled.trouble = None
    vars(town.desk).update(usual)
    town.without(NAME, "MX")
    await town.cycles(2)
    assert (await town.domain()).life.state == "failed", "what is really wrong is seen"


async def test_a_look_ends_in_time_and_what_was_not_answered_by_then_is_unknown(
    town: Town, troubled: Troubled
) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    impatient = replace(town.desk, longest_look=timedelta(seconds=0.3))
    troubled.trouble = "silence"
    for _ in range(2):
        domain = await town.domain()
        await town.later(domain.life.next_cycle - town.store.now() + timedelta(seconds=1))
        domain = await checking.look_now(impatient, town.acme, NAME)
        assert (domain.life.state, domain.life.sending) == ("verified", "active")
        assert domain.verdict is not None
        told = {(one["status"], one["code"]) for one in domain.verdict["records"]}
        assert told == {("unknown", "dns_unknown")}
        assert "took too long" in domain.verdict["records"][0]["message"]


async def test_a_domain_whose_registration_ran_out_is_not_taken_for_trouble(
    town: Town, troubled: Troubled
) -> None:
    await town.add()
    await town.work()
    await town.publish()
    await town.next_look()
    troubled.zone.clear()  # NXDOMAIN, for it and everything below
    await town.cycles(2)
    assert (await town.domain()).life.state == "failed"
