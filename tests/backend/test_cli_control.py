"""The commands that set an installation up: results on standard output, reasons on the other."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.access import keys, sign_in
from backend.cli import main
from mailagent.store.engine import Store
from tests.backend.mailroom import mail
from tests.dns_server import DnsServer


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """Runs `mailagent …` in this process."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *arguments: str) -> Done:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = self._captured.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    def ok(self, *arguments: str) -> str:
        done = self(*arguments)
        assert (done.code, done.err) == (0, "")
        return done.out.rstrip("\n")


@pytest.fixture
def mailagent(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("DEFAULT_EMAIL_DOMAIN", "agents.example")
    monkeypatch.setenv("PUBLIC_URL", "https://mail.example/")
    return Terminal(capsys)


@pytest.fixture
def acme(mailagent: Terminal) -> Terminal:
    """A terminal of an installation with the workspace `acme` and its agent `hello`."""
    mailagent.ok("workspace", "create", "acme", "--owner", "olga@acme.example")
    mailagent.ok("agent", "create", "hello")
    return mailagent


def test_a_new_agents_address_is_the_result(acme: Terminal) -> None:
    assert acme.ok("agent", "create", "sales") == "sales@acme.agents.example"


def test_json_may_stand_anywhere_and_looks_like_the_api(acme: Terminal) -> None:
    before = acme("--json", "agent", "show", "hello")
    behind = acme("agent", "show", "hello", "--json")

    assert before == behind
    assert before.json["address"] == "hello@acme.agents.example"
    assert before.json["created_at"].endswith("Z")


@pytest.mark.parametrize(
    "arguments",
    [
        ("workspace", "list"),
        ("workspace", "show", "acme"),
        ("person", "list"),
        ("person", "list", "-w", "acme"),
        ("agent", "list"),
        ("agent", "off", "hello"),
        ("agent", "alias", "hello", "info"),
        ("rule", "list"),
        ("document", "list"),
        ("key", "create"),
        ("key", "list"),
        ("sign-in-link", "olga@acme.example"),
    ],
)
def test_every_command_has_a_result_in_json(acme: Terminal, arguments: tuple[str, ...]) -> None:
    done = acme(*arguments, "--json")

    assert (done.code, done.err) == (0, "")
    assert done.json is not None


def test_a_wish_that_fails_is_one_line_of_reason_and_code_1(acme: Terminal) -> None:
    done = acme("agent", "create", "Hello!", "--json")

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("mailagent: handle: must be 1 to 32 lower-case letters")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("fly",), ("agent", "create"), ("agent", "list", "--colour")]
)
def test_a_wrong_command_line_is_code_2(mailagent: Terminal, arguments: tuple[str, ...]) -> None:
    done = mailagent(*arguments)

    assert (done.code, done.out) == (2, "")
    assert "Usage: mailagent" in done.err


def test_with_several_workspaces_one_must_be_named(acme: Terminal) -> None:
    acme.ok("workspace", "create", "other")

    unnamed = acme("agent", "list")
    assert unnamed.code == 1
    assert "--workspace" in unnamed.err
    assert acme.ok("agent", "list", "--workspace", "other") == "no agents"
    assert acme.ok("agent", "list", "--workspace", "acme").startswith("hello ")


def test_without_a_database_the_mend_is_named(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    done = mailagent("workspace", "list")

    assert done.code == 1
    assert "mailagent migrate" in done.err
    assert not (tmp_path / "none.db").exists()


def test_an_empty_database_is_told_from_a_missing_one(
    mailagent: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")
    done = mailagent("workspace", "list")

    assert done.code == 1
    assert "mailagent migrate" in done.err


def test_key_create_prints_the_key_alone(acme: Terminal, sqlite_url: str) -> None:
    secret = acme.ok(
        *("key", "create", "--workspace", "acme"),
        *("--permission", "message.read", "--permission", "agent.*"),
    )

    store = Store(sqlite_url)
    key = store.read_now(None, keys.authenticate, secret)
    store.close()
    assert key.permissions == ("message.read", "agent.*")
    acme.ok("key", "revoke", key.id)
    assert "revoked" in acme.ok("key", "list")
    assert secret not in acme.ok("key", "list")


def test_a_sign_in_link_is_the_url_alone_and_opens(acme: Terminal, sqlite_url: str) -> None:
    url = acme.ok("sign-in-link", "olga@acme.example")

    address, _, token = url.partition("?token=")
    store = Store(sqlite_url)
    session = store.write_now(None, sign_in.redeem, token)
    person = store.read_now(None, sign_in.person_of, session)
    store.close()
    assert address == "https://mail.example/sign-in"
    assert person.email == "olga@acme.example"


def test_a_person_is_let_in_promoted_and_taken_out(acme: Terminal) -> None:
    acme.ok("person", "add", "max@acme.example", "--name", "Max", "--workspace", "acme")
    acme.ok("person", "role", "max@acme.example", "owner")
    acme.ok("person", "remove", "olga@acme.example")
    listed = acme("person", "list", "--workspace", "acme", "--json").json

    assert [(one["person"]["name"], one["role"]) for one in listed] == [("Max", "owner")]
    assert "last owner" in acme("person", "remove", "max@acme.example").err


def test_a_workspace_changes_its_name_retires_and_comes_back(acme: Terminal) -> None:
    acme.ok("workspace", "create", "other")
    acme.ok("agent", "create", "help", "-w", "other")
    changed = acme("workspace", "change-slug", "other", "another", "--json")
    assert changed.json["slug"] == "another"
    assert [one["slug"] for one in changed.json["former_slugs"]] == ["other"]
    assert "formerly other" in acme.ok("workspace", "show", "another")
    shown = acme("agent", "show", "help", "-w", "another", "--json").json
    assert [(one["address"], one["until"] is None) for one in shown["addresses"]] == [
        ("help@another.agents.example", True),
        ("help@other.agents.example", False),
    ]
    taken = acme("workspace", "create", "other")
    assert (taken.code, "kept from others until" in taken.err) == (1, True)

    assert "retired " in acme.ok("workspace", "retire", "another")
    assert "another" in acme.ok("workspace", "list")
    assert acme("workspace", "reopen", "another", "--json").json["retired_at"] is None


def test_settings_are_given_and_taken_back(acme: Terminal) -> None:
    acme.ok(
        *("workspace", "set", "acme", "--turns-per-sender", "0", "--catch-all", "hello"),
        *("--escalation-address", "boss@acme.example"),
    )
    acme.ok("workspace", "set", "acme", "--catch-all", "")
    settings = acme("workspace", "show", "acme", "--json").json["settings"]

    assert settings == {
        "escalation_address": "boss@acme.example",
        "turns_per_sender_a_day": 0,
        "turns_per_workspace_a_day": None,
        "usd_a_day": None,
        "usd_a_month": None,
        "retention_days": None,
        "bounce_suppression_days": None,
        "catch_all_agent_id": None,
    }
    wrong = acme("workspace", "set", "acme", "--turns-per-sender", "many")
    assert "turns_per_sender_a_day: must be a whole number" in wrong.err


def test_an_agents_life(acme: Terminal) -> None:
    acme.ok("agent", "set", "hello", "--name", "Hello", "--instructions", "Be brief.")
    acme.ok("agent", "alias", "hello", "info")
    acme.ok("agent", "off", "hello")
    shown = acme("agent", "show", "hello", "--json").json
    acme.ok("agent", "on", "hello")
    acme.ok("agent", "unalias", "hello", "info@acme.agents.example")
    acme.ok("agent", "remove", "hello")

    assert (shown["name"], shown["instructions"]) == ("Hello", "Be brief.")
    assert (shown["email_enabled"], len(shown["addresses"])) == (False, 2)
    assert acme.ok("agent", "list") == "no agents"


def test_documents_go_in_all_or_none(acme: Terminal, tmp_path: Path) -> None:
    (tmp_path / "faq.md").write_text("# FAQ\n\nOpen daily.")
    (tmp_path / "scan.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")

    refused = acme("document", "add", "faq.md", "scan.pdf")
    assert (refused.code, refused.out) == (1, "")
    assert "scan.pdf: is not text or Markdown" in refused.err
    assert "is not UTF-8" in acme("document", "add", "latin.txt").err
    assert "cannot be read" in acme("document", "add", "none.txt").err
    assert acme.ok("document", "list") == "no documents"

    acme.ok("document", "add", "faq.md")
    assert acme.ok("document", "show", "faq.md") == "# FAQ\n\nOpen daily."
    acme.ok("document", "remove", "faq.md")
    assert acme.ok("document", "list") == "no documents"


def test_rules_are_added_moved_switched_and_removed(acme: Terminal) -> None:
    first = acme("rule", "add", "a", '{"domain": "x.example"}', "--agent", "hello", "--json").json
    second = acme("rule", "add", "b", '{"automatic": true}', "--action", "hold", "--json").json
    acme.ok("rule", "move", second["id"], "1")
    acme.ok("rule", "disable", first["id"])
    listed = acme("rule", "list", "--json").json

    assert [(one["name"], one["enabled"]) for one in listed] == [("b", True), ("a", False)]
    assert "is no JSON" in acme("rule", "add", "c", "{", "--agent", "hello").err
    acme.ok("rule", "enable", first["id"])
    acme.ok("rule", "remove", second["id"])
    assert [one["position"] for one in acme("rule", "list", "--json").json] == [1]


def test_a_mail_in_a_file_is_explained(acme: Terminal, tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_bytes(mail(subject="Invoice"))
    acme.ok("rule", "add", "money", '{"subject_contains": "invoice"}', "--agent", "hello")
    to = ("--to", "unknown@acme.agents.example")

    told = acme.ok("explain", "mail.eml", *to)
    tried = acme.ok("rule", "test", '{"keyword": "order"}', "mail.eml", *to)
    foreign = acme("explain", "mail.eml", "--to", "a@elsewhere.example")

    assert "1  money  matched  subject_contains 'invoice' holds" in told
    assert "→ agent agt_" in told
    assert tried == "matched: keyword 'order' holds"
    assert "no workspace here gets mail at 'elsewhere.example'" in foreign.err


def test_what_is_neither_file_nor_delivery_is_said(acme: Terminal) -> None:
    assert "neither a file nor the id of a delivery" in acme("explain", "dlv_none").err


def test_the_production_checklist_is_printed_with_its_mends(
    acme: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DnsServer({"agents.example": {"MX": ["10 mx.agents.example."]}}) as dns:
        monkeypatch.setenv("MAILAGENT_RESOLVER", dns.address)
        monkeypatch.setenv("MAILAGENT_HOSTNAME", "mx.agents.example")
        monkeypatch.setenv("PUBLIC_URL", "http://127.0.0.1:8000")
        monkeypatch.setenv("MAILAGENT_SECRET_KEY", "a secret of the tests that is long enough")
        printed = acme("doctor", "--production")
        listed = acme("doctor", "--production", "--json")

    assert (printed.code, listed.code) == (1, 1)  # an answer is no
    assert "yes         MX: agents.example: mx.agents.example" in printed.out
    assert "no          wildcard MX: *.agents.example has no MX record" in printed.out
    assert "→ publish: *.agents.example MX 10 mx.agents.example." in printed.out
    answers = {one["name"]: one["answer"] for one in listed.json}
    assert (answers["MX"], answers["DMARC"], answers["port 25"]) == ("yes", "no", "not tested")


def test_the_command_is_installed() -> None:
    program = Path(sys.executable).with_name("mailagent")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "workspace" in done.stdout
