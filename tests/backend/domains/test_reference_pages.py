"""The reference pages say what the code does: their tables are made from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backend.domains.contributions import Key, own_server
from backend.domains.managed import Delegation, managed_domain
from backend.domains.reasons import REASONS
from backend.domains.record import DomainRecord, Place
from backend.domains.records import Extras, custom_domain, default_domain
from backend.domains.vocabularies import WORDS
from tests.backend.domains import sets

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
EXTRAS = Extras(
    rua="dmarc@aexy.email",
    tls_rua="tls@aexy.email",
    mta_sts_id="20261130",
    mta_sts_host="mta-sts.aexy.email",
    tracking_host="track.aexy.email",
)
_KEYS = (Key("m1", "v=DKIM1; k=rsa; p=…"), Key("m2", "v=DKIM1; k=rsa; p=…"))


def _ours(domain: str) -> tuple[DomainRecord, ...]:
    account = own_server(domain, host="mx.aexy.email", addresses=["192.0.2.25"], keys=_KEYS)
    if domain == "aexy.email":
        return default_domain(Place.of(domain), [account], extras=EXTRAS)
    return custom_domain(Place.of(domain), "send_receive", [account], token="TOKEN", extras=EXTRAS)


def _managed() -> tuple[DomainRecord, ...]:
    delegation = Delegation("k3f9.return.aexy.email", "mx.aexy.email", ("ip4:192.0.2.25",), _KEYS)
    return managed_domain(Place.of("mail.example.com"), "send_only", delegation)[0]


TABLES: dict[str, Callable[[], tuple[DomainRecord, ...]]] = {
    "A domain of your own": lambda: _ours("mail.example.com"),
    "The same through Amazon SES": sets.ses_set,
    "A domain whose records we keep": _managed,
    "The default domain": lambda: _ours("aexy.email"),
}


def record_table(records: tuple[DomainRecord, ...]) -> list[str]:
    """The rows of a set as the page has them."""
    rows = ["| type | name | value | waits for it | purpose |", "|---|---|---|---|---|"]
    for each in records:
        value = each.text.replace(sets.TOKEN, "TOKEN")
        waits = " and ".join(each.needed_for) or "nothing"
        rows.append(
            f"| {each.record.type} | `{each.name}` | `{value}` | {waits} | {each.purpose} |"
        )
    return rows


def code_table() -> list[str]:
    """The rows of all codes as the page has them."""
    rows = ["| code | means | says |", "|---|---|---|"]
    for code, reason in REASONS.items():
        says = reason.says.replace("{", "<").replace("}", ">")
        rows.append(f"| `{code}` | {reason.means} | `{says}` |")
    return rows


def _tables(page: str) -> dict[str, list[str]]:
    """The table under each heading."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in (REFERENCE / page).read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|"):
            found.setdefault(heading, []).append(line)
    return found


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_of_records_shows_the_sets_that_are_made(heading: str) -> None:
    assert _tables("dns-records.md")[heading] == record_table(TABLES[heading]())


def test_the_page_of_codes_has_every_code_with_its_meaning_and_its_sentence() -> None:
    assert _tables("verification-codes.md")["All codes"] == code_table()


def test_the_page_of_states_has_every_word_for_each_of_them() -> None:
    rows = _tables("domain-states.md")["In other systems' words"][2:]
    assert rows == [
        f"| `{state}` | `{words.sendmux}` | `{words.anypost}` | `{words.cms}` | `{words.aexy}` | "
        f"`{words.agentmail}` |"
        for state, words in WORDS.items()
    ]
