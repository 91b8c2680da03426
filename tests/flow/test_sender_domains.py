"""From which address an agent writes while its own domain is not, or no more, in order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from mailagent.flow import sender_domains
from mailagent.store import tables as t
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests.flow.house import House, Space, mail

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def custom_domain(space: Space, **values: Any) -> str:
    """A domain of the workspace that receives, where its agent is `sales`."""
    name = f"{space.slug}-customer.example"

    def plant(tx: Transaction) -> None:
        row = {
            "id": new_id("dom"),
            "name": name,
            "state": "pending",
            "created_at": tx.now,
            "verified_at": tx.now,
            "receiving_verified_at": tx.now,
            **values,
        }
        tx.insert(t.domains, row)
        space.add_address(tx, space.agent_id, "sales", name)

    await space.write(plant)
    await space.house.services.directory.refresh()
    return name


async def becomes(space: Space, name: str, **values: Any) -> None:
    def write(tx: Transaction) -> None:
        tx.execute(update(t.domains).where(t.domains.c.name == name).values(**values))
        sender_domains.release(tx, name)

    await space.write(write)


async def answered(space: Space, address: str) -> Any:
    """The outbound mail that answers one to this address."""
    got = await space.receive(mail(to=address), address)
    await space.delivery(got, "answered")
    (row,) = await space.outbound(t.outbound_mails.c.answers_delivery_id == got)
    return row


async def waits(space: Space, outbound_id: str, reason: str) -> None:
    """Returns once every recipient waits for this reason."""

    async def look() -> bool:
        rows = (await space.recipients(outbound_id)).values()
        return all(row.state == "queued" and row.reason.startswith(reason) for row in rows)

    await space.house.until(look)


async def test_until_its_domain_may_send_an_agent_answers_from_its_default_address(
    house: House,
) -> None:
    space = await house.workspace()
    name = await custom_domain(space)
    before = await answered(space, f"sales@{name}")
    assert before.from_address == space.address

    await becomes(space, name, sending_verified_at=house.store.now(), sending_state="active")
    after = await answered(space, f"sales@{name}")
    assert after.from_address == f"sales@{name}"
    await space.sent_off(after.id, "sent")


async def test_a_workspace_may_choose_that_answers_wait_for_the_domain(house: House) -> None:
    space = await house.workspace()
    name = await custom_domain(space, settings={"until_verified": "wait"})
    row = await answered(space, f"sales@{name}")
    assert row.from_address == f"sales@{name}"
    await waits(space, row.id, f"{name} is not verified for sending yet")

    await becomes(space, name, sending_verified_at=house.store.now(), sending_state="active")
    await space.sent_off(row.id, "sent")


async def test_mail_of_a_broken_domain_waits_and_says_so_until_it_is_mended(house: House) -> None:
    space = await house.workspace()
    verified = {"sending_verified_at": house.store.now()}
    name = await custom_domain(space, sending_state="waiting", **verified)
    row = await answered(space, f"sales@{name}")
    await waits(space, row.id, f"{name} is not in order")
    assert await space.story(row.answers_delivery_id)

    await becomes(space, name, sending_state="active")
    await space.sent_off(row.id, "sent")


async def test_a_workspace_may_choose_that_mail_of_a_broken_domain_goes_on(house: House) -> None:
    space = await house.workspace()
    verified = {"sending_verified_at": house.store.now()}
    chosen = {"while_pending": "go_on"}
    name = await custom_domain(space, sending_state="waiting", settings=chosen, **verified)
    row = await answered(space, f"sales@{name}")
    await space.sent_off(row.id, "sent")


async def test_mail_of_a_paused_domain_waits_whatever_was_chosen(house: House) -> None:
    space = await house.workspace()
    name = await custom_domain(
        space,
        state="paused",
        sending_state="active",
        sending_verified_at=house.store.now(),
        settings={"while_pending": "go_on"},
    )
    row = await answered(space, f"sales@{name}")
    await waits(space, row.id, f"{name} is not in order")


async def test_from_the_moment_it_may_an_agent_writes_as_its_own_domain(house: House) -> None:
    space = await house.workspace()
    name = await custom_domain(space)
    own = {"sends_as": f"sales@{name}"}
    await space.write(
        lambda tx: tx.execute(
            update(t.agents).where(t.agents.c.id == space.agent_id).values(settings=own)
        )
    )
    assert (await answered(space, space.address)).from_address == space.address

    await becomes(space, name, sending_verified_at=house.store.now(), sending_state="active")
    assert (await answered(space, space.address)).from_address == f"sales@{name}"


async def test_what_is_written_from_a_domain_that_only_sends_is_answered_at_the_default_address(
    house: House,
) -> None:
    space = await house.workspace()
    name = await custom_domain(
        space,
        receiving_verified_at=None,
        sending_verified_at=house.store.now(),
        sending_state="active",
    )
    own = {"sends_as": f"sales@{name}"}
    await space.write(
        lambda tx: tx.execute(
            update(t.agents).where(t.agents.c.id == space.agent_id).values(settings=own)
        )
    )
    row = await answered(space, space.address)
    await space.sent_off(row.id, "sent")
    reply_to = str(space.as_sent(row.message_id)["Reply-To"])
    assert f"@{space.domain}" in reply_to
    assert name in str(space.as_sent(row.message_id)["From"])


async def test_a_waiting_mail_expires_as_any_other_and_is_told(house: House) -> None:
    space = await house.workspace()
    name = await custom_domain(space, settings={"until_verified": "wait"})
    row = await answered(space, f"sales@{name}")
    await waits(space, row.id, f"{name} is not verified")
    await house.later(timedelta(hours=73))
    await space.sent_off(row.id, "expired")


async def test_mail_of_a_domain_leaves_only_by_the_accounts_that_carry_it(house: House) -> None:
    space = await house.workspace()
    name = await custom_domain(
        space,
        sending_verified_at=house.store.now(),
        sending_state="active",
        settings={"carried_by": ["elsewhere"]},
    )
    row = await answered(space, f"sales@{name}")
    await waits(space, row.id, "no account may carry it: elsewhere is not set up")
