"""Nothing joins the tuple of providers without its cases."""

from __future__ import annotations

import pytest

from backend.simulating import MAKERS
from mailagent.providers import KINDS
from mailagent.providers.account import CanReceive
from tests.contract.cases import ABLE, Part, cases


@pytest.mark.parametrize(
    ("kind", "part"),
    [(one.kind, part) for one in KINDS for part, able in ABLE.items() if able(one)],
)
def test_a_provider_has_cases_for_all_that_it_can_do(kind: str, part: Part) -> None:
    assert cases(kind, part) is not None


def test_a_provider_without_cases_is_told_which_file_to_write() -> None:
    with pytest.raises(LookupError, match=r"write RECEIVES in tests/contract/pigeon\.py"):
        cases("pigeon", "RECEIVES")


def test_a_provider_that_brings_mail_can_be_simulated() -> None:
    lacking = {k.kind for k in KINDS if isinstance(k, CanReceive)} - MAKERS.keys()
    assert not lacking, f"write backend/simulating/<kind>.py for {lacking}"
