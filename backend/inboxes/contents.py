"""What is inside one delivery: the mail as it was read, its octets, its files, its conversation?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from backend.inboxes.evidence import in_words
from backend.inboxes.listing import Item, one
from mailagent.errors import Malformed, NotFound, PermanentFailure, SandboxFailure
from mailagent.flow import Services, octets, removal
from mailagent.flow import threads as conversations
from mailagent.flow.values import AUTHENTICATION, CONTENT, ORIGIN, form_of, to_json
from mailagent.inbound import Origin
from mailagent.mail import Attachment, Authentication, Content, Thread
from mailagent.store.tables import attachments, deliveries, messages, raw_messages, threads
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "Detail",
    "Download",
    "Raw",
    "ThreadView",
    "attachment",
    "authentication_fields",
    "detail",
    "raw",
    "thread",
]

_NOT_IN_A_FILENAME = re.compile(r'[^\w.()+@ -]|["\\]')


@dataclass(frozen=True, slots=True)
class Detail:
    """One delivery whole. `content` and `authentication` are None while it was not read."""

    item: Item
    mail_from: str | None
    source: str
    source_id: str
    origin: dict[str, Any]
    size_bytes: int
    sha256: str
    why_kind: str | None
    content: Content | None
    authentication: Authentication | None
    authentication_sentence: str | None


@dataclass(frozen=True, slots=True)
class Raw:
    """The octets as they were received."""

    content: bytes
    filename: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a mail. The name is safe inside a quoted header parameter, the type is the
    sender's claim.
    """

    content: bytes
    filename: str
    content_type: str


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A conversation of one agent, oldest entry first."""

    thread: Thread
    agent_id: str
    related_thread_id: str | None
    created_at: datetime
    last_at: datetime
    delivery_ids: tuple[str, ...]


def detail(tx: Transaction, delivery_id: str) -> Detail:
    """One delivery with all that was read of it. Raises NotFound."""
    item = one(tx, delivery_id)
    row = tx.row(
        select(deliveries, raw_messages.c.size_bytes, raw_messages.c.sha256)
        .join(raw_messages, raw_messages.c.id == deliveries.c.raw_id)
        .where(deliveries.c.id == delivery_id)
    )
    assert row is not None
    message = tx.row(select(messages).where(messages.c.delivery_id == delivery_id))
    evidence = AUTHENTICATION.validate_python(message.authentication) if message else None
    return Detail(
        item=item,
        mail_from=row.mail_from,
        source=row.source,
        source_id=row.source_id,
        origin=row.origin,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        why_kind=message.why_kind if message else None,
        content=CONTENT.validate_python(message.content) if message else None,
        authentication=evidence,
        authentication_sentence=in_words(evidence) if evidence else None,
    )


def authentication_fields(evidence: Authentication) -> dict[str, Any]:
    """The verdicts as JSON, beside the sentence of `in_words`."""
    return to_json(evidence)


async def raw(services: Services, workspace_id: str, delivery_id: str) -> Raw:
    """The octets of a delivery. Raises NotFound, also when they are no longer kept;
    TransientFailure when the storage cannot be read that they have moved to.
    """
    row = await services.store.read(workspace_id, _raw_row, delivery_id)
    try:
        content = await octets.whole(services.raw_store, row)
    except PermanentFailure as error:
        raise NotFound(f"the octets of delivery {delivery_id}: {error.reason}") from error
    if content is None:
        gone = _because(removal.in_words(row))
        raise NotFound(f"the octets of delivery {delivery_id} are not here{gone}")
    origin = ORIGIN.validate_python(row.origin)
    # What is no MIME should not open as a mail.
    suffix = "eml" if origin.body_format == "raw" else "request"
    return Raw(content, f"{delivery_id}.{suffix}", origin)


def _raw_row(tx: Transaction, delivery_id: str) -> AnyRow:
    row = tx.row(
        select(*octets.COLUMNS, deliveries.c.origin, *removal.COLUMNS)
        .join(deliveries, deliveries.c.raw_id == raw_messages.c.id)
        .where(deliveries.c.id == delivery_id)
    )
    if row is None:
        raise NotFound(f"the octets of delivery {delivery_id} are not here")
    return row


def _because(gone: str | None) -> str:
    return f": they were {gone}" if gone else ""


async def attachment(
    services: Services, workspace_id: str, delivery_id: str, part: str
) -> Download:
    """One file of a delivery, decoded in the sandbox. Raises as `raw` does; Malformed when the
    mail's own structure keeps it from being read.
    """
    known = await services.store.read(workspace_id, _attachment, delivery_id, part)
    found = await raw(services, workspace_id, delivery_id)
    try:
        arguments = {"part": part, **form_of(found.origin)}
        job = "mailagent.reading:attachment"
        content = await services.sandbox.run(job, found.content, arguments)
    except SandboxFailure as error:
        raise Malformed("part", f"cannot be read: {error.cause}; download the raw mail") from error
    return Download(content, known.filename, known.content_type)


def _attachment(tx: Transaction, delivery_id: str, part: str) -> Attachment:
    row = tx.row(
        select(attachments)
        .join(messages, messages.c.id == attachments.c.owner_id)
        .where(messages.c.delivery_id == delivery_id, attachments.c.part == part)
    )
    if row is None:
        gone = one(tx, delivery_id).content_removed
        raise NotFound(f"delivery {delivery_id} has no attachment {part}{_because(gone)}")
    name = _NOT_IN_A_FILENAME.sub("_", row.filename).strip(". ")[:150] or "attachment"
    return Attachment(part, name, row.content_type, row.size_bytes, row.sha256)


def thread(tx: Transaction, thread_id: str) -> ThreadView:
    """A conversation and the deliveries in it. Raises NotFound."""
    row = tx.row(select(threads).where(threads.c.id == thread_id))
    if row is None:
        raise NotFound(f"there is no thread {thread_id}")
    ids: Sequence[Any] = tx.rows(
        select(deliveries.c.id)
        .where(deliveries.c.thread_id == thread_id)
        .order_by(deliveries.c.received_at, deliveries.c.id)
    )
    return ThreadView(
        thread=conversations.history(tx, thread_id, row.subject, without=()),
        agent_id=row.agent_id,
        related_thread_id=row.related_thread_id,
        created_at=row.created_at,
        last_at=row.last_at,
        delivery_ids=tuple(one.id for one in ids),
    )
