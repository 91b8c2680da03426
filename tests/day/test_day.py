"""Forty mails to support: each ends as it should, and nothing leaves that was not given."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.databases import PostgresDatabases, SqliteDatabases
from tests.day.audit import Facts, breaches
from tests.day.runner import TheDay, run
from tests.day.script import DAY, POSTS
from tests.day.senders import ANN, BOB, EVA, MAX
from tests.day.transcript import told, unexpected

PAGE = Path(__file__).parents[2] / "docs/reports/2026-11-30-a-day-of-support.md"


@pytest.fixture(scope="module")
def on_sqlite(
    sqlite_databases: SqliteDatabases, tmp_path_factory: pytest.TempPathFactory
) -> TheDay:
    """The day, once for all tests that look at it."""
    with capture_logs():
        return asyncio.run(run(sqlite_databases.create(tmp_path_factory.mktemp("day"))))


def the_day_went_as_it_should(day: TheDay) -> None:
    assert unexpected(day) == []
    assert breaches(day.facts) == []
    left = Counter(words for entry in DAY for words in entry.leaves)
    assert Counter(map(day.facts.told, day.facts.taken)) == left


def test_each_of_forty_mails_ends_as_it_should_and_nothing_leaves_that_was_not_given(
    on_sqlite: TheDay,
) -> None:
    assert len(POSTS) == 40
    the_day_went_as_it_should(on_sqlite)


def test_so_it_does_on_postgresql(postgres_databases: PostgresDatabases) -> None:
    with postgres_databases.create() as url, capture_logs():
        the_day_went_as_it_should(asyncio.run(run(url)))


def test_the_report_is_what_the_command_prints(on_sqlite: TheDay) -> None:
    assert PAGE.read_text() == told(on_sqlite) + "\n"


# --- that a mail which was not given would be seen ----------------------------------------------


def _of(facts: Facts, purpose: str, to: str) -> Any:
    ids = {one.outbound_id for one in facts.recipients if one.address == to}
    return next(one for one in facts.outbound if one.purpose == purpose and one.id in ids)


def _twice(facts: Facts) -> Facts:
    return replace(facts, taken=[*facts.taken, facts.taken[0]])


def _unwritten(facts: Facts) -> Facts:
    gone = facts.mail_of(facts.taken[0]).id
    return replace(facts, recipients=[o for o in facts.recipients if o.outbound_id != gone])


def _other_words(facts: Facts) -> Facts:
    _of(facts, "reply", ANN).outgoing["text"] = "Something else."
    return facts


def _lost(facts: Facts) -> Facts:
    return replace(facts, taken=facts.taken[1:])


def _unproven(facts: Facts) -> Facts:
    answered = _of(facts, "reply", ANN).answers_delivery_id
    facts.messages[answered].authentication["dmarc"]["result"] = "fail"
    facts.messages[answered].authentication["spf"]["result"] = "fail"
    return facts


def _blocked(facts: Facts) -> Facts:
    return replace(facts, blocked=[ANN])


def _never_agreed(facts: Facts) -> Facts:
    return replace(facts, approvals=[])


def _agreed_to_another_draft(facts: Facts) -> Facts:
    for one in facts.approvals:
        one.digest = "0" * 64
    return facts


def _agreed_by_another(facts: Facts) -> Facts:
    return replace(facts, approvers=(MAX,))


def _asked_for_by_policy(facts: Facts) -> Facts:
    cells = {"stranger": {"reply": "ask"}}
    row = SimpleNamespace(agent_id=facts.outbound[0].agent_id, version=99, cells=cells)
    return replace(facts, policies=[*facts.policies, row])


def _unsure(facts: Facts) -> Facts:
    facts.assessments[_of(facts, "reply", ANN).turn_id]["confidence"] = 0.5
    return facts


def _no_call(facts: Facts) -> Facts:
    return replace(facts, tool_calls=[])


def _to_an_outsider(facts: Facts) -> Facts:
    return replace(facts, people=[MAX])


def _by_nobody(facts: Facts) -> Facts:
    for one in facts.messages.values():
        if one.from_address == EVA:
            one.authentication["dmarc"]["result"] = "fail"
    return facts


def _with_a_link(facts: Facts) -> Facts:
    _of(facts, "reply", ANN).outgoing["text"] = "See https://new.example/?x=1"
    return facts


def _too_many(facts: Facts) -> Facts:
    return replace(facts, replies_to_one=3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_twice, f"{ANN} got <"),
        (_unwritten, "and no row says so"),
        (_other_words, "left with other words than were frozen"),
        (_lost, f"{ANN} never got"),
        (_unproven, "it answers what no proven person wrote"),
        (_blocked, "it answers somebody blocked"),
        (_never_agreed, "nobody agreed: amount for stranger is ask"),
        (_agreed_to_another_draft, "nobody agreed: amount for stranger is ask"),
        (_agreed_by_another, "nobody agreed: amount for stranger is ask"),
        (_asked_for_by_policy, "nobody agreed: reply for stranger is ask"),
        (_unsure, "nobody agreed: the agent was 0.5 sure"),
        (_no_call, "no call of a tool stands for it"),
        (_to_an_outsider, f"{EVA} is nobody of the workspace"),
        (_by_nobody, f"no mail of {EVA} that is proven says so"),
        (_with_a_link, "nobody agreed: link for stranger is ask"),
        (_too_many, f"4 answers to {ANN}"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_mail_that_was_not_given_is_found(
    on_sqlite: TheDay, change: Callable[[Facts], Facts], words: str
) -> None:
    found = breaches(change(deepcopy(on_sqlite.facts)))
    assert any(words in one for one in found), found


def test_a_mail_that_ends_otherwise_is_found(on_sqlite: TheDay) -> None:
    first, *rest = on_sqlite.seen
    other = replace(first, state="held", left=(f"reply {BOB}",))
    found = unexpected(replace(on_sqlite, seen=[other, *rest]))
    assert found[0].startswith("hours: it ended as held")
    assert found[1] == f"hours: ['reply {BOB}'] left, not ['reply {ANN}']"
