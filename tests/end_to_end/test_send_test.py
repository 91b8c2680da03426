"""A test mail to ourselves leaves by the relay, comes back by SMTP, and is judged as by anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from mailagent.store.engine import Store
from mailagent.store.tables import signing_keys
from mailagent.store.transaction import Transaction
from tests.dns_server import DnsServer
from tests.end_to_end.system import System, free_port, running

DOMAIN = "agents.example"


def publish(dns: DnsServer, system: System) -> str:
    """What the default domain must publish, for a relay at 127.0.0.1; returns the key's name."""
    store = Store(system.environment["DATABASE_URL"])
    (key,) = store.read_now(None, Transaction.rows, signing_keys.select())
    store.close()
    dns.add(
        {
            f"return.{DOMAIN}": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
            f"_dmarc.{DOMAIN}": {"TXT": ["v=DMARC1; p=reject; sp=reject"]},
            (name := f"{key.selector}._domainkey.{DOMAIN}"): {"TXT": [key.public_record]},
        }
    )
    return name


def test_the_verdicts_of_a_mail_to_ourselves_are_those_of_the_door(
    tmp_path: Path, sqlite_url: str
) -> None:
    port = free_port()
    with (
        DnsServer(ttl=0) as dns,
        running(
            tmp_path,
            MAILAGENT_SMTP_PORT=str(port),
            DATABASE_URL=sqlite_url,
            MAILAGENT_SECRET_KEY="a secret of the tests that is long enough",
            MAILAGENT_RESOLVER=dns.address,
            MAILAGENT_HOST="127.0.0.1",
            DEFAULT_EMAIL_DOMAIN=DOMAIN,
            SMTP_RELAY_URL=f"smtp://127.0.0.1:{port}?tls=none",
        ) as system,
    ):
        system.command("workspace", "create", "acme", "--owner", "olga@acme.example")
        system.command("agent", "create", "hello")
        key_name = publish(dns, system)

        made = system.result("send-test", f"hello@acme.{DOMAIN}")
        assert (made["account"], made["state"]) == ("smtp", "sent"), made
        arrival = made["arrival"]
        assert (arrival["came_by"], arrival["judged_by"]) == ("smtp", "mailagent")
        # Signed d=<default>, from <workspace>.<default>: aligned, because alignment is relaxed.
        assert (arrival["spf"], arrival["dkim"], arrival["dmarc"]) == ("pass", ["pass"], "pass")
        assert f"acme.{DOMAIN} vouches for this mail" in arrival["sentence"]
        assert asked_again(system, made["again"])["arrival"] == arrival

        dns.add({f"return.{DOMAIN}": {"TXT": ["v=spf1 -all"]}})
        dns.remove(key_name)
        printed = system.command("send-test", f"hello@acme.{DOMAIN}")
        verdicts = [line.split()[:3] for line in printed.splitlines()]
        assert ["SPF", "fail", f"return.{DOMAIN}"] in verdicts
        assert ["DKIM", "permerror", DOMAIN] in verdicts
        assert ["DMARC", "fail", f"acme.{DOMAIN}"] in verdicts
        assert "disowns this mail and asks to reject such ones" in printed


def asked_again(system: System, path: str) -> Any:
    """What the API says of a test mail later."""
    key = system.command("key", "create", "--workspace", "acme").strip()
    base = f"http://127.0.0.1:{system.backend_port}"
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.get(f"{base}{path}", headers=headers, trust_env=False).raise_for_status().json()
