"""The sentences of an account that verifies domains, for every provider that has one."""

from __future__ import annotations

import traceback
from datetime import timedelta

import pytest

from mailagent.errors import Delivery, PermanentFailure, TransientFailure, UncertainDelivery
from mailagent.identity import Identity, Wish
from tests.contract.cases import NOW, Failure, Identifying, cases, kinds

SHOP = "shop.example"
every_kind = pytest.mark.parametrize("kind", kinds("IDENTIFIES"))
at_the_look_or_the_change = pytest.mark.parametrize("at_change", [False, True], ids=str)


def identifying(kind: str) -> Identifying:
    of: Identifying = cases(kind, "IDENTIFIES")
    return of


def wish(kind: str) -> Wish:
    return Wish(mail_from=identifying(kind).mail_from)


async def failure_of(kind: str, failure: Failure, *, at_change: bool = False) -> Delivery:
    async with identifying(kind).at_work(failure, at_change=at_change) as at_work:
        with pytest.raises(Delivery) as raised:
            await at_work.identifies.identify(SHOP, wish(kind))
    return raised.value


@every_kind
async def test_a_domain_that_it_does_not_know_is_none(kind: str) -> None:
    async with identifying(kind).at_work() as at_work:
        assert await at_work.identifies.identity(SHOP) is None
        with pytest.raises(PermanentFailure, match=r"shop\.example"):
            await at_work.identifies.resubmit(SHOP)


@every_kind
async def test_the_records_of_a_domain_are_listed_and_wait_for_it(kind: str) -> None:
    async with identifying(kind).at_work() as at_work:
        made = await at_work.identifies.identify(SHOP, wish(kind))
        assert made == await at_work.identifies.identity(SHOP)
    assert (made.domain, made.sending) == (SHOP, "pending")
    assert any("_domainkey" in record.name for record in made.records)
    for record in made.records:
        assert f".{record.name}".endswith(f".{SHOP}"), record
        assert record.name == record.name.lower().rstrip(".")
        assert record.value
        assert not record.value.endswith(".")
        assert (record.priority is not None) == (record.type == "MX")


@every_kind
async def test_what_is_published_is_verified(kind: str) -> None:
    async with identifying(kind).at_work() as at_work:
        before = await at_work.identifies.identify(SHOP, wish(kind))
        at_work.publish(SHOP, "all")
        now = await at_work.identifies.identity(SHOP)
    assert isinstance(now, Identity)
    assert now.sending == "verified"
    assert now.records == before.records


@every_kind
async def test_what_is_half_published_waits_and_the_providers_words_say_which_half(
    kind: str,
) -> None:
    async with identifying(kind).at_work() as at_work:
        await at_work.identifies.identify(SHOP, wish(kind))
        at_work.publish(SHOP, "half")
        now = await at_work.identifies.identity(SHOP)
    assert isinstance(now, Identity)
    assert now.sending == "pending"
    assert len(set(now.words.values())) > 1, now.words


@every_kind
async def test_what_is_published_wrongly_is_not_verified_and_can_be_looked_at_again(
    kind: str,
) -> None:
    async with identifying(kind).at_work() as at_work:
        await at_work.identifies.identify(SHOP, wish(kind))
        at_work.publish(SHOP, "wrong")
        wrong = await at_work.identifies.identity(SHOP)
        assert isinstance(wrong, Identity)
        assert wrong.sending == ("failed" if identifying(kind).gives_up else "pending")

        again = await at_work.identifies.resubmit(SHOP)
        assert again.sending == "pending"
        at_work.publish(SHOP, "all")
        mended = await at_work.identifies.identity(SHOP)
        assert isinstance(mended, Identity)
        assert mended.sending == "verified"


@every_kind
async def test_what_stands_is_not_made_again_and_what_is_gone_is_not_missed(kind: str) -> None:
    async with identifying(kind).at_work() as at_work:
        first = await at_work.identifies.identify(SHOP, wish(kind))
        asked = list(at_work.changes())
        assert await at_work.identifies.identify(SHOP, wish(kind)) == first
        assert list(at_work.changes()) == asked

        await at_work.identifies.forget(SHOP)
        await at_work.identifies.forget(SHOP)
        assert await at_work.identifies.identity(SHOP) is None


@every_kind
@at_the_look_or_the_change
async def test_a_refusal_is_permanent(kind: str, at_change: bool) -> None:
    for failure in (Failure.REFUSED, Failure.REFUSED_ACCOUNT):
        assert isinstance(await failure_of(kind, failure, at_change=at_change), PermanentFailure)


@every_kind
@at_the_look_or_the_change
async def test_too_many_calls_are_transient_and_keep_the_wait(kind: str, at_change: bool) -> None:
    failed = await failure_of(kind, Failure.THROTTLED, at_change=at_change)
    assert isinstance(failed, TransientFailure)
    assert failed.retry_at == NOW + timedelta(seconds=7)


@every_kind
@at_the_look_or_the_change
async def test_a_failing_far_side_is_transient(kind: str, at_change: bool) -> None:
    failed = await failure_of(kind, Failure.FAILING, at_change=at_change)
    assert isinstance(failed, TransientFailure)


@every_kind
async def test_nobody_there_is_transient(kind: str) -> None:
    assert isinstance(await failure_of(kind, Failure.UNREACHABLE), TransientFailure)


@every_kind
@pytest.mark.parametrize("failure", [Failure.SILENT, Failure.RESET], ids=["time-out", "reset"])
async def test_no_answer_to_a_look_is_transient_and_to_a_change_uncertain(
    kind: str, failure: Failure
) -> None:
    assert isinstance(await failure_of(kind, failure), TransientFailure)
    assert isinstance(await failure_of(kind, failure, at_change=True), UncertainDelivery)


@every_kind
async def test_a_change_whose_answer_was_lost_may_be_made_again(kind: str) -> None:
    async with identifying(kind).at_work(Failure.SILENT, at_change=True) as at_work:
        with pytest.raises(UncertainDelivery):
            await at_work.identifies.identify(SHOP, wish(kind))
        assert (await at_work.identifies.identify(SHOP, wish(kind))).sending == "pending"


@every_kind
async def test_no_secret_is_in_any_error(kind: str) -> None:
    for failure in Failure:
        if failure is not Failure.DEAF:
            error = await failure_of(kind, failure)
            told = "".join([repr(error), *traceback.format_exception(error)])
            assert [one for one in identifying(kind).secrets if one in told] == []
