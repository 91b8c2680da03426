"""What a policy gives to whom: never more than a cell says, and never anything by a typo."""

from __future__ import annotations

import pytest

from mailagent.agents.trust import (
    DEFAULT,
    EFFECTS,
    MAIL_ACTIONS,
    Action,
    Ask,
    Do,
    Refuse,
    Standing,
    decide,
    parse_policy,
)
from mailagent.errors import Malformed

CREATE_TASK = Action("create_task", "changes")


def test_by_default_a_stranger_gets_an_answer_and_nothing_else_that_leaves() -> None:
    given = {
        name
        for name in MAIL_ACTIONS
        if isinstance(decide(DEFAULT, Standing.STRANGER, Action(name)), Do)
    }
    assert given == {"reply"}
    assert isinstance(decide(DEFAULT, Standing.STRANGER, CREATE_TASK), Refuse)
    assert isinstance(decide(DEFAULT, Standing.STRANGER, Action("write", "sends")), Refuse)


@pytest.mark.parametrize("standing", [Standing.BLOCKED, Standing.UNPROVEN])
def test_by_default_who_is_blocked_or_unproven_gets_nothing(standing: Standing) -> None:
    every = [*map(Action, MAIL_ACTIONS), *(Action("tool", effect) for effect in EFFECTS)]
    assert all(isinstance(decide(DEFAULT, standing, one), Refuse) for one in every)


@pytest.mark.parametrize("name", [*MAIL_ACTIONS, *EFFECTS])
def test_by_default_more_trust_never_gets_less(name: str) -> None:
    order = ["refuse", "ask", "do"]
    row = [order.index(DEFAULT.table[standing][name]) for standing in Standing]
    assert row == sorted(row)


def test_an_action_that_no_policy_knows_is_asked() -> None:
    verdict = decide(DEFAULT, Standing.MEMBER, Action("launch"))
    assert isinstance(verdict, Ask)
    assert "launch" in verdict.reason


def test_the_verdict_names_the_policy_its_version_and_the_cell() -> None:
    workspace = parse_policy({"stranger": {"link": "do"}}, name="workspace", version=3)
    assert decide(workspace, Standing.STRANGER, Action("link")) == Do(
        "workspace policy 3: stranger, link"
    )


def test_an_agents_policy_lies_over_its_workspaces_and_that_over_the_default() -> None:
    below = parse_policy(
        {"stranger": {"link": "do", "reply": "ask"}}, name="workspace", version=3, base=DEFAULT
    )
    policy = parse_policy({"stranger": {"link": "ask"}}, name="agent hello", version=1, base=below)
    rules = [
        decide(policy, Standing.STRANGER, Action(name)).rule
        for name in ("link", "reply", "attachment")
    ]
    assert rules == [
        "agent hello policy 1: stranger, link",
        "workspace policy 3: stranger, reply",
        "default policy 1: stranger, attachment",
    ]


def test_a_tools_own_name_counts_before_its_effect_wherever_it_stands() -> None:
    below = parse_policy(
        {"member": {"tool:create_task": "refuse"}},
        name="workspace",
        version=1,
        tools=["create_task"],
        base=DEFAULT,
    )
    policy = parse_policy({"member": {"changes": "do"}}, name="agent", version=1, base=below)
    assert isinstance(decide(policy, Standing.MEMBER, CREATE_TASK), Refuse)
    assert isinstance(decide(policy, Standing.MEMBER, Action("other", "changes")), Do)


def test_no_policy_gives_a_tool_to_less_than_the_tool_itself_needs() -> None:
    policy = parse_policy(
        {"stranger": {"tool:look": "do"}}, name="workspace", version=1, tools=["look"]
    )
    look = Action("look", "reads", least=Standing.CORRESPONDENT)
    verdict = decide(policy, Standing.STRANGER, look)
    assert isinstance(verdict, Refuse)
    assert "correspondent" in verdict.reason


@pytest.mark.parametrize(
    ("written", "field", "mend"),
    [
        ({"strangr": {"link": "ask"}}, "policy", "'stranger'"),
        ({"stranger": {"lnik": "ask"}}, "policy.stranger", "'link'"),
        ({"stranger": {"link": "aks"}}, "policy.stranger.link", "'ask'"),
        ({"stranger": {"link": True}}, "policy.stranger.link", "do, ask, refuse"),
        ({"stranger": {"tool:creat_task": "do"}}, "policy.stranger", "'tool:create_task'"),
        ({"stranger": ["link"]}, "policy.stranger", "object"),
        ("do", "policy", "object"),
        ({"blocked": {"reply": "do"}}, "policy.blocked.reply", "ask or refuse"),
        ({"unproven": {"reads": "do"}}, "policy.unproven.reads", "ask or refuse"),
    ],
)
def test_a_mistake_in_a_policy_is_named_with_the_nearest_right_word(
    written: object, field: str, mend: str
) -> None:
    with pytest.raises(Malformed) as error:
        parse_policy(written, name="workspace", version=1, tools=["create_task"])
    assert error.value.field == field
    assert mend in error.value.problem


def test_a_policy_comes_back_as_it_was_written() -> None:
    written = {"stranger": {"link": "do"}, "member": {"sends": "do"}}
    assert parse_policy(written, name="workspace", version=1).as_json() == written
