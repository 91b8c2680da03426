"""Which account carries a mail: the order, and the reason for each that was passed over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mailagent.mail import Address
from mailagent.outbound import AccountState, Choice, Skipped, choose, rest
from mailagent.outgoing import Outgoing, OutgoingAttachment, Recipient

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
ALICE = Recipient("r1", "alice@customer.example")
MAIL = Outgoing(
    message_id="<1@acme.example>",
    date=NOW,
    from_=Address("support@Acme.example"),
    to=(Address(ALICE.address),),
    subject="Hello",
    text="x" * 100,
    attachments=(OutgoingAttachment("a.bin", "application/octet-stream", bytes(900)),),
)


def chosen(*accounts: AccountState, recipient: Recipient = ALICE) -> Choice:
    return choose(MAIL, recipient, accounts=accounts, local_domains={"acme.example"}, now=NOW)


def test_without_an_account_mail_is_captured() -> None:
    assert chosen() == Choice(("capture",))


@pytest.mark.parametrize("address", ["sales@acme.example", "Sales@ACME.Example"])
def test_our_own_addresses_are_reached_locally_with_and_without_accounts(address: str) -> None:
    ours = Recipient("r2", address)
    assert chosen(recipient=ours) == Choice(("local",))
    assert chosen(AccountState("relay"), recipient=ours) == Choice(("local",))


def test_a_domain_that_only_ends_like_ours_is_not_ours() -> None:
    other = Recipient("r2", "sales@notacme.example")
    assert chosen(AccountState("relay"), recipient=other) == Choice(("relay",))


def test_accounts_are_tried_in_the_order_a_person_gave() -> None:
    assert chosen(AccountState("b"), AccountState("a")).accounts == ("b", "a")


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        (AccountState("relay", enabled=False), "switched off"),
        (
            AccountState("relay", sends_for=frozenset({"other.example"})),
            "sender domain not verified: acme.example",
        ),
        (AccountState("relay", most_bytes=999), "takes at most 999 bytes, the mail has 1000"),
        (
            AccountState(
                "relay",
                paused_until=NOW + timedelta(minutes=5),
                pause_reason="5 time-outs",
            ),
            "paused until 2026-11-21T09:35:00+00:00: 5 time-outs",
        ),
    ],
)
def test_an_account_that_is_passed_over_says_why(account: AccountState, reason: str) -> None:
    choice = chosen(account, AccountState("second"))
    assert (choice.accounts, choice.skipped) == (("second",), (Skipped("relay", reason),))


def test_when_all_are_passed_over_the_mail_waits_and_is_not_captured() -> None:
    assert chosen(AccountState("relay", enabled=False)).accounts == ()


def test_an_account_that_fits_in_every_way_is_not_passed_over() -> None:
    account = AccountState(
        "relay", sends_for=frozenset({"acme.example"}), most_bytes=1000, paused_until=NOW
    )
    assert chosen(account) == Choice(("relay",))


def test_what_is_verified_for_the_default_domain_sends_for_each_workspace_below_it() -> None:
    parent = AccountState("ses", sends_for=frozenset({"example"}))
    for default, expected in (("example", ("ses",)), ("other.example", ())):
        choice = choose(
            MAIL, ALICE, accounts=[parent], local_domains=(), now=NOW, default_domain=default
        )
        assert choice.accounts == expected


def test_a_mailbox_that_is_bound_to_accounts_has_them_in_its_own_order() -> None:
    accounts = [AccountState("a"), AccountState("b"), AccountState("c")]
    choice = choose(
        MAIL, ALICE, accounts=accounts, local_domains=(), now=NOW, only=["c", "gone", "a"]
    )
    assert choice == Choice(("c", "a"), (Skipped("gone", "is not set up"),))


def test_a_choice_says_when_the_first_of_the_resting_may_be_asked() -> None:
    soon, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=9)
    resting = [AccountState("a", paused_until=later), AccountState("b", paused_until=soon)]
    assert chosen(*resting).again_at == soon


def test_an_account_rests_from_its_third_failure_on_for_ever_longer() -> None:
    assert [rest(failures, 0) for failures in (1, 2)] == [None, None]
    minutes = [found.total_seconds() / 60 for n in range(8) if (found := rest(3, n))]
    assert minutes == [0.5, 1, 2, 4, 8, 15, 15, 15]


def test_a_mail_that_was_handed_in_as_mime_goes_by_accounts_that_carry_mime_alone() -> None:
    raw = replace(MAIL, raw=b"From: support@acme.example\r\n\r\n" + bytes(1000))
    accounts = [
        AccountState("api", carries_mime=False),
        AccountState("small", most_bytes=1000),
        AccountState("relay"),
    ]
    made = choose(raw, ALICE, accounts=accounts, local_domains=(), now=NOW)
    assert made.accounts == ("relay",)
    assert made.skipped == (
        Skipped("api", "takes no raw MIME, as the mail was handed in"),
        Skipped("small", "takes at most 1000 bytes, the mail has 1030"),
    )
