"""How does a person answer a hand-over by replying to the notice of it?

The notice's Reply-To holds a token that is bound to the mail and to that person. What comes there
is an answer only if it is proven to be theirs, no machine wrote it, and the mail still waits; then
it goes out as `mailagent reply` would send it. Else nothing is sent, and only a proven person is
told why. Such a mail reaches no agent, whatever it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select, update

from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import people
from mailagent.flow.answers import answer
from mailagent.flow.decide import proven
from mailagent.flow.directory import normalised
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.flow.values import form_of
from mailagent.inbound import Origin
from mailagent.mail import Attachment, Content, Kind, Mail
from mailagent.outgoing import OutgoingAttachment
from mailagent.reading import Reading
from mailagent.store.tables import answer_invitations, deliveries
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import key_of_answer

__all__ = ["Taken", "files", "is_answer", "take"]

_MOST_BYTES = 10 * 1024 * 1024
_OPEN = frozenset({DeliveryState.HANDED_TO_A_PERSON, DeliveryState.HELD, DeliveryState.LOOPED})
"""The states of a mail of which a person was told."""
_SIGNATURES = frozenset(
    {
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
    }
)
"""They sign the mail to us, and no other."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Where a mail to an answering address ends, and why."""

    state: DeliveryState
    reason: str


def is_answer(recipient: str) -> bool:
    """Whether the address is a notice's Reply-To, its token good or not."""
    local, mark, _ = normalised(recipient)[0].partition(people.ANSWER_TAG)
    return bool(mark) and local == people.ANSWERING


async def files(
    services: Services, raw: bytes, origin: Origin, reading: Reading
) -> tuple[OutgoingAttachment, ...]:
    """The files that a person sends along, read in the sandbox; none where they are too large.

    Raises SandboxFailure.
    """
    if reading.kind is not Kind.PERSON or _too_large(reading.content):
        return ()
    made = []
    for one in _sent_along(reading.content):
        arguments = {"part": one.part, **form_of(origin)}
        octets = await services.sandbox.run("mailagent.reading:attachment", raw, arguments)
        made.append(OutgoingAttachment(one.filename, one.content_type, octets))
    return tuple(made)


def take(
    tx: Transaction, services: Services, mail: Mail, along: tuple[OutgoingAttachment, ...]
) -> Taken:
    """Send the answer that this mail is, or say why it is none; in the transaction of reading."""
    invitation = _invitation(tx, services, mail)
    if invitation is None:
        return Taken(DeliveryState.RECORDED, "an answer with a token that is none of ours")
    if mail.kind is not Kind.PERSON:
        return Taken(DeliveryState.RECORDED, f"no answer, {mail.kind} mail: {mail.why_kind}")
    evidence = proven(mail)
    if evidence is None:
        return Taken(
            DeliveryState.QUARANTINED,
            f"not sent: nothing proves that {_author(mail)} answers {invitation.delivery_id}",
        )
    if _author(mail) != invitation.person:
        return _from_another(tx, services, mail, invitation)
    problem = _closed(tx, invitation) or _unclear(mail.content)
    if problem is not None:
        return _refused(tx, services, mail, invitation, problem)
    try:
        outbound_id = answer(
            tx,
            services,
            invitation.delivery_id,
            mail.content.written.strip() + "\n",
            author=f"person:{invitation.person}",
            attachments=along,
        )
    except (Conflict, Malformed, NotFound) as error:
        return _refused(tx, services, mail, invitation, str(error))
    tx.execute(
        update(answer_invitations)
        .where(answer_invitations.c.id == invitation.id)
        .values(used_by=mail.delivery_id)
    )
    note(
        tx,
        "answer",
        f"answered by mail {mail.delivery_id}",
        evidence,
        actor=f"person:{invitation.person}",
        delivery_id=invitation.delivery_id,
    )
    note(tx, "answer", f"sent as {outbound_id}", evidence, delivery_id=mail.delivery_id)
    return Taken(
        DeliveryState.RECORDED,
        f"the answer of {invitation.person} to {invitation.delivery_id}: sent as {outbound_id}",
    )


_INVITATION = select(answer_invitations).where(answer_invitations.c.reply_key == bindparam("key"))


def _invitation(tx: Transaction, services: Services, mail: Mail) -> AnyRow | None:
    token = normalised(mail.recipient)[0].partition(people.ANSWER_TAG)[2]
    row = tx.row(_INVITATION, {"key": key_of_answer(token)})
    if row is None or not services.secrets.read_answer_token(token, row.delivery_id, row.person):
        return None
    return row


def _author(mail: Mail) -> str:
    return mail.content.from_[0].address.lower() if mail.content.from_ else "nobody"


def _from_another(tx: Transaction, services: Services, mail: Mail, invitation: AnyRow) -> Taken:
    """A proven mail of somebody else: told only if they hear of this mail as well."""
    reason = f"not sent: {_author(mail)} answers with the address of another person's notice"
    agent_id = tx.value(
        select(deliveries.c.agent_id).where(deliveries.c.id == invitation.delivery_id)
    )
    if _author(mail) in {one.lower() for one in people.reachable(tx, agent_id)}:
        problem = "this Reply-To is another person's: reply to the notice that you got yourself"
        return _refused(tx, services, mail, invitation, problem)
    return Taken(DeliveryState.QUARANTINED, reason)


# Whoever else would answer this mail waits here, and finds it answered.
_LOCKED = (
    select(deliveries.c.state, deliveries.c.reason)
    .where(deliveries.c.id == bindparam("delivery"))
    .with_for_update()
)


def _closed(tx: Transaction, invitation: AnyRow) -> str | None:
    """Why it is too late to answer; None while the mail waits."""
    waiting = tx.row(_LOCKED, {"delivery": invitation.delivery_id})
    assert waiting is not None
    if invitation.used_by is not None:
        return "you have answered it already: a notice is answered once"
    if invitation.expires_at <= tx.now:
        return f"its time ended on {_day(invitation.expires_at)}"
    if waiting.state not in _OPEN:
        return f"the mail waits no longer: it is {waiting.state} ({waiting.reason})"
    return None


def _unclear(content: Content) -> str | None:
    """Why we cannot tell what the person wants sent; None when we can."""
    words = content.written.strip()
    if not words:
        return "there is no text above the quoted notice"
    quoted = any(line.lstrip().startswith(">") for line in words.splitlines())
    if quoted or people.ABOVE_THIS in words or not _flat(content.text).startswith(_flat(words)):
        # What is below may hold the notice, which is not for the customer.
        return "your words and the quoted notice cannot be told apart: write above the quote"
    if _too_large(content):
        return f"the files have more than {_MOST_BYTES:,} octets"
    return None


def _refused(
    tx: Transaction, services: Services, mail: Mail, invitation: AnyRow, problem: str
) -> Taken:
    text = (
        f"Your answer was not sent: {problem}.\n\n"
        f"It was to {invitation.delivery_id}. You can still look at it and answer it here:\n"
        f"  {services.settings.ui_url}/deliveries/{invitation.delivery_id}\n"
        f"  mailagent reply {invitation.delivery_id}\n"
    )
    subject = f"Not sent: {mail.content.subject or '(no subject)'}"
    told = people.tell(
        tx, services.settings, _author(mail), subject, text, delivery_id=mail.delivery_id
    )
    reason = f"not sent: {problem} ({_author(mail)} was {'' if told else 'not '}told)"
    note(tx, "answer", "refused", reason, delivery_id=invitation.delivery_id)
    return Taken(DeliveryState.RECORDED, reason)


def _sent_along(content: Content) -> Sequence[Attachment]:
    return [one for one in content.attachments if one.content_type not in _SIGNATURES]


def _too_large(content: Content) -> bool:
    return sum(one.size_bytes for one in _sent_along(content)) > _MOST_BYTES


def _flat(text: str) -> str:
    return " ".join(text.split())


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
