"""What a mail says decides what becomes of it, and nobody but a proven person is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from backend.inboxes import handling
from mailagent.errors import SandboxFailure
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from tests.flow.house import ANN, House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_proven_person_is_answered_in_the_thread(house: House) -> None:
    space = await house.workspace()
    asked = mail("Are you open today?", subject="Hours", message_id="<q1@customer.example>")
    answer = await space.answered(asked)
    assert answer["To"] == ANN
    assert answer["Subject"] == "Re: Hours"
    assert answer["In-Reply-To"] == "<q1@customer.example>"
    assert answer["References"] == "<q1@customer.example>"
    assert answer["Auto-Submitted"] == "auto-replied"
    assert answer["Reply-To"].startswith("Hello <hello+t.")
    assert "Thank you for 1 mail(s)." in answer.get_content()


async def test_the_envelope_sender_vouches_where_no_dmarc_is_published(house: House) -> None:
    space = await house.workspace()
    raw = mail(sender="bo@spf-only.example")
    answer = await space.answered(raw, mail_from="bo@spf-only.example")
    assert answer["To"] == "bo@spf-only.example"


async def test_spf_of_another_address_vouches_for_nobody(house: House) -> None:
    space = await house.workspace()
    raw = mail(sender="bo@spf-only.example")
    got = await space.receive(raw, mail_from="list@spf-only.example")
    assert "nothing proves" in (await space.delivery(got, "held")).reason


async def test_an_unproven_sender_is_held(house: House) -> None:
    space = await house.workspace()
    got = await space.receive(mail(sender="x@unknown.example"), mail_from="x@unknown.example")
    row = await space.delivery(got, "held")
    assert "nothing proves that x@unknown.example sent it" in row.reason
    assert row.held_until is None
    assert space.turns == []


@pytest.mark.parametrize(
    ("sender", "policy"),
    [(ANN, "reject"), ("ann@quarantined.example", "quarantine")],
)
async def test_a_mail_that_its_domain_disowns_reaches_no_agent(
    house: House, sender: str, policy: str
) -> None:
    space = await house.workspace()
    got = await space.receive(mail(sender=sender), mail_from=sender, ip="198.51.100.9")
    row = await space.delivery(got, "quarantined")
    assert f"asks to {policy} such mail" in row.reason
    assert (row.thread_id, space.turns, await space.outbound()) == (None, [], [])


@pytest.mark.parametrize(
    "headers",
    [
        {"Auto-Submitted": "auto-replied"},
        {"Precedence": "bulk"},
        {"List-Id": "<news.customer.example>"},
        {"X-Auto-Response-Suppress": "All"},
        {"X-Spam-Flag": "YES"},
        {"From": "noreply@customer.example"},
    ],
    ids=str,
)
async def test_a_machine_is_not_answered(house: House, headers: dict[str, str]) -> None:
    space = await house.workspace()
    sender = headers.get("From", ANN)
    got = await space.receive(mail(sender=sender, headers=headers), mail_from=sender)
    row = await space.delivery(got, "silent")
    assert row.reason.startswith("not answered: ")
    assert row.thread_id is not None
    assert await space.outbound() == []


async def test_the_null_sender_is_never_answered(house: House) -> None:
    space = await house.workspace()
    got = await space.receive(mail(sender="x@unknown.example"), mail_from=None)
    await space.delivery(got, "silent")
    assert await space.outbound() == []


async def test_an_answer_elsewhere_needs_a_person(house: House) -> None:
    space = await house.workspace()
    got = await space.receive(mail(headers={"Reply-To": "other@elsewhere.example"}))
    row = await space.delivery(got, "handed to a person")
    assert "Reply-To (other@elsewhere.example)" in row.reason
    (notice,) = await space.notices()
    assert "other@elsewhere.example" in notice.get_content()
    assert house.taken("other@elsewhere.example") == []


async def test_a_reply_to_of_the_same_address_changes_nothing(house: House) -> None:
    space = await house.workspace()
    answer = await space.answered(mail(headers={"Reply-To": "Ann <ANN@customer.example>"}))
    assert answer["To"] == ANN


async def test_a_mail_with_two_authors_is_answered_to_neither(house: House) -> None:
    space = await house.workspace()
    raw = mail(sender=f"{ANN}, eve@elsewhere.example")
    await space.delivery(await space.receive(raw), "held")
    assert space.turns == []


async def test_a_mail_that_has_passed_here_too_often_is_looped(house: House) -> None:
    space = await house.workspace()
    hops = b"X-Mailagent-Loop: mx.aexy.example\r\n" * 3
    got = await space.receive(hops + mail())
    assert "3 times" in (await space.delivery(got, "looped")).reason
    assert await space.outbound() == []


async def test_what_no_reader_can_read_is_quarantined_with_its_octets_kept(house: House) -> None:
    space = await house.workspace()
    monstrous = b"X-Fill: " + b" x\r\n" * 600_000 + mail()
    got = await space.receive(monstrous)
    row = await space.delivery(got, "quarantined")
    assert row.reason.startswith("cannot be read: ")
    (raw,) = await space.rows(t.raw_messages)
    assert raw.content == monstrous


class Reader:
    """The sandbox, whose worker first `dies` or `hangs` as it is told, a word for each reading."""

    def __init__(self, space: Space, monkeypatch: pytest.MonkeyPatch, *fates: str) -> None:
        self.space, self.fates = space, list(fates)
        self.go_on, self.met = asyncio.Event(), list[str]()
        sandbox = space.house.services.sandbox
        self._run = sandbox.run
        monkeypatch.setattr(sandbox, "run", self.run)

    async def run(self, job: str, *args: Any, **more: Any) -> bytes:
        fate = self.fates.pop(0) if self.fates else ""
        self.met.append(fate)
        if fate == "hangs":
            await self.go_on.wait()
        elif fate == "dies":
            raise SandboxFailure("crash", f"{job}: the worker died")
        return await self._run(job, *args, **more)

    async def has_met(self, *fates: str) -> None:
        """Wait for the last of them, and until the mail was put back after a death."""

        async def look() -> bool:
            (row,) = await self.space.rows(t.deliveries)
            return self.met == list(fates) and (row.claimed_by is None or fates[-1] == "hangs")

        await self.space.house.until(look)


async def test_a_mail_whose_reader_dies_twice_is_quarantined(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = await house.workspace()
    reader = Reader(space, monkeypatch, "dies", "dies")
    got = await space.receive()
    await reader.has_met("dies")
    await house.later(timedelta(minutes=1))
    row = await space.delivery(got, "quarantined")
    assert row.reason.startswith("reading it failed twice: crash: ")
    assert "read: its reader failed (crash: " in await space.story(got)


async def test_a_mail_that_meets_a_nodes_death_and_one_readers_is_answered(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = await house.workspace()
    reader = Reader(space, monkeypatch, "hangs", "dies")
    got = await space.receive()
    await reader.has_met("hangs")
    # What a node leaves that died while it read.
    dead = {"claimed_by": "clm_of_the_dead", "lease_until": house.store.now() - timedelta(days=1)}
    mine = update(t.deliveries).where(t.deliveries.c.id == got).values(dead)
    await space.write(lambda tx: tx.execute(mine).rowcount)
    await reader.has_met("hangs", "dies")
    await house.later(timedelta(minutes=1))
    await space.answer_to(got)
    reader.go_on.set()


async def test_a_mail_that_is_driven_again_has_all_its_tries_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = await house.workspace()
    reader = Reader(space, monkeypatch, "dies", "dies", "dies")
    got = await space.receive()
    await reader.has_met("dies")
    await house.later(timedelta(minutes=1))
    await space.delivery(got, "quarantined")
    await space.write(lambda tx: handling.replay(tx, got, actor="cli"))
    await reader.has_met("dies", "dies", "dies")
    await house.later(timedelta(minutes=1))
    await space.answer_to(got)


async def test_a_virus_that_the_provider_found_is_quarantined(house: House) -> None:
    space = await house.workspace()
    verdicts = {"spf": "PASS", "dkim": "PASS", "dmarc": "PASS", "virus": "FAIL"}
    got = await space.receive(mail(), source="ses", provider_verdicts=verdicts)
    assert "virus" in (await space.delivery(got, "quarantined")).reason


async def test_the_verdict_of_the_delivering_provider_is_taken(house: House) -> None:
    space = await house.workspace()
    verdicts = {"spf": "PASS", "dkim": "PASS", "dmarc": "PASS"}
    raw = mail(sender="bo@unknown.example")
    answer = await space.answered(
        raw, mail_from="b@bulk.example", ip=None, source="ses", provider_verdicts=verdicts
    )
    assert answer["To"] == "bo@unknown.example"


async def test_a_providers_own_dns_trouble_is_not_waited_for(house: House) -> None:
    space = await house.workspace()
    verdicts = {"spf": "PROCESSING_FAILED", "dmarc": "PROCESSING_FAILED"}
    got = await space.receive(mail(), source="ses", ip=None, provider_verdicts=verdicts)
    await space.delivery(got, "held")
    assert "waits for DNS" not in await space.story(got)


async def test_dns_that_does_not_answer_is_waited_for_and_then_proves_nothing(
    house: House,
) -> None:
    space = await house.workspace()
    house.dns.failing("silent.example", "_dmarc.silent.example")
    sender = "ann@silent.example"
    got = await space.receive(mail(sender=sender), mail_from=sender)
    for tries in (1, 2):
        await house.until(lambda n=tries: _attempts(space, got, n))  # type: ignore[misc]
        await house.later(timedelta(minutes=6))
    row = await space.delivery(got, "held")
    assert "temperror" in row.reason


async def test_dns_that_comes_back_proves_the_sender(house: House) -> None:
    space = await house.workspace()
    house.dns.add({"back.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}})
    house.dns.failing("back.example")
    sender = "ann@back.example"
    got = await space.receive(mail(sender=sender), mail_from=sender)
    await house.until(lambda: _attempts(space, got, 1))
    house.dns.well("back.example")
    await house.later(timedelta(minutes=6))
    assert (await space.answer_to(got)).state == "sent"


async def _attempts(space: Space, delivery_id: str, attempts: int) -> bool:
    (row,) = await space.rows(t.deliveries, t.deliveries.c.id == delivery_id)
    return bool(row.attempts == attempts and row.claimed_by is None)


async def test_a_sender_whose_records_never_end_is_judged_by_what_was_found(
    house: House,
) -> None:
    space = await house.workspace()
    house.dns.add(
        {f"s{n}.endless.example": {"TXT": [f"v=spf1 redirect=s{n + 1}.endless.example"]}
         for n in range(40)}
    )  # fmt: skip
    sender = "ann@s0.endless.example"
    got = await space.receive(mail(sender=sender), mail_from=sender)
    await space.delivery(got, "held")


async def test_the_same_mail_through_two_doors_is_answered_once(house: House) -> None:
    space = await house.workspace()
    raw = mail(message_id="<twice@customer.example>")
    first = await space.receive(raw)
    await space.answer_to(first)
    second = await space.receive(raw, source="postmark", source_id="p1")
    row = await space.delivery(second, "duplicate")
    assert first in row.reason
    assert len(await space.outbound()) == 1


async def test_the_same_mail_with_the_address_written_otherwise_is_the_same(
    house: House,
) -> None:
    space = await house.workspace()
    raw = mail(message_id="<case@customer.example>")
    await space.answer_to(await space.receive(raw))
    second = await space.receive(raw, space.address.upper(), source="postmark", source_id="p2")
    await space.delivery(second, "duplicate")


async def test_the_same_words_a_day_later_are_a_new_mail(house: House) -> None:
    space = await house.workspace()
    raw = mail(message_id="<daily@customer.example>")
    await space.answer_to(await space.receive(raw))
    await house.later(timedelta(days=1, minutes=1))
    assert (await space.answer_to(await space.receive(raw))).state == "sent"


async def test_one_mail_to_two_addresses_of_an_agent_makes_one_turn(house: House) -> None:
    space = await house.workspace()
    await space.write(lambda tx: space.add_address(tx, space.agent_id, "sales", space.domain))
    await house.services.directory.refresh()
    await space.receive(mail(), space.address, f"sales@{space.domain}")
    rows = await house.until(lambda: _ended(space))
    assert sorted(row.state for row in rows) == ["answered", "merged"]
    assert len({row.thread_id for row in rows}) == 1
    assert len(space.turns) == 1


async def _ended(space: Space) -> Sequence[AnyRow] | None:
    rows = await space.rows(t.deliveries)
    return rows if {row.state for row in rows} <= {"answered", "merged"} else None
