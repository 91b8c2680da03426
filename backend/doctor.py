"""Is this installation fit to run? Each check says what it found, and the mend where it is wrong.

Read-only: nothing is written, no mail is sent. What cannot be told from here says `not tested`.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Literal

import httpx
from cryptography import x509
from dns import reversename
from sqlalchemy import create_engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from backend.domains.desk import Desk
from backend.domains.zone_checks import zone_checks
from backend.installation import webhook_settings
from mailagent.agents import open_agent, unpriced
from mailagent.dns_answers import Absent, Found, Question, Unknown
from mailagent.doors.smtp_blocklists import is_listing, question
from mailagent.errors import MailagentError, Misconfigured, SandboxFailure
from mailagent.flow.services import FlowSettings
from mailagent.providers import receivers
from mailagent.providers.fetch import https_get
from mailagent.providers.relay import Relay
from mailagent.resolver import Resolver
from mailagent.sandbox import Sandbox
from mailagent.settings import Settings
from mailagent.store import migrations
from mailagent.store.engine import Store, driver_url
from mailagent.store.tables import signing_keys
from mailagent.tokens import Secrets

__all__ = ["Check", "examine"]

Verdict = Literal["ok", "wrong", "not tested"]

_LEAST_FREE_BYTES = 1024**3
_MOST_CLOCK_SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `mend` is empty when nothing is to do."""

    name: str
    verdict: Verdict
    found: str
    mend: str = ""


async def examine(settings: Settings) -> AsyncIterator[Check]:
    """Every check, in the order in which one mends an installation."""
    yield _secret_key(settings)
    yield _hostname(settings)
    yield _data_folder(settings)
    database = await asyncio.to_thread(_database, settings)
    yield database
    if database.verdict == "ok":
        yield await asyncio.to_thread(_tables, settings)
        yield await asyncio.to_thread(_clock, settings)
    for name, port in (
        ("SMTP door", settings.mailagent_smtp_port),
        ("submission door", settings.mailagent_submission_port),
        ("mail engine", settings.mailagent_port),
        ("backend", settings.backend_port),
    ):
        yield await asyncio.to_thread(_port, settings.mailagent_host, name, port)
    yield _certificate(settings)
    yield await _sandbox()
    yield _processor(settings)
    yield await asyncio.to_thread(_sending, settings)
    async for check in _dns(settings):
        yield check
    yield await _address(settings)
    if settings.dns_name_servers and database.verdict == "ok":
        async for check in _zone(settings):
            yield check
    if settings.smtp_relay_url is not None and database.verdict == "ok":
        yield await _signature(settings)
    if settings.mailagent_rspamd_url:
        yield await _spam_filter(settings)
    async for check in _block_lists(settings):
        yield check
    yield _webhooks(settings)


def _webhooks(settings: Settings) -> Check:
    given = webhook_settings(settings)
    served = receivers(given, https_get)
    vouched = bool(given.value("INBOUND_WEBHOOK_SECRET"))
    ready = [kind for kind, one in served.items() if vouched or one.missing is None]
    if given.open:
        return Check(
            "webhooks", "wrong", f"{', '.join(sorted(given.open))} take what nobody vouches for",
            "set their secrets, then leave MAILAGENT_OPEN_WEBHOOKS empty",
        )  # fmt: skip
    if not ready:
        return Check(
            "webhooks", "not tested", "no provider's secret is set: their webhooks answer 503",
            "only where a provider brings your mail: docs/providers/",
        )  # fmt: skip
    return Check("webhooks", "ok", f"authenticated: {', '.join(sorted(ready))}")


def _secret_key(settings: Settings) -> Check:
    try:
        settings.secret_keys()
    except Misconfigured as error:
        return Check("secret key", "wrong", error.setting, str(error))
    return Check("secret key", "ok", "MAILAGENT_SECRET_KEY is set and long enough")


def _hostname(settings: Settings) -> Check:
    name = settings.mailagent_hostname
    if "." not in name:
        return Check(
            "host name", "not tested", f"{name}: other mail servers are told this name",
            "set MAILAGENT_HOSTNAME to the name of your MX, as your address resolves back",
        )  # fmt: skip
    return Check("host name", "ok", name)


def _data_folder(settings: Settings) -> Check:
    folder = settings.mailagent_data
    if not folder.is_dir():
        return Check(
            "data folder", "wrong", f"{folder} is no folder", f"mkdir -p {folder}, or start once"
        )
    free = shutil.disk_usage(folder).free
    found = f"{folder}: {free // 1024**2:,} MiB free"
    if free < _LEAST_FREE_BYTES:
        return Check("data folder", "wrong", found, "make room: under 1 GiB mail is soon refused")
    return Check("data folder", "ok", found)


def _database(settings: Settings) -> Check:
    try:
        engine = create_engine(driver_url(settings.database))
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        return Check("database", "wrong", reason, "check DATABASE_URL and that the server runs")
    return Check("database", "ok", engine.url.render_as_string(hide_password=True))


def _tables(settings: Settings) -> Check:
    standing = migrations.standing(settings.database)
    if standing.is_current:
        return Check("tables", "ok", "at this version")
    return Check("tables", "wrong", standing.sentence, standing.mend)


def _clock(settings: Settings) -> Check:
    if settings.database.startswith("sqlite"):
        return Check("clock", "not tested", "no second clock here to compare with")
    engine = create_engine(driver_url(settings.database))
    with engine.connect() as connection:
        theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    engine.dispose()
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    found = f"{skew:.1f} s apart from the database's"
    if skew > _MOST_CLOCK_SKEW_SECONDS:
        return Check("clock", "wrong", found, "run an NTP client on both machines")
    return Check("clock", "ok", found)


def _port(host: str, name: str, port: int) -> Check:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except PermissionError:
        return Check(
            f"port {port}", "wrong", f"{name}: not allowed to listen",
            "ports under 1024 need the right: setcap, systemd's AmbientCapabilities, or compose",
        )  # fmt: skip
    except OSError as error:
        return Check(
            f"port {port}", "ok", f"{name}: in use ({error.strerror}): by us, if this system runs"
        )
    return Check(f"port {port}", "ok", f"{name}: free on {host}")


def _certificate(settings: Settings) -> Check:
    if settings.mailagent_tls_cert is None:
        return Check(
            "certificate", "not tested", "self-made: enough for MX, not for who hands mail in",
            "set MAILAGENT_TLS_CERT and MAILAGENT_TLS_KEY for one that is publicly trusted",
        )  # fmt: skip
    files = (settings.mailagent_tls_cert, settings.mailagent_tls_key or settings.mailagent_tls_cert)
    if absent := [file for file in files if not file.is_file()]:
        return Check(
            "certificate", "wrong", f"{absent[0]} is not there: a self-made one is shown meanwhile",
            "see the log of what fetches it, or correct MAILAGENT_TLS_CERT and _KEY",
        )  # fmt: skip
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings.mailagent_tls_cert, settings.mailagent_tls_key)
        read = x509.load_pem_x509_certificate(settings.mailagent_tls_cert.read_bytes())
    except (OSError, ValueError) as error:
        return Check(
            "certificate", "wrong", str(error), "MAILAGENT_TLS_CERT and _KEY must be a PEM pair"
        )
    ends = read.not_valid_after_utc
    if ends < datetime.now(UTC):
        return Check("certificate", "wrong", f"ended at {ends:%Y-%m-%d}", "renew it")
    return Check("certificate", "ok", f"valid until {ends:%Y-%m-%d}")


async def _sandbox() -> Check:
    sandbox = Sandbox(workers=1, allowed=("mailagent.reading",))
    try:
        await sandbox.warm()
        means = ", ".join(sandbox.confinement)
    except SandboxFailure as error:
        return Check("sandbox", "wrong", str(error), "foreign mail cannot be read: see the log")
    finally:
        await sandbox.close()
    return Check("sandbox", "ok", f"foreign mail is read under: {means}")


def _processor(settings: Settings) -> Check:
    given = settings.processor_settings
    try:
        open_agent(settings.processor, given)
        model = unpriced(given).get(settings.processor)
    except MailagentError as error:
        return Check("agents", "wrong", settings.processor, str(error))
    if model is not None:
        return Check(
            "agents", "ok", f"processor {settings.processor}; what {model} costs is not known",
            "for caps in money, set ANTHROPIC_PRICE, as 3/15",
        )  # fmt: skip
    note = "" if settings.processor == "builtin" else "; the key was not tried"
    return Check("agents", "ok", f"processor {settings.processor}{note}")


def _sending(settings: Settings) -> Check:
    if settings.smtp_relay_url is None:
        return Check(
            "sending", "ok", "no account: every mail is captured and shown, none is sent",
            "set SMTP_RELAY_URL to send",
        )  # fmt: skip
    try:
        relay = Relay.parse(settings.smtp_relay_url.get_secret_value())
        with socket.create_connection((relay.host, relay.port), timeout=5) as connection:
            banner = connection.recv(200)
    except MailagentError as error:
        return Check("sending", "wrong", "SMTP_RELAY_URL", str(error))
    except OSError as error:
        return Check(
            "sending", "wrong", f"no answer: {error}", "check SMTP_RELAY_URL, and outbound filters"
        )
    shown = banner.decode("ascii", "replace").strip()
    return Check("sending", "ok", f"{relay.host}:{relay.port} answers {shown!r}; not logged in")


async def _dns(settings: Settings) -> AsyncIterator[Check]:
    resolver = Resolver(settings.mailagent_resolver or None)
    default = settings.default_email_domain
    for name in (default, f"any-workspace.{default}"):
        answer = await resolver.ask(Question(name, "MX"))
        match answer:
            case Found(records):
                yield Check(f"MX of {name}", "ok", ", ".join(records))
            case Absent():
                yield Check(
                    f"MX of {name}", "wrong", "no MX record",
                    f"publish: {default} and *.{default} MX 10 {settings.mailagent_hostname}.",
                )  # fmt: skip
            case Unknown(reason):
                yield Check(f"MX of {name}", "not tested", f"DNS does not tell: {reason}")


async def _zone(settings: Settings) -> AsyncIterator[Check]:
    """The zone of our own, and whether those that are to have it do."""
    try:
        flow = FlowSettings(
            settings.default_email_domain, settings.mailagent_hostname, settings.public_url
        )
        store = Store(settings.database)
        desk = Desk(store, Secrets(settings.secret_keys()), settings, flow)
    except (MailagentError, SQLAlchemyError) as error:
        yield Check("zone", "not tested", str(error))
        return
    try:
        async for one in zone_checks(desk):
            yield Check(one.name, one.verdict, one.found, one.mend)
    finally:
        store.close()


async def _address(settings: Settings) -> Check:
    """Where our own name leads, and where that leads back to."""
    resolver, name = Resolver(settings.mailagent_resolver or None), settings.mailagent_hostname
    if "." not in name:
        return Check("own address", "not tested", "MAILAGENT_HOSTNAME is no name of the DNS")
    answers = [await resolver.ask(Question(name, kind)) for kind in ("A", "AAAA")]
    addresses = [one for answer in answers if isinstance(answer, Found) for one in answer.records]
    if not addresses:
        if all(isinstance(answer, Absent) for answer in answers):
            mend = f"publish: {name} A <this machine's public address>"
            return Check("own address", "wrong", f"{name} has no address", mend)
        return Check("own address", "not tested", f"DNS does not tell the address of {name}")
    back: list[str] = []
    for one in addresses:
        answer = await resolver.ask(Question(reversename.from_address(one).to_text(), "PTR"))
        back += answer.records if isinstance(answer, Found) else ("no name",)
    found = f"{name} is {', '.join(addresses)}, which leads back to {', '.join(back)}"
    # Nothing is refused to a machine that hands its mail to another's relay.
    mend = f"if mail leaves from this machine, have its host set {name} there"
    return Check("own address", "ok", found, "" if set(back) == {name} else mend)


async def _signature(settings: Settings) -> Check:
    """Whether the key that signs what leaves is published as it is."""
    key = await asyncio.to_thread(_signing_key, settings)
    if key is None:
        return Check(
            "DKIM", "not tested", "no key yet: the first start with SMTP_RELAY_URL makes it"
        )
    selector, record = key
    name = f"{selector}._domainkey.{settings.default_email_domain}"
    publish = f"publish: {name} TXT {record}"
    match await Resolver(settings.mailagent_resolver or None).ask(Question(name, "TXT")):
        case Found(records) if record in records:
            return Check("DKIM", "ok", f"{name} holds our key")
        case Found():
            return Check("DKIM", "wrong", f"{name} holds another key, or a part of it", publish)
        case Absent():
            return Check("DKIM", "wrong", f"{name} has no TXT record", publish)
        case Unknown(reason):
            return Check("DKIM", "not tested", f"DNS does not tell {name}: {reason}", publish)


def _signing_key(settings: Settings) -> tuple[str, str] | None:
    engine = create_engine(driver_url(settings.database))
    newest = (
        select(signing_keys.c.selector, signing_keys.c.public_record)
        .where(signing_keys.c.domain == settings.default_email_domain)
        .order_by(signing_keys.c.created_at.desc())
        .limit(1)
    )
    try:
        with engine.connect() as connection:
            row = connection.execute(newest).one_or_none()
    except SQLAlchemyError:  # without tables, as another check says
        return None
    finally:
        engine.dispose()
    return (row.selector, row.public_record) if row else None


async def _spam_filter(settings: Settings) -> Check:
    url = settings.mailagent_rspamd_url.rstrip("/")
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            said = (await client.get(f"{url}/ping")).text.strip()[:40]
    except httpx.HTTPError as error:
        said = type(error).__name__
    if said == "pong":
        return Check("spam filter", "ok", f"{url} answers")
    return Check(
        "spam filter", "wrong", f"{url}/ping: {said!r}", "check MAILAGENT_RSPAMD_URL; mail goes on"
    )


async def _block_lists(settings: Settings) -> AsyncIterator[Check]:
    resolver = Resolver(settings.mailagent_resolver or None)
    for zone in settings.dnsbl:
        name = f"block list {zone}"
        # RFC 5782 §5: every list has this entry, so that one can see whether it answers.
        match await resolver.ask(question(IPv4Address("127.0.0.2"), zone)):
            case Found(records) if any(map(is_listing, records)):
                yield Check(name, "ok", "has its test entry")
            case Unknown(reason):
                yield Check(name, "not tested", f"DNS does not tell: {reason}")
            case Found() | Absent():
                yield Check(
                    name, "wrong", "its test entry (127.0.0.2) is not listed",
                    "check MAILAGENT_DNSBL; lists refuse public resolvers: run one of your own",
                )  # fmt: skip
