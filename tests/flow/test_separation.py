"""No mail leaves in the name of another workspace, whoever wrote it and however it was changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import delete, select, update

from mailagent.flow import separation
from mailagent.mail import Address
from mailagent.outgoing import Recipient
from mailagent.store import tables as t
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import Secrets, new_id
from tests import verified_domain
from tests.flow.house import DOMAIN, House, Space, mail
from tests.providers.mails import outgoing

pytestmark = pytest.mark.asyncio(loop_scope="package")

NOT_OURS = "From is no address of this workspace"


def someone() -> str:
    """An address that no other test writes to."""
    return f"ann-{new_id('x')[-12:]}@customer.example"


async def refused(house: House, space: Space, outbound_id: str, to: str) -> str:
    """Why the mail was refused; that nothing of it left, and that its story says so."""
    row = await space.sent_off(outbound_id, "refused")
    assert house.taken(to) == []
    assert await space.rows(t.hand_overs, t.hand_overs.c.outbound_id == outbound_id) == []
    ledger = await space.rows(t.ledger, t.ledger.c.outbound_id == outbound_id)
    reason: str = (await space.recipients(outbound_id))[to].reason
    assert ("refused", f"from {row.outgoing['from_']['address']}: {reason}") in [
        (line.what, line.why) for line in ledger
    ]
    return reason


async def altered(space: Space, to: str, change: Callable[[dict[str, Any]], object]) -> str:
    """A good mail whose frozen value was changed in the database before it left."""

    def write(tx: Transaction) -> str:
        outbound_id = queue(tx)
        frozen = tx.value(
            select(t.outbound_mails.c.outgoing).where(t.outbound_mails.c.id == outbound_id)
        )
        change(frozen)
        tx.execute(
            update(t.outbound_mails)
            .where(t.outbound_mails.c.id == outbound_id)
            .values(outgoing=frozen)
        )
        return outbound_id

    queue = space.queued(to)
    made: str = await space.write(write)
    return made


@pytest.mark.parametrize(
    "address",
    [
        "hello@{other}",
        "postmaster@{other}",
        "HELLO@{other}",
        f"postmaster@{DOMAIN}",
        f"noreply@{DOMAIN}",
        "hello@a.{own}",
        f"hello@return.{DOMAIN}",
        "nobody@{own}",
        "ceo@bank.example",
    ],
)
async def test_a_from_that_is_not_the_workspaces_own_is_refused(house: House, address: str) -> None:
    space, other = await house.workspace(), await house.workspace()
    to, named = someone(), address.format(own=space.domain, other=other.domain)
    sent = await space.send(to, from_=Address(named))
    assert await refused(house, space, sent, to) == NOT_OURS


async def test_an_agents_answer_is_refused_once_its_row_has_gone_over(house: House) -> None:
    """The agent's address, moved to another tenant in the database, speaks for that one no more."""
    space, other = await house.workspace(), await house.workspace()

    def steal(tx: Transaction) -> None:
        tx.execute(
            update(t.addresses)
            .where(t.addresses.c.agent_id == space.agent_id)
            .values(local_part="ceo", domain=other.domain)
        )

    await space.write(steal)
    to = someone()
    sent = await space.send(to, from_=Address(f"ceo@{other.domain}"))
    assert await refused(house, space, sent, to) == NOT_OURS


async def test_a_frozen_mail_that_was_changed_to_anothers_from_is_refused(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    to = someone()
    sent = await altered(space, to, lambda frozen: frozen["from_"].update(address=other.address))
    assert await refused(house, space, sent, to) == NOT_OURS


@pytest.mark.parametrize("name", ["From", "sender", "Resent-From", "Return-Path", "DKIM-Signature"])
async def test_a_field_that_would_speak_for_another_is_refused(house: House, name: str) -> None:
    space, other = await house.workspace(), await house.workspace()
    to = someone()
    sent = await altered(space, to, lambda frozen: frozen.update(headers=[[name, other.address]]))
    assert "it is not as it was frozen" in await refused(house, space, sent, to)


async def test_a_mail_that_was_moved_to_another_workspace_is_refused(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()
    to = someone()
    queue = space.queued(to)

    def move(tx: Transaction) -> str:
        outbound_id = queue(tx)
        for table, column in (
            (t.outbound_mails, t.outbound_mails.c.id),
            (t.outbound_recipients, t.outbound_recipients.c.outbound_id),
        ):
            tx.execute(update(table).where(column == outbound_id).values(workspace_id=other.id))
        return outbound_id

    sent = await space.write(move)
    assert await refused(house, other, sent, to) == NOT_OURS


async def test_names_below_the_default_domain_are_nobodys_custom_domain(house: House) -> None:
    space, other = await house.workspace(), await house.workspace()

    def claim(tx: Transaction) -> None:
        tx.insert(
            t.domains,
            {"id": new_id("dom"), "name": f"x.{other.domain}", "state": "verified"}
            | {
                "created_at": tx.now,
                **verified_domain.columns(tx.now),
            },
        )
        space.add_address(tx, space.agent_id, "ceo", f"x.{other.domain}")

    await space.write(claim)
    to = someone()
    sent = await space.send(to, from_=Address(f"ceo@x.{other.domain}"))
    assert await refused(house, space, sent, to) == NOT_OURS


async def test_a_custom_domain_sends_while_it_is_this_workspaces(house: House) -> None:
    space = await house.workspace()
    name = f"{new_id('d')[-10:]}.example"

    def verify(tx: Transaction) -> None:
        tx.insert(
            t.domains,
            {"id": new_id("dom"), "name": name, "state": "verified"}
            | {
                "created_at": tx.now,
                **verified_domain.columns(tx.now),
            },
        )
        space.add_address(tx, space.agent_id, "hello", name)

    await space.write(verify)
    await space.sent_off(await space.send(someone(), from_=Address(f"hello@{name}")), "sent")
    await space.write(lambda tx: tx.execute(delete(t.domains).where(t.domains.c.name == name)))
    to = someone()
    sent = await space.send(to, from_=Address(f"hello@{name}"))
    assert await refused(house, space, sent, to) == NOT_OURS


@pytest.mark.parametrize("over", [False, True])
async def test_what_was_frozen_under_a_former_name_leaves_while_that_is_kept(
    house: House, over: bool
) -> None:
    space = await house.workspace()
    left = timedelta(seconds=-1) if over else timedelta(days=90)

    def rename(tx: Transaction) -> None:
        tx.insert(
            t.slug_reservations,
            {"slug": f"old-{space.slug}", "alias_until": tx.now + left}
            | {"free_at": tx.now + timedelta(days=365)},
        )
        space.add_address(tx, space.agent_id, "hello", f"old-{space.domain}")

    await space.write(rename)
    to = someone()
    sent = await space.send(to, from_=Address(f"hello@old-{space.domain}"))
    if over:
        assert await refused(house, space, sent, to) == NOT_OURS
    else:
        await space.sent_off(sent, "sent")


async def test_a_retired_workspace_answers_and_sends_nothing(house: House) -> None:
    space = await house.workspace()
    await house.workspace()
    retired = update(t.workspaces).values(retired_at=house.store.now())
    to, queue = someone(), space.queued(someone())
    got = await space.receive(mail(to=space.address))
    await space.answer_to(got)

    def retire(tx: Transaction) -> str:
        tx.execute(retired)
        return queue(tx)

    sent = await space.write(retire)
    (address,) = await space.recipients(sent)
    assert await refused(house, space, sent, address) == "the workspace is retired"
    # The door has not heard of it yet.
    late = await space.receive(mail("And now?", to=space.address))
    row = await space.delivery(late, "held")
    assert "the workspace is retired" in row.reason
    assert len(space.turns) == 1
    assert house.taken(to) == []


async def test_an_envelope_sender_of_another_mail_is_refused() -> None:
    """Whatever brings a reverse-path of its own: it must be that recipient's, and name ours."""
    secrets = Secrets(["s" * 40])
    mine, theirs = new_id("rcp"), new_id("rcp")
    good = separation.return_path(secrets, DOMAIN, mine)
    for path, passes in (
        (good, True),
        (None, True),
        (separation.return_path(secrets, DOMAIN, theirs), False),
        (good.replace(DOMAIN, "elsewhere.example"), False),
        (f"ceo@shop.{DOMAIN}", False),
        (separation.return_path(Secrets(["x" * 40]), DOMAIN, mine), False),
    ):
        refusal = separation.refusal(
            cast("AnyRow", _Own()),
            outgoing(from_=Address(f"hello@shop.{DOMAIN}")),
            [Recipient(mine, "ann@customer.example", path)],
            purpose="reply",
            secrets=secrets,
            default_domain=DOMAIN,
        )
        assert (refusal is None) is passes, path


class _Own:
    slug, retired_at, address, sending, former = "shop", None, True, None, False
