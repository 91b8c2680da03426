"""Brings a person in: asks one by mail, or gives the case to people.

The question has a thread of its own, so that neither the writer of the case nor the colleague sees
what the other wrote. The colleague's answer is a mail like any other, held to the same proof; when
it joins that thread, it comes to the case as a reminder and is not answered itself.
"""

from __future__ import annotations

from sqlalchemy import bindparam, func, select

from mailagent.agents.tools import ToolResult
from mailagent.errors import Malformed
from mailagent.flow import reminding
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.flow.tools.mails import open_thread, post
from mailagent.mail import Address, Mail
from mailagent.store.tables import memberships, people, questions
from mailagent.store.transaction import Transaction

__all__ = ["ask_colleague", "hand_over", "take_answer"]

_ANSWER_CHARACTERS = 10_000
_MOST_OPEN = 5


def hand_over(_: Transaction, __: Services, ___: Case, wish: Wish) -> ToolResult:
    """The turn ends, and people are told."""
    return ToolResult("A person takes over.", hand_over=wish["reason"])


def ask_colleague(tx: Transaction, services: Services, case: Case, wish: Wish) -> ToolResult:
    """Ask one person of the workspace. Raises Malformed for anybody else."""
    person = wish["person"].strip()
    if tx.value(_MEMBER, {"person": person.lower()}) is None:
        raise Malformed("person", "is nobody of this workspace: ask one of its people")
    asked = tx.rows(_ASKED, {"case": case.thread_id})
    if len(asked) >= _MOST_OPEN:
        raise Malformed("question", f"is one too many: {_MOST_OPEN} are asked about one case")
    subject = f"Question: {case.subject or '(no subject)'}"[:200]
    thread_id = open_thread(tx, case, subject)
    tx.insert(
        questions,
        {
            "thread_id": thread_id,
            "case_thread_id": case.thread_id,
            "person": person.lower(),
            "asked_at": tx.now,
        },
    )
    text = (
        f"{wish['question'].strip()}\n\n"
        f"{case.handle} asks this about a mail of {case.author}: {case.subject}\n"
        "Reply to this mail, and your answer goes into the case; the writer does not see it.\n"
        f"  {services.settings.ui_url}/deliveries/{case.mail.delivery_id}\n"
    )
    post(tx, services, case, thread_id, to=(Address(person),), subject=subject, text=text)
    return ToolResult(f"{person} was asked. The answer will come in a later turn.")


def take_answer(tx: Transaction, mail: Mail, thread_id: str) -> str | None:
    """Bring a colleague's answer into its case; the case's thread, None when it is no answer."""
    row = tx.row(select(questions).where(questions.c.thread_id == thread_id))
    author = mail.content.from_[0].address.lower() if len(mail.content.from_) == 1 else ""
    if row is None or author != row.person:
        return None
    reminding.remind(
        tx,
        row.case_thread_id,
        "answer",
        at=tx.now,
        text=mail.content.written[:_ANSWER_CHARACTERS],
        author=author,
        keep=True,
    )
    return str(row.case_thread_id)


_MEMBER = (
    select(people.c.id)
    .join(memberships, memberships.c.person_id == people.c.id)
    .where(func.lower(people.c.email) == bindparam("person"))
)
_ASKED = select(questions.c.thread_id).where(questions.c.case_thread_id == bindparam("case"))
