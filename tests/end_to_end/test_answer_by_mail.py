"""A person answers a hand-over over real SMTP, and those who only pretend to do not."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Select, select

from backend.agents import service as agents
from backend.workspaces import service as workspaces
from mailagent.flow.values import outgoing_from_json
from mailagent.outgoing import Outgoing
from mailagent.store.engine import Store
from mailagent.store.migrations import upgrade
from mailagent.store.tables import deliveries, messages, outbound_mails
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id
from tests.dns_server import DnsServer
from tests.end_to_end.system import running

EVA, ANN, FORGED = "eva@here.example", "ann@here.example", "eva@elsewhere.example"
T = TypeVar("T")
ZONE: Mapping[str, Mapping[str, list[str]]] = {
    # This machine may send for the one domain, and for the other it may not.
    "here.example": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
    "_dmarc.here.example": {"TXT": ["v=DMARC1; p=none"]},
    "elsewhere.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.elsewhere.example": {"TXT": ["v=DMARC1; p=none"]},
}


@dataclass(frozen=True)
class Office:
    """A system with one agent, which hands everything over, and what one does and sees there."""

    smtp_port: int
    store: Store

    def write(self, sender: str, to: str, text: str, **headers: str) -> AnyRow:
        """Send a mail by SMTP; its delivery, once no step of ours is due."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, to, "A question"
        mail["Message-ID"] = message_id = f"<{new_id('m')}@here.example>"
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        mail.set_content(text)
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=30) as client:
            client.send_message(mail, sender, [to])

        def look() -> AnyRow | None:
            at_rest = deliveries.c.state.not_in(["accepted", "read", "routed", "thinking"])
            found = self._rows(
                select(deliveries)
                .join(messages, messages.c.delivery_id == deliveries.c.id)
                .where(messages.c.message_id == message_id, at_rest)
            )
            return found[0] if found else None

        return until(look)

    def delivery(self, id_: str) -> AnyRow:
        """A delivery as it stands now."""
        (row,) = self._rows(select(deliveries).where(deliveries.c.id == id_))
        return row

    def sent_to(self, address: str) -> list[Outgoing]:
        """What went to an address, oldest first, as it was frozen."""
        rows = self._rows(select(outbound_mails.c.outgoing).order_by(outbound_mails.c.id))
        mails = [outgoing_from_json(row.outgoing) for row in rows]
        return [one for one in mails if [to.address for to in one.to] == [address]]

    def _rows(self, statement: Select[Any]) -> Sequence[AnyRow]:
        return self.store.read_now(None, Transaction.rows, statement)


def until(look: Callable[[], T | None]) -> T:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError("not within 30 s")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    (tmp_path / "data").mkdir()
    url = f"sqlite:///{tmp_path}/data/mailagent.db"
    upgrade(url)
    store = Store(url)
    shop = store.write_now(None, workspaces.create, "shop", "Shop")
    store.write_now(shop.id, workspaces.update_settings, {"escalation_address": EVA})
    store.write_now(shop.id, agents.create, "agents.example", handle="hello")
    with DnsServer(ZONE) as dns:
        settings = {
            "MAILAGENT_HOST": "127.0.0.1",
            "MAILAGENT_SECRET_KEY": "a-key-of-this-test-and-of-nothing-else",
            "MAILAGENT_RESOLVER": dns.address,
            "DEFAULT_EMAIL_DOMAIN": "agents.example",
        }
        with running(tmp_path, **settings) as system:
            yield Office(system.smtp_port, store)
    store.close()


def test_the_person_alone_answers_and_once(office: Office) -> None:
    asked = office.write(ANN, "hello@shop.agents.example", "May I speak to a person?")
    assert asked.state == "handed to a person"
    (notice,) = office.sent_to(EVA)
    reply_to = notice.reply_to[0].address

    forged = office.write(FORGED, reply_to, "Yes, I am Eva.")
    colleague = office.write("bob@here.example", reply_to, "Yes.")
    away = office.write(EVA, reply_to, "I am away.", Auto_Submitted="auto-replied")
    assert (forged.state, colleague.state, away.state) == ("quarantined", "quarantined", "recorded")
    assert "nothing proves that" in forged.reason
    assert office.delivery(asked.id).state == "handed to a person"
    assert len(office.sent_to(EVA)) == 1

    answered = office.write(EVA, reply_to, "Yes, call me.\n\n> quoted\n")
    again = office.write(EVA, reply_to, "And again.")
    assert answered.reason.startswith(f"the answer of {EVA} to {asked.id}")
    assert office.delivery(asked.id).reason == f"answered by {EVA}"
    assert "you have answered it already" in again.reason
    assert [one.text for one in office.sent_to(ANN)][1:] == ["Yes, call me.\n"]
    assert len(office.sent_to(EVA)) == 2
    assert office.sent_to(FORGED) == office.sent_to("bob@here.example") == []
