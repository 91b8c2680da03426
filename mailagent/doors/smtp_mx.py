"""What does the door of an MX do with a recipient and with a mail?

It speaks to `Directory` at RCPT and to `Acceptor` after the final dot; the dot is answered only
when the acceptor has answered, and with what it said.
"""

from __future__ import annotations

import asyncio

import structlog
import uuid_utils

from mailagent.doors import smtp_replies as replies
from mailagent.doors.smtp_blocklists import is_role
from mailagent.doors.smtp_dialogue import SmtpDialogue, SmtpTransaction
from mailagent.doors.smtp_replies import Reply
from mailagent.doors.smtp_service import MxService
from mailagent.inbound import (
    Accepted,
    Duplicate,
    Envelope,
    Inbound,
    Known,
    Later,
    Origin,
    Replayed,
    Unrouted,
)

__all__ = ["MxDialogue"]

_log = structlog.get_logger(__name__)


class MxDialogue(SmtpDialogue):
    """A stranger's connection."""

    def __init__(self, service: MxService, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(service, loop)
        self._behind = service

    async def _refusal(self, address: str) -> Reply | None:
        if address.endswith("]"):
            return replies.NOT_OURS  # an address literal: no domain, so none of ours
        if self._listing is not None and not is_role(address):
            listed = await self._listing
            if listed is not None:
                return listed
        known = await self._behind.directory.knows(address)
        return None if known is Known.YES else replies.REFUSALS[known]

    async def _keep(self, transaction: SmtpTransaction, raw: bytes) -> None:
        self._reset_timeout(self._service.limits.answer_timeout.total_seconds())
        inbound = Inbound(
            envelope=Envelope(transaction.mail_from, tuple(transaction.recipients.values())),
            raw=raw,
            source="smtp",
            source_id=str(uuid_utils.uuid7()),
            origin=Origin(
                received_at=self._service.now(),
                client_ip=self._client_ip,
                helo=self._helo,
                tls=self._tls,
                parameters=transaction.parameters,
                recipient_parameters=transaction.recipient_parameters,
            ),
        )
        (outcome,) = await self._behind.acceptor.accept((inbound,))
        match outcome:
            case Accepted() | Duplicate():
                self._kept(inbound.source_id)
            case Unrouted() | Replayed():  # SMTP has no tokens that could be replayed
                self._say(replies.NO_SUCH_ADDRESS)
            case Later(reason):
                # The class alone: a database's own words may quote the row that it refused.
                kind = reason.partition(":")[0]
                _log.warning("smtp_mail_not_kept", source_id=inbound.source_id, reason=kind)
                self._say(replies.NOT_KEPT)
