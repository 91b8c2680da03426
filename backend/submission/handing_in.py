"""What becomes of a mail that was handed in?

It is read in the sandbox, held against its login, and becomes an outbound mail like any other: the
same outbox, suppression, quotas and senders. One transaction, and then the door says yes.

A mail is known by its Message-ID: handed in again by the same login it is the same mail, sent once,
also to recipients that were not named before (who is told 452 at RCPT comes again for the rest).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter
from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from backend.outbound.writing import open_thread
from backend.submission.logins import Standing, standing_of
from mailagent.errors import Malformed, SandboxFailure, Unauthentic
from mailagent.flow import outbox, threads
from mailagent.flow.directory import normalised
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.inbound import Later
from mailagent.mail import Address
from mailagent.mime.submitted import HandedIn
from mailagent.outgoing import Outgoing
from mailagent.store.tables import outbound_mails, submissions
from mailagent.store.transaction import Transaction
from mailagent.submission import Declined, Fault, Submission, Submitted
from mailagent.tokens import new_id

__all__ = ["HandingIn"]

_DEADLINE = timedelta(seconds=20)
_MEND_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class _Facts:
    handed_in: HandedIn
    sha256: str


_FACTS = TypeAdapter(_Facts)


class HandingIn:
    """The `Submits` of a process that has the database and the sandbox."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def submit(self, submission: Submission) -> Submitted | Declined | Later:
        """See `submission.Submits`."""
        services, login = self._services, submission.login
        domain = login.name.rpartition("@")[2]
        fresh = {
            "message_id": f"<{new_id('sub').removeprefix('sub_')}@{domain}>",
            "now": services.store.now().isoformat(),
        }
        try:
            read = await services.sandbox.run(
                "mailagent.reading:submitted", submission.raw, fresh, deadline=_DEADLINE
            )
            line, _, mail = read.partition(b"\n")
            facts = _FACTS.validate_python(json.loads(line))
            return await services.store.write(
                login.workspace_id, _keep, services, submission, facts, mail
            )
        except Malformed as error:
            return Declined(Fault.CONTENT, _shown(str(error)))
        except SandboxFailure as failure:
            if failure.cause == "crash":
                return Later(str(failure))
            return Declined(Fault.CONTENT, "The mail takes too much to read: make it simpler")
        except SQLAlchemyError as error:
            return Later(type(error).__name__)


_USED = select(outbound_mails.c.id, outbound_mails.c.content_removed_at).where(
    outbound_mails.c.message_id == bindparam("message_id")
)
_HANDED_IN = select(submissions).where(submissions.c.outbound_id == bindparam("outbound"))


def _keep(
    tx: Transaction, services: Services, submission: Submission, facts: _Facts, mail: bytes
) -> Submitted | Declined:
    login, handed_in, expiry = submission.login, facts.handed_in, services.settings.send_expiry
    try:
        standing = standing_of(tx, login)
    except Unauthentic as error:
        return Declined(Fault.SENDER, _shown(f"This login has ended: {error}"))
    if mend := _not_own(standing, submission, handed_in):
        return Declined(Fault.SENDER, _shown(mend))
    # Two connections may hand in one mail at once.
    tx.lock(f"submission {login.workspace_id} {handed_in.message_id}")
    used = tx.row(_USED, {"message_id": handed_in.message_id})
    if used is not None:
        known = tx.row(_HANDED_IN, {"outbound": used.id})
        same = known is not None and (known.login, known.sha256) == (login.name, facts.sha256)
        if not same:
            mend = "Message-ID: is that of another mail already: give each mail its own"
            return Declined(Fault.CONTENT, mend)
        if used.content_removed_at is None:
            outbox.add_recipients(tx, used.id, submission.rcpt_to, expiry=expiry)
        elif not outbox.went_to(tx, used.id, submission.rcpt_to):
            mend = "Its retention is over, and it cannot go to others: give it a new Message-ID"
            return Declined(Fault.CONTENT, mend)
        return Submitted(used.id)
    thread_id, purpose = _thread(tx, standing, handed_in)
    envelope = outbox.Envelope(purpose, login.author, standing.agent_id, thread_id)
    outgoing = _frozen(handed_in, submission.rcpt_to, mail)
    outbound_id = outbox.queue(tx, outgoing, envelope, expiry=expiry)
    tx.insert(
        submissions,
        {"outbound_id": outbound_id, "login": login.name, "sha256": facts.sha256, "at": tx.now},
    )
    what = f"handed in by {login.name} from {submission.client_ip}"
    note(tx, "send", what, f"by SMTP submission over {submission.tls}", outbound_id=outbound_id)
    return Submitted(outbound_id)


def _not_own(standing: Standing, submission: Submission, handed_in: HandedIn) -> str | None:
    """What of envelope and header is not the login's own, and the mend."""
    own = ", ".join(sorted(f"{local}@{domain}" for local, domain in standing.addresses)[:5])
    mail_from = submission.mail_from
    if mail_from is None or normalised(mail_from) not in standing.addresses:
        return f"MAIL FROM is not this login's: write one of {own}"
    if normalised(handed_in.from_.address) not in standing.addresses:
        return f"From is not this login's: write one of {own}"
    if any(normalised(one.address) not in standing.addresses for one in handed_in.sender):
        return f"Sender is not this login's: leave it out, or write one of {own}"
    return None


def _thread(tx: Transaction, standing: Standing, handed_in: HandedIn) -> tuple[str, outbox.Purpose]:
    """The conversation that the mail goes on with or begins."""
    named = [handed_in.in_reply_to] if handed_in.in_reply_to else []
    found = threads.named_by(tx, standing.agent_id, [*named, *reversed(handed_in.references)])
    if found is not None:
        return found, "person"
    return open_thread(tx, standing.agent_id, handed_in.subject), "new"


def _frozen(handed_in: HandedIn, rcpt_to: Sequence[str], mail: bytes) -> Outgoing:
    """The envelope says whom it goes to; the header only, who of them may be seen."""
    left = {one.lower(): one for one in rcpt_to}

    def named(mailboxes: Sequence[Address]) -> tuple[Address, ...]:
        return tuple(one for one in mailboxes if left.pop(one.address.lower(), None))

    to, cc = named(handed_in.to), named(handed_in.cc)
    return Outgoing(
        message_id=handed_in.message_id,
        date=handed_in.date,
        from_=handed_in.from_,
        to=to,
        cc=cc,
        bcc=tuple(map(Address, left.values())),
        subject=handed_in.subject,
        text=handed_in.text,
        in_reply_to=handed_in.in_reply_to,
        references=handed_in.references,
        raw=mail,
    )


def _shown(text: str) -> str:
    """One line of ASCII for a reply."""
    plain = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return plain[:_MEND_CHARACTERS]
