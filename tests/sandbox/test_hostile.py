"""Hostile mail is read or quarantined by a named cap; it neither hangs, kills nor fools its reader.

A representative part; `python -m bench.sandbox` runs all of it and measures. The assertion on time
is the sandbox's own deadline: who passes it is no result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from mailagent.sandbox import Sandbox
from tests.sandbox.hostile import MESSAGES, READ, Hostile
from tests.sandbox.reading import Outcome, read

pytestmark = pytest.mark.asyncio(loop_scope="module")

PART = [one for one in MESSAGES if one.representative]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(workers=1)
    yield sandbox
    await sandbox.close()


@pytest.mark.parametrize("message", PART, ids=lambda one: one.name)
async def test_a_hostile_mail_ends_as_it_should(message: Hostile, sandbox: Sandbox) -> None:
    assert (await read(sandbox, message)).result == message.expected


async def outcome_of(sandbox: Sandbox, name: str) -> Outcome:
    (message,) = [one for one in MESSAGES if one.name == name]
    outcome = await read(sandbox, message)
    assert outcome.result == READ
    return outcome


async def test_an_ambiguous_from_gives_no_address(sandbox: Sandbox) -> None:
    name = "a second mailbox behind a parenthesis (CVE-2023-27043)"
    content = (await outcome_of(sandbox, name)).reading["content"]
    assert content["from_"] == []


async def test_an_encoded_word_brings_no_line_into_the_subject(sandbox: Sandbox) -> None:
    content = (await outcome_of(sandbox, "CR and LF inside an encoded word")).reading["content"]
    assert "victim" in content["subject"]
    assert not {"\r", "\n"} & set(content["subject"])


async def test_a_charset_that_is_none_is_not_applied(sandbox: Sandbox) -> None:
    content = (await outcome_of(sandbox, "charset zlib")).reading["content"]
    assert "foo" not in content["text"]


@pytest.mark.parametrize("name", ["SPF: includes itself", "SPF: a chain of 50 includes"])
async def test_an_spf_record_without_end_is_a_permanent_error(name: str, sandbox: Sandbox) -> None:
    authentication = (await outcome_of(sandbox, name)).reading["authentication"]
    assert authentication["spf"]["result"] == "permerror"


async def test_at_most_ten_signatures_are_verified(sandbox: Sandbox) -> None:
    authentication = (await outcome_of(sandbox, "DKIM: 500 signatures")).reading["authentication"]
    assert 0 < len(authentication["dkim"]) <= 10
