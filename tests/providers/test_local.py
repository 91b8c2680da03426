"""Delivery between our own addresses, with a door that answers as a test says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from mailagent.errors import LostClaim
from mailagent.inbound import Accepted, Duplicate, Inbound, Outcome, Unrouted
from mailagent.inbound import Later as NotNow
from mailagent.outgoing import Later, Refused, Sent
from mailagent.providers.local import Local
from tests.providers.mails import ALICE, BOB, Commits, outgoing

NOW = datetime(2026, 11, 21, 9, 31, tzinfo=UTC)


class Door:
    """An acceptor that keeps mails by (source_id, recipient), or gives the answer it was told."""

    def __init__(self, answer: Outcome | None = None) -> None:
        self.kept: dict[tuple[str, str], Inbound] = {}
        self.answer = answer

    async def accept(self, batch: Sequence[Inbound]) -> Sequence[Outcome]:
        return [self.answer or self._keep(mail) for mail in batch]

    def _keep(self, mail: Inbound) -> Outcome:
        key = (mail.source_id, mail.envelope.rcpt_to[0])
        known = key in self.kept
        self.kept[key] = mail
        delivery_ids = (f"d{list(self.kept).index(key)}",)
        return Duplicate(delivery_ids) if known else Accepted(delivery_ids)


def local(door: Door) -> Local:
    return Local(door, now=lambda: NOW)


async def test_each_recipient_is_a_mail_with_its_own_return_path() -> None:
    door, commits = Door(), Commits()
    outcomes = await local(door).send(outgoing(), [ALICE, BOB], committing=commits)
    assert [type(outcome) for outcome in outcomes.values()] == [Sent, Sent]
    assert [(m.envelope.mail_from, m.envelope.rcpt_to) for m in door.kept.values()] == [
        (ALICE.return_path, (ALICE.address,)),
        (BOB.return_path, (BOB.address,)),
    ]
    assert commits.calls == [(ALICE, BOB)]


async def test_the_door_is_told_that_we_vouch_for_the_sender() -> None:
    door = Door()
    await local(door).send(outgoing(), [ALICE], committing=Commits())
    [mail] = door.kept.values()
    assert mail.source == "local"
    assert mail.origin.authenticated_as == "local"
    assert mail.origin.received_at == NOW
    assert b"<reply-42@acme.example>" in mail.raw
    assert hashlib.sha256(mail.raw).hexdigest() in mail.source_id


async def test_a_repeated_hand_over_is_sent_and_makes_no_second_mail() -> None:
    door = Door()
    first = await local(door).send(outgoing(), [ALICE], committing=Commits())
    second = await local(door).send(outgoing(), [ALICE], committing=Commits())
    assert isinstance(first[ALICE], Sent)
    assert isinstance(second[ALICE], Sent)
    assert len(door.kept) == 1


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            Unrouted((ALICE.address,)),
            Refused("no such address here", about="recipient", code="5.1.1"),
        ),
        (NotNow("the disk is full"), Later("the disk is full")),
    ],
)
async def test_what_the_door_says_is_what_became_of_it(
    answer: Outcome, outcome: Refused | Later
) -> None:
    outcomes = await local(Door(answer)).send(outgoing(), [ALICE], committing=Commits())
    assert outcomes == {ALICE: outcome}


async def test_when_committing_fails_nothing_enters() -> None:
    door = Door()
    with pytest.raises(LostClaim):
        await local(door).send(
            outgoing(), [ALICE], committing=Commits(LostClaim("owned by another"))
        )
    assert door.kept == {}
