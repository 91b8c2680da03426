"""The zone of our own, as real name servers see it: dig, NSD, Unbound and the two checkers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import dns.message
import dns.rcode
import pytest

from backend.workspaces import service as workspaces
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets
from tests.contract.far_side import unused_port
from tests.domains.zones import DOMAIN, LONG_KEY, TSIG, zone
from tests.services.name_servers import ask, ask_until, program, running_nsd, running_unbound

_SECRETS = Secrets(["k" * 40])


def _key(tx: Transaction, selector: str) -> None:
    signing_keys.add(tx, _SECRETS, signing_keys.StoredKey(DOMAIN, selector, b"private", LONG_KEY))


def _environment(url: str, secondary: int) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": url,
        "DEFAULT_EMAIL_DOMAIN": DOMAIN,
        "MAILAGENT_HOSTNAME": f"mx.{DOMAIN}",
        "MAILAGENT_PUBLIC_IPS": "192.0.2.25 2001:db8::25",
        "MAILAGENT_DNS_NAME_SERVERS": f"ns1.{DOMAIN}=192.0.2.53 ns2.other.example",
        "MAILAGENT_DNS_SECONDARIES": f"127.0.0.1:{secondary}",
        "MAILAGENT_DNS_TSIG": TSIG,
        "MAILAGENT_SECRET_KEY": "k" * 40,
    }


@contextmanager
def _serving(environment: dict[str, str]) -> Iterator[int]:
    """`mailagent dns serve` as an operator starts it; its port."""
    command = [sys.executable, "-m", "backend.cli", "--json", "dns", "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            said = ""
            while not said.endswith("}\n"):
                line = process.stdout.readline()
                assert line, "it ended before it listened"
                said += line
            yield json.loads(said)["port"]
        finally:
            process.terminate()
            assert process.wait(20) == 0


def _answer(message: dns.message.Message) -> tuple[str, list[str], list[str]]:
    """Code, answer, and the SOA of an absence."""
    negative = message.authority if not message.answer else []
    records, absence = (
        sorted(f"{rrset.name} {rrset.ttl} {rdata}" for rrset in section for rdata in rrset)
        for section in (message.answer, negative)
    )
    return dns.rcode.to_text(message.rcode()), records, absence


def _without_ttl(
    answer: tuple[str, list[str], list[str]],
) -> tuple[str, list[list[str]], list[list[str]]]:
    code, records, absence = answer
    one, other = (
        [[name, rest] for name, _, rest in (line.split(" ", 2) for line in lines)]
        for lines in (records, absence)
    )
    return code, one, other


@pytest.mark.service("nsd", "unbound")
def test_for_a_thousand_workspaces_ours_nsd_and_unbound_answer_alike(database_url: str) -> None:
    store = Store(database_url)

    def furnish(tx: Transaction) -> None:
        for number in range(1_000):
            workspaces.create(tx, f"w{number}", f"Workspace {number}")
        _key(tx, "s1")

    store.write_now(None, furnish)
    nsd, unbound = unused_port(), unused_port()
    with (
        _serving(_environment(database_url, nsd)) as ours,
        running_nsd(nsd, DOMAIN, primary=ours, tsig=TSIG),
        running_unbound(unbound, DOMAIN, authority=nsd),
    ):
        ask_until(nsd, DOMAIN, "SOA", holds="hostmaster")
        ask_until(unbound, DOMAIN, "SOA", holds="hostmaster")
        chance = random.Random(1)
        asked = [(f"w{number}.{DOMAIN}", type_) for number in range(1_000) for type_ in ("MX",)]
        asked += [(f"w{number}.{DOMAIN}", "TXT") for number in chance.sample(range(1_000), 100)]
        for name in ("", "nobody.", "a.b.w1.", "return.", "bounce.", "mx.", "x.mx.", "_tcp."):
            asked += [(f"{name}{DOMAIN}", type_) for type_ in ("MX", "TXT", "A", "AAAA", "CNAME")]
        for name in ("_dmarc", "_dmarc.w1", "s1._domainkey", "_domainkey", "s2._domainkey"):
            asked += [(f"{name}.{DOMAIN}", type_) for type_ in ("TXT", "MX")]
        for name, type_ in asked:
            first, second, third = (
                _answer(ask(port, name, type_)) for port in (ours, nsd, unbound)
            )
            assert second == first, (name, type_)
            # Told to keep nothing, Unbound says of every record that it lives for 0 seconds.
            assert _without_ttl(third) == _without_ttl(first), (name, type_)
        mx = _answer(ask(nsd, f"w999.{DOMAIN}", "MX"))
        assert mx == ("NOERROR", [f"w999.{DOMAIN}. 300 10 mx.{DOMAIN}."], [])
    store.close()


@pytest.mark.service("nsd", "unbound")
def test_a_change_reaches_nsd_by_notify_long_before_it_would_ask(database_url: str) -> None:
    store = Store(database_url)
    nsd, unbound = unused_port(), unused_port()
    with (
        _serving(_environment(database_url, nsd)) as ours,
        running_nsd(nsd, DOMAIN, primary=ours, tsig=TSIG),
        running_unbound(unbound, DOMAIN, authority=nsd),
    ):
        # It would ask by itself after 300 seconds.
        first = ask_until(nsd, DOMAIN, "SOA", holds="hostmaster").answer[0][0].serial
        for number in range(3):
            selector = f"new{number}"
            store.write_now(None, _key, selector)
            changed = monotonic()
            ask_until(nsd, f"{selector}._domainkey.{DOMAIN}", "TXT", holds="DKIM1")
            print(f"NSD has the change after {monotonic() - changed:.2f} s")
            ask_until(unbound, f"{selector}._domainkey.{DOMAIN}", "TXT", holds="DKIM1")
        assert ask(nsd, DOMAIN, "SOA").answer[0][0].serial > first
    store.close()


@pytest.mark.service("dig")
def test_dig_gets_the_zone_with_the_key_alone(sqlite_url: str) -> None:
    with _serving(_environment(sqlite_url, unused_port())) as port:

        def dig(*arguments: str) -> str:
            command = [program("dig"), "@127.0.0.1", "-p", str(port), "+norecurse", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return " ".join(done.stdout.split())

        assert dig("+short", f"acme.{DOMAIN}", "MX") == f"10 mx.{DOMAIN}."
        assert "status: REFUSED" in dig("example.org", "MX")
        assert "status: NXDOMAIN" in dig("+tcp", f"x._dmarc.{DOMAIN}", "TXT")
        whole = dig("-y", TSIG, DOMAIN, "AXFR")
        assert f"*.{DOMAIN}. 300 IN MX 10 mx.{DOMAIN}." in whole
        assert "XFR size" in whole
        for refused in (dig(DOMAIN, "AXFR"), dig("-y", TSIG[:-2] + "A=", DOMAIN, "AXFR")):
            assert "Transfer failed" in refused
            assert " IN MX " not in refused


@pytest.mark.service("named-checkzone", "nsd-checkzone")
def test_the_checkers_take_the_zone_file(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "zone"
    store = Store(sqlite_url)
    store.write_now(None, _key, "s1")
    store.close()
    command = [sys.executable, "-m", "backend.cli", "dns", "zone"]
    written = subprocess.run(
        command, env=_environment(sqlite_url, 53), capture_output=True, text=True, check=True
    ).stdout
    assert "s1._domainkey" in written
    for text in (written, zone().to_text()):
        file.write_text(text)
        for checker in ("named-checkzone", "nsd-checkzone"):
            done = subprocess.run(
                [program(checker), DOMAIN, str(file)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.service("nsd")
def test_the_nsd_of_compose_serves_what_the_primary_has(sqlite_url: str, tmp_path: Path) -> None:
    nsd = unused_port()
    (tmp_path / "tsig").write_text(TSIG)
    with _serving(_environment(sqlite_url, nsd)) as ours:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DNS_ZONE": DOMAIN,
            "DNS_PRIMARY": f"127.0.0.1@{ours}",
            "DNS_LISTEN": f"127.0.0.1@{nsd}",
            "DNS_FOLDER": str(tmp_path),
            "DNS_TSIG_FILE": str(tmp_path / "tsig"),
        }
        script = str(Path(__file__).parents[2] / "deploy" / "nsd" / "nsd.sh")
        with subprocess.Popen(
            ["sh", script], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            try:
                ask_until(nsd, f"acme.{DOMAIN}", "MX", holds=f"10 mx.{DOMAIN}.")
            finally:
                process.terminate()
    assert (tmp_path / "nsd.conf").stat().st_mode & 0o077 == 0
