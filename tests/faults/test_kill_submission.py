"""Kill -9 after the submission door said yes: the mail leaves all the same, and once."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from backend.access import keys
from bench.node import AGENT, Node, furnish
from bench.smtp_targets import free_port
from mailagent.store.engine import Store
from mailagent.store.tables import outbound_mails
from tests.faults.peers import SinkProcess

MAILS = [f"<handed-in-{number}@demo.example>" for number in range(20)]
_SETTLED_WITHIN = 60.0


def hand_in(port: int, key: str) -> list[str]:
    """Hand every mail in; those whose 250 came."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=20) as client:
        client.starttls(context=trusting)
        client.login(AGENT, key)
        for message_id in MAILS:
            raw = f"From: {AGENT}\r\nMessage-ID: {message_id}\r\nSubject: x\r\n\r\nx\r\n"
            client.sendmail(AGENT, ["ann@customer.example"], raw)
    return MAILS


@pytest.mark.timeout(300)
def test_what_was_acknowledged_leaves_once_though_it_is_handed_in_again(
    database_url: str, tmp_path: Path
) -> None:
    workspace_id = furnish(database_url)
    store = Store(database_url)
    key = store.write_now(workspace_id, keys.create, "program", ["message.send"]).secret
    port, log = free_port(), tmp_path / "taken.log"
    settings = {"MAILAGENT_SUBMISSION_PORT": str(port)}
    with SinkProcess(log) as sink:
        with Node(tmp_path, database_url, parts=["smtp"], settings=settings) as node:
            hand_in(port, key)
            node.kill()
        with Node(tmp_path, database_url, relay_port=sink.port, settings=settings):
            hand_in(port, key)
            end = time.monotonic() + _SETTLED_WITHIN
            while store.read_now(None, lambda tx: tx.value(_WAITING)):
                assert time.monotonic() < end
                time.sleep(0.05)
    store.close()
    taken = Counter(word for word in log.read_text().split() if word.startswith("<"))
    assert taken == dict.fromkeys(MAILS, 1)


_WAITING = select(func.count()).where(outbound_mails.c.state != "sent")
