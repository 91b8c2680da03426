"""Which account carries a mail: the order, and the reason for each that was passed over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from mailagent.mail import Address
from mailagent.outbound import (
    SCHEDULES,
    AccountState,
    Choice,
    Rates,
    Skipped,
    WarmUp,
    choose,
    rest,
    sending_domain,
    trouble,
)
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


def test_a_domain_that_is_kept_to_a_region_leaves_by_accounts_that_work_there() -> None:
    there = (AccountState("us", region="US"), AccountState("eu", region="EU"), AccountState("own"))
    choice = choose(MAIL, ALICE, accounts=there, local_domains=(), now=NOW, region="EU")
    assert choice.accounts == ("eu", "own")
    only = choose(MAIL, ALICE, accounts=there[:1], local_domains=(), now=NOW, region="EU")
    assert only.accounts == ()
    assert only.waits_for.endswith("us works in US, and mail of acme.example is kept to EU")
    assert choose(MAIL, ALICE, accounts=there, local_domains=(), now=NOW).accounts[0] == "us"


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


def test_a_mail_for_which_only_a_verified_domain_is_missing_says_just_that() -> None:
    strangers = [AccountState(name, sends_for=frozenset({"other.example"})) for name in "ab"]
    assert chosen(*strangers).waits_for == "sender domain not verified: acme.example (by a, b)"
    mixed = chosen(strangers[0], AccountState("c", enabled=False)).waits_for
    assert mixed == (
        "no account may carry it: a sender domain not verified: acme.example; c switched off"
    )
    assert chosen().waits_for == "no account may carry it: "


# --- warm-up ----------------------------------------------------------------------------------


def test_every_schedule_grows_from_fifty_to_ten_thousand_without_a_leap() -> None:
    assert sorted(SCHEDULES) == [7, 14, 21]
    for days, caps in SCHEDULES.items():
        assert (len(caps), caps[0], caps[-1]) == (days, 50, 10_000)
        growth = [after / before for before, after in pairwise(caps)]
        assert all(1.2 < one <= 2.7 for one in growth), growth


@pytest.mark.parametrize(
    ("passed", "day", "cap"),
    [
        (timedelta(), 1, 50),
        (timedelta(hours=14), 1, 50),
        (timedelta(hours=15), 2, 100),
        (timedelta(days=6), 7, 10_000),
        (timedelta(days=7), 8, None),
        (timedelta(days=400), 8, None),
        (timedelta(days=-3), 1, 50),
    ],
)
def test_a_warm_up_goes_by_the_days_of_the_clock(
    passed: timedelta, day: int, cap: int | None
) -> None:
    warm_up = WarmUp("acme.example", 7, NOW)
    assert (warm_up.day(NOW + passed), warm_up.cap(NOW + passed)) == (day, cap)


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        (Rates(), None),
        (Rates(sent=49, bounced=49), None),
        (Rates(sent=50, bounced=2), None),
        (Rates(sent=100, bounced=5), None),
        (Rates(sent=100, bounced=6), "6 of 100 bounced, over 5%"),
        (Rates(sent=60, complained=1), None),
        (Rates(sent=60, complained=2), "2 of 60 complained, over 0.1%"),
        (Rates(sent=2_000, complained=2), None),
        (Rates(sent=2_000, complained=3), "3 of 2000 complained, over 0.1%"),
        (Rates(sent=200, due=100, delivered=90), None),
        (Rates(sent=200, due=100, delivered=89), "89 of 100 delivered, under 90%"),
        (Rates(sent=200, due=49, delivered=1), None),
        # A relay reports no delivery, so that none says nothing.
        (Rates(sent=200, due=200, delivered=0), None),
    ],
)
def test_a_warm_up_stops_over_its_rates_and_not_for_too_few(rates: Rates, why: str | None) -> None:
    assert trouble(rates) == why


def test_a_paused_warm_up_passes_its_account_over_for_that_domain_alone() -> None:
    paused = WarmUp("acme.example", 7, NOW, "6 of 100 bounced, over 5%")
    account = AccountState("a", warm_ups=(WarmUp("other.example", 7, NOW), paused))
    choice = chosen(account, AccountState("b"))
    reason = "warming up for acme.example, which is paused: 6 of 100 bounced, over 5%"
    assert choice == Choice(("b",), (Skipped("a", reason),))
    account = AccountState("a", warm_ups=(replace(paused, paused=""),))
    assert chosen(account, AccountState("b")).accounts == ("a", "b")


def test_all_below_the_default_domain_are_one_sender() -> None:
    assert sending_domain("shop.aexy.example", "aexy.example") == "aexy.example"
    assert sending_domain("aexy.example", "aexy.example") == "aexy.example"
    assert sending_domain("notaexy.example", "aexy.example") == "notaexy.example"
    assert sending_domain("shop.example", "") == "shop.example"


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
