"""An address field yields the mailboxes that are surely in it, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailagent.mail import Address
from mailagent.mime import addresses


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("ada@example.org", [Address("ada@example.org")]),
        (
            '"Doe, John" <j@x.org>, k@y.org (Kay)',
            [Address("j@x.org", "Doe, John"), Address("k@y.org", "Kay")],
        ),
        ("Doe, John <j@x.org>", [Address("j@x.org", "Doe, John")]),
        (
            "Team: a@x.org, b@y.org; c@z.org",
            [Address("a@x.org"), Address("b@y.org"), Address("c@z.org")],
        ),
        ("undisclosed-recipients:;", []),
        ("=?utf-8?b?w4RkYQ==?= <ada@example.org>", [Address("ada@example.org", "Äda")]),
        ("[External] Bob <b@x.org>", [Address("b@x.org", "[External] Bob")]),
        ('"john doe"@x.org', [Address('"john doe"@x.org')]),
        ("Bob <b@[192.0.2.1]>", [Address("b@[192.0.2.1]", "Bob")]),
        ("Ünal <ünal@exämple.org>", [Address("ünal@exämple.org", "Ünal")]),
        ('"quo\\"ted" <q@x.org>', [Address("q@x.org", 'quo"ted')]),
        ("(note (nested)) Ada <ada@x.org> (later)", [Address("ada@x.org", "Ada")]),
    ],
)
def test_mailboxes_are_read_with_their_names(field: str, expected: list[Address]) -> None:
    assert list(addresses.mailboxes(field)) == expected


@pytest.mark.parametrize(
    "field",
    [
        "alice@example.org)bob@example.net",
        "alice@example.org(<bob@example.net>",
        "<alice@example.org><bob@example.net>",
        "<alice@example.org> bob@example.net",
        "alice@example.org:bob@example.net",
        '"alice@example.org',
        "a@b@c",
        "<@x:",
        "<@a,@b:c@d>",
        "a@b..c",
        "<>",
        "ada@example.org\x00",
    ],
)
def test_an_ambiguous_field_yields_no_address_to_trust(field: str) -> None:
    found = addresses.read(field)
    assert found.mailboxes == ()
    assert found.malformed


def test_an_encoded_word_cannot_bring_in_an_address() -> None:
    found = addresses.mailboxes("=?utf-8?q?boss=40bank=2Eexample=2C?= <eve@evil.example>")
    assert [a.address for a in found] == ["eve@evil.example"]


def test_at_most_500_addresses_are_read() -> None:
    found = addresses.read(", ".join(f"a{n}@x.org" for n in range(600)))
    assert len(found.mailboxes) == 500
    assert found.malformed


@pytest.mark.parametrize(
    "field", ["(" * 20_000, '"' * 16_001, "[" * 60_000, '("' * 30_000, ":" * 60_000, "<" * 60_000]
)
def test_hostile_fields_are_read_in_one_pass(field: str) -> None:
    assert addresses.mailboxes(field) == ()


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab@.<>()",;:[]\\ \t\r\n\x00é=?', max_size=60))
def test_what_is_read_is_always_one_local_part_at_one_domain(field: str) -> None:
    for mailbox in addresses.mailboxes(field):
        assert mailbox.domain
        assert not set(mailbox.address) & set("\r\n\x00")
        assert not set(mailbox.domain) & set('<>()",;@ ')
