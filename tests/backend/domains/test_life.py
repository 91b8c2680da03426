"""A domain goes down only by two regular looks that found it wrong, and comes back by any."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backend.domains.life import (
    CYCLE,
    SLOW_AFTER,
    After,
    Life,
    Seen,
    asked_again,
    begun,
    live,
    paused,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RIGHT = Seen("verified", "verified")
WRONG = Seen("verified", "wrong")
UNKNOWN = Seen("unknown", "unknown")

standings = st.sampled_from(["verified", "waiting", "wrong", "unknown"])
looks = st.lists(
    st.tuples(st.builds(Seen, standings, standings), st.floats(0, 1)), min_size=1, max_size=40
)


def walk(looks_: Sequence[tuple[Seen, float]]) -> list[tuple[datetime, Seen, Life, After]]:
    """Look when it is due, or by somebody's wish a part of the wait earlier."""
    life, at, due = begun(START), START, START
    walked: list[tuple[datetime, Seen, Life, After]] = []
    for seen, part in looks_:
        at = at + (due - at) * part if due > at else at + timedelta(seconds=1)
        after = live(life, seen, at)
        walked.append((at, seen, life, after))
        if after.next_look is None:
            break
        life, due = after.life, after.next_look
    return walked


def verified(at: datetime = START) -> Life:
    return live(begun(at), RIGHT, at).life


def cycle_later(life: Life, seen: Seen) -> After:
    return live(life, seen, life.next_cycle)


@given(looks)
def test_a_look_before_the_cycle_takes_nothing_down(looks_: Sequence[tuple[Seen, float]]) -> None:
    for at, _, before, after in walk(looks_):
        if before.is_regular(at):
            continue
        assert "broken" not in after.news
        assert "failed" not in after.news
        assert (before.sending, after.life.sending) != ("active", "waiting")


@given(looks)
def test_between_broken_and_failed_lies_a_whole_cycle(
    looks_: Sequence[tuple[Seen, float]],
) -> None:
    broken: datetime | None = None
    for at, seen, _, after in walk(looks_):
        if "broken" in after.news:
            broken = at
        if "failed" in after.news:
            assert broken is not None
            assert at - broken >= CYCLE
            assert "wrong" in seen.sides


@given(looks)
def test_a_look_that_finds_nothing_wrong_never_makes_it_worse(
    looks_: Sequence[tuple[Seen, float]],
) -> None:
    for _, seen, before, after in walk(looks_):
        if "wrong" in seen.sides:
            continue
        assert after.life.failures <= before.failures
        assert (after.life.state == "verified") >= (before.state == "verified")
        assert before.receiving_since is None or after.life.receiving_since is not None
        assert before.sending_since is None or after.life.sending_since is not None


@given(looks)
def test_a_side_ends_only_when_the_domain_fails_by_it(
    looks_: Sequence[tuple[Seen, float]],
) -> None:
    for _, seen, before, after in walk(looks_):
        for side in ("receiving", "sending"):
            if getattr(before, f"{side}_since") and not getattr(after.life, f"{side}_since"):
                assert "failed" in after.news
                assert getattr(seen, side) == "wrong"


@given(looks)
def test_it_is_always_looked_at_again_within_the_cycle_until_it_failed(
    looks_: Sequence[tuple[Seen, float]],
) -> None:
    for at, _, _, after in walk(looks_):
        if after.life.state == "failed":
            assert after.next_look is None
        else:
            assert after.next_look is not None
            assert at < after.next_look <= max(after.life.next_cycle, at + CYCLE)


@given(looks)
def test_it_is_verified_by_nothing_but_a_look_at_which_every_side_was_right(
    looks_: Sequence[tuple[Seen, float]],
) -> None:
    for _, seen, _, after in walk(looks_):
        if "verified" in after.news:
            assert set(seen.sides) == {"verified"}
            assert after.life.receiving_since
            assert after.life.sending_since


def test_the_first_looks_come_after_1_2_5_and_10_minutes() -> None:
    life, at, waits = begun(START), START, []
    for _ in range(4):
        after = live(life, WRONG, at)
        assert after.next_look is not None
        waits.append(int((after.next_look - at).total_seconds() / 60))
        life, at = after.life, after.next_look
    assert waits == [1, 2, 5, 10]


def test_a_verified_domain_fails_by_two_cycles_and_each_is_told_once() -> None:
    first = cycle_later(verified(), WRONG)
    assert (first.life.state, first.life.sending, first.news) == ("pending", "waiting", ("broken",))
    assert first.life.receiving_since is not None

    fast = live(first.life, WRONG, first.life.next_cycle - timedelta(minutes=1))
    assert (fast.life.state, fast.news) == ("pending", ())

    second = cycle_later(fast.life, WRONG)
    assert (second.life.state, second.news, second.next_look) == ("failed", ("failed",), None)
    assert second.life.sending_since is None
    assert second.life.receiving_since is not None, "what works goes on"


def test_a_broken_domain_comes_back_by_a_fast_look() -> None:
    broken = cycle_later(verified(), WRONG)
    assert broken.next_look is not None
    mended = live(broken.life, RIGHT, broken.next_look)
    assert (mended.life.state, mended.life.sending, mended.news) == (
        "verified",
        "active",
        ("verified",),
    )
    assert cycle_later(mended.life, WRONG).life.state == "pending", "its failures begin anew"


def test_a_day_of_unknown_answers_leaves_a_verified_domain_as_it_is() -> None:
    life = verified()
    for _ in range(4):
        after = cycle_later(life, UNKNOWN)
        assert (after.life.state, after.life.sending, after.news) == ("verified", "active", ())
        life = after.life


def test_receiving_and_sending_are_verified_apart() -> None:
    after = live(begun(START), Seen("verified", "wrong"), START)
    assert after.news == ("receiving",)
    assert (after.life.state, after.life.sending) == ("pending", "pending")


def test_where_the_provider_wants_the_sender_first_receiving_waits_for_it() -> None:
    early = live(begun(START), Seen("verified", "wrong"), START, sender_first=True)
    assert early.news == ()
    both = live(early.life, RIGHT, START + timedelta(minutes=1), sender_first=True)
    assert both.news == ("receiving", "sending", "verified")


def test_what_is_only_on_its_way_is_verifying() -> None:
    after = live(begun(START), Seen("verified", "waiting"), START)
    assert after.life.state == "verifying"
    assert live(after.life, WRONG, START + timedelta(minutes=1)).life.state == "pending"


def test_after_three_days_pending_the_owners_are_told_once_and_the_cycle_goes_on() -> None:
    life, at = begun(START), START
    news: list[str] = []
    while at < START + SLOW_AFTER + 2 * CYCLE:
        after = live(life, WRONG, at)
        assert after.next_look is not None
        news += after.news
        life, at = after.life, after.next_look
    assert news == ["receiving", "slow"]
    assert life.state == "pending"
    assert at == life.next_cycle


def test_what_failed_or_was_paused_rests_until_somebody_asks() -> None:
    failed = cycle_later(cycle_later(verified(), WRONG).life, WRONG).life
    for resting in (failed, paused(verified())):
        assert live(resting, RIGHT, START + 9 * CYCLE) == After(resting, None, ())
        again = asked_again(resting, START + 9 * CYCLE)
        back = live(again, RIGHT, START + 9 * CYCLE)
        assert (back.life.state, back.life.failures, back.life.sending) == ("verified", 0, "active")


def test_a_wish_to_look_again_is_no_failure_of_a_cycle() -> None:
    asked = asked_again(verified(), START + timedelta(hours=1))
    after = live(asked, WRONG, START + timedelta(hours=1))
    assert (after.life.state, after.news) == ("verified", ())
