"""The relay's URL: what it says, and what it refuses without repeating a password."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mailagent.errors import Misconfigured
from mailagent.providers.relay import PoolLimits, Relay, Tls


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://relay.example", Relay("relay.example", 25, Tls.OPPORTUNISTIC)),
        ("smtp://relay.example:2525?tls=none", Relay("relay.example", 2525, Tls.NONE)),
        ("smtp://u:p@relay.example", Relay("relay.example", 587, Tls.REQUIRED, "u", "p")),
        ("smtps://u:p@relay.example", Relay("relay.example", 465, Tls.IMPLICIT, "u", "p")),
        ("smtp://[::1]:25/?tls=required", Relay("::1", 25, Tls.REQUIRED)),
        (
            "smtp://me%40acme.example:a%2Fb%3Ac@relay.example?tls=none",
            Relay("relay.example", 587, Tls.NONE, "me@acme.example", "a/b:c"),
        ),
    ],
)
def test_a_url_says_where_and_how(url: str, relay: Relay) -> None:
    assert Relay.parse(url) == relay


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example:25",
        "http://u:hunter2@relay.example",
        "smtp://u:hunter2@",
        "smtp://u:hunter2@relay.example:70000",
        "smtp://u:hunter2/@relay.example",
        "smtp://u:hunter2@relay.example?tls=perhaps",
        "smtp://u:hunter2@relay.example?tls=opportunistic",
        "smtp://u:hunter2@relay.example?ssl=1",
        "smtps://u:hunter2@relay.example?tls=none",
        "smtp://u:hunter2@relay.example#x",
        "smtp://[::1:25",
        "smtp://u:hunter2@" + "a" * 64 + ".example",
    ],
)
def test_a_wrong_url_is_named_by_its_setting_and_never_repeated(url: str) -> None:
    with pytest.raises(Misconfigured) as error:
        Relay.parse(url)
    assert error.value.setting == "SMTP_RELAY_URL"
    assert "hunter2" not in str(error.value)


def test_a_url_says_how_connections_are_used() -> None:
    relay = Relay.parse("smtps://relay.example?connections=2&mails=50&idle=5")
    assert relay.pool == PoolLimits(connections=2, mails=50, idle=timedelta(seconds=5))


@pytest.mark.parametrize(
    "words", ["connections=0", "connections=101", "mails=0", "mails=many", "idle=-1", "idle=241"]
)
def test_a_wrong_number_is_refused_with_the_mend(words: str) -> None:
    with pytest.raises(Misconfigured, match=f"{words.partition('=')[0]}= is a number from"):
        Relay.parse(f"smtp://relay.example?{words}")


def test_a_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Relay.parse("smtp://u:hunter2@relay.example"))
