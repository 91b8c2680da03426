"""Sends a mail of the agent's own, in a thread of its own."""

from __future__ import annotations

from dataclasses import replace

from mailagent.agents.tools import ToolResult
from mailagent.flow import outbox
from mailagent.flow import reply as replying
from mailagent.flow.services import Services
from mailagent.flow.tools.case import Case, Wish
from mailagent.mail import Address
from mailagent.outgoing import Outgoing, OutgoingAttachment
from mailagent.store.tables import threads
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id, new_reply_key

__all__ = ["open_thread", "post", "send_mail"]


def send_mail(tx: Transaction, services: Services, case: Case, wish: Wish) -> ToolResult:
    """A new mail. Raises Malformed when it cannot be sent as it is."""
    thread_id = open_thread(tx, case, wish["subject"])
    post(
        tx,
        services,
        case,
        thread_id,
        to=tuple(map(Address, dict.fromkeys(wish["to"]))),
        subject=wish["subject"],
        text=wish["text"],
    )
    return ToolResult(f"The mail to {', '.join(wish['to'])} is on its way.")


def open_thread(tx: Transaction, case: Case, subject: str) -> str:
    """A thread beside the case's, for mail that its writer must not see."""
    thread_id = new_id("thr")
    tx.insert(
        threads,
        {
            "id": thread_id,
            "agent_id": case.agent_id,
            "subject": subject,
            "reply_key": new_reply_key(),
            "related_thread_id": case.thread_id,
            "created_at": tx.now,
            "last_at": tx.now,
            "ready": False,
            "not_before": tx.now,
        },
    )
    return thread_id


def post(
    tx: Transaction,
    services: Services,
    case: Case,
    thread_id: str,
    *,
    to: tuple[Address, ...],
    subject: str,
    text: str,
    attachments: tuple[OutgoingAttachment, ...] = (),
) -> str:
    """Queue a mail that the agent sends by a tool; returns its id. Raises Malformed."""
    sender = replying.sender_of(tx, case.agent_id, written_to=case.mail.recipient)
    made: Outgoing = replace(
        replying.new_mail(
            tx,
            services,
            sender,
            thread_id,
            to=to,
            subject=subject,
            text=text,
            attachments=attachments,
            headers=((replying.HOP_HEADER, services.settings.hostname),),
        ),
        auto_submitted="auto-generated",
    )
    envelope = outbox.Envelope("tool", f"agent:{case.handle}", case.agent_id, thread_id)
    return outbox.queue(tx, made, envelope, expiry=services.settings.send_expiry)
