"""What a person at a shell does with agents as files, with trials, sets and feedback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.cli import main
from mailagent.sandbox import Sandbox
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, mail, open_mailroom


@dataclass(frozen=True)
class Terminal:
    """Runs `mailagent …` in this process, on an installation whose agents are the built-in one."""

    url: str
    captured: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = self.captured.readouterr()
        assert (ended.value.code or 0) == code, printed.err
        return printed.err if code else printed.out.rstrip("\n")

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def meanwhile(self, work: Callable[[Mailroom], Coroutine[Any, Any, str]]) -> str:
        async def run() -> str:
            sandbox = Sandbox(workers=1)
            try:
                async with open_mailroom(self.url, sandbox) as room:
                    return await work(room)
            finally:
                await sandbox.close()

        return asyncio.run(run())


@pytest.fixture
def mailagent(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("DEFAULT_EMAIL_DOMAIN", DOMAIN)
    monkeypatch.setenv("MAILAGENT_SECRET_KEY", "a secret of the tests that is long enough")
    terminal = Terminal(sqlite_url, capsys)
    terminal.meanwhile(_answered)
    return terminal


async def _answered(room: Mailroom) -> str:
    return await room.answered(mail(subject="Order 7", message_id="<a@customer.example>"))


def test_an_agent_is_added_from_a_template_exported_planned_and_imported(
    mailagent: Terminal,
) -> None:
    shop = ("-w", "shop")
    assert "support" in mailagent("agent", "templates")
    address = mailagent("agent", "add", "--template", "support", "--handle", "desk", *shop)
    assert address == f"desk@shop.{DOMAIN}"

    Path("desk.yaml").write_text(mailagent("agent", "export", "desk", *shop))
    assert yaml.safe_load(Path("desk.yaml").read_text())["name"] == "Support"
    assert mailagent("agent", "import", "desk.yaml", "--plan", *shop) == "nothing would change"

    Path("desk.yaml").write_text("handle: desk\nname: Help\n")
    plan = mailagent("agent", "import", "desk.yaml", "--plan", *shop)
    assert "-Support" in plan
    assert "+Help" in plan
    assert "--overwrite" in mailagent("agent", "import", "desk.yaml", *shop, code=1)
    done = mailagent.json("agent", "import", "desk.yaml", "--overwrite", *shop)
    assert (done["done"], done["agent"]["name"]) == (True, "Help")


def test_a_wrong_file_is_told_with_its_mend(mailagent: Terminal) -> None:
    Path("bad.yaml").write_text("handle: x\ninstructons: y\n")
    told = mailagent("agent", "import", "bad.yaml", "-w", "shop", code=1)
    assert "instructons: is unknown: did you mean 'instructions'?" in told
    assert "cannot be read" in mailagent("agent", "import", "none.yaml", "-w", "shop", code=1)


def test_a_file_is_tried_and_the_past_compared(mailagent: Terminal) -> None:
    shop = ("-w", "shop")
    Path("hello.yaml").write_text("processor: builtin\n")
    mailagent("agent", "set", "hello", "--processor", "builtin", *shop)
    Path("question.eml").write_bytes(mail())

    printed = mailagent("try", "hello", "question.eml", *shop)
    (tried,) = mailagent.json("try", "hello", "question.eml", *shop)
    # A file has no sender that anybody has judged, as in a local test.
    assert printed.startswith("question.eml: escalate\n")
    assert (tried["decision"], tried["standing"]) == ("escalate", "stranger")

    compared = mailagent.json(
        "try", "hello", "--since", "30d", "--with", "hello.yaml", "--html", "out.html", *shop
    )
    assert (compared["decision"], compared["candidate"]) == (1, "hello.yaml")
    assert "Order 7" in Path("out.html").read_text()
    assert "nothing was sent" in mailagent("try", "hello", "--since", "1h", *shop)
    assert mailagent.json("inbox", HELLO)[0]["state"] == "answered"
    assert "name mails, or past mail" in mailagent("try", "hello", *shop, code=1)
    assert "--usd" in mailagent("try", "hello", "--since", "1h", "--usd", "much", *shop, code=1)


def test_feedback_and_a_set_of_ones_own_are_run(mailagent: Terminal) -> None:
    shop = ("-w", "shop")
    mailagent("agent", "set", "hello", "--processor", "builtin", *shop)
    case = mailagent.json("feedback", "<a@customer.example>", "5", "--note", "right")
    assert (case["set_name"], case["rating"]) == ("feedback", 5)

    Path("person.eml").write_bytes(mail(text="I want to write to a real person."))
    mailagent("eval", "add", "hello", "mine", "person.eml", "--decision", "escalate", *shop)
    listed = mailagent.json("eval", "list", "hello", "--set", "mine", *shop)
    assert [one["name"] for one in listed] == ["person.eml"]

    ran = mailagent.json("eval", "run", "hello", "mine", *shop)
    assert (ran["run"]["passed"], ran["results"][0]["passed"]) == (1, True)
    assert "0 of 1 passed" in mailagent("eval", "run", "hello", "feedback", *shop)
    assert len(mailagent.json("eval", "runs", "hello", *shop)) == 2
    mailagent("eval", "remove", listed[0]["id"], *shop)
    assert mailagent("eval", "list", "hello", "--set", "mine", *shop) == "no cases"
    told = mailagent(
        "eval", "add", "hello", "mine", "person.eml", "--decision", "maybe", *shop, code=1
    )
    assert "--decision: must be one of reply" in told
