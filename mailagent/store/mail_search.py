"""Which mails of an agent's inbox hold these words?

Subject, sender and what the writer wrote become a set of words, cut here and not by the database,
so that both find the same: FTS5 on SQLite, `tsvector` on PostgreSQL. Runs of letters that are
written without spaces are kept as their overlapping pairs. The agent's id is a word of each of its
mails, so that a search costs what its own inbox costs, however many others there are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from sqlalchemy import text

from mailagent.errors import Malformed
from mailagent.store.tables import message_words
from mailagent.store.transaction import AnyRow, Transaction

__all__ = ["add", "matching", "words_of"]

_MOST_CHARACTERS = 50_000
_MOST_WORDS = 4_000
_MOST_ASKED = 20
_WORD = re.compile(r"[^\W_]+")
_ASKED = re.compile(r"([^\W_]+)(\*?)")
_LONGEST = 40
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")


def add(tx: Transaction, message_ref: str, agent_id: str, *texts: str) -> None:
    """Let a message of an agent be found by the words of `texts`; its own removal ends that."""
    row = {
        "agent_id": agent_id,
        "message_ref": message_ref,
        "words": f"{agent_id} {words_of(*texts)}",
    }
    tx.insert_at_end(message_words, row)


def words_of(*texts: str) -> str:
    """The different words of some texts, folded, with a space between: at most 4,000 of them."""
    found: dict[str, None] = {}
    for one in texts:
        for word in _WORD.findall(_folded(one[:_MOST_CHARACTERS])):
            if word.isascii():
                found[word[:_LONGEST]] = None
            else:
                found.update(dict.fromkeys(_pieces(word)))
        if len(found) > _MOST_WORDS:
            break
    return " ".join(list(found)[:_MOST_WORDS])


def matching(
    tx: Transaction, agent_id: str, query: str, *, limit: int, before: int | None = None
) -> Sequence[AnyRow]:
    """(id, message_ref) of the agent's mails that hold every word of `query`, last read first.

    `word*` stands for every word that begins so. `before` is the id that the last page ended with.
    Raises Malformed for a query without a word.
    """
    words = list(_asked(query))
    if not words:
        raise Malformed("search", "holds no word: write at least one")
    if tx.on_sqlite:
        # The rarest come from the person; the agent's own word is in each of its mails.
        terms = " ".join(f'"{word}"{star}' for word, star in (*words, (agent_id, "")))
    else:
        terms = " & ".join(f"'{word}'{':*' if star else ''}" for word, star in words)
    given = {"agent": agent_id, "terms": terms, "before": before or _NEWEST, "most": limit}
    return tx.rows(_SQLITE if tx.on_sqlite else _POSTGRESQL, given)


_NEWEST = 2**31 - 1
"""Above every id: a column `Integer` holds no more on PostgreSQL."""

_SQLITE = text("""
SELECT w.id, w.message_ref FROM message_words_index f JOIN message_words w ON w.id = f.rowid
WHERE message_words_index MATCH :terms AND f.rowid < :before
  AND w.agent_id = :agent AND w.workspace_id = :workspace_id
ORDER BY f.rowid DESC LIMIT :most
""")
_POSTGRESQL = text("""
SELECT w.id, w.message_ref FROM message_words w
WHERE w.words @@ CAST(:terms AS tsquery) AND w.id < :before
  AND w.agent_id = :agent AND w.workspace_id = :workspace_id
ORDER BY w.id DESC LIMIT :most
""")
"""A word of most mails is found among the newest, a rare one by its index: so the server is to plan
it for the word that is given, which it does because nobody prepares a text statement.
"""


def _asked(query: str) -> Iterator[tuple[str, str]]:
    """Each word of a query with its `*`, if it has one."""
    for word, star in _ASKED.findall(_folded(query))[:_MOST_ASKED]:
        if word.isascii():
            yield word[:_LONGEST], star
        else:
            yield from ((piece, star) for piece in _pieces(word))


def _folded(some: str) -> str:
    """Without case and accents: who looks for `resume` finds `Résumé`."""
    if some.isascii():
        return some.lower()
    parts = unicodedata.normalize("NFKD", some.casefold())
    bare = "".join(one for one in parts if not unicodedata.combining(one))
    return unicodedata.normalize("NFC", bare)


def _pieces(word: str) -> Iterator[str]:
    end = 0
    for run in _UNSPACED.finditer(word):
        if run.start() > end:
            yield word[end : run.start()][:_LONGEST]
        end = run.end()
        letters = run[0]
        yield from (letters[i : i + 2] for i in range(max(len(letters) - 1, 1)))
    if end < len(word):
        yield word[end:][:_LONGEST]
