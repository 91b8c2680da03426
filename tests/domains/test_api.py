"""A workspace's domains by the API: who may, what is answered, and each refusal with its mend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from backend.domains.vocabularies import WORDS
from mailagent.sandbox import Sandbox
from tests.backend.api_client import key
from tests.backend.mailroom import DOMAIN, Mailroom, open_mailroom
from tests.dns_server import DnsServer
from tests.domains.api import open_domain_api
from tests.domains.town import NAME, serve

_OWN = "/domains"


@pytest.fixture
async def mailroom(sqlite_url: str) -> AsyncIterator[Mailroom]:
    sandbox = Sandbox(allowed=("mailagent.reading",))
    async with open_mailroom(sqlite_url, sandbox) as opened:
        yield opened
    await sandbox.close()


@pytest.fixture
async def client(mailroom: Mailroom, dns: DnsServer) -> AsyncIterator[httpx.AsyncClient]:
    async with open_domain_api(mailroom, dns, await key(mailroom, "domain.*")) as opened:
        yield opened


async def add(client: httpx.AsyncClient, **more: object) -> dict[str, object]:
    answer = await client.post(_OWN, json={"name": NAME, **more})
    assert answer.status_code == 201, answer.text
    added: dict[str, object] = answer.json()
    return added


async def publish(client: httpx.AsyncClient, dns: DnsServer, name: str = NAME) -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for one in (await client.get(f"{_OWN}/{name}")).json()["dns_records"]:
        value = f"{one['priority']} {one['value']}." if one["type"] == "MX" else one["value"]
        found.setdefault(one["name"], {}).setdefault(one["type"], []).append(value)
    dns.add(found)


async def test_a_domain_is_added_verified_and_shown_with_the_fields_of_the_issue(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    added = await add(client)
    assert added["verification_status"] == "pending"
    assert added["verification_txt"] is False
    assert added["ses_dkim_status"] is None
    first = added["dns_records"][0]  # type: ignore[index]
    assert {"type", "name", "value", "purpose"} <= first.keys()
    assert first["name"] == f"_aexy-verification.{NAME}"
    assert first["value"].startswith("aexy-verify=")

    looked = (await client.post(f"{_OWN}/{added['id']}/verify")).json()
    assert looked["verification_failure"]["code"] == "ownership_missing"
    assert f"_aexy-verification.{NAME}" in looked["verification_failure"]["message"]

    await publish(client, dns)
    looked = (await client.post(f"{_OWN}/{added['id']}/verify")).json()
    assert looked["verification_status"] == "verified"
    assert [looked[name] for name in ("verification_txt", "mx", "spf", "dmarc")] == [True] * 4
    assert looked["verification_failure"] is None
    assert {one["status"] for one in looked["dns_records"]} == {"valid"}
    assert looked["words"]["agentmail"] == "VERIFIED"
    assert looked["words"]["leena_sender"] == "Verified"

    checks = (await client.get(f"{_OWN}/{NAME}/checks")).json()
    assert [(one["before"], one["after"]) for one in checks] == [
        ("pending", "verified"),
        ("pending", "pending"),
    ]


async def test_the_same_look_twice_by_its_key_asks_dns_once(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    await add(client)
    headers = {"Idempotency-Key": "look-at-acme"}
    first = await client.post(f"{_OWN}/{NAME}/verify", headers=headers)
    assert first.json()["verification_failure"]["code"] == "ownership_missing"
    await publish(client, dns)
    asked = len(dns.asked)
    again = await client.post(f"{_OWN}/{NAME}/verify", headers=headers)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    assert len(dns.asked) == asked
    looked = (await client.post(f"{_OWN}/{NAME}/verify")).json()
    assert looked["verification_status"] == "verified"


async def test_the_same_wish_twice_by_its_key_asks_dns_once(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    headers, body = {"Idempotency-Key": "add-acme"}, {"name": NAME}
    first = await client.post(_OWN, json=body, headers=headers)
    dns.add({NAME: {"MX": ["1 aspmx.l.google.com."]}})  # would be refused, were it asked for now
    asked = len(dns.asked)
    again = await client.post(_OWN, json=body, headers=headers)
    assert (again.status_code, again.content) == (201, first.content)
    assert len(dns.asked) == asked
    other = await client.post(_OWN, json={"name": "two.example"}, headers=headers)
    assert other.status_code == 409


async def test_what_to_type_is_fitted_to_the_dns_host_that_is_seen(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    await add(client)
    plain = (await client.get(f"{_OWN}/{NAME}/instructions")).json()
    assert plain["host"] == "your DNS host"
    dns.add({NAME: {"NS": ["ada.ns.cloudflare.com.", "bob.ns.cloudflare.com."]}})
    told = (await client.get(f"/workspaces/shop/domains/{NAME}/instructions")).json()
    assert told["host"] == "Cloudflare"
    assert told["name_servers"] == ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"]
    records = (await client.get(f"{_OWN}/{NAME}")).json()["dns_records"]
    assert [(one["type"], one["name"]) for one in told["steps"]] == [
        (one["type"], one["name"]) for one in records
    ]
    fields = {one["title"]: one["value"] for one in told["steps"][0]["fields"]}
    assert fields["Name"] == "_aexy-verification"
    assert fields["Content"].startswith("aexy-verify=")


async def test_what_stands_in_spf_is_merged(client: httpx.AsyncClient, dns: DnsServer) -> None:
    dns.add({NAME: {"TXT": ["v=spf1 include:mail.example -all"]}})
    dns.add({"mail.example": {"TXT": ["v=spf1 ip4:192.0.2.7 -all"]}})
    await add(client)
    merged = (await client.get(f"{_OWN}/{NAME}/spf")).json()
    assert merged["record"] == "v=spf1 include:mail.example ip4:192.0.2.25 -all"
    assert (merged["added"], merged["changed"], merged["lookups"]) == (
        ["ip4:192.0.2.25"],
        True,
        1,
    )
    dns.failing(NAME)
    later = await client.get(f"{_OWN}/{NAME}/spf")
    assert (later.status_code, NAME in later.json()["detail"]) == (503, True)


async def test_an_export_of_the_dns_host_is_compared(client: httpx.AsyncClient) -> None:
    added = await add(client, mode="send_only")
    lines = [
        f'{one["name"]}. 300 IN {one["type"]} "{one["value"]}"'
        for one in added["dns_records"]  # type: ignore[attr-defined]
        if one["type"] == "TXT" and "_domainkey" not in one["name"]
    ]
    export = "\n".join([*lines, ""])
    told = (await client.post(f"{_OWN}/{NAME}/compare", content=export)).json()
    by_name = {(one["type"], one["name"]): one["status"] for one in told}
    assert by_name["TXT", f"_aexy-verification.{NAME}"] == "valid"
    assert by_name["TXT", f"mailagent1._domainkey.{NAME}"] == "missing"
    refused = await client.post(f"{_OWN}/{NAME}/compare", content=b"\xff\xfe")
    assert (refused.status_code, "UTF-8" in refused.json()["detail"]) == (422, True)


async def test_the_long_paths_are_the_same(client: httpx.AsyncClient) -> None:
    await add(client)
    short = (await client.get(f"{_OWN}/{NAME}")).json()
    assert (await client.get(f"/workspaces/shop/domains/{NAME}")).json() == short
    assert (await client.get("/workspaces/shop/domains")).json() == [short]
    assert (await client.get(_OWN)).json() == [short]
    assert (await client.get("/workspaces/other/domains")).status_code == 404


async def test_the_same_wish_twice_by_its_key_is_one_domain(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "add-acme"}
    first = await client.post(_OWN, json={"name": NAME}, headers=headers)
    again = await client.post(_OWN, json={"name": NAME}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert (await client.post(_OWN, json={"name": NAME})).status_code == 409


async def test_mail_that_goes_elsewhere_is_taken_only_when_it_is_said(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    dns.add({NAME: {"MX": ["1 aspmx.l.google.com."]}})
    refused = await client.post(_OWN, json={"name": NAME})
    assert refused.status_code == 409
    assert "Google Workspace" in refused.json()["detail"]
    assert "replace_mx" in refused.json()["detail"]
    assert (await client.get(_OWN)).json() == []
    added = await add(client, replace_mx=True)
    assert any("Google Workspace" in one for one in added["warnings"])  # type: ignore[attr-defined]
    assert any("registered domain" in one for one in added["warnings"])  # type: ignore[attr-defined]


async def test_a_domain_that_only_sends_is_not_asked_where_its_mail_goes(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    dns.add({NAME: {"MX": ["1 aspmx.l.google.com."]}})
    added = await add(client, mode="send_only")
    assert added["mx"] is None
    assert added["warnings"] == []


async def test_a_mode_with_a_side_more_is_pending_and_what_works_goes_on(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    await add(client, mode="send_only")
    await publish(client, dns)
    await client.post(f"{_OWN}/{NAME}/verify")
    changed = (await client.patch(f"{_OWN}/{NAME}", json={"mode": "send_receive"})).json()
    assert (changed["verification_status"], changed["sending_status"]) == ("pending", "active")
    looked = (await client.post(f"{_OWN}/{NAME}/verify")).json()
    assert looked["verification_failure"]["code"] == "mx_missing"
    assert looked["sending_status"] == "active"


async def test_a_paused_domain_waits_until_it_is_verified_again(
    client: httpx.AsyncClient, dns: DnsServer
) -> None:
    await add(client)
    await publish(client, dns)
    await client.post(f"{_OWN}/{NAME}/verify")
    paused = (await client.post(f"{_OWN}/{NAME}/pause")).json()
    assert (paused["verification_status"], paused["next_check_at"]) == ("paused", None)
    back = (await client.post(f"{_OWN}/{NAME}/verify")).json()
    assert (back["verification_status"], back["sending_status"]) == ("verified", "active")


async def test_a_removal_tells_what_is_to_be_removed_from_dns(client: httpx.AsyncClient) -> None:
    await add(client)
    told = (await client.delete(f"{_OWN}/{NAME}")).json()
    assert told["gone"] is True
    assert NAME in {one["name"] for one in told["records_to_remove"]}
    assert (await client.get(f"{_OWN}/{NAME}")).status_code == 404


async def test_nothing_is_resubmitted_unless_a_provider_gave_up(client: httpx.AsyncClient) -> None:
    added = await add(client)
    assert added["may_resubmit"] is False
    refused = await client.post(f"{_OWN}/{NAME}/resubmit")
    assert refused.status_code == 409
    assert "no provider has given up" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "com"}, "name"),
        ({"name": "co.uk"}, "name"),
        ({"name": DOMAIN}, "name"),
        ({"name": f"sales@{NAME}"}, "agent"),
        ({"name": NAME, "carried_by": ["nobody"]}, "carried_by"),
        ({"name": NAME, "mode": "both"}, "mode"),
        ({}, "name"),
    ],
)
async def test_a_bad_wish_names_its_field(
    client: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    refused = await client.post(_OWN, json=body)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert field in refused.text
    assert (await client.get(_OWN)).json() == []


@pytest.mark.parametrize(
    ("permission", "method", "path"),
    [
        ("domain.read", "GET", ""),
        ("domain.create", "POST", ""),
        ("domain.verify", "POST", f"/{NAME}/verify"),
        ("domain.delete", "DELETE", f"/{NAME}"),
    ],
)
async def test_each_deed_has_its_permission(
    mailroom: Mailroom, dns: DnsServer, permission: str, method: str, path: str
) -> None:
    others = {"domain.read", "domain.create", "domain.verify", "domain.delete"} - {permission}
    async with open_domain_api(mailroom, dns, await key(mailroom, *others)) as may_not:
        refused = await may_not.request(method, f"{_OWN}{path}", json={"name": NAME})
        assert refused.status_code == 403
        assert permission in refused.json()["detail"]
    async with open_domain_api(mailroom, dns, await key(mailroom, permission)) as may:
        answer = await may.request(method, f"{_OWN}{path}", json={"name": NAME})
        assert answer.status_code in (200, 201, 404)


async def test_the_default_domain_is_the_operators_to_look_at(
    mailroom: Mailroom, client: httpx.AsyncClient, dns: DnsServer
) -> None:
    serve(dns, DOMAIN)
    assert (await client.get("/email-infrastructure/domain")).status_code == 403
    operators = await key(mailroom, "domain.*", workspace="wsp_other")  # the oldest
    async with open_domain_api(mailroom, dns, operators) as operator:
        shown = (await operator.get("/email-infrastructure/domain")).json()
        assert (shown["domain"], shown["wildcard"]) == (DOMAIN, f"*.{DOMAIN}")
        assert shown["verification_status"] == "unknown"
        names = {one["name"] for one in shown["dns_records"]}
        assert {DOMAIN, f"*.{DOMAIN}", f"_dmarc.{DOMAIN}"} <= names

        looked = (await operator.post("/email-infrastructure/domain/check")).json()
        assert looked["verification_status"] == "pending"
        assert looked["verification_failure"]["code"]


def test_every_state_has_a_word_in_every_vocabulary() -> None:
    assert set(WORDS) == {"pending", "verifying", "verified", "failed", "paused"}
    for words in WORDS.values():
        assert words.sendmux in {"pending", "verified", "failed"}
        assert words.anypost in {"pending", "verified"}
