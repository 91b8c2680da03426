"""A person whose every word can be found again, and who had to do with all parts of the house."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from email.policy import SMTP

from sqlalchemy import inspect

from mailagent.agents import Step, Summary, Turn
from mailagent.flow import policies
from mailagent.outgoing import Handoff, OutgoingAttachment, Reply, Silence
from mailagent.store import tables as t
from mailagent.store.engine import Store
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id
from tests.flow.house import Space, mail
from tests.flow.test_bounces import dsn

__all__ = ["MARK", "PERSON", "allow_files", "found_in_columns", "holds", "plant", "quoting"]

MARK = "zqxmark"
"""Stands in every word that is theirs."""
PERSON = f"{MARK}.ann@customer.example"


async def quoting(turn: Turn) -> Reply | Silence | Handoff:
    """An agent that repeats what it was told: in its steps, its answer and its reasons."""
    told = turn.mails[-1].content
    await turn.steps.record(Step("thought", {"they said": told.text, "who": PERSON}))
    await turn.tools.use("1", "note_contact", {"note": f"said {told.text}"})
    await turn.tools.use("2", "search_threads", {"query": told.subject})
    assert turn.memory is not None
    await turn.memory.keep(Summary(turn.mails[-1].received_at, f"They said {told.text}"))
    if "hand over" in told.subject:
        return Handoff(f"{told.subject} is too hard", notice=f"A person looks at {told.text}")
    if "silence" in told.subject:
        return Silence(f"{told.subject} wants no answer")
    if "approval" in told.subject:
        return Reply(f"You wrote: {told.text}", ask=f"it is about {told.text}")
    file = OutgoingAttachment("copy.txt", "text/plain", told.text.encode())
    return Reply(f"You wrote: {told.text}", attachments=(file,))


async def plant(space: Space) -> tuple[str, ...]:
    """Have the person write, be answered, bounce and be quoted; returns their deliveries' ids.

    In order: answered, handed over, silent, forged, held, bounce, waiting for approval.
    """
    await allow_files(space)
    await space.write(_list)
    script = space.house.script
    tagged = f"hello+{MARK}@{space.domain}"
    answered = await space.receive(_letter(tagged), tagged, mail_from=PERSON)
    reply = await space.answer_to(answered)
    handed = await _wrote(space, "handed to a person", f"{MARK} hand over")
    silent = await _wrote(space, "silent", f"{MARK} silence")
    forged = await _wrote(
        space, "quarantined", f"{MARK} forged", {"From": f"{MARK} <{MARK}@quarantined.example>"}
    )
    held = await _wrote(
        space, "held", f"{MARK} unproven", {"From": f"{PERSON}, {MARK}@other.example"}
    )
    waiting = await _wrote(space, "waiting for approval", f"{MARK} approval")
    await space.notices()  # they leave before the relay refuses everybody
    script["RCPT"] = f"550 5.1.1 <{PERSON}> is not known, {MARK}"
    refused = await space.send(PERSON, subject=f"{MARK} news", text=f"Dear {MARK}!\n")
    await space.sent_off(refused, "refused")
    script.clear()
    (path,) = [
        one.mail_from
        for one in space.house.taken(PERSON)
        if reply.message_id.encode() in one.content
    ]
    report = dsn(PERSON, about=reply.message_id, note=MARK)
    bounce = await space.receive(report, path, mail_from=None)
    await space.delivery(bounce, "recorded")
    return answered, handed, silent, forged, held, bounce, waiting


async def allow_files(space: Space) -> None:
    """Let the agent send files to anybody who is proven, and note what they say."""
    cells = {"stranger": {"attachment": "do", "changes": "do"}}
    await space.write(lambda tx: policies.save(tx, cells, author="cli"))


def _list(tx: Transaction) -> None:
    """The person is on a list."""
    tx.insert(
        t.list_entries,
        {
            "id": new_id("lst"),
            "what": "send",
            "verdict": "allow",
            "pattern": PERSON,
            "note": "",
            "author": f"person:{PERSON}",
            "created_at": tx.now,
        },
    )


def _letter(to: str) -> bytes:
    letter = EmailMessage(policy=SMTP)
    letter["From"] = f"{MARK.title()} Ann <{PERSON}>"
    letter["To"] = to
    letter["Cc"] = f"{MARK}.friend@elsewhere.example"
    letter["Subject"] = f"{MARK} question"
    letter["Message-ID"] = f"<{MARK}.1@customer.example>"
    letter["References"] = f"<{MARK}.never-came@customer.example>"
    letter.set_content(f"{MARK} text\n")
    letter.add_alternative(f"<p>{MARK} html</p>", subtype="html")
    letter.add_attachment(f"{MARK} file".encode(), "text", "plain", filename=f"{MARK}.txt")
    return letter.as_bytes()


async def _wrote(
    space: Space, state: str, subject: str, headers: Mapping[str, str] | None = None
) -> str:
    headers = {"From": f"{MARK.title()} Ann <{PERSON}>", **(headers or {})}
    raw = mail(f"{MARK} body", to=space.address, subject=subject, headers=headers)
    id_ = await space.receive(raw, mail_from=PERSON)
    await space.delivery(id_, state)
    return id_


def found_in_columns(store: Store, mark: str) -> Iterator[str]:
    """Where a word stands in any column of any table, those of the search indexes included."""
    with store.engine.connect() as connection:
        for table in inspect(store.engine).get_table_names():
            rows = connection.exec_driver_sql(f'SELECT * FROM "{table}"')
            names = list(rows.keys())
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    octets = value if isinstance(value, bytes) else str(value).encode()
                    if holds(octets, mark):
                        yield f"{table}.{name}: {str(value)[:200]}"


def holds(octets: bytes, mark: str) -> bool:
    """Whether octets hold a word, in any case, as it is or in base64."""
    if mark.encode() in octets.lower():
        return True
    # Three bytes become four letters, so a word looks different from each of three places.
    shifted = (base64.b64encode(b"\0" * shift + mark.encode())[4:-4] for shift in range(3))
    return any(form in octets for form in shifted)
