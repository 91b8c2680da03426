"""What was the agent given, that a draft of its may be compared with?

Only what the draft makes worth looking for is loaded: most answers have no link, file or sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from sqlalchemy import bindparam, select

from mailagent.agents.outbound_guard import Finding, Given, addresses_in, inspect, secrets_in
from mailagent.flow.directory import Place
from mailagent.flow.services import Services
from mailagent.flow.standing import listed
from mailagent.outgoing import Outgoing
from mailagent.store.tables import (
    api_keys,
    attachments,
    deliveries,
    documents,
    messages,
    outbound_mails,
    participants,
)
from mailagent.store.transaction import Transaction
from mailagent.tokens import hash_secret

__all__ = ["findings"]


def findings(
    tx: Transaction,
    services: Services,
    draft: Outgoing,
    thread_id: str,
    *,
    sources: Sequence[str],
    amount: Decimal | None,
) -> tuple[Finding, ...]:
    """What a draft has that its thread, and the documents it rests on, have not."""
    given = Given(
        addresses=_may_be_written_to(tx, draft, thread_id),
        own_keys=_own_keys(tx, draft),
        foreign=_foreign(tx, services, draft),
    )
    given = replace(given, foreign=given.foreign - given.addresses)
    found = inspect(draft, given, amount=amount)
    if not given.foreign and not {"link", "attachment", "amount"} & {one.action for one in found}:
        return found
    texts = tuple(_texts(tx, thread_id, sources))
    told = "\n".join(texts).lower()
    given = replace(
        given,
        texts=texts,
        files=_files(tx, thread_id),
        foreign=frozenset(one for one in given.foreign if one not in told),
    )
    return inspect(draft, given, amount=amount)


_PROVEN = select(participants.c.address).where(
    participants.c.thread_id == bindparam("thread"), participants.c.authenticated
)


def foresee(tx: Transaction, thread_id: str) -> None:
    """Foresee what `findings` asks first."""
    tx.foresee(_PROVEN, {"thread": thread_id})


def _may_be_written_to(tx: Transaction, draft: Outgoing, thread_id: str) -> frozenset[str]:
    known = {row.address.lower() for row in tx.rows(_PROVEN, {"thread": thread_id})}
    for one in (*draft.to, *draft.cc, *draft.bcc):
        if one.address.lower() not in known:
            entry = listed(tx, one.address, "send", draft.from_.address)
            if entry is not None and entry.verdict == "allow":
                known.add(one.address.lower())
    return frozenset(known)


def _own_keys(tx: Transaction, draft: Outgoing) -> frozenset[str]:
    hashes = {hash_secret(one): one for one in secrets_in(draft)}
    if not hashes:
        return frozenset()
    rows = tx.rows(select(api_keys.c.secret_hash).where(api_keys.c.secret_hash.in_(list(hashes))))
    return frozenset(hashes[row.secret_hash] for row in rows)


def _foreign(tx: Transaction, services: Services, draft: Outgoing) -> frozenset[str]:
    found = set()
    for address in addresses_in(draft):
        place = services.directory.locate(address)
        if (
            isinstance(place, Place)
            and place.kind == "agent"
            and place.workspace_id != tx.workspace_id
        ):
            found.add(address)
    return frozenset(found)


_CAME = (
    select(messages.c.content)
    .join(deliveries, deliveries.c.id == messages.c.delivery_id)
    .where(
        messages.c.thread_id == bindparam("thread"),
        deliveries.c.state.not_in(["quarantined", "rejected"]),
    )
)
_WENT = select(outbound_mails.c.outgoing).where(
    outbound_mails.c.thread_id == bindparam("thread"),
    outbound_mails.c.purpose.in_(["reply", "person", "new"]),
)


def _texts(tx: Transaction, thread_id: str, sources: Sequence[str]) -> Iterator[str]:
    for row in tx.rows(_CAME, {"thread": thread_id}):
        yield row.content["text"]
        yield row.content["html"] or ""
    for row in tx.rows(_WENT, {"thread": thread_id}):
        yield row.outgoing["text"]
        yield row.outgoing["html"] or ""
    if sources:
        named = select(documents.c.text).where(documents.c.name.in_(list(sources)))
        for row in tx.rows(named):
            yield row.text


_FILES = (
    select(attachments.c.sha256)
    .join(messages, messages.c.id == attachments.c.owner_id)
    .where(messages.c.thread_id == bindparam("thread"))
)


def _files(tx: Transaction, thread_id: str) -> frozenset[str]:
    return frozenset(row.sha256 for row in tx.rows(_FILES, {"thread": thread_id}))
