"""A mail that nothing proves, or that a rule holds, waits before its agent for a person's yes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.errors import Conflict
from mailagent.flow import approvals, own_answers
from mailagent.flow.directory import changed
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow
from mailagent.tokens import new_id
from tests.flow.house import ANN, House, Space, mail
from tests.flow.test_approvals import (
    EVA,
    STRANGER_IP,
    approve,
    decide,
    notice,
    pass_time,
    say,
    the_approval,
)

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def unproven(space: Space) -> AnyRow:
    raw = mail(sender="zoe@none.example", to=space.address)
    id_ = await space.receive(raw, mail_from="zoe@none.example", ip=STRANGER_IP)
    await space.delivery(id_, "held")
    return await the_approval(space)


async def test_an_unproven_mail_waits_in_the_same_queue_and_people_are_asked(house: House) -> None:
    space = await house.workspace()
    row = await unproven(space)
    assert (row.kind, row.state) == ("mail", "waiting")
    assert "nothing proves that zoe@none.example sent it" in row.reasons[0]
    (asks,) = await space.notices()
    assert asks["Subject"] == "Let this mail in? A question"
    assert "needs your yes to reach hello" in asks.get_content()
    assert "> When are you open?" in asks.get_content()
    assert space.turns == []


async def test_people_who_want_no_mail_about_held_mail_find_it_in_the_queue(house: House) -> None:
    space = await house.workspace(limits={"tell_of_held": False})
    row = await unproven(space)
    await pass_time(space, timedelta(hours=30))
    assert (await the_approval(space)).state == "waiting"
    assert row.remind_at is None
    assert await space.notices() == []


async def test_strangers_cannot_flood_people_with_what_is_held(house: House) -> None:
    space = await house.workspace()
    for number in range(12):
        raw = mail(sender=f"zoe{number}@none.example", to=space.address)
        id_ = await space.receive(raw, mail_from=f"zoe{number}@none.example", ip=STRANGER_IP)
        await space.delivery(id_, "held")
    assert len(await space.rows(t.approvals)) == 12
    assert len(await space.notices()) == 10


async def test_a_mail_is_let_in_by_a_reply_to_its_notice(house: House) -> None:
    space = await house.workspace(limits={"approvers": [EVA]})
    row = await unproven(space)
    await say(space, "approve")
    await space.delivery(row.delivery_id, "waiting for approval")
    assert len(space.turns) == 1


# --- mail that a rule holds -------------------------------------------------------------------


async def add_rule(space: Space, **more: Any) -> None:
    row = {
        "id": new_id("rul"),
        "name": "invoices",
        "position": 1,
        "condition": {"subject_contains": "invoice"},
        "action": "hold",
        "overrides": True,
        "enabled": True,
        **more,
    }
    await space.write(lambda tx: tx.insert(t.rules, row | {"created_at": tx.now}))


async def held_by_rule(space: Space, sender: str = ANN, **more: Any) -> AnyRow:
    """A mail that the rule for invoices holds."""
    raw = mail("Please pay.", sender=sender, to=space.address, subject="Your invoice")
    await space.delivery(await space.receive(raw, mail_from=sender, **more), "held")
    return await the_approval(space, t.approvals.c.kind == "mail")


async def test_a_mail_that_a_rule_holds_is_asked_about_with_the_rule_and_whom_it_would_reach(
    house: House,
) -> None:
    space = await house.workspace(limits={"approvers": [EVA]})
    await add_rule(space)
    row = await held_by_rule(space)
    assert row.reasons == ["rule 'invoices' matched: subject_contains 'invoice' holds"]
    assert (row.agent_id, row.thread_id) == (space.agent_id, None)
    text = (await notice(space)).get_content()
    assert "rule 'invoices' matched" in text
    assert "to reach hello" in text


async def test_of_a_machines_mail_that_a_rule_holds_nobody_is_told(house: House) -> None:
    space = await house.workspace(limits={"approvers": [EVA]})
    await add_rule(space)
    raw = mail(to=space.address, subject="An invoice", headers={"List-Id": "<news.example>"})
    await space.delivery(await space.receive(raw), "held")
    row = await the_approval(space)
    assert (row.state, row.remind_at) == ("waiting", None)
    assert await space.notices(EVA) == []
    await approve(space, row)
    await space.delivery(row.delivery_id, "silent")


async def test_a_yes_lets_it_go_on_as_if_no_rule_held_it(house: House) -> None:
    space = await house.workspace(limits={"approvers": [EVA]})
    await add_rule(space)
    row = await held_by_rule(space)
    await say(space, "approve")
    await space.delivery(row.delivery_id, "answered")
    assert f"{EVA} let it in: rule 'invoices' matched" in await space.story(row.delivery_id)
    assert len(await space.rows(t.messages, t.messages.c.delivery_id == row.delivery_id)) == 1
    assert (await the_approval(space)).state == "approved"


async def test_one_yes_is_for_the_rule_and_for_the_want_of_proof(house: House) -> None:
    space = await house.workspace()
    await add_rule(space)
    row = await held_by_rule(space, "zoe@none.example", ip=STRANGER_IP)
    assert "nothing proves" in row.reasons[1]
    await approve(space, row)
    await space.delivery(row.delivery_id, "waiting for approval")
    draft = await the_approval(space, t.approvals.c.kind == "draft")
    assert draft.at_expiry == "reject"


async def test_a_no_turns_it_away_and_time_leaves_it_where_it_is(house: House) -> None:
    space = await house.workspace()
    await add_rule(space)
    row = await held_by_rule(space)
    await decide(space, approvals.reject, row.id, reason="not ours")
    assert (await space.delivery(row.delivery_id, "rejected")).reason.endswith("not ours")
    again = mail("Pay now.", to=space.address, subject="Another invoice")
    other = await space.delivery(await space.receive(again), "held")
    await pass_time(space, timedelta(hours=80))
    rows = await space.rows(t.approvals, t.approvals.c.delivery_id == other.id)
    assert [one.state for one in rows] == ["expired"]
    await space.delivery(other.id, "held")


async def test_a_yes_to_what_would_reach_no_agent_says_so_and_it_goes_on_waiting(
    house: House,
) -> None:
    space = await house.workspace()
    await add_rule(space, overrides=False)

    async def catching(settings: dict[str, str]) -> None:
        def change(tx: Any) -> None:
            mine = t.workspaces.c.id == space.id
            tx.execute(update(t.workspaces).where(mine).values(settings=settings))
            changed(tx)

        await space.write(change)
        await house.services.directory.refresh()

    await catching({"catch_all_agent_id": space.agent_id})
    raw = mail(to=f"sales@{space.domain}", subject="Your invoice")
    await space.delivery(await space.receive(raw, f"sales@{space.domain}"), "held")
    await catching({})
    row = await the_approval(space)
    with pytest.raises(Conflict, match="no agent would get it"):
        await approve(space, row)
    assert (await the_approval(space)).state == "waiting"
    await catching({"catch_all_agent_id": space.agent_id})
    await approve(space, row)
    await space.delivery(row.delivery_id, "answered")


# --- let in -----------------------------------------------------------------------------------


async def test_a_mail_that_was_let_in_is_thought_about_and_its_answer_is_looked_at(
    house: House,
) -> None:
    space = await house.workspace()
    row = await unproven(space)
    await approve(space, row)
    await space.delivery(row.delivery_id, "waiting for approval")
    draft = await the_approval(space, t.approvals.c.kind == "draft")
    assert draft.at_expiry == "reject"
    decided = await approve(space, draft)
    await space.sent_off(decided.outbound_id, "sent")
    assert house.taken("zoe@none.example")


async def test_an_agents_own_program_answers_no_unproven_mail_and_it_goes_on_waiting(
    house: House,
) -> None:
    space = await house.workspace()
    row = await unproven(space)
    given = (house.services, row.delivery_id, "Hi.")
    with pytest.raises(Conflict, match="nothing proves"):
        await space.write(
            lambda tx: own_answers.answer(tx, *given, agent_id=space.agent_id, author="key:x")
        )
    assert (await the_approval(space)).state == "waiting"
    await space.delivery(row.delivery_id, "held")


async def test_a_mail_that_is_turned_away_never_reaches_the_agent(house: House) -> None:
    space = await house.workspace()
    row = await unproven(space)
    await decide(space, approvals.reject, row.id, reason="spam")
    delivery = await space.delivery(row.delivery_id, "rejected")
    assert delivery.reason == f"rejected by {EVA}: spam"
    assert space.turns == []


async def test_a_mail_that_nobody_lets_in_stays_held(house: House) -> None:
    space = await house.workspace()
    row = await unproven(space)
    await pass_time(space, timedelta(hours=80))
    assert (await the_approval(space)).state == "expired"
    await space.delivery(row.delivery_id, "held")
