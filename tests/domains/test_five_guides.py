"""The table of the five systems' guides: each line is run, in order, and says what it promises."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.api import PREFIX, create_api
from backend.cli.shell import Shell
from backend.cli.writing import desk_of
from backend.domains import checking, steps
from backend.domains.stored import CHECKS, STEPS
from backend.installation import installation
from backend.senders import passwords
from mailagent.errors import LostClaim
from mailagent.settings import load
from mailagent.work import claim
from tests.dns_server import DnsServer
from tests.domains.test_steps import Mailgun
from tests.domains.zones import TSIG
from tests.mailgun_server import KEY
from tests.operation.terminal import Terminal
from tests.ses_identities import SesControlServer

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "five-guides.md"
_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    step: str
    here: str
    says: str


def _guides() -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = [row.strip("|").split("|") for row in text.splitlines() if row.startswith("|")]
        found[title] = [Line(*(cell.strip() for cell in row)) for row in rows[2:]]
    return found


GUIDES = _guides()


def _tests(path: str) -> set[str]:
    """The tests of a file, by their names."""
    tree = ast.parse((ROOT / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for node in tree.body
        if isinstance(node, functions) and node.name.startswith("test_")
    }


def test_each_guide_has_a_table_and_no_step_is_silent() -> None:
    assert len(GUIDES) == 5
    for title, lines in GUIDES.items():
        assert len(lines) > 8, title
        for line in lines:
            if line.here.startswith("**tested in**"):
                (test_id,) = _CODE.findall(line.here)
                path, _, name = test_id.partition("::")
                assert name in _tests(path), f"no such test: {line}"
            elif line.here.startswith("**not here**: "):
                assert len(line.here.split()) > 8, f"it says why: {line}"
            elif line.here.startswith("*"):
                assert line.here in _OUTSIDE, line
            else:
                assert _CODE.findall(line.here), line


@dataclass
class Place:
    """A fresh installation, and the world around it."""

    mailagent: Terminal
    environment: dict[str, str]
    dns: DnsServer
    ses: SesControlServer
    mailgun: Mailgun
    key: str = ""
    domain: str = ""

    async def run(self, line: Line) -> None:
        """Do a line as a reader would."""
        if line.here.startswith(("**tested in**", "**not here**")):
            return
        if line.here.startswith("*"):
            await _OUTSIDE[line.here](self)
            return
        codes = _CODE.findall(line.here)
        for number, code in enumerate(codes):
            done, said = await self._one(code)
            last = number == len(codes) - 1
            assert done is not (last and line.says.startswith("refused")), f"{code}: {said}"
        for expected in _CODE.findall(line.says):
            assert expected in said, f"{line.here} says not {expected!r}: {said}"
        await self._work()

    async def _one(self, code: str) -> tuple[bool, str]:
        if code.startswith(_VERBS):
            return await self._call(*code.split(" ", 2))
        program, *words = shlex.split(code)
        assert program == "mailagent", code
        if words[:2] == ["domain", "add"]:
            self.domain = self.domain or words[2].rpartition("@")[2]
        done = await asyncio.to_thread(self.mailagent, *words)
        if words[:2] == ["key", "create"]:
            self.key = done.out.strip()
        return done.code == 0, done.out + done.err

    async def _call(self, method: str, path: str, body: str = "") -> tuple[bool, str]:
        settings = load(self.environment)
        async with installation(settings) as shared:
            app = create_api(shared.services, settings, shared.acceptor)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            headers = {"Authorization": f"Bearer {self.key}"}
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://mail.example{PREFIX}", headers=headers
            ) as client:
                given: Any = json.loads(body) if body else None
                answer = await client.request(method, path, json=given)
        if (method, path) == ("POST", "/domains"):
            self.domain = given["name"]
        return answer.is_success, answer.text

    async def _work(self) -> None:
        """What the workers do beside: everything that is due."""
        shell = Shell(self.environment)
        try:
            desk = desk_of(shell)
            for queue, work in ((STEPS, steps.do), (CHECKS, checking.check)):
                for one in await desk.store.write_unscoped(claim, queue, 50):
                    try:
                        await work(desk, one)
                    except LostClaim:
                        continue
        finally:
            shell.close()

    async def publish(self) -> None:
        """The owner publishes the records, and the world sees our zone."""
        told = await asyncio.to_thread(self.mailagent, "domain", "records", self.domain, "--json")
        found: dict[str, dict[str, list[str]]] = {}
        for one in told.json:
            dot = "." if one["type"] in ("MX", "CNAME") else ""
            first = f"{one['priority']} " if one["type"] == "MX" else ""
            value = f"{first}{one['value']}{dot}"
            found.setdefault(one["name"], {}).setdefault(one["type"], []).append(value)
        zone = await asyncio.to_thread(self.mailagent, "dns", "zone", "--json")
        for one in zone.json["records"]:
            if one["type"] in ("MX", "TXT", "A"):
                value = re.sub(r'" "', "", one["value"]).strip('"')
                found.setdefault(one["name"], {}).setdefault(one["type"], []).append(value)
        self.dns.add(found)

    async def ses_gives_up(self) -> None:
        self.ses.publish(self.domain, dkim="FAILED", mail_from="FAILED")

    async def ses_finds(self) -> None:
        self.ses.publish(self.domain, dkim="SUCCESS", mail_from="SUCCESS")

    async def mailgun_finds(self) -> None:
        self.mailgun.dns[self.domain] = "all"


_OUTSIDE = {
    "*You publish the records*": Place.publish,
    "*Amazon SES gives up*": Place.ses_gives_up,
    "*Amazon SES finds the records*": Place.ses_finds,
    "*Mailgun finds the records*": Place.mailgun_finds,
}
_ACCOUNTS = {
    "The CMS that leaves verification to Amazon SES": "ses",
    "Leena AI": "mailgun",
}


@pytest.fixture
async def place(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sqlite_url: str,
    dns: DnsServer,
) -> AsyncIterator[Place]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passwords, "_COST", 4)
    dns.add({"amazonses.com": {"TXT": ["v=spf1 ip4:192.0.2.10 ~all"]}})
    dns.add({"mailgun.org": {"TXT": ["v=spf1 ip4:192.0.2.9 ~all"]}})
    environment = {
        "DATABASE_URL": sqlite_url,
        "MAILAGENT_SECRET_KEY": "a-key-of-the-tests-that-is-long-enough",
        "MAILAGENT_DATA": str(tmp_path),
        "DEFAULT_EMAIL_DOMAIN": "agents.example",
        "MAILAGENT_HOSTNAME": "mx.agents.example",
        "MAILAGENT_PUBLIC_IPS": "192.0.2.25",
        "MAILAGENT_RESOLVER": dns.address,
        "MAILAGENT_DNS_NAME_SERVERS": "ns1.agents.example=192.0.2.53",
        "MAILAGENT_DNS_TSIG": TSIG,
        "PUBLIC_URL": "https://mail.agents.example",
    }
    terminal = Terminal(capsys, monkeypatch).set(**environment)
    async with SesControlServer() as ses, Mailgun() as mailgun:
        yield Place(terminal, environment, dns, ses, mailgun)


def _accounts(place: Place, kind: str) -> dict[str, str]:
    match kind:
        case "ses":
            return {
                "AWS_SES_REGION": "eu-west-1",
                "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
                "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
                "SES_BASE_URL": place.ses.url,
            }
        case "mailgun":
            return {"MAILGUN_API_KEY": KEY, "MAILGUN_BASE_URL": place.mailgun.url}
        case _:
            return {}


@pytest.mark.parametrize("title", GUIDES)
async def test_each_step_of_a_guide_is_done_by_what_stands_beside_it(
    place: Place, title: str
) -> None:
    accounts = _accounts(place, _ACCOUNTS.get(title, ""))
    place.environment |= accounts
    place.mailagent.set(**accounts)
    for line in GUIDES[title]:
        await place.run(line)
