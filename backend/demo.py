"""What does somebody see who has just cloned this? A workspace, an agent, and a mail answered.

`prepare` makes the demo's rows, once; `send` is an ordinary SMTP client; `answered` reads from the
database what became of the mail. Nothing leaves the machine: sending is captured.
"""

from __future__ import annotations

import secrets
import smtplib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select

from backend.agents import service as agents
from backend.inboxes.story import Story, story
from backend.workspaces import members
from backend.workspaces import service as workspaces
from mailagent.errors import NotFound
from mailagent.flow.states import FINAL, DeliveryState
from mailagent.settings import Settings
from mailagent.store import documents
from mailagent.store.engine import Store
from mailagent.store.tables import deliveries, messages, outbound_mails
from mailagent.store.transaction import Transaction

__all__ = [
    "Answered",
    "Question",
    "address",
    "answered",
    "demo_key",
    "key_file",
    "prepare",
    "question",
    "send",
    "settings_for",
]

SLUG = "demo"
OWNER = "owner@example.org"
WRITER = "you@example.org"
_KEY_FILE = "demo-secret-key"
_DOCUMENTS = {
    "opening-hours.md": """# Opening hours

The workshop is open Monday to Friday from 9:00 to 17:30, and on Saturday from 10:00 to 13:00.
On public holidays it stays closed.
""",
    "repairs.md": """# Repairs

A repair takes three to five working days. You get a price before any work begins; if you decide
against it, the inspection costs nothing.

Bring the bicycle during opening hours, or book the pick-up service for 15 euros in the city.
""",
    "returns.md": """# Returns and refunds

Unused parts can be returned within 30 days with the receipt. The refund goes to the card or account
you paid with and takes up to five working days.
""",
}
_QUESTIONS = (
    ("Opening hours", "Hello,\n\nwhat are your opening hours on Saturday?\n\nThanks\nSam\n"),
    ("How long does a repair take?", "Hi, how long does a repair take, and what does it cost?\n"),
    ("Return", "Hello, can I return unused parts, and how long does the refund take?\n"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """A mail that the demo sends."""

    message_id: str
    recipient: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a question."""

    delivery_id: str
    state: str
    reply: str | None
    """The reply's text; None when nobody answered by now."""
    reply_headers: tuple[tuple[str, str], ...]
    told: Story


def settings_for(settings: Settings, *, hosted: bool) -> Settings:
    """Settings of the demo: secrets of its own, sending captured, and (unless `hosted`, where
    MAILAGENT_HOST was given) doors on the loopback only.
    """
    settings.mailagent_data.mkdir(parents=True, exist_ok=True)
    key = settings.mailagent_secret_key or SecretStr(_demo_key(settings.mailagent_data))
    changes = {
        "mailagent_secret_key": key,
        "mailagent_host": settings.mailagent_host if hosted else "127.0.0.1",
        "smtp_relay_url": None,
        "public_url": f"http://127.0.0.1:{settings.backend_port}",
        # What the demo would ask of DNS it asks of this machine: it works without a network.
        "mailagent_resolver": settings.mailagent_resolver
        or f"127.0.0.1:{settings.mailagent_dns_port}",
        "llm_provider": settings.llm_provider or "builtin",
    }
    return settings.model_copy(update=changes)


def key_file(data: Path) -> Path:
    """Where the demo keeps its key in this data folder."""
    return data / _KEY_FILE


def demo_key(data: Path) -> str | None:
    """The key that the demo made for this data folder; None where no demo ran."""
    file = key_file(data)
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def _demo_key(data: Path) -> str:
    if (found := demo_key(data)) is not None:
        return found
    key = secrets.token_urlsafe(48)
    file = key_file(data)
    file.touch(mode=0o600)
    file.write_text(key, encoding="utf-8")
    return key


def address(settings: Settings) -> str:
    """The demo agent's address."""
    return f"hello@{SLUG}.{settings.default_email_domain}"


def prepare(tx: Transaction, default_domain: str) -> str:
    """Make the demo's workspace, owner, agent and documents, where absent; returns its id."""
    try:
        return workspaces.find(tx, SLUG).id
    except NotFound:
        owner = members.ensure_person(tx, OWNER, "Demo owner")
        made = workspaces.create(tx, SLUG, "Demo workshop", owner_id=owner.id)
    inside = tx.of(made.id)
    agents.create(inside, default_domain, handle="hello", name="Hello")
    for name, text in _DOCUMENTS.items():
        documents.add(inside, name, text)
    return made.id


def question(settings: Settings, number: int = 0) -> Question:
    """One of the demo's questions, as a new mail."""
    subject, text = _QUESTIONS[number % len(_QUESTIONS)]
    message_id = f"<{secrets.token_hex(8)}@example.org>"
    return Question(message_id, address(settings), subject, text)


def send(question: Question, host: str, port: int) -> None:
    """Hand a question to the SMTP door, as any mail client does. Raises OSError, SMTPException."""
    mail = EmailMessage()
    mail["From"] = f"Sam Writer <{WRITER}>"
    mail["To"] = question.recipient
    mail["Subject"] = question.subject
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = question.message_id
    mail.set_content(question.text)
    with smtplib.SMTP(host, port, local_hostname="client.example.org", timeout=30) as client:
        client.send_message(mail, WRITER, [question.recipient])


def answered(
    store: Store,
    question: Question,
    *,
    within: float,
    unless: Callable[[], bool] = lambda: False,
) -> Answered:
    """Wait until the question has found its end, at most `within` seconds or until `unless` says
    so. Raises NotFound when no such mail has arrived by then.
    """
    for last in _until(within, unless):
        found = store.read_now(None, _look, question.message_id)
        if found is not None and (last or _ended(found)):
            return found
    raise NotFound(f"no mail {question.message_id} has arrived")


def _until(seconds: float, unless: Callable[[], bool]) -> Iterator[bool]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not unless():
        yield False
        time.sleep(min(0.05, left))
    yield True


def _ended(found: Answered) -> bool:
    if found.state == DeliveryState.ANSWERED:
        return found.reply is not None
    return found.state in FINAL


def _look(tx: Transaction, message_id: str) -> Answered | None:
    row = tx.row(
        select(deliveries.c.id, deliveries.c.state, deliveries.c.workspace_id)
        .join(messages, messages.c.delivery_id == deliveries.c.id)
        .where(messages.c.message_id == message_id)
    )
    if row is None:
        return None
    inside = tx.of(row.workspace_id)
    reply = inside.row(
        select(outbound_mails.c.outgoing).where(
            outbound_mails.c.answers_delivery_id == row.id,
            outbound_mails.c.purpose == "reply",
            outbound_mails.c.state != "queued",
        )
    )
    text: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    if reply is not None:
        mail = reply.outgoing
        text = mail["text"]
        headers = (
            ("From", f"{mail['from_']['name']} <{mail['from_']['address']}>"),
            ("To", mail["to"][0]["address"]),
            ("Subject", mail["subject"]),
            ("In-Reply-To", mail["in_reply_to"] or ""),
            ("References", " ".join(mail["references"])),
        )
    return Answered(row.id, row.state, text, headers, story(inside, row.id))
