"""The next account is asked after a definite no of the account before, and after nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from bench.failover import FAILURES, Failure, Fate, fates, room


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Fate]:
    """What becomes of a mail by each failure."""
    with capture_logs():
        async with room(tmp_path_factory.mktemp("failover")) as mailroom:
            all_ = await fates(mailroom, FAILURES)
    return {str(failure): fate for failure, fate in zip(FAILURES, all_, strict=True)}


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_mail_goes_on_after_a_definite_no_of_the_account_alone(
    failure: Failure, found: Mapping[str, Fate]
) -> None:
    fate = found[str(failure)]
    assert (fate.state, fate.went_on) == (failure.state, failure.goes_on)
    assert fate.handed_over <= 1
    assert all(outcome in ("later", "refused") for _, outcome in fate.hand_overs[:-1])
    if failure.goes_on:
        assert fate.reasons[1].startswith("after first: ")
