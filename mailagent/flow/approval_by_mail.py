"""How does a person decide what waits for their yes, by replying to the notice of it?

The first line says `approve` or `reject …`. It counts only with a token that was made for that
approval and that person, from a mail that is proven to be theirs and that no machine wrote: DMARC
proves a domain, the token proves who read the notice. Such a mail reaches no agent, and nothing of
it is sent to anybody.
"""

from __future__ import annotations

import re

from sqlalchemy import bindparam, select, update

from mailagent.errors import Conflict, Malformed, NotFound
from mailagent.flow import approval_rows, approvals, people
from mailagent.flow.answer_by_mail import Taken
from mailagent.flow.approval_notices import DECISION_TAG
from mailagent.flow.decide import proven
from mailagent.flow.directory import normalised
from mailagent.flow.ledger import note
from mailagent.flow.services import Services
from mailagent.flow.states import DeliveryState
from mailagent.mail import Kind, Mail
from mailagent.store.tables import approval_invitations
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import key_of_answer

__all__ = ["is_decision", "take"]

_APPROVE = re.compile(r"approve[.!]?", re.I)
_REJECT = re.compile(r"reject(?:$|[\s:,.!–-]+(.*))", re.I)


def is_decision(recipient: str) -> bool:
    """Whether the address is the Reply-To of a question, its token good or not."""
    local, mark, _ = normalised(recipient)[0].partition(DECISION_TAG)
    return bool(mark) and local == people.ANSWERING


def take(tx: Transaction, services: Services, mail: Mail) -> Taken:
    """Do what this mail decides, or say why it decides nothing; in the transaction of reading."""
    invitation = _invitation(tx, services, mail)
    if invitation is None:
        return Taken(DeliveryState.RECORDED, "a decision with a token that is none of ours")
    if mail.kind is not Kind.PERSON:
        return Taken(DeliveryState.RECORDED, f"no decision, {mail.kind} mail: {mail.why_kind}")
    evidence, approval_id = proven(mail), invitation.approval_id
    if evidence is None or mail.content.from_[0].address.lower() != invitation.person:
        reason = f"nothing decided: nothing proves that {invitation.person} wrote it"
        note(tx, "approve", "a decision by mail was refused", reason,
             delivery_id=approval_rows.get(tx, approval_id).delivery_id)  # fmt: skip
        return Taken(DeliveryState.QUARANTINED, reason)
    if invitation.used_by is not None:
        return _refused(tx, services, mail, invitation, "you have decided already, by this address")
    first = next((one.strip() for one in mail.content.written.splitlines() if one.strip()), "")
    actor = f"person:{invitation.person}"
    how = f"by mail {mail.delivery_id} ({evidence})"
    try:
        if _APPROVE.fullmatch(first):
            approvals.approve(
                tx, services, approval_id, actor=actor, digest=invitation.digest, how=how
            )
        elif (no := _REJECT.fullmatch(first)) is not None:
            said = (no.group(1) or "").strip()
            approvals.reject(tx, approval_id, actor=actor, reason=said, how=how)
        else:
            problem = "its first line is neither approve nor reject"
            return _refused(tx, services, mail, invitation, problem)
    except (Conflict, Malformed, NotFound) as error:
        return _refused(tx, services, mail, invitation, str(error))
    tx.execute(_USED, {"invitation": invitation.id, "used_by": mail.delivery_id})
    decided = approval_rows.get(tx, approval_id).state
    return Taken(DeliveryState.RECORDED, f"{invitation.person} has {decided} {approval_id}")


_INVITATION = select(approval_invitations).where(
    approval_invitations.c.reply_key == bindparam("key")
)
_USED = update(approval_invitations).where(approval_invitations.c.id == bindparam("invitation"))


def _invitation(tx: Transaction, services: Services, mail: Mail) -> AnyRow | None:
    token = normalised(mail.recipient)[0].partition(DECISION_TAG)[2]
    row = tx.row(_INVITATION, {"key": key_of_answer(token)})
    if row is None or not services.secrets.read_approval_token(token, row.approval_id, row.person):
        return None
    return row


def _refused(
    tx: Transaction, services: Services, mail: Mail, invitation: AnyRow, problem: str
) -> Taken:
    approval_id = invitation.approval_id
    text = (
        f"Nothing was decided: {problem}.\n\nLook at it, and decide it, here:\n"
        f"  {services.settings.ui_url}/approvals/{approval_id}\n"
        f"  mailagent approvals show {approval_id}\n"
    )
    subject = f"Not decided: {mail.content.subject or '(no subject)'}"
    told = people.tell(
        tx, services.settings, invitation.person, subject, text, delivery_id=mail.delivery_id
    )
    reason = f"nothing decided: {problem} ({invitation.person} was {'' if told else 'not '}told)"
    return Taken(DeliveryState.RECORDED, reason)
