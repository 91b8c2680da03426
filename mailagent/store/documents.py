"""What do the workspace's documents say about something?

Full-text search behind one function: FTS5 on SQLite, `tsvector` on PostgreSQL. Every word of the
query is quoted, so that nothing a stranger writes is an operator. Languages that write without
spaces are found by trigrams.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ARRAY,
    String,
    any_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)

from mailagent.store.tables import documents, passages
from mailagent.store.transaction import AnyRow, Transaction
from mailagent.tokens import new_id

__all__ = ["Hit", "add", "passages_of", "remove", "search"]

_MOST_WORDS = 40
_PASSAGE_CHARACTERS = 1_200
_WITHOUT_SPACES = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]{3,}")
_WORD = re.compile(r"[^\W_]{2,40}")
# Words that stand in every mail and every document tell nothing about what is asked.
_STOP = frozenset(
    [
        "the",
        "and",
        "for",
        "you",
        "your",
        "are",
        "can",
        "how",
        "what",
        "when",
        "where",
        "who",
        "why",
        "with",
        "that",
        "this",
        "have",
        "has",
        "from",
        "not",
        "was",
        "will",
        "our",
        "please",
        "hello",
        "thanks",
        "thank",
        "dear",
        "regards",
        "best",
        "there",
        "they",
        "them",
        "then",
        "than",
        "into",
        "about",
        "any",
        "all",
        "out",
        "but",
        "his",
        "her",
        "its",
        "been",
        "were",
        "would",
        "could",
        "should",
        "does",
        "did",
        "just",
        "like",
        "get",
        "got",
        "one",
        "der",
        "die",
        "das",
        "und",
        "ist",
        "wie",
        "was",
        "wir",
        "ihr",
        "sie",
        "bitte",
        "danke",
        "hallo",
        "mit",
        "auf",
        "ein",
        "eine",
        "nicht",
        "für",
        "les",
        "des",
        "une",
        "est",
        "que",
        "qui",
        "pour",
        "dans",
        "sur",
        "avec",
        "vous",
        "nous",
        "merci",
        "bonjour",
        "pas",
    ]
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage that fits; a higher score fits better, from 0 to 1: the share of words found."""

    document_id: str
    name: str
    text: str
    score: float


def passages_of(content: str) -> list[str]:
    """A document cut at its paragraphs into passages of at most 1,200 characters."""
    made: list[str] = []
    for paragraph in re.split(r"\n\s*\n", content):
        for start in range(0, len(paragraph), _PASSAGE_CHARACTERS):
            piece = paragraph[start : start + _PASSAGE_CHARACTERS].strip()
            # A heading belongs to what follows it.
            heads = bool(made) and made[-1].startswith("#") and "\n" not in made[-1]
            if piece and heads and len(made[-1]) + 1 + len(piece) <= _PASSAGE_CHARACTERS:
                made[-1] = f"{made[-1]}\n{piece}"
            elif piece:
                made.append(piece)
    return made


def add(tx: Transaction, name: str, content: str) -> str:
    """Keep a document, or replace the one of that name; returns its id."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    known = tx.row(select(documents).where(documents.c.name == name))
    if known is not None and known.sha256 == digest:
        return str(known.id)
    document_id = known.id if known is not None else new_id("doc")
    if known is None:
        tx.insert(
            documents,
            {
                "id": document_id,
                "name": name,
                "text": content,
                "sha256": digest,
                "created_at": tx.now,
            },
        )
    else:
        tx.execute(
            update(documents)
            .where(documents.c.id == document_id)
            .values(text=content, sha256=digest)
        )
        tx.execute(delete(passages).where(passages.c.document_id == document_id))
    tx.insert(
        passages,
        *(
            {"document_id": document_id, "position": number, "text": piece}
            for number, piece in enumerate(passages_of(content))
        ),
    )
    return str(document_id)


def remove(tx: Transaction, document_id: str) -> bool:
    """Remove a document and its passages; whether it was there."""
    tx.execute(delete(passages).where(passages.c.document_id == document_id))
    return tx.execute(delete(documents).where(documents.c.id == document_id)).rowcount == 1


def search(tx: Transaction, query: str, *, limit: int = 5, last: bool = False) -> Sequence[Hit]:
    """The passages that hold most of the query's telling words, best first. `last` is for who does
    nothing else in this transaction.
    """
    words = _words(query)
    if not words:
        return []
    rows = _on_sqlite(tx, words) if tx.on_sqlite else _on_postgresql(tx, words, last=last)
    hits = [Hit(row.document_id, row.name, row.text, _share(words, row.text)) for row in rows]
    hits.sort(key=lambda hit: -hit.score)
    return hits[:limit]


def _words(query: str) -> list[str]:
    words = [w for w in _WORD.findall(query.casefold()) if w not in _STOP and len(w) > 2]
    for run in _WITHOUT_SPACES.findall(query):
        words += [run[i : i + 3] for i in range(min(len(run) - 2, _MOST_WORDS))]
    plain = [w for w in words if not _WITHOUT_SPACES.search(w) or len(w) == 3]
    return list(dict.fromkeys(plain))[:_MOST_WORDS]


def _share(words: Sequence[str], passage: str) -> float:
    folded = passage.casefold()
    return sum(_stem(word) in folded for word in words) / len(words)


def _stem(word: str) -> str:
    # "refunds" finds "refund": the plural is what most often keeps a question from its answer.
    return word[:-1] if len(word) > 4 and word.endswith("s") else word


_SQLITE = """
SELECT p.document_id, d.name, p.text FROM {index} f
JOIN passages p ON p.id = f.rowid JOIN documents d ON d.id = p.document_id
WHERE {index} MATCH :query AND p.workspace_id = :workspace_id ORDER BY rank LIMIT 30
"""
_BY_WORDS = text(_SQLITE.format(index="passages_words"))
_BY_TRIGRAMS = text(_SQLITE.format(index="passages_trigrams"))
_HELD = func.to_tsvector(literal_column("'simple'"), passages.c.text)
_ASKED_FOR = func.to_tsquery(literal_column("'simple'"), bindparam("query"))
_POSTGRESQL = (
    select(passages.c.document_id, documents.c.name, passages.c.text)
    .join(documents, documents.c.id == passages.c.document_id)
    .where(
        _HELD.bool_op("@@")(_ASKED_FOR)
        | passages.c.text.ilike(any_(bindparam("likes", type_=ARRAY(String))))
    )
    .order_by(func.ts_rank(_HELD, _ASKED_FOR).desc())
    .limit(30)
)


def _on_sqlite(tx: Transaction, words: Sequence[str]) -> list[AnyRow]:
    spaced = [w for w in words if not _WITHOUT_SPACES.search(w)]
    found: list[AnyRow] = []
    if spaced:
        # A prefix match: `refund*` finds `refunds` too. Quoted: no word of a mail is an operator.
        query = " OR ".join(f'"{_stem(word)}"*' for word in spaced)
        found += tx.rows(_BY_WORDS, {"query": query})
    joined = [w for w in words if _WITHOUT_SPACES.search(w)]
    if joined:
        query = " OR ".join(f'"{word}"' for word in joined)
        found += tx.rows(_BY_TRIGRAMS, {"query": query})
    return list(dict.fromkeys(found))


def _on_postgresql(tx: Transaction, words: Sequence[str], *, last: bool) -> list[AnyRow]:
    spaced = [w for w in words if not _WITHOUT_SPACES.search(w)]
    query = " | ".join(f"'{_stem(word)}':*" for word in spaced)
    likes = [f"%{word}%" for word in words if _WITHOUT_SPACES.search(word)]
    return list(tx.rows(_POSTGRESQL, {"query": query, "likes": likes}, last=last))
