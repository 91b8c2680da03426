"""The checklist says yes for what is there, no and the mend for what is not; it never guesses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backend.production import Facts, Line, checklist, gather
from backend.production.web_certificate import look_at
from mailagent.errors import NotFound, TransientFailure
from mailagent.identity import DnsRecord, Identity
from mailagent.providers.account import Account
from mailagent.resolver import Resolver
from mailagent.settings import load
from mailagent.store import signing_keys
from mailagent.store.engine import Store
from mailagent.store.signing_keys import StoredKey
from mailagent.store.tables import deliveries, events, raw_messages
from mailagent.tokens import Secrets, new_id
from tests.backend.conftest import House
from tests.dns_server import DnsServer
from tests.ses_server import SesServer

DEFAULT = "agents.example"
MX = "mx.agents.example"
KEY = "v=DKIM1; k=rsa; p=MIIBIjANBg"
NINE = ("MX", "wildcard MX", "SPF", "DKIM", "DMARC", "bounce", "PTR", "port 25", "certificate")
SMTP = Account("smtp", "smtp", {})
SES = Account("ses", "ses", {})
SECRET = "a secret of the tests that is long enough"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    """The zone of an installation that takes and sends mail by SMTP, with nothing amiss."""
    spf = {"TXT": ["other", "v=spf1 mx -all"], "MX": [f"10 {MX}."]}
    zone = {
        DEFAULT: spf,
        f"*.{DEFAULT}": spf,
        f"return.{DEFAULT}": {"MX": [f"10 {MX}."], "TXT": ["v=spf1 mx -all"]},
        f"_dmarc.{DEFAULT}": {"TXT": ["v=DMARC1; p=quarantine; sp=reject"]},
        f"m1._domainkey.{DEFAULT}": {"TXT": [KEY]},
        MX: {"A": ["192.0.2.7"]},
        "7.2.0.192.in-addr.arpa": {"PTR": [f"{MX}."]},
    }
    with DnsServer(zone) as running:
        yield running


async def lines(
    dns: DnsServer,
    *,
    accounts: Sequence[Account] = (SMTP,),
    webhooks: Sequence[str] = (),
    environ: dict[str, str] | None = None,
    identify: Any = None,
    **facts: Any,
) -> dict[str, Line]:
    """The lines by name, of an installation with these accounts."""

    async def unasked(account: Account, _: str) -> Identity | None:
        raise NotFound(f"{account.name} cannot be asked")

    given = {"DEFAULT_EMAIL_DOMAIN": DEFAULT, "MAILAGENT_HOSTNAME": MX, **(environ or {})}
    settings = load({"MAILAGENT_RESOLVER": dns.address, **given}, env_file=None)
    values: dict[str, Any] = {"selector": "m1", "key_record": KEY, **facts}
    known = Facts(settings, tuple(accounts), webhooks=tuple(webhooks), **values)
    resolver = Resolver(dns.address)
    found = [line async for line in checklist(known, resolver, identify=identify or unasked)]
    assert [one.name for one in found[:9]] == list(NINE)
    assert all(one.mend == "" for one in found if one.answer == "yes")
    assert all(one.mend for one in found if one.answer == "no")
    return {one.name: one for one in found}


async def test_what_is_there_is_a_yes_and_what_cannot_be_seen_is_not_tested(
    dns: DnsServer,
) -> None:
    found = await lines(dns)
    assert {name: found[name].answer for name in NINE} == {
        **dict.fromkeys(NINE, "yes"),
        "port 25": "not tested",
        "certificate": "not tested",
    }
    assert f"nc -v {MX} 25" in found["port 25"].mend
    assert found["last bounce"].answer == found["last complaint"].answer == "not tested"


@pytest.mark.parametrize(
    ("name", "zone", "says", "mend"),
    [
        ("MX", {DEFAULT: {"MX": ["1 aspmx.l.google.com."]}}, "aspmx.l.google.com", "MX 10"),
        ("MX", {DEFAULT: {"MX": [f"10 {MX}.", "20 old.example."]}}, "old.example", "remove"),
        ("wildcard MX", {f"*.{DEFAULT}": {"TXT": ["v=spf1 -all"]}}, "no MX record", f"*.{DEFAULT}"),
        ("wildcard MX", {f"*.{DEFAULT}": {"MX": [f"20 {MX}."]}}, "leads elsewhere", "there too"),
        ("SPF", {DEFAULT: {"TXT": ["v=spf1 a -all", "v=spf1 mx -all"]}}, "2 SPF records", "merge"),
        ("SPF", {DEFAULT: {"TXT": ["v=spf1 +all"]}}, "lets everybody send", "~all"),
        (
            "SPF",
            {f"*.{DEFAULT}": {"TXT": ["x"], "MX": [f"10 {MX}."]}},
            "no SPF record",
            "v=spf1 mx",
        ),
        ("DKIM", {f"m1._domainkey.{DEFAULT}": {"TXT": [KEY[:-4]]}}, "not as it must be", KEY),
        (
            "DMARC",
            {f"_dmarc.{DEFAULT}": {"TXT": ["v=DMARC1; p=none"]}},
            "asks nobody",
            "quarantine",
        ),
        ("DMARC", {f"_dmarc.{DEFAULT}": {"TXT": ["v=spf1 -all"]}}, "no DMARC record", "publish"),
        (
            "DMARC",
            {f"_dmarc.{DEFAULT}": {"TXT": ["v=DMARC1; p=reject; adkim=s"]}},
            "align",
            "adkim=s",
        ),
        ("bounce", {f"return.{DEFAULT}": {"A": ["192.0.2.1"]}}, "no MX record", "return."),
        ("bounce", {f"return.{DEFAULT}": {"MX": [f"10 {MX}."]}}, "no SPF record", "envelope From"),
        ("PTR", {"7.2.0.192.in-addr.arpa": {"PTR": ["a.host.example."]}}, "a.host.example", MX),
        ("PTR", {MX: {"TXT": ["x"]}}, "has no address", f"{MX} A"),
    ],
)
async def test_each_fault_is_a_no_with_its_mend(
    dns: DnsServer, name: str, zone: Any, says: str, mend: str
) -> None:
    for at, records in zone.items():
        dns.remove(at)
        dns.add({at: records})
    line = (await lines(dns))[name]
    assert (line.answer, says in line.found, mend in line.mend) == ("no", True, True), line


async def test_addresses_that_are_given_must_lead_back(dns: DnsServer) -> None:
    dns.add({"8.2.0.192.in-addr.arpa": {"PTR": [f"{MX}."]}})
    found = [
        (await lines(dns, environ={"MAILAGENT_PUBLIC_IPS": given}))["PTR"]
        for given in ("192.0.2.7", "192.0.2.7, 192.0.2.8")
    ]
    assert [one.answer for one in found] == ["yes", "no"]
    assert f"{MX} A 192.0.2.8" in found[1].mend


async def test_a_domain_that_takes_no_mail_at_all_is_a_no(dns: DnsServer) -> None:
    dns.add({DEFAULT: {"MX": ["0 ."]}})  # RFC 7505
    line = (await lines(dns))["MX"]
    assert (line.answer, "nobody" in line.found) == ("no", True)


@pytest.mark.parametrize(
    ("silent", "name"),
    [
        (DEFAULT, "MX"),
        (f"any-workspace.{DEFAULT}", "wildcard MX"),
        (DEFAULT, "SPF"),
        (f"m1._domainkey.{DEFAULT}", "DKIM"),
        (f"_dmarc.{DEFAULT}", "DMARC"),
        (f"return.{DEFAULT}", "bounce"),
        ("7.2.0.192.in-addr.arpa", "PTR"),
        (MX, "PTR"),
    ],
)
async def test_dns_that_does_not_answer_is_neither_yes_nor_no(
    dns: DnsServer, silent: str, name: str
) -> None:
    dns.failing(silent)
    assert (await lines(dns))[name].answer == "not tested"


# --- behind a provider ------------------------------------------------------------------------


async def test_mail_that_a_provider_brings_has_its_mx(dns: DnsServer) -> None:
    host = {"MX": ["10 inbound-smtp.eu-west-1.amazonaws.com."], "TXT": ["v=spf1 -all"]}
    dns.add({DEFAULT: host, f"*.{DEFAULT}": host})
    assert (await lines(dns))["MX"].answer == "no"
    found = await lines(dns, accounts=[SES], webhooks=["ses"], selector="", key_record="")
    assert (found["MX"].answer, found["wildcard MX"].answer) == ("yes", "yes")
    assert "lacks include:amazonses.com" in found["SPF"].found
    assert "custom MAIL FROM" in found["bounce"].mend
    assert found["DKIM"].answer == found["PTR"].answer == "not tested"
    # A provider will not talk to plain http on loopback.
    assert found["certificate"].answer == "no"
    assert "WEBHOOK_PUBLIC_URL" in found["certificate"].mend
    assert found["last mail by webhook"].answer == "not tested"

    spf = {"TXT": ["v=spf1 include:amazonses.com ~all"]}
    feedback = "10 feedback-smtp.eu-west-1.amazonses.com."
    dns.add({DEFAULT: spf, f"*.{DEFAULT}": spf, f"bounce.{DEFAULT}": {"MX": [feedback]}})
    found = await lines(dns, accounts=[SES], webhooks=["ses"], selector="", key_record="")
    assert (found["SPF"].answer, found["bounce"].answer) == ("yes", "yes")


@pytest.mark.parametrize(
    ("published", "sending", "answer", "says"),
    [
        (["far.amazonses.com"], "verified", "yes", "published"),
        (["far.amazonses.com"], "pending", "no", "dkim PENDING"),
        ([], "pending", "no", "no CNAME record"),
        (["elsewhere.example"], "verified", "no", "not as it must be"),
    ],
)
async def test_each_account_says_whether_its_records_are_there(
    dns: DnsServer, published: list[str], sending: Any, answer: str, says: str
) -> None:
    name = f"abc._domainkey.{DEFAULT}"
    if published:
        dns.add({name: {"CNAME": published}})
    wanted = (DnsRecord("CNAME", name, "far.amazonses.com"),)

    async def identify(_: Account, domain: str) -> Identity:
        return Identity(domain, wanted, sending, {"dkim": sending.upper()})

    account = Account("sendgrid", "sendgrid", {})
    line = (await lines(dns, accounts=[account], identify=identify))["records of sendgrid"]
    assert (line.answer, says in line.found) == (answer, True), line


async def test_an_account_that_does_not_tell_is_not_tested(dns: DnsServer) -> None:
    async def away(_: Account, __: str) -> Identity | None:
        raise TransientFailure("it did not answer")

    async def unknown(_: Account, __: str) -> Identity | None:
        return None

    account = Account("postmark", "postmark", {})
    found = [
        (await lines(dns, accounts=[account], identify=one))["records of postmark"]
        for one in (away, unknown, None)
    ]
    assert [one.answer for one in found] == ["not tested", "no", "not tested"]
    assert f"does not know {DEFAULT}" in found[1].found
    assert "docs/providers/postmark.md" in found[2].mend


async def test_the_sandbox_of_ses_is_asked_of_ses(dns: DnsServer) -> None:
    async with SesServer() as server:
        keys = {
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "SES_BASE_URL": server.url,
        }
        line = (await lines(dns, accounts=[Account("ses", "ses", keys)]))[
            "production access of ses"
        ]
    assert (line.answer, "sandbox" in line.found) == ("no", True)
    away = Account("ses", "ses", {**keys, "SES_BASE_URL": "http://127.0.0.1:9"})
    gone = (await lines(dns, accounts=[away]))["production access of ses"]
    assert gone.answer == "not tested"
    assert "could not be asked" in gone.found


# --- what the installation knows of itself ----------------------------------------------------


def test_facts_are_read_of_the_database(house: House, database_url: str) -> None:
    secrets = Secrets([SECRET])
    seen = datetime(2026, 2, 28, 7, tzinfo=UTC)
    write = house.store.write_now
    write(None, signing_keys.add, secrets, StoredKey(DEFAULT, "m1", b"private", KEY))
    event = {"id": new_id("evt"), "source": "ses", "source_event_id": "1", "at": seen}
    event |= {"kind": "bounced_hard", "detail": "", "raw": {}}
    write(house.acme.id, lambda tx: tx.insert(events, event))
    raw = {"id": new_id("raw"), "sha256": "", "size_bytes": 1, "received_at": seen}
    came = {"id": new_id("dlv"), "raw_id": raw["id"], "source_id": "1", "recipient": "a@b.example"}
    came |= {"origin": {}, "place": "agent", "state": "read", "not_before": seen}
    came |= {"received_at": seen, "source": "smtp"}
    write(house.acme.id, lambda tx: tx.insert(raw_messages, raw))
    write(house.acme.id, lambda tx: tx.insert(deliveries, came))
    settings = load(
        {
            "DATABASE_URL": database_url,
            "DEFAULT_EMAIL_DOMAIN": DEFAULT,
            "MAILAGENT_SECRET_KEY": SECRET,
            "SMTP_RELAY_URL": "smtp://127.0.0.1:9?tls=none",
            "INBOUND_WEBHOOK_SECRET": "hook",
        },
        env_file=None,
    )

    facts = gather(settings)

    assert facts.trouble == ""
    assert [one.kind for one in facts.accounts] == ["smtp"]
    assert (facts.selector, facts.key_record) == ("m1", KEY)
    # What SMTP brought is no sign that a webhook works.
    assert facts.last == {"bounce": seen, "complaint": None, "webhook": None}
    assert {"ses", "sendgrid", "mailgun", "postmark"} <= set(facts.webhooks)


async def test_a_database_that_is_away_is_a_no_and_the_records_are_told(
    dns: DnsServer, tmp_path: Path
) -> None:
    given = {"MAILAGENT_DATA": str(tmp_path / "none"), "MAILAGENT_SECRET_KEY": SECRET}
    facts = gather(load(given, env_file=None))
    assert facts.trouble
    found = await lines(dns, accounts=[], trouble=facts.trouble, selector="", key_record="")
    assert (found["MX"].answer, found["database"].answer) == ("yes", "no")


# --- the certificate --------------------------------------------------------------------------


def made_certificate(folder: Path, *, days: int) -> Path:
    """A certificate for `localhost` that vouches for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "web.pem"
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@asynccontextmanager
async def https_server(file: Path) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("days", "good"), [(60, True), (3, False)])
async def test_a_trusted_certificate_is_a_yes_while_it_lasts(
    tmp_path: Path, days: int, good: bool
) -> None:
    file = made_certificate(tmp_path, days=days)
    trust = ssl.create_default_context(cafile=str(file))
    async with https_server(file) as url:
        seen = await look_at(url, trust=trust)
    assert (seen.good, "trusted, valid until" in seen.found) == (good, True)


async def test_a_certificate_that_nobody_vouches_for_is_a_no(tmp_path: Path) -> None:
    async with https_server(made_certificate(tmp_path, days=60)) as url:
        seen = await look_at(url, trust=ssl.create_default_context())
    gone = await look_at(url, trust=ssl.create_default_context())
    assert (seen.good, "self-signed" in seen.found) == (False, True)
    assert (gone.good, "does not answer" in gone.found) == (False, True)


@pytest.mark.parametrize(
    "url", ["http://mail.example", "https://localhost", "https://10.0.0.1", "", "https://[::1"]
)
async def test_an_address_of_no_use_to_others_is_not_connected_to(url: str) -> None:
    assert (await look_at(url)).good is None


def test_a_store_is_closed_behind_the_facts(database_url: str) -> None:
    given = {"DATABASE_URL": database_url, "MAILAGENT_SECRET_KEY": SECRET}
    assert gather(load(given, env_file=None)).trouble == ""
    Store(database_url).close()
