"""A newcomer's first ten minutes: the demo runs, a mail is answered and can be seen."""

from __future__ import annotations

import contextlib
import smtplib
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.system import System, running

_SUBJECT = "土曜日の営業時間について"
_PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("demo"), "--demo") as system:
        yield system


def japanese_mail(message_id: str, recipient: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = "田中 <tanaka@example.jp>"
    mail["To"] = recipient
    mail["Subject"] = _SUBJECT
    mail["Message-ID"] = message_id
    mail["References"] = "<earlier@example.jp>"
    mail.set_content(
        "What are your opening hours on Saturday?\n土曜日の営業時間を教えてください。\n"
    )
    mail.add_alternative(
        "<p>What are your opening hours on <b>Saturday</b>?</p><p>土曜日</p>", subtype="html"
    )
    mail.add_attachment(_PDF, maintype="application", subtype="pdf", filename="地図.pdf")
    return mail


def deliver(system: System, mail: EmailMessage, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", system.smtp_port, timeout=30) as client:
        client.send_message(mail, "tanaka@example.jp", [recipient])


def answered(system: System, message_id: str) -> dict[str, Any]:
    """The inbox's item of a mail once it has a reply that was sent."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for item in system.result("inbox", "hello@demo.aexy.email"):
            if item["message_id"] == message_id and [
                one for one in item["replies"] if one["state"] == "sent"
            ]:
                found: dict[str, Any] = item
                return found
        time.sleep(0.2)
    raise AssertionError(f"{message_id} was not answered: {system.shown()}")


def test_the_first_screen_shows_a_mail_and_its_reply(demo: System) -> None:
    end = time.monotonic() + 30
    while "Now you" not in demo.shown() and time.monotonic() < end:
        time.sleep(0.1)
    screen = demo.shown()
    assert "Its reply:" in screen
    assert "In-Reply-To: <" in screen
    assert f"http://127.0.0.1:{demo.backend_port}/sign-in?token=" in screen
    assert f"127.0.0.1:{demo.smtp_port}" in screen


def test_a_japanese_mail_with_html_and_pdf_is_answered_in_its_thread(demo: System) -> None:
    deliver(
        demo, japanese_mail("<1@example.jp>", "hello+x@demo.aexy.email"), "hello+x@demo.aexy.email"
    )

    item = answered(demo, "<1@example.jp>")

    assert item["subject"] == _SUBJECT
    assert item["to"] == "hello+x@demo.aexy.email"
    assert item["status"] == "responded"
    (reply,) = item["replies"]
    assert reply["in_reply_to"] == "<1@example.jp>"
    assert "Saturday from 10:00 to 13:00" in reply["text"]


def test_the_api_shows_the_mail_its_attachment_and_the_reply_with_its_references(
    demo: System,
) -> None:
    deliver(demo, japanese_mail("<2@example.jp>", "hello@demo.aexy.email"), "hello@demo.aexy.email")
    item = answered(demo, "<2@example.jp>")
    key = demo.command("key", "create", "--workspace", "demo").strip()

    with httpx.Client(
        base_url=f"http://127.0.0.1:{demo.backend_port}/api/v1",
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    ) as api:
        inbox = api.get("/workspaces/demo/agents/hello/inbox").raise_for_status().json()
        mail = api.get(f"/workspaces/demo/deliveries/{item['id']}").raise_for_status().json()
        (attachment,) = mail["content"]["attachments"]
        pdf = api.get(
            f"/workspaces/demo/deliveries/{item['id']}/attachments/{attachment['part']}"
        ).raise_for_status()
        sent = api.get(f"/workspaces/demo/outbound/{item['replies'][0]['id']}")

    assert item["id"] in [one["id"] for one in inbox["items"]]
    assert attachment["filename"] == "地図.pdf"
    assert pdf.content == _PDF
    assert sent.raise_for_status().json()["outgoing"]["references"] == [
        "<earlier@example.jp>",
        "<2@example.jp>",
    ]


def test_a_wrong_path_or_method_of_the_api_is_a_problem_and_no_page(demo: System) -> None:
    base = f"http://127.0.0.1:{demo.backend_port}"
    with httpx.Client(base_url=base, trust_env=False) as client:
        missing = client.get("/api/v1/nothing")
        wrong_method = client.put("/api/v1/me")
        page = client.get("/nothing")
    assert (missing.status_code, wrong_method.status_code) == (404, 405)
    for one in (missing, wrong_method):
        assert one.headers["content-type"] == "application/problem+json"
    assert page.headers["content-type"].startswith("text/html")


def test_trace_tells_the_story_by_message_id_with_or_without_brackets(demo: System) -> None:
    deliver(demo, japanese_mail("<3@example.jp>", "hello@demo.aexy.email"), "hello@demo.aexy.email")
    answered(demo, "<3@example.jp>")

    story = demo.command("trace", "3@example.jp")

    assert story == demo.command("trace", "<3@example.jp>")
    for words in ("by SMTP from 127.0.0.1", "local test", "held to DMARC", "captured"):
        assert words in story


def test_one_more_mail_is_sent_and_shown_by_one_command(demo: System) -> None:
    shown = demo.command("demo")

    assert "Sent to hello@demo.aexy.email" in shown
    assert " ms" in shown


def test_a_person_answers_by_command_in_the_thread(demo: System) -> None:
    deliver(demo, japanese_mail("<4@example.jp>", "hello@demo.aexy.email"), "hello@demo.aexy.email")
    item = answered(demo, "<4@example.jp>")

    demo.command("reply", item["id"], stdin="A person adds a word.\n")

    again = answered(demo, "<4@example.jp>")
    assert "A person adds a word." in [one["text"].strip() for one in again["replies"]]


def test_doctor_finds_nothing_wrong_but_what_dns_must_tell(demo: System) -> None:
    checks = demo.result("doctor")
    assert [one for one in checks if one["verdict"] == "wrong"] == []


def test_it_stops_at_sigterm_with_code_0(tmp_path: Path) -> None:
    with running(tmp_path, "--demo") as system:
        assert system.stop() == 0


@pytest.mark.parametrize(
    "setting",
    ["MAILAGENT_SMTP_PORT", "MAILAGENT_SUBMISSION_PORT", "MAILAGENT_PORT", "BACKEND_PORT"],
)
def test_a_port_that_is_taken_is_named_with_the_mend(
    demo: System, tmp_path: Path, setting: str
) -> None:
    port = demo.environment[setting]
    with (
        contextlib.suppress(AssertionError),
        running(tmp_path, "--demo", **{setting: port}) as late,
    ):
        # With the backend's port taken, it is the first system that answers there.
        late.process.wait(30)
    shown = (tmp_path / "output.txt").read_text()
    assert f"mailagent: {setting}: cannot listen on {port} (Address already in use)" in shown
    assert "Traceback" not in shown


def test_outside_the_demo_an_absent_secret_key_is_refused_with_the_mend(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"MAILAGENT_SECRET_KEY: is not set: make one with"),
        running(tmp_path),
    ):
        pass
