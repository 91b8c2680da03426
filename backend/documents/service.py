"""Which documents do a workspace's agents answer from?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select

from backend.naming import checked_name, checked_text
from backend.paging import Page, Window, page
from mailagent.errors import Malformed, NotFound
from mailagent.store import documents as kept
from mailagent.store.tables import documents
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["MOST_BYTES", "Document", "add", "get", "list_documents", "remove"]

MOST_BYTES = 1024 * 1024
"""Of text in UTF-8; what is longer finds its passages better as several documents."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document; `text` is Markdown or plain."""

    id: str
    name: str
    size_bytes: int
    sha256: str
    created_at: datetime
    text: str


def add(tx: Transaction, name: str, text: str) -> Document:
    """Keep a document, in place of one of the same name. Raises Malformed."""
    checked_text("text", text, at_most=MOST_BYTES)
    size = len(text.encode())
    if size > MOST_BYTES:
        raise Malformed("text", f"has {size:,} bytes, {MOST_BYTES:,} are the most: split it")
    if not text.strip():
        raise Malformed("text", "is empty")
    return get(tx, kept.add(tx, checked_name("name", name), text))


def get(tx: Transaction, reference: str) -> Document:
    """The document of an id or name, with its text. Raises NotFound."""
    row = tx.row(
        select(documents).where(or_(documents.c.id == reference, documents.c.name == reference))
    )
    if row is None:
        raise NotFound(f"the workspace has no document {reference[:200]!r}")
    return _made(row)


def list_documents(tx: Transaction, window: Window) -> Page[Document]:
    """The workspace's documents by age."""
    return page(tx, select(documents), window, by=documents.c.id).map(_made)


def remove(tx: Transaction, reference: str) -> None:
    """Remove the document of an id or name and what is found by it. Raises NotFound."""
    kept.remove(tx, get(tx, reference).id)


def _made(row: AnyRow) -> Document:
    size = len(row.text.encode())
    return Document(row.id, row.name, size, row.sha256, row.created_at, row.text)
