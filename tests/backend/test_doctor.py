"""The doctor says of each guard that was set whether it answers, and the mend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.doctor import Check, examine
from mailagent.settings import load
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.store.signing_keys import StoredKey
from mailagent.tokens import Secrets
from tests.dns_server import DnsServer
from tests.rspamd_server import RspamdServer


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as running:
        yield running


async def found(about: str, dns: DnsServer, folder: Path, **environ: str) -> list[Check]:
    """The findings whose name begins so."""
    given = {"MAILAGENT_RESOLVER": dns.address, "MAILAGENT_DATA": str(folder), **environ}
    settings = load(given, env_file=None)
    return [check async for check in examine(settings) if check.name.startswith(about)]


async def test_nothing_is_said_of_guards_that_are_not_set(dns: DnsServer, tmp_path: Path) -> None:
    assert await found("block list", dns, tmp_path) == []
    assert await found("spam filter", dns, tmp_path) == []


async def test_each_block_list_is_asked_for_its_test_entry(dns: DnsServer, tmp_path: Path) -> None:
    dns.add(
        {
            "2.0.0.127.well.example": {"A": ["127.0.0.2", "127.0.0.4"]},
            "2.0.0.127.refusing.example": {"A": ["127.255.255.254"]},
        }
    )
    dns.failing("2.0.0.127.failing.example")
    zones = "well.example refusing.example gone.example failing.example"
    checks = await found("block list", dns, tmp_path, MAILAGENT_DNSBL=zones)
    assert [one.verdict for one in checks] == ["ok", "wrong", "wrong", "not tested"]
    assert "run one of your own" in checks[1].mend


async def test_the_spam_filter_is_pinged(dns: DnsServer, tmp_path: Path) -> None:
    async with RspamdServer(answers=b"pong\r\n") as filter_:
        (well,) = await found("spam filter", dns, tmp_path, MAILAGENT_RSPAMD_URL=filter_.url)
        filter_.answers = b"<html>"
        (odd,) = await found("spam filter", dns, tmp_path, MAILAGENT_RSPAMD_URL=filter_.url)
    (gone,) = await found("spam filter", dns, tmp_path, MAILAGENT_RSPAMD_URL=filter_.url)
    assert [well.verdict, odd.verdict, gone.verdict] == ["ok", "wrong", "wrong"]
    assert filter_.asked[0].path == "/ping"
    assert "MAILAGENT_RSPAMD_URL" in gone.mend


async def test_a_certificate_that_is_not_there_yet_is_named(dns: DnsServer, tmp_path: Path) -> None:
    absent = str(tmp_path / "fetched.crt")
    (check,) = await found("certificate", dns, tmp_path, MAILAGENT_TLS_CERT=absent)
    assert check.verdict == "wrong"
    assert absent in check.found


async def test_our_own_name_has_an_address_that_leads_back(dns: DnsServer, tmp_path: Path) -> None:
    given = {"MAILAGENT_HOSTNAME": "mx.our.example"}
    (absent,) = await found("own address", dns, tmp_path, **given)
    dns.add(
        {"mx.our.example": {"A": ["192.0.2.7"]}, "7.2.0.192.in-addr.arpa": {"PTR": ["a.host."]}}
    )
    (elsewhere,) = await found("own address", dns, tmp_path, **given)
    dns.add({"7.2.0.192.in-addr.arpa": {"PTR": ["mx.our.example."]}})
    (back,) = await found("own address", dns, tmp_path, **given)
    assert [absent.verdict, elsewhere.verdict, back.verdict] == ["wrong", "ok", "ok"]
    assert "A <this machine's public address>" in absent.mend
    assert "leads back to a.host" in elsewhere.found
    assert "have its host set mx.our.example" in elsewhere.mend
    assert back.mend == ""


async def test_the_key_that_signs_is_to_be_published_as_it_is(
    dns: DnsServer, tmp_path: Path, sqlite_url: str
) -> None:
    given = {
        "DATABASE_URL": sqlite_url,
        "DEFAULT_EMAIL_DOMAIN": "our.example",
        "SMTP_RELAY_URL": "smtp://127.0.0.1:1?tls=none",
    }
    (without,) = await found("DKIM", dns, tmp_path, **given)
    store, secrets = Store(sqlite_url), Secrets(("a-key-for-this-test-alone-and-nothing-else",))
    key = StoredKey("our.example", "mailagent1", b"private", "v=DKIM1; k=rsa; p=AAAA")
    store.write_now(None, signing_keys.add, secrets, key)
    store.close()
    (absent,) = await found("DKIM", dns, tmp_path, **given)
    name = "mailagent1._domainkey.our.example"
    dns.add({name: {"TXT": ["v=DKIM1; k=rsa; p=AA"]}})
    (truncated,) = await found("DKIM", dns, tmp_path, **given)
    dns.add({name: {"TXT": ["v=DKIM1; k=rsa; p=AAAA"]}})
    (published,) = await found("DKIM", dns, tmp_path, **given)
    verdicts = [one.verdict for one in (without, absent, truncated, published)]
    assert verdicts == ["not tested", "wrong", "wrong", "ok"]
    assert absent.mend == truncated.mend == f"publish: {name} TXT v=DKIM1; k=rsa; p=AAAA"


async def test_webhooks_are_told_by_what_authenticates_them(dns: DnsServer, tmp_path: Path) -> None:
    (none,) = await found("webhooks", dns, tmp_path)
    (one,) = await found("webhooks", dns, tmp_path, MAILGUN_WEBHOOK_SIGNING_KEY="k" * 32)
    (all_,) = await found("webhooks", dns, tmp_path, INBOUND_WEBHOOK_SECRET="s" * 32)
    (open_,) = await found("webhooks", dns, tmp_path, MAILAGENT_OPEN_WEBHOOKS="postmark")
    assert (none.verdict, one.verdict, all_.verdict, open_.verdict) == (
        *("not tested", "ok", "ok", "wrong"),
    )
    assert "mailgun" in one.found
    assert "ses" not in one.found
    assert {"ses", "sendgrid", "postmark"} <= set(all_.found.replace(",", "").split())
