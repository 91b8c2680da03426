"""`mailagent domain …`: results on standard output, advice beside it, the API's form by --json."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cloudflare_server import TOKEN, CloudflareServer
from tests.dns_server import DnsServer
from tests.operation.terminal import Done, Terminal

NAME = "acme.example"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    # It names no name servers: nobody is asked beside it.
    with DnsServer() as server:
        yield server


@pytest.fixture
def mailagent(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_url: str,
    dns: DnsServer,
) -> Terminal:
    for name, value in {
        "MAILAGENT_SECRET_KEY": "a-key-of-the-tests-that-is-long-enough",
        "MAILAGENT_DATA": str(tmp_path),
        "DEFAULT_EMAIL_DOMAIN": "agents.example",
        "MAILAGENT_HOSTNAME": "mx.agents.example",
        "MAILAGENT_PUBLIC_IPS": "192.0.2.25",
        "MAILAGENT_RESOLVER": dns.address,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(capsys, monkeypatch).on(sqlite_url)
    terminal.ok("workspace", "create", "shop", "--owner", "eva@shop.example")
    terminal.ok("agent", "create", "hello")
    return terminal


def publish(dns: DnsServer, mailagent: Terminal, name: str = NAME) -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for one in mailagent("domain", "records", name, "--json").json:
        value = f"{one['priority']} {one['value']}." if one["type"] == "MX" else one["value"]
        found.setdefault(one["name"], {}).setdefault(one["type"], []).append(value)
    dns.add(found)


def test_a_domain_from_typed_to_verified_to_gone(mailagent: Terminal, dns: DnsServer) -> None:
    assert mailagent.ok("domain", "list") == "no domains: mailagent domain add NAME"
    added = mailagent("domain", "add", f"sales@{NAME}", "--agent", "hello")
    assert added.code == 0
    assert "is a registered domain itself" in added.err
    assert added.out.splitlines()[0].split() == ["domain", NAME]

    checked = mailagent("domain", "check", NAME, "--json").json
    assert checked["verification_failure"]["code"] == "ownership_missing"

    publish(dns, mailagent)
    assert "verified" in mailagent.ok("domain", "check", NAME)
    assert mailagent.ok("domain", "list").split()[:3] == [NAME, "send_receive", "verified"]
    assert f"sales@{NAME}" in str(mailagent("agent", "show", "hello", "--json").json)

    refused = mailagent("domain", "remove", NAME)
    assert (refused.code, refused.out) == (1, "")
    assert f"sales@{NAME} of hello" in refused.err
    removed = mailagent.ok("domain", "remove", NAME, "--force")
    assert removed.splitlines()[0] == f"{NAME} is gone"
    assert f"_aexy-verification.{NAME}" in removed
    assert mailagent("domain", "list", "--json").json == []


def test_the_records_come_as_text_as_a_zone_and_as_json(mailagent: Terminal) -> None:
    mailagent("domain", "add", NAME)
    text = mailagent.ok("domain", "records", NAME)
    assert text == mailagent.ok("domain", "records", NAME, "--text")
    assert "Ownership" in text
    zone = mailagent.ok("domain", "records", NAME, "--zone")
    assert zone.startswith(f"$ORIGIN {NAME}.")
    assert f"{NAME}. 300 IN MX 10 mx.agents.example." in zone
    as_json = mailagent("domain", "records", NAME, "--json").json
    assert len(as_json) == zone.count(" IN ")
    assert mailagent("domain", "records", NAME, "--zone", "--text").code == 1


def test_an_export_is_compared_and_each_difference_marked(
    mailagent: Terminal, tmp_path: Path
) -> None:
    mailagent("domain", "add", NAME)
    file = tmp_path / "export.zone"
    file.write_text(mailagent.ok("domain", "records", NAME, "--zone"))
    same = mailagent("domain", "compare", NAME, str(file), "--json")
    assert same.code == 0
    assert {one["status"] for one in same.json} == {"valid"}

    file.write_text(file.read_text().replace("MX 10 mx.agents.example.", "MX 10 mx.other.example."))
    other = mailagent("domain", "compare", NAME, str(file))
    assert other.code == 1
    assert "mx.other.example" in other.out
    assert mailagent("domain", "compare", NAME, "nowhere.zone").code == 1


def test_choices_and_a_pause(mailagent: Terminal) -> None:
    mailagent("domain", "add", NAME, "--mode", "send_only")
    changed = mailagent("domain", "set", NAME, "--while-pending", "go_on", "--json").json
    assert changed["while_pending"] == "go_on"
    assert mailagent("domain", "pause", NAME, "--json").json["verification_status"] == "paused"
    assert mailagent("domain", "set", NAME, "--mode", "sideways").code == 1
    refused = mailagent("domain", "resubmit", NAME)
    assert refused.code == 1
    assert "no provider has given up" in refused.err


def test_a_sub_domain_is_given_away(mailagent: Terminal, dns: DnsServer) -> None:
    mailagent.ok("workspace", "create", "other")
    shop, other = ("-w", "shop"), ("-w", "other")
    mailagent("domain", "add", NAME, *shop)
    found: dict[str, dict[str, list[str]]] = {}
    for one in mailagent("domain", "records", NAME, *shop, "--json").json:
        value = f"{one['priority']} {one['value']}." if one["type"] == "MX" else one["value"]
        found.setdefault(one["name"], {}).setdefault(one["type"], []).append(value)
    dns.add(found)
    mailagent.ok("domain", "check", NAME, *shop)
    below = f"agents.{NAME}"
    assert mailagent("domain", "add", below, *other).code == 1
    given = mailagent.ok("domain", "allow", below, "other", *shop)
    assert given == f"{below} may be verified by other"
    assert mailagent("domain", "add", below, *other).code == 0


def test_the_records_come_as_the_fields_of_the_dns_host(
    mailagent: Terminal, dns: DnsServer
) -> None:
    mailagent("domain", "add", NAME)
    plain = mailagent.ok("domain", "records", NAME, "--steps")
    assert plain.startswith("At your DNS host:")
    dns.add({NAME: {"NS": ["ns-1.awsdns-01.com.", "ns-2.awsdns-02.net."]}})
    fitted = mailagent.ok("domain", "records", NAME, "--steps")
    assert fitted.startswith("At Amazon Route 53:")
    assert '"aexy-verify=' in fitted, "Route 53 wants quotation marks"
    told = mailagent("domain", "records", NAME, "--steps", "--json").json
    assert told["host"] == "Amazon Route 53"
    assert told["steps"][0]["fields"][0] == {"title": "Record type", "value": "TXT"}


def test_what_stands_in_spf_is_merged_and_its_lookups_counted(
    mailagent: Terminal, dns: DnsServer
) -> None:
    dns.add({NAME: {"TXT": ["v=spf1 include:mail.example -all"]}})
    dns.add({"mail.example": {"TXT": ["v=spf1 ip4:192.0.2.7 -all"]}})
    mailagent("domain", "add", NAME)
    merged = mailagent("domain", "spf", NAME)
    assert merged.out.split() == ["v=spf1", "include:mail.example", "ip4:192.0.2.25", "-all"]
    assert "1 of 10 DNS lookups" in merged.err
    assert mailagent("domain", "spf", NAME, "--json").json["lookups"] == 1


@pytest.fixture
async def cloudflare(
    mailagent: Terminal, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CloudflareServer]:
    """It keeps example.com, whose owner sends by a service of others."""
    dns.add({"example.com": {"NS": ["amy.ns.cloudflare.com."], "TXT": [THEIRS]}})
    dns.add({"mail.example": {"TXT": ["v=spf1 ip4:192.0.2.7 -all"]}})
    async with CloudflareServer() as server:
        server.put("TXT", "example.com", THEIRS)
        mailagent.set(CLOUDFLARE_BASE_URL=f"{server.url}/client/v4", MAILAGENT_DNS_TOKEN=TOKEN)
        yield server


THEIRS = "v=spf1 include:mail.example -all"


async def ran(mailagent: Terminal, *words: str) -> Done:
    """A command beside the servers of the test, which live on this thread's loop."""
    return await asyncio.to_thread(mailagent, *words)


async def test_a_domains_records_are_written_where_its_zone_is_and_nothing_of_others_is_lost(
    mailagent: Terminal, cloudflare: CloudflareServer
) -> None:
    write = ("domain", "write-dns", "example.com", "--to", "cloudflare", "--json")
    assert (await ran(mailagent, *write)).code == 1, "it is no domain of the workspace yet"
    assert (await ran(mailagent, "domain", "add", "example.com")).code == 0
    plan = (await ran(mailagent, *write, "--plan")).json
    assert (plan["zone"], plan["written"]) == ("example.com", False)
    assert cloudflare.standing("_dmarc.example.com") == []

    done = await ran(mailagent, *write, "--yes")
    assert (done.code, done.json["written"]) == (0, True), done.err
    wanted = (await ran(mailagent, "domain", "records", "example.com", "--json")).json
    for one in wanted:
        at = dict(cloudflare.standing(one["name"]))
        assert one["type"] in at, one["name"]
    spf = '"v=spf1 include:mail.example ip4:192.0.2.25 -all"'
    texts = [value for type_, value in cloudflare.standing("example.com") if type_ == "TXT"]
    assert texts == [spf]


async def test_a_sub_domain_is_written_into_the_zone_above_it(
    mailagent: Terminal, cloudflare: CloudflareServer
) -> None:
    added = (await ran(mailagent, "domain", "add", "mail.example.com", "--json")).json
    write = ("domain", "write-dns", added["id"], "--to", "cloudflare", "--json", "--yes")
    done = (await ran(mailagent, *write)).json
    assert (done["zone"], done["written"]) == ("example.com", True)
    assert ("TXT", THEIRS) in cloudflare.standing("example.com")
    assert ("MX", "mx.agents.example") in cloudflare.standing("mail.example.com")


async def test_the_default_domains_set_is_written_with_its_wildcard(
    mailagent: Terminal, cloudflare: CloudflareServer
) -> None:
    mailagent.set(DEFAULT_EMAIL_DOMAIN="example.com", MAILAGENT_HOSTNAME="mx.example.com")
    write = ("domain", "write-dns", "Example.com.", "--to", "cloudflare", "--json", "--yes")
    done = (await ran(mailagent, *write)).json
    assert done["zone"] == "example.com"
    assert cloudflare.standing("*.example.com") == [
        ("MX", "mx.example.com"),
        ("TXT", '"v=spf1 ip4:192.0.2.25 ~all"'),
    ]
    assert cloudflare.standing("mx.example.com") == [("A", "192.0.2.25")]


def test_a_record_of_ones_own_is_added_listed_and_removed(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = "agents.example"
    monkeypatch.setenv("MAILAGENT_DNS_NAME_SERVERS", f"ns1.{default}=192.0.2.53")
    made = mailagent("dns", "record", "add", "www", "a", "192.0.2.80", "--json").json
    assert (made["name"], made["type"], made["left_out"]) == (f"www.{default}", "A", "")
    assert f"www.{default}. 300 IN A 192.0.2.80" in mailagent.ok("dns", "zone")
    refused = mailagent("dns", "record", "add", "@", "CNAME", "site.example")
    assert (refused.code, "would take the place of its MX" in refused.err) == (1, True)
    assert mailagent.ok("dns", "record", "list").split() == [
        made["id"],
        f"www.{default}",
        "A",
        "192.0.2.80",
    ]
    mailagent.ok("dns", "record", "remove", made["id"])
    assert mailagent("dns", "record", "list", "--json").json == []
    assert mailagent("dns", "record", "remove", made["id"]).code == 1
