"""The contract of claims: a due row is in one worker's hands, and only in those may it change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from mailagent.errors import LostClaim
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.work import (
    LEASE,
    Claim,
    backoff,
    claim,
    claim_fairly,
    finish,
    holds,
    release,
    renew,
)
from tests.work.jobs import JOBS, add, ago, all_rows, change, jobs, metadata, one

Take = Callable[..., list[Claim]]


@pytest.fixture
def store(shared_store: Store) -> Iterator[Store]:
    """A store with an empty table of jobs."""
    metadata.create_all(shared_store.engine)
    yield shared_store
    shared_store.write_now(None, lambda tx: tx.execute(delete(jobs)).rowcount)


def take(store: Store, limit: int = 10, **more: Any) -> list[Claim]:
    return store.write_now(None, claim, JOBS, limit, **more)


def take_fairly(store: Store, limit: int, cap: int, **more: Any) -> list[Claim]:
    return store.write_now(None, claim_fairly, JOBS, limit, cap=cap, **more)


def dead(store: Store, *ids: str) -> None:
    """The jobs are in the hands of a worker that died a while ago."""
    for id_ in ids:
        change(store, id_, claimed_by="clm_dead", lease_until=ago(store, 5))


def test_the_longest_due_are_claimed_first_and_no_more_than_asked_for(store: Store) -> None:
    add(store, *(f"{n:02}" for n in range(10)))
    assert {one.id for one in take(store, 3)} == {"00", "01", "02"}
    assert {one.id for one in take(store, 3)} == {"03", "04", "05"}


def test_what_is_not_due_yet_or_done_is_not_claimed(store: Store) -> None:
    add(store, "later", due=timedelta(hours=1))
    add(store, "done", state="done")
    assert take(store) == []


def test_a_claim_says_whose_the_row_is_and_charges_no_attempt(store: Store) -> None:
    add(store, "a", workspace_id="w1")
    (got,) = take(store)
    row = one(store, "a")
    assert (got.id, got.workspace_id, got.attempts) == ("a", "w1", 0)
    assert row.claimed_by == got.token
    assert timedelta() < row.lease_until - store.now() <= LEASE + timedelta(seconds=1)


def test_a_claimed_row_is_not_claimed_again_while_its_lease_runs(store: Store) -> None:
    add(store, "a")
    take(store)
    assert take(store) == []
    assert take(store, rescue=True) == []


def test_workers_on_threads_share_the_rows_and_none_twice(store: Store) -> None:
    add(store, *(f"{n:03}" for n in range(120)))

    def work(_: int) -> list[Claim]:
        mine: list[Claim] = []
        while got := take(store, 7):
            assert len(got) <= 7
            mine += got
        return mine

    with ThreadPoolExecutor(4) as pool:
        taken = [one for mine in pool.map(work, range(4)) for one in mine]
    assert Counter(one.id for one in taken) == Counter(f"{n:03}" for n in range(120))


def test_an_expired_lease_is_taken_over_by_a_rescue_alone(store: Store) -> None:
    add(store, "a", "b", "c")
    dead(store, "a", "b")
    assert [one.id for one in take(store)] == ["c"]
    (first,) = take(store, 10, rescue=True)
    (second,) = take(store, 10, rescue=True)
    assert [(first.id, first.deaths), (second.id, second.deaths)] == [("a", 1), ("b", 1)]
    assert (first.attempts, second.attempts) == (0, 0)
    assert take(store, rescue=True) == []


def test_a_rescue_charges_the_row_and_not_its_neighbours(store: Store) -> None:
    add(store, "a", "b")
    dead(store, "a", "b")
    take(store, rescue=True)
    assert (one(store, "a").deaths, one(store, "b").deaths) == (1, 0)


def test_finishing_writes_the_next_state_and_gives_the_lease_back(store: Store) -> None:
    add(store, "a", attempts=3, deaths=3)
    (got,) = take(store)
    store.write_now(None, finish, JOBS, got, state="done")
    row = one(store, "a")
    assert (row.state, row.claimed_by, row.lease_until) == ("done", None, None)
    assert (row.attempts, row.deaths) == (0, 0)


@pytest.mark.parametrize("act", [finish, holds], ids=["finish", "holds"])
def test_a_worker_that_lost_its_claim_changes_nothing(store: Store, act: Any) -> None:
    add(store, "a", "beside")
    (late,) = take(store, 1)
    change(store, "a", lease_until=ago(store, 5))
    (taken,) = take(store, rescue=True)

    def stage(tx: Transaction) -> None:
        tx.execute(delete(jobs).where(jobs.c.id == "beside"))
        act(tx, JOBS, late)

    with pytest.raises(LostClaim):
        store.write_now(None, stage)
    assert "beside" in all_rows(store)
    store.write_now(None, finish, JOBS, taken, state="done")
    assert one(store, "a").state == "done"


def test_a_finished_claim_cannot_be_finished_again(store: Store) -> None:
    add(store, "a")
    (got,) = take(store)
    store.write_now(None, finish, JOBS, got, state="done")
    with pytest.raises(LostClaim):
        store.write_now(None, finish, JOBS, got, state="due")


def test_renewing_extends_the_leases_that_are_still_ours(store: Store) -> None:
    add(store, "a", "b")
    mine = take(store)
    for id_ in ("a", "b"):
        change(store, id_, lease_until=ago(store, 1))
    change(store, "b", claimed_by="clm_other")
    store.write_now(None, renew, JOBS, mine)
    assert one(store, "a").lease_until > store.now()
    assert one(store, "b").lease_until < store.now()


def test_a_row_given_back_is_due_later_and_has_one_more_failed_start(store: Store) -> None:
    add(store, "a")
    (got,) = take(store)
    store.write_now(None, release, JOBS, got, after=timedelta(minutes=1))
    row = one(store, "a")
    assert (row.claimed_by, row.attempts) == (None, 1)
    assert row.not_before > store.now()
    assert take(store) == []


@given(st.integers(0, 500))
def test_waits_grow_and_stay_within_six_hours_and_a_fifth(attempts: int) -> None:
    wait = backoff(attempts)
    assert timedelta(seconds=4) <= wait <= timedelta(hours=6) * 1.2
    assert wait >= min(timedelta(seconds=5) * 2 ** min(attempts, 20), timedelta(hours=6)) * 0.8


# --- fairness -----------------------------------------------------------------------------------


def test_workspaces_take_turns_however_much_one_has_waiting(store: Store) -> None:
    add(store, *(f"a{n}" for n in range(20)), workspace_id="a")
    add(store, "b0", "b1", workspace_id="b", due=timedelta(minutes=5))
    add(store, "c0", workspace_id="c", due=timedelta(minutes=6))
    got = take_fairly(store, 5, cap=8)
    assert Counter(one.workspace_id for one in got) == {"a": 2, "b": 2, "c": 1}
    assert {one.id for one in got if one.workspace_id == "a"} == {"a0", "a1"}


def test_a_workspace_has_no_more_in_hand_than_its_cap(store: Store) -> None:
    add(store, *(f"a{n}" for n in range(20)), workspace_id="a")
    assert len(take_fairly(store, 20, cap=3)) == 3
    assert take_fairly(store, 20, cap=3) == []
    add(store, "b0", workspace_id="b")
    assert [one.id for one in take_fairly(store, 20, cap=3)] == ["b0"]


def test_a_workspace_below_others_is_served_first(store: Store) -> None:
    add(store, *(f"a{n}" for n in range(4)), workspace_id="a")
    take_fairly(store, 2, cap=8)
    add(store, "b0", workspace_id="b", due=timedelta(minutes=5))
    assert [one.id for one in take_fairly(store, 1, cap=8)] == ["b0"]


def test_what_waits_for_its_time_takes_no_share(store: Store) -> None:
    add(store, "a0", workspace_id="a")
    add(store, "b0", workspace_id="b", due=timedelta(hours=1))
    assert [one.id for one in take_fairly(store, 5, cap=8)] == ["a0"]


def test_caps_hold_when_nodes_count_at_the_same_time(store: Store) -> None:
    add(store, *(f"a{n}" for n in range(30)), workspace_id="a")
    add(store, *(f"b{n}" for n in range(30)), workspace_id="b")
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: take_fairly(store, 4, cap=5), range(8)))
    mine = [one for some in taken for one in some]
    assert len({one.id for one in mine}) == len(mine)
    assert Counter(one.workspace_id for one in mine) == {"a": 5, "b": 5}


def test_a_fair_rescue_takes_one_row(store: Store) -> None:
    add(store, "a", "b")
    dead(store, "a", "b")
    assert [one.id for one in take_fairly(store, 10, cap=1, rescue=True)] == ["a"]
