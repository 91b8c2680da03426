"""Whom does a mail name, where the provider delivers to everybody whom it names?

SendGrid and Postmark know no envelope: To, Cc and Bcc are the recipients. A hand-over to some of a
mail's recipients can therefore name only these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import idna

from mailagent.errors import PermanentFailure
from mailagent.mail import Address
from mailagent.outgoing import Outgoing, Recipient

__all__ = ["Addressing", "addressing", "in_ascii"]


@dataclass(frozen=True, slots=True)
class Addressing:
    """The mailboxes of one hand-over, each once."""

    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    unnamed: tuple[str, ...]
    """Named by the mail and not written to now: those who get it do not see them."""

    @property
    def remark(self) -> str:
        """For the ledger: what the recipients do not see; "" when they see everything."""
        return f" (shown without {', '.join(self.unnamed)})" if self.unnamed else ""


def addressing(outgoing: Outgoing, recipients: Sequence[Recipient], provider: str) -> Addressing:
    """Divide the recipients of one hand-over as the mail names them; who is not named is hidden.

    Raises PermanentFailure for an address that the provider cannot carry.
    """
    open_ = {one.address.lower(): one.address for one in recipients}
    unnamed: list[str] = []

    def taken(mailboxes: Sequence[Address], *, visible: bool) -> tuple[Address, ...]:
        found = []
        for mailbox in mailboxes:
            if open_.pop(mailbox.address.lower(), None) is not None:
                found.append(in_ascii(mailbox, provider))
            elif visible:
                unnamed.append(mailbox.address)
        return tuple(found)

    to, cc = taken(outgoing.to, visible=True), taken(outgoing.cc, visible=True)
    bcc = taken(outgoing.bcc, visible=False)
    bcc += tuple(in_ascii(Address(address), provider) for address in open_.values())
    named = {one.address.lower() for one in (*to, *cc)}
    return Addressing(to, cc, bcc, tuple(one for one in unnamed if one.lower() not in named))


def in_ascii(mailbox: Address, provider: str) -> Address:
    """The mailbox with its domain in A-labels (RFC 5890). Raises PermanentFailure."""
    local, _, domain = mailbox.address.rpartition("@")
    if not local.isascii():
        raise PermanentFailure(
            f"{provider} carries no address with letters outside ASCII before the @: "
            f"{mailbox.address!a}",
            code="5.6.7",
            about="message",
        )
    if domain.isascii():
        return mailbox
    try:
        return Address(f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}", mailbox.name)
    except idna.IDNAError as error:
        raise PermanentFailure(f"{domain!a} is no domain", code="5.1.2", about="message") from error
