"""How do values become rows and come back?

Values cross as JSON; what comes back is validated, because a row may have been written by an older
version and a sandboxed worker's answer is foreign input.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import bindparam, select

from mailagent.flow.states import DeliveryState
from mailagent.inbound import Origin
from mailagent.mail import Authentication, Content, Kind, Mail
from mailagent.outgoing import Outgoing
from mailagent.reading import Reading
from mailagent.store.tables import deliveries, messages
from mailagent.store.transaction import AnyRow, Transaction

__all__ = [
    "AUTHENTICATION",
    "CONTENT",
    "ORIGIN",
    "READING",
    "form_of",
    "load_mails",
    "outgoing_from_json",
    "outgoing_to_json",
    "to_json",
    "waiting_mails",
]

READING = TypeAdapter(Reading)
CONTENT = TypeAdapter(Content)
AUTHENTICATION = TypeAdapter(Authentication)
ORIGIN = TypeAdapter(Origin)
_OUTGOING = TypeAdapter(Outgoing)


def form_of(origin: Origin) -> dict[str, Any]:
    """The arguments of `mailagent.reading` that tell how a mail came which is no MIME yet."""
    if origin.body_format != "parsed":
        return {}
    return {"parsed_by": origin.parsed_by, "body_type": origin.body_type}


def to_json(value: Any) -> dict[str, Any]:
    """A frozen value as JSON-able fields; octets stay octets."""
    return {one.name: _jsonable(getattr(value, one.name)) for one in dataclasses.fields(value)}


def _jsonable(value: Any) -> Any:
    # `dataclasses.asdict` copies every leaf: these are frozen, and read in each step of a mail.
    match value:
        case str() | None | int() | float() | bytes():
            return value
        case tuple() | list():
            return [_jsonable(one) for one in value]
        case datetime():
            return value.isoformat()
        case _ if dataclasses.is_dataclass(value):
            return to_json(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def outgoing_to_json(outgoing: Outgoing) -> dict[str, Any]:
    """An `Outgoing` whole, octets as base64."""
    fields = to_json(outgoing)
    if outgoing.raw is not None:
        fields["raw"] = base64.b64encode(outgoing.raw).decode()
    for attachment in fields["attachments"]:
        attachment["content"] = base64.b64encode(attachment["content"]).decode()
    return fields


def outgoing_from_json(fields: dict[str, Any]) -> Outgoing:
    """The inverse of `outgoing_to_json`."""
    attachments = [
        {**one, "content": base64.b64decode(one["content"])} for one in fields["attachments"]
    ]
    raw = fields.get("raw")
    octets = {"attachments": attachments, "raw": base64.b64decode(raw) if raw else None}
    return _OUTGOING.validate_python({**fields, **octets})


_READ_MAILS = (
    select(messages, deliveries.c.mail_from, deliveries.c.received_at)
    .join(deliveries, deliveries.c.id == messages.c.delivery_id)
    .order_by(deliveries.c.received_at, deliveries.c.id)
)
_THESE = _READ_MAILS.where(messages.c.delivery_id.in_(bindparam("delivery_ids", expanding=True)))
_WAITING = _READ_MAILS.where(
    deliveries.c.thread_id == bindparam("thread"), deliveries.c.state == DeliveryState.ROUTED
)


def load_mails(tx: Transaction, delivery_ids: Sequence[str]) -> list[Mail]:
    """The read mails of these deliveries, oldest first; an unread one is left out."""
    return [_mail(row) for row in tx.rows(_THESE, {"delivery_ids": list(delivery_ids)})]


def foresee_waiting(tx: Transaction, thread_id: str) -> None:
    """Foresee what `waiting_mails` asks."""
    tx.foresee(_WAITING, {"thread": thread_id})


def waiting_mails(tx: Transaction, thread_id: str) -> list[Mail]:
    """The mails of a thread that wait for a turn, oldest first."""
    return [_mail(row) for row in tx.rows(_WAITING, {"thread": thread_id})]


def _mail(row: AnyRow) -> Mail:
    return Mail(
        delivery_id=row.delivery_id,
        workspace_id=row.workspace_id,
        recipient=row.recipient,
        mail_from=row.mail_from,
        received_at=row.received_at,
        content=CONTENT.validate_python(row.content),
        authentication=AUTHENTICATION.validate_python(row.authentication),
        kind=Kind(row.kind),
        why_kind=row.why_kind,
    )
