"""What a person at a shell sees of mail and does with it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import typer
from sqlalchemy import update
from typer.testing import CliRunner

from backend.cli import inbox as inbox_commands
from backend.cli import outbound as outbound_commands
from backend.cli import suppressions as suppressions_commands
from backend.cli.shell import Shell
from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.outgoing import Handoff, Silence
from mailagent.sandbox import Sandbox
from mailagent.store.tables import addresses
from mailagent.store.transaction import Transaction
from tests.backend.mailroom import DOMAIN, HELLO, Mailroom, mail, open_mailroom

T = TypeVar("T")


def _commands() -> typer.Typer:
    app = typer.Typer()
    for command in (
        inbox_commands.inbox,
        inbox_commands.trace,
        inbox_commands.reply,
        inbox_commands.send,
        inbox_commands.replay,
        inbox_commands.priority,
    ):
        app.command()(command)
    app.command("send-test")(outbound_commands.send_test)
    app.add_typer(outbound_commands.outbound, name="outbound")
    app.add_typer(outbound_commands.unknown, name="unknown")
    app.add_typer(suppressions_commands.commands, name="suppressions")
    return app


@dataclass(frozen=True)
class Terminal:
    """Runs commands on an installation's database, as another process than the workers'."""

    url: str

    def run(self, *words: str, input_: str | None = None, as_json: bool = False) -> str:
        """What a command prints; its error is raised."""
        shell = Shell(os.environ)
        shell.json = as_json
        try:
            result = CliRunner().invoke(_commands(), words, input=input_, obj=shell)
        finally:
            shell.close()
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def json(self, *words: str, input_: str | None = None) -> Any:
        """What a command says as JSON."""
        return json.loads(self.run(*words, input_=input_, as_json=True))

    def meanwhile(self, work: Callable[[Mailroom], Coroutine[Any, Any, T]]) -> T:
        """Have the installation's own process do something."""

        async def run() -> T:
            sandbox = Sandbox(workers=1)
            try:
                async with open_mailroom(self.url, sandbox) as room:
                    return await work(room)
            finally:
                await sandbox.close()

        return asyncio.run(run())


@pytest.fixture
def terminal(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("DEFAULT_EMAIL_DOMAIN", DOMAIN)
    monkeypatch.setenv("MAILAGENT_SECRET_KEY", "a secret of the tests that is long enough")
    return Terminal(sqlite_url)


async def _work(room: Mailroom) -> None:
    await room.work()


async def _answered(room: Mailroom) -> str:
    return await room.answered(mail(subject="Order 7", message_id="<a@customer.example>"))


async def _handed(room: Mailroom) -> str:
    room.agent_says(Handoff("a refund"))
    return await room.answered(mail(subject="Order 8", message_id="<b@customer.example>"))


async def _silent(room: Mailroom) -> str:
    room.agent_says(Silence("thanks"))
    return await room.answered()


def test_an_inbox_lists_mails_with_their_answers(terminal: Terminal) -> None:
    delivery_id = terminal.meanwhile(_answered)

    printed = terminal.run("inbox", f"Hello+tag@SHOP.{DOMAIN}")
    (item,) = terminal.json("inbox", HELLO, "--since", "1h", "--state", "answered")

    assert delivery_id in printed
    assert "ann@customer.example: Order 7" in printed
    assert "→ sent, agent:hello: It is on its way." in printed
    assert item["replies"][0]["in_reply_to"] == "<a@customer.example>"
    assert (item["state"], item["status"]) == ("answered", "responded")
    assert terminal.json("inbox", HELLO, "--since", "2999-01-01") == []
    assert terminal.json("inbox", HELLO, "--status", "escalated") == []
    (found,) = terminal.json("inbox", HELLO, "--search", "ORDER ann*")
    assert found["id"] == delivery_id
    assert terminal.run("inbox", HELLO, "--search", "order refund").strip() == "no mail"


def test_a_priority_is_set_by_hand_and_an_inbox_asked_by_it(terminal: Terminal) -> None:
    terminal.meanwhile(_answered)
    (item,) = terminal.json("inbox", HELLO)
    set_ = terminal.json("priority", item["id"], "urgent")
    assert (set_["priority"], set_["priority_by"]) == ("urgent", "cli")
    assert [one["id"] for one in terminal.json("inbox", HELLO, "--priority", "urgent")] == [
        item["id"]
    ]
    assert "(answered)  urgent" in terminal.run("inbox", HELLO)
    assert terminal.run("priority", item["id"], "agent").strip() == f"{item['id']} normal"
    assert terminal.json("inbox", HELLO, "--priority", "urgent") == []


def test_an_inbox_of_nobody_and_a_time_of_no_form_are_refused(terminal: Terminal) -> None:
    terminal.meanwhile(_answered)

    with pytest.raises(NotFound, match=r"nobody@shop\."):
        terminal.run("inbox", f"nobody@shop.{DOMAIN}")
    with pytest.raises(Malformed, match="--since"):
        terminal.run("inbox", HELLO, "--since", "yesterday")


def test_trace_tells_the_story_by_any_id(terminal: Terminal) -> None:
    delivery_id = terminal.meanwhile(_answered)

    printed = terminal.run("trace", "a@customer.example")
    told = terminal.json("trace", delivery_id)

    assert printed.startswith(f"Order 7 — from ann@customer.example to {HELLO}")
    assert "Arrived by SMTP from 127.0.0.1" in printed
    assert "That means: an answer was written." in printed
    assert told["delivery_ids"] == [delivery_id]
    assert [line["step"] for line in told["lines"]][:2] == ["arrived", "read"]
    with pytest.raises(NotFound):
        terminal.run("trace", "nothing")


@pytest.mark.parametrize("way", ["option", "file", "stdin"])
def test_a_person_answers_by_option_file_or_standard_input(
    terminal: Terminal, tmp_path: Path, way: str
) -> None:
    delivery_id = terminal.meanwhile(_handed)
    file = tmp_path / "answer.txt"
    file.write_text("We refund you.", encoding="utf-8")
    options = {"option": ["--text", "We refund you."], "file": ["--file", str(file)], "stdin": []}

    sent = terminal.json("reply", "<b@customer.example>", *options[way], input_="We refund you.")
    terminal.meanwhile(_work)

    (item,) = terminal.json("inbox", HELLO)
    assert (item["id"], item["state"], item["reason"]) == (
        delivery_id,
        "answered",
        "answered by cli",
    )
    (reply,) = item["replies"]
    assert (reply["id"], reply["text"], reply["state"]) == (sent["id"], "We refund you.", "sent")


def test_a_mail_is_driven_again_once_and_not_when_it_was_answered(terminal: Terminal) -> None:
    silent = terminal.meanwhile(_silent)

    assert terminal.run("replay", silent) == f"{silent}\n"
    terminal.meanwhile(_work)

    assert terminal.json("inbox", HELLO)[0]["state"] == "answered"
    with pytest.raises(Conflict, match="answered already"):
        terminal.run("replay", silent)


def test_a_new_mail_is_sent_shown_and_cancelled(terminal: Terminal) -> None:
    terminal.meanwhile(_work)
    words = ("send", "--from", HELLO, "--to", "Ann <ann@customer.example>", "--subject", "News")

    sent = terminal.json(*words, input_="It left today.")
    (listed,) = terminal.json("outbound", "--state", "queued", "--workspace", "shop")
    whole = terminal.json("outbound", "show", sent["message_id"])
    printed = terminal.run("outbound", "cancel", sent["id"])

    assert (sent["from"], listed["id"]) == (HELLO, sent["id"])
    assert whole["outgoing"]["text"] == "It left today."
    assert "ann@customer.example: cancelled – cancelled by cli" in printed
    with pytest.raises(Malformed, match="--to"):
        terminal.run("send", "--from", HELLO, "--to", "nobody", "--subject", "x", "--text", "x")


def test_a_suppressed_address_is_listed_and_let_go(terminal: Terminal) -> None:
    terminal.meanwhile(_work)

    with pytest.raises(Malformed, match="--workspace"):
        terminal.run("suppressions", "add", "ann@customer.example")
    terminal.run("suppressions", "add", "ann@customer.example", "--workspace", "shop")
    printed = terminal.run("suppressions", "list")
    terminal.run("suppressions", "remove", "ann@customer.example", "--workspace", "shop")

    assert printed.startswith("ann@customer.example  manual")
    assert terminal.json("suppressions", "list") == []


def test_nothing_unknown_is_an_empty_list_and_no_decision(terminal: Terminal) -> None:
    delivery_id = terminal.meanwhile(_answered)
    (item,) = terminal.json("inbox", HELLO)

    assert terminal.json("unknown", "list") == []
    for decision in ("sent", "again"):
        with pytest.raises(Conflict, match="not unknown"):
            terminal.run("unknown", decision, item["replies"][0]["id"])
    with pytest.raises(Malformed, match="ID"):
        terminal.run("unknown", "sent", delivery_id)


def test_nothing_leaves_from_the_shell_in_the_name_of_another_workspace(terminal: Terminal) -> None:
    async def hand_over(room: Mailroom) -> str:
        delivery_id = await _handed(room)
        # As only the database can: the agent's address is another tenant's.
        await room.do(Transaction.execute, update(addresses).values(domain=f"other.{DOMAIN}"))
        return delivery_id

    delivery_id = terminal.meanwhile(hand_over)
    ceo = f"hello@other.{DOMAIN}"
    to = ("--to", "ann@customer.example")
    terminal.run("send", "--from", ceo, *to, "--subject", "Hi", "--text", "x")
    terminal.run("reply", delivery_id, "--text", "It is on its way.")
    terminal.meanwhile(_work)

    sent = [one for one in terminal.json("outbound") if one["purpose"] in ("new", "person")]
    assert [(one["from_address"], one["state"]) for one in sent] == [(ceo, "refused")] * 2
    assert {one["recipients"][0]["reason"] for one in sent} == {
        "From is no address of this workspace"
    }


def test_a_test_mail_tells_who_will_carry_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.meanwhile(_work)

    with pytest.raises(Malformed, match="--workspace"):
        terminal.run("send-test", "ann@customer.example")
    with pytest.raises(Malformed, match="to"):
        terminal.run("send-test", "nobody", "--workspace", "shop")
