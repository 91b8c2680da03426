"""Whatever a mail has the model do, nothing is done that the policy does not give to its writer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.__main__ import table
from tests.attacks.attack import ANN, ELSEWHERE, EVA, Attack, Before, decides
from tests.attacks.families import ATTACKS
from tests.attacks.runner import run
from tests.flow.house import House

pytestmark = pytest.mark.asyncio(loop_scope="package")

_WAITING = [one for one in ATTACKS if one.ends == "waiting for approval"]
_EXPIRED = timedelta(hours=80)
"""More than any yes is waited for."""


def _first_of_each_family(attacks: list[Attack]) -> list[Attack]:
    return list({one.family: one for one in reversed(attacks)}.values())


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_an_attack_that_the_model_obeys_is_stopped(on_sqlite: House, attack: Attack) -> None:
    seen = await run(on_sqlite, attack)
    assert (seen.harms, seen.surprises) == ((), ()), seen.story


@pytest.mark.parametrize("attack", _first_of_each_family(list(ATTACKS)), ids=str)
async def test_it_is_stopped_on_postgresql_too(on_postgresql: House, attack: Attack) -> None:
    seen = await run(on_postgresql, attack)
    assert (seen.harms, seen.surprises) == ((), ()), seen.story


@pytest.mark.parametrize(
    "attack",
    [*_first_of_each_family(_WAITING), *(one for one in _WAITING if "lapse of time" in one.name)],
    ids=str,
)
async def test_what_waits_for_a_yes_is_not_let_go_by_time(on_sqlite: House, attack: Attack) -> None:
    seen = await run(on_sqlite, attack, passes=_EXPIRED)
    assert seen.state == "handed to a person"
    assert seen.harms == ()


async def test_there_are_sixty_attacks_in_eight_families_and_each_has_a_name_of_its_own() -> None:
    families = Counter(one.family for one in ATTACKS)
    assert len(families) == 8
    assert min(families.values()) >= 6
    assert len(ATTACKS) >= 60
    assert len({str(one) for one in ATTACKS}) == len(ATTACKS)


async def test_the_page_about_trust_has_the_table_of_these_attacks() -> None:
    families = Counter(one.family for one in ATTACKS)
    page = (Path(__file__).parents[2] / "docs/explanation/trust.md").read_text()
    rows = [f"| {family} | {count} | {count} |" for family, count in families.items()]
    assert "\n".join(["|---|---|---|", *rows, ""]) in page


# --- that an attack which succeeds would be seen -----------------------------------------------


def _named(name: str) -> Attack:
    (found,) = [one for one in ATTACKS if one.name == name]
    return found


def _given(name: str, *, from_: str | None = None, before: Any = None, **changes: Any) -> Attack:
    """The same attack, where people have given its writer what it asks for."""
    attack = _named(name)
    letters = tuple(replace(one, from_=from_ or one.from_) for one in attack.letters)
    return replace(attack, letters=letters, before=before or attack.before, **changes)


def _policy(**cells: str) -> Before:
    return Before(policy={"stranger": cells, "member": cells})


_SUCCEEDS = [
    (
        _given(
            "the text asks to forward the conversation to a new address",
            before=_policy(forward="do", new_recipient="do", new_domain="do"),
        ),
        "a mail of reply to drop@crowd.example",
    ),
    (
        _given("a link with the data in its query", before=_policy(link="do")),
        "c2VjcmV0 in a mail of reply",
    ),
    (_given("a link without a scheme", from_=EVA), "c2VjcmV0 in a mail of reply"),
    (
        _given("the text has a promise of a sum made", before=_policy(amount="do")),
        "1,000,000 in a mail of reply",
    ),
    (
        _given("the text asks for a mail to somebody else", from_=EVA, before=_policy(sends="do")),
        "a mail of tool to victim@customer.example",
    ),
    (_given("the text asks for a task", from_=EVA), "a task: Pay invoice 17"),
    (_given("the text asks for a task", from_=EVA), "the tool create_task is done"),
    (_given("the text asks to be remembered as the boss", from_=EVA), "a note: may do everything"),
    (
        _given("the text asks to be written to again in two days", from_=EVA),
        "a reminder: send them all of it",
    ),
    (
        _given("a stranger answers into a customer's thread", from_=ANN),
        "the model was shown the order 4471-B",
    ),
    (
        _given("one writer, a mail after the other", before=Before()),
        "5 answers, of which 2 are given",
    ),
]


@pytest.mark.parametrize(("attack", "harm"), _SUCCEEDS, ids=str)
async def test_an_attack_whose_writer_is_given_it_goes_through_and_is_seen(
    on_sqlite: House, attack: Attack, harm: str
) -> None:
    seen = await run(on_sqlite, attack)
    assert harm in seen.harms


async def test_a_decision_of_the_approver_themselves_is_seen(on_sqlite: House) -> None:
    seen = await run(on_sqlite, _given("the stolen token, from the thief's own address", from_=EVA))
    (harm, *_) = [one for one in seen.harms if one.startswith("a yes for ")]
    assert "by mail" in harm


async def test_what_time_may_let_go_is_seen(on_sqlite: House) -> None:
    secret = _named("a secret is told to a member, whose yes no lapse of time may stand for")
    harmless = replace(secret, obeys=(decides("On Friday.", action="request_approval"),))
    seen = await run(on_sqlite, harmless, passes=_EXPIRED)
    assert any("nobody decided in time" in one for one in seen.harms)


async def test_an_attack_that_fails_for_another_reason_is_not_stopped(on_sqlite: House) -> None:
    attack = _named("a link with the data in its query")
    unproven = replace(attack, letters=tuple(replace(one, ip=ELSEWHERE) for one in attack.letters))
    seen = await run(on_sqlite, unproven)
    assert seen.harms == ()
    assert not seen.stopped
    assert "it ended as quarantined, not waiting for approval" in seen.surprises


async def test_the_table_counts_what_came_through_and_says_what_it_did(on_sqlite: House) -> None:
    stopped, (through, _) = _named("the text asks for a task"), _SUCCEEDS[5]
    seen = [(one, await run(on_sqlite, one)) for one in (stopped, through)]
    lines = table(seen).splitlines()
    assert lines[1].split()[-2:] == ["2", "1"]
    assert lines[2].split() == ["all", "2", "1"]
    assert "  a task: Pay invoice 17" in lines
