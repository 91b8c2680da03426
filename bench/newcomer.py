"""A newcomer's hour: an installation from the compose files, used, lost, restored and upgraded.

    python -m bench.newcomer [--report FILE]

No engine is needed: the steps of deploy/Dockerfile are done in an empty folder, and each service of
deploy/docker-compose.yml runs from there as a process, with its command and its variables. The
database is a real PostgreSQL, DNS and the relay are small servers of the tests. All output is as
it came. Exit code 1 when a step did not do what it is for.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import smtplib
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import psycopg
from cryptography import x509
from sqlalchemy import create_engine, make_url

from bench.report import Report
from mailagent.doors.smtp_tls import Certificate
from mailagent.store.engine import driver_url
from mailagent.store.migrations import upgrade_within
from tests.databases import PostgresServer
from tests.deploy.compose import load, services
from tests.deploy.dockerfile import Image, build, parse
from tests.deploy.stack import Stack
from tests.dns_server import DnsServer
from tests.faults.peers import SinkProcess

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "deploy" / "docker-compose.yml"
DOMAIN, MX, AGENT = "agents.example", "mx.agents.example", "support@acme.agents.example"
CUSTOMER = "ann@customer.example"
FIRST_REVISION = "0001"
ZONE = {
    DOMAIN: {"MX": [f"10 {MX}."]},
    f"*.{DOMAIN}": {"MX": [f"10 {MX}."]},
    MX: {"A": ["192.0.2.7"]},
    "7.2.0.192.in-addr.arpa": {"PTR": [f"{MX}."]},
    "customer.example": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
    "_dmarc.customer.example": {"TXT": ["v=DMARC1; p=reject"]},
}
DOCUMENT = "# Opening hours\n\nWe are open Monday to Friday from 9 to 17, closed on Saturday.\n"
_INTRODUCTION = """\
There is no Docker engine here. The steps of `deploy/Dockerfile` are done in an empty folder, and
from there each service of `deploy/docker-compose.yml` runs as a process with its command and its
variables; a mount is a folder, a port of a container a free port of the loopback. PostgreSQL is a
real server from a wheel; DNS and the relay that takes the answers are small servers of the tests.
`backend$` stands for `docker exec aexy-backend`. Behind each command is how long it took, start of
Python included; the times of the headings count from the start."""
SERVING = ("backend", "mailagent", "worker")
_PATIENCE_SECONDS = 60.0


class Failed(Exception):
    """A step did not do what it is for."""


def _expect(what: object, words: str) -> None:
    if not what:
        raise Failed(words)


@dataclass
class Hour:
    """The installation, and the page on which everything is written down."""

    page: Report
    stack: Stack
    image: Image
    database: str
    dns: DnsServer
    begin: float

    def says(self, text: str) -> None:
        """A sentence of the page."""
        self.page.add([text, ""])

    def shows(self, command: str, output: str, seconds: float) -> None:
        """A command as it was given, with what it printed."""
        clean = output.replace(str(self.stack.folder), "").rstrip()
        clean = re.sub(r"postgres@/(\w+)\?host=\S+", r"mailagent:***@postgres:5432/\1", clean)
        self.page.add(["```", f"{command}    # {seconds:.1f} s", *clean.splitlines(), "```", ""])

    def heading(self, text: str) -> None:
        """The next step, with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.begin), 60)
        self.page.add([f"## {minutes}:{seconds:02} {text}", ""])

    def mailagent(self, *arguments: str, code: int = 0) -> str:
        """`mailagent …` in the service backend, as by `docker exec aexy-backend`."""
        begin = time.monotonic()
        done = self.stack.run("backend", *arguments)
        took = time.monotonic() - begin
        line = " ".join(f"'{one}'" if " " in one else one for one in arguments)
        line = line.replace(str(self.stack.folder), "")
        self.shows(f"backend$ mailagent {line}", done.stdout + done.stderr, took)
        _expect(done.returncode == code, f"mailagent {line} ended with {done.returncode}")
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What a command says as JSON, not written down."""
        done = self.stack.run("backend", *arguments, "--json")
        _expect(done.returncode == code, f"{arguments}: {done.stderr}")
        return json.loads(done.stdout)

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """What `found` returns, once it is something."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            if value := found():
                return value
            time.sleep(0.2)
        raise Failed(f"{what}: not within {_PATIENCE_SECONDS:g} s")

    def start(self) -> None:
        """The services that stay, until their healthchecks pass."""
        for name in SERVING:
            self.stack.start(name)
        for name in SERVING:
            check = self.stack.services[name].what.get("healthcheck", {})
            test = check.get("test", ["CMD", *self.image.healthcheck])
            took = self.stack.wait_until_healthy(name, test)
            command = " ".join(self.stack.services[name].command)
            self.says(f"`{name}` (`{command}`): healthy after {took:.1f} s more.")

    def use_database(self, name: str) -> None:
        """Let all processes that start from now on use another database."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        (self.stack.folder / "secrets" / "database_url").write_text(self.address(name))

    def address(self, name: str) -> str:
        """The address of a database of this server."""
        return make_url(self.database).set(database=name).render_as_string(hide_password=False)

    def mail(self, subject: str, text: str, message_id: str) -> None:
        """A mail of the customer by SMTP with STARTTLS, its dialogue written down."""
        mail = EmailMessage()
        mail["From"], mail["To"] = f"Ann <{CUSTOMER}>", AGENT
        mail["Subject"], mail["Message-ID"] = subject, message_id
        mail.set_content(text)
        begin = time.monotonic()
        said = []
        port = self.stack.port("mailagent", self.stack.services["mailagent"].published[25])
        with smtplib.SMTP("127.0.0.1", port, "mail.customer.example", timeout=60) as door:
            said.append(door.starttls(context=_unchecked()))
            assert isinstance(door.sock, ssl.SSLSocket)
            said.append((0, f"encrypted by {door.sock.version()}".encode()))
            said.append(door.ehlo("mail.customer.example"))
            said += [door.mail(CUSTOMER), door.rcpt(AGENT), door.data(mail.as_bytes(policy=SMTP))]
        lines = [
            f"{code or ''} {line}".strip()
            for code, words in said
            for line in words.decode().splitlines()
        ]
        self.shows(
            f"customer$ {subject!r} to port 25 of mailagent",
            "\n".join(lines),
            time.monotonic() - begin,
        )
        _expect(said[-1][0] == 250, "the mail was not accepted")


def _install(page: Report, stack: ExitStack, folder: Path, begin: float) -> Hour:
    dns = stack.enter_context(DnsServer(ZONE))
    relay = stack.enter_context(SinkProcess(folder / "relay.log"))
    server = PostgresServer()
    server.start()
    stack.callback(server.remove)
    dotenv = {
        "DEFAULT_EMAIL_DOMAIN": DOMAIN,
        "MAILAGENT_HOSTNAME": MX,
        "SMTP_RELAY_URL": f"smtp://127.0.0.1:{relay.port}?tls=none",
        "MAILAGENT_RESOLVER": dns.address,
    }
    found = services(load(COMPOSE), dotenv)
    uv = subprocess.run(
        ["sh", "scripts/bootstrap.sh", "uv"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    began = time.monotonic()
    instructions = parse((ROOT / "deploy" / "Dockerfile").read_text())
    image = build(instructions, ROOT, folder / "image", str((ROOT / uv).absolute()))
    built = time.monotonic() - began
    path = image.environment["PATH"]
    installed = Stack(folder, found, dotenv, image.entrypoint, image.folder, path)
    hour = Hour(page, stack.enter_context(installed), image, server.url, dns, begin)
    hour.says(_INTRODUCTION)
    hour.heading("Read the compose file, build the image")
    for name, service in found.items():
        ports = ", ".join(f"{outer}→{inner}" for outer, inner in service.published.items())
        command = " ".join(service.command) or service.what["image"]
        page.add([f"- `{name}`: `{command}`{f', ports {ports}' if ports else ''}"])
    page.add([""])
    hour.says(f"The steps of `deploy/Dockerfile` in an empty folder: {built:.1f} s.")
    secrets = folder / "secrets"
    made = subprocess.run(
        ["sh", "deploy/make-secrets.sh", str(secrets)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    hour.shows("$ sudo sh deploy/make-secrets.sh", made.stdout, 0)
    (secrets / "database_url").unlink()
    hour.use_database("mailagent")
    hour.shows("$ cat deploy/.env", "\n".join(f"{n}={v}" for n, v in dotenv.items()), 0)
    return hour


def _begin(hour: Hour) -> None:
    hour.heading("Migrate, then start")
    begin = time.monotonic()
    done = hour.stack.run("migrate")
    hour.shows("migrate$ mailagent migrate", done.stdout + done.stderr, time.monotonic() - begin)
    _expect(done.returncode == 0, "the migration failed")
    hour.start()
    hour.heading("The guide's migration command, in the backend")
    begin = time.monotonic()
    guide = subprocess.run(
        ["python", "scripts/run_migrations.py"],
        env=hour.stack.environment("backend"),
        cwd=hour.stack.workdir,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.monotonic() - begin
    hour.shows("backend$ python scripts/run_migrations.py", guide.stdout + guide.stderr, took)
    _expect(guide.returncode == 0, "the guide's command failed")
    hour.heading("A workspace, a person, an agent that knows something")
    hour.mailagent("workspace", "create", "acme", "--name", "Acme")
    hour.mailagent("person", "add", "boss@acme.example", "--workspace", "acme", "--role", "owner")
    hour.mailagent("agent", "create", "support", "--workspace", "acme", "--name", "Support")
    document = hour.stack.folder / "data" / "opening-hours.md"
    document.write_text(DOCUMENT)
    hour.mailagent("document", "add", str(document), "--workspace", "acme")
    hour.heading("The proxy has fetched a certificate: the SMTP door follows")
    environment = hour.stack.environment("mailagent")
    cert, key = Path(environment["MAILAGENT_TLS_CERT"]), Path(environment["MAILAGENT_TLS_KEY"])
    made = hour.stack.folder / "fetched"
    Certificate(None, None, hostname=MX, folder=made)
    (pair,) = made.iterdir()
    cert.parent.mkdir(parents=True)
    for file in (cert, key):
        file.write_bytes(pair.read_bytes())
    serial = x509.load_pem_x509_certificate(pair.read_bytes()).serial_number
    begin = time.monotonic()
    hour.until("the certificate", lambda: serial == _shown(hour).serial_number)
    hour.says(f"Put where Caddy puts it, it is in use after {time.monotonic() - begin:.1f} s.")
    hour.heading("What does the doctor say? One record is still to be published")
    hour.mailagent("doctor", code=1)
    (wrong,) = [one for one in hour.json("doctor", code=1) if one["verdict"] == "wrong"]
    _, name, _, record = wrong["mend"].split(maxsplit=3)
    hour.dns.add({name: {"TXT": [record]}})
    hour.mailagent("doctor")


def _shown(hour: Hour) -> x509.Certificate:
    """The certificate that the SMTP door shows now."""
    with smtplib.SMTP("127.0.0.1", hour.stack.port("mailagent", 2525), timeout=60) as door:
        door.starttls(context=_unchecked())
        assert isinstance(door.sock, ssl.SSLSocket)
        shown = door.sock.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown)


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _answered(hour: Hour, message_id: str) -> Callable[[], Any]:
    def found() -> Any:
        for item in hour.json("inbox", AGENT):
            if item["message_id"] == message_id and any(
                one["state"] == "sent" for one in item["replies"]
            ):
                return item
        return None

    return found


def _write_and_read(hour: Hour) -> None:
    hour.heading("A mail by SMTP with STARTTLS is answered")
    hour.mail("Saturday?", "What are your opening hours on Saturday?", "<1@customer.example>")
    item = hour.until("an answer", _answered(hour, "<1@customer.example>"))
    hour.mailagent("inbox", AGENT)
    hour.mailagent("trace", item["id"])
    taken = (hour.stack.folder / "relay.log").read_text().splitlines()
    hour.says(f"The relay has taken {len(taken)} mail: `{', '.join(taken)}`.")
    _expect(len(taken) == 1, "the relay took not exactly one mail")

    hour.heading("The same by the API, and a test mail")
    key = hour.stack.run("backend", "key", "create", "--workspace", "acme").stdout.strip()
    _ask(hour, key, "GET", "/api/v1/workspaces/acme/agents/support/inbox")
    test = {"to": "test@example.com", "subject": "Test Email", "body": "This is a test email"}
    _ask(hour, key, "POST", "/api/v1/email/test", test)


def _ask(hour: Hour, key: str, method: str, path: str, body: Any = None) -> None:
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", hour.stack.port("backend", 8000))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    words = answer.read().decode()
    connection.close()
    shown = f"{answer.status}\n{words[:700]}{' …' if len(words) > 700 else ''}"
    data = f" -d '{json.dumps(body)}'" if body else ""
    command = f'$ curl -X {method}{data} -H "Authorization: Bearer $KEY" https://{MX}{path}'
    hour.shows(command, shown, time.monotonic() - begin)
    _expect(answer.status in (200, 201), f"{path} said {answer.status}")


def _lose_and_restore(hour: Hour) -> None:
    hour.heading("Back up, while it runs")
    file = str(hour.stack.folder / "data" / "tonight.backup")
    hour.mailagent("backup", file)
    hour.mailagent("restore", "--verify", file)

    hour.heading("kill -9 of everything, and the database is gone")
    hour.stack.kill()
    with psycopg.connect(hour.database, autocommit=True) as connection:
        connection.execute("DROP DATABASE mailagent WITH (FORCE)")
    hour.mailagent("inbox", AGENT, code=1)

    hour.heading("Restore into a fresh database")
    hour.use_database("restored")
    hour.mailagent("restore", file)
    hour.start()
    items = hour.json("inbox", AGENT)
    _expect([one["message_id"] for one in items] == ["<1@customer.example>"], "the mail is gone")
    hour.mailagent("inbox", AGENT)
    hour.mailagent("unknown", "list")
    hour.mail("And on Sunday?", "Are you open on Sunday?", "<2@customer.example>")
    hour.until("the second mail", lambda: len(hour.json("inbox", AGENT)) == 2)
    hour.mailagent("inbox", AGENT)


def _upgrade(hour: Hour) -> None:
    hour.heading("Upgrade: is there anything to do? And from the first version's tables?")
    hour.mailagent("migrate", "--check")
    with psycopg.connect(hour.database, autocommit=True) as connection:
        connection.execute("CREATE DATABASE old TEMPLATE template0")
    engine = create_engine(driver_url(hour.address("old")))
    with engine.begin() as tables:
        upgrade_within(tables, FIRST_REVISION)
    engine.dispose()
    secret = hour.stack.folder / "secrets" / "database_url"
    current = secret.read_text()
    secret.write_text(hour.address("old"))
    hour.mailagent("migrate", "--check", code=1)
    hour.mailagent("serve", code=1)
    hour.mailagent("migrate")
    hour.mailagent("migrate", "--check")
    secret.write_text(current)


def _purge_and_stop(hour: Hour) -> None:
    hour.heading("Ann wants to be forgotten")
    hour.mailagent("purge", "address", CUSTOMER, "--yes")
    hour.mailagent("inbox", AGENT)
    left = _columns_with(hour.address("restored"), "customer.example")
    hour.says(f"Columns in which `customer.example` still stands: {', '.join(left) or 'none'}.")
    _expect(not left, "something of her is left")

    hour.heading("Stop")
    begin = time.monotonic()
    codes = hour.stack.stop()
    hour.shows("$ docker compose stop", json.dumps(codes), time.monotonic() - begin)
    _expect(set(codes.values()) == {0}, "a part did not end well")


def _columns_with(url: str, words: str) -> list[str]:
    """Every column of a database in which the words stand, as text or as octets."""
    found = []
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public'"
        ).fetchall()
        for table, column, kind in columns:
            where = (
                f'position(%s::bytea IN "{column}") > 0'
                if kind == "bytea"
                else f'position(%s IN "{column}"::text) > 0'
            )
            wanted = words.encode() if kind == "bytea" else words
            counted = connection.execute(
                f'SELECT count(*) FROM "{table}" WHERE {where}'.encode(), [wanted]
            ).fetchone()
            if counted and counted[0]:
                found.append(f"{table}.{column}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path)
    asked = parser.parse_args()
    os.environ["NO_COLOR"] = "1"
    begin = time.monotonic()
    with (
        Report("A newcomer's hour", "bench.newcomer", asked.report) as page,
        tempfile.TemporaryDirectory(prefix="mailagent-newcomer-") as folder,
        ExitStack() as stack,
    ):
        hour = _install(page, stack, Path(folder), begin)
        try:
            for step in (_begin, _write_and_read, _lose_and_restore, _upgrade, _purge_and_stop):
                step(hour)
        except Failed:
            for log in Path(folder).glob("*.log"):
                print(f"--- {log.name}\n{log.read_text()[-4000:]}", file=sys.stderr)
            raise
        hour.heading("Done")


if __name__ == "__main__":
    main()
