"""No statement crosses from one workspace into another, however it is put."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    column,
    delete,
    exists,
    func,
    insert,
    lateral,
    not_,
    or_,
    select,
    table,
    text,
    true,
    union_all,
    update,
)

from mailagent.store.engine import Store
from mailagent.store.scope import Unscoped
from mailagent.store.tables import documents, passages, workspaces
from mailagent.store.transaction import Transaction
from mailagent.tokens import new_id

_AT = datetime(2026, 11, 21, tzinfo=UTC)
other = documents.alias("other")


@pytest.fixture
def store(shared_store: Store) -> Iterator[Store]:
    """Two workspaces, `ours` and `theirs`, with a document and its passage in each."""
    for name in ("ours", "theirs"):
        shared_store.write_now(None, _fill, name)
    yield shared_store
    shared_store.write_now(None, _empty)


def _empty(tx: Transaction) -> None:
    for one in (passages, documents, workspaces):
        tx.execute(delete(one))


def _fill(tx: Transaction, name: str) -> None:
    row = {"id": name, "slug": name, "name": name, "settings": {}, "created_at": _AT}
    tx.insert(workspaces, row)
    tx.of(name).insert(documents, _document(f"doc_{name}", "prices"))
    passage = {"document_id": f"doc_{name}", "position": 0, "text": f"secret of {name}"}
    tx.of(name).insert(passages, passage)


def _document(id_: str, name: str) -> dict[str, Any]:
    return {"id": id_, "name": name, "text": id_, "sha256": "0", "created_at": _AT}


def _found(store: Store, statement: Any) -> list[Any]:
    return store.read_now("ours", lambda tx: [row[0] for row in tx.rows(statement)])


_inner = select(documents.c.id).where(documents.c.workspace_id == "ours").subquery()
_cte = select(documents.c.id).where(documents.c.workspace_id == "ours").cte()
_twin = exists(
    select(other.c.id).where(
        other.c.workspace_id == documents.c.workspace_id, other.c.name == documents.c.name
    )
)
_chain = exists(
    select(other.c.id).where(
        passages.c.workspace_id == other.c.workspace_id,
        other.c.workspace_id == documents.c.workspace_id,
        passages.c.document_id == other.c.id,
    )
)


@pytest.mark.parametrize(
    "statement",
    [
        select(documents.c.id),
        select(other.c.id),
        select(documents.c.id).where(or_(documents.c.id == "doc_theirs", true())),
        select(documents.c.id).join(passages, passages.c.document_id == documents.c.id),
        select(documents.c.id).join(other, other.c.name == documents.c.name),
        select(documents.c.id).where(other.c.name == documents.c.name),
        select(documents.c.id).outerjoin(passages, passages.c.document_id == documents.c.id),
        select(documents.c.id).select_from(documents.join(passages, true())),
        select(_inner.c.id),
        select(_cte.c.id),
        select(documents.c.id).where(documents.c.id.in_(select(_inner.c.id))),
        select(documents.c.id).where(_twin),
        select(documents.c.id).where(_chain),
        text("SELECT id FROM documents WHERE workspace_id = :workspace_id"),
    ],
    ids=str,
)
def test_a_select_finds_only_rows_of_its_workspace(store: Store, statement: Any) -> None:
    assert _found(store, statement) == ["doc_ours"]


def test_a_row_of_another_workspace_joined_by_id_is_not_there(store: Store) -> None:
    stolen = (
        select(passages.c.text)
        .join(documents, documents.c.name == "prices")
        .where(passages.c.document_id == "doc_theirs")
    )
    assert _found(store, stolen) == []


def test_counting_counts_only_rows_of_the_workspace(store: Store) -> None:
    assert _found(store, select(func.count()).select_from(documents)) == [1]


_foreign = select(documents.c.id).where(documents.c.workspace_id == "theirs")
_paired = select(other.c.text).where(other.c.workspace_id == documents.c.workspace_id)


@pytest.mark.parametrize(
    "statement",
    [
        # A nested select that names no workspace, in each place where one may stand.
        select(documents.c.id).where(documents.c.id.in_(select(other.c.id))),
        select(select(other.c.text).limit(1).scalar_subquery()),
        select(select(other.c.id).subquery().c.id),
        select(select(other.c.id).cte().c.id),
        select(lateral(select(other.c.id)).c.id),
        select(documents.c.id).where(exists(select(other.c.id))),
        select(documents.c.id).where(documents.c.id.in_(select(documents.c.id))),
        select(union_all(select(other.c.id), select(documents.c.id)).subquery().c.id),
        # One that names it in a condition that need not hold, or names another one.
        select(_foreign.subquery().c.id),
        select(select(other.c.id).where(other.c.workspace_id != "ours").subquery().c.id),
        select(
            select(other.c.id)
            .where(or_(other.c.workspace_id == "ours", other.c.name == "prices"))
            .subquery()
            .c.id
        ),
        select(select(other.c.id).where(not_(other.c.workspace_id == "ours")).subquery().c.id),
        select(select(other.c.id, (other.c.workspace_id == "ours").label("own")).subquery().c.id),
        select(
            select(other.c.id).where(other.c.workspace_id == other.c.workspace_id).subquery().c.id
        ),
        # Two tables that are held to each other, and to nothing else.
        select(_paired.subquery().c.text),
        select(documents.c.id, _paired.subquery().c.text),
        # What is not our tables' metadata says nothing of its owner.
        select(column("id")).select_from(table("documents", column("id"))),
        select(column("id")).select_from(text("documents")),
        select(documents.c.id).where(text("1 = 1")),
        select(documents.tablesample(func.bernoulli(100)).c.id),
        text("SELECT id FROM documents"),
        union_all(select(documents.c.id), select(other.c.id)),
        insert(documents),
        # A change hidden inside a select.
        select(delete(documents).returning(documents.c.id).cte().c.id),
        select(documents.c.id).add_cte(update(documents).values(name="x").cte()),
    ],
    ids=lambda one: " ".join(str(one).split())[:120],
)
def test_what_cannot_be_scoped_is_refused(store: Store, statement: Any) -> None:
    with pytest.raises(Unscoped):
        _found(store, statement)


@pytest.mark.parametrize(
    "statement",
    [
        update(documents).values(name="taken"),
        update(documents).where(documents.c.id == "doc_theirs").values(name="taken"),
        update(documents)
        .where(documents.c.id == other.c.id, other.c.name == "prices")
        .values(name="taken"),
        delete(passages),
        delete(passages).where(passages.c.document_id == "doc_theirs"),
    ],
    ids=lambda one: " ".join(str(one).split())[:120],
)
def test_a_change_leaves_other_workspaces_alone(store: Store, statement: Any) -> None:
    store.write_now("ours", lambda tx: tx.execute(statement).rowcount)
    kept = store.read_now(
        "theirs",
        lambda tx: tx.row(
            select(documents.c.name, passages.c.text).join(
                passages, passages.c.document_id == documents.c.id
            )
        ),
    )
    assert kept is not None
    assert tuple(kept) == ("prices", "secret of theirs")


@pytest.mark.parametrize(
    "statement",
    [
        update(documents).values(name=select(other.c.text).limit(1).scalar_subquery()),
        delete(documents).where(documents.c.id.in_(select(other.c.id))),
    ],
    ids=str,
)
def test_a_change_is_not_fed_from_other_workspaces(store: Store, statement: Any) -> None:
    with pytest.raises(Unscoped):
        store.write_now("ours", lambda tx: tx.execute(statement))


def test_an_inserted_row_belongs_to_the_workspace(store: Store) -> None:
    row = _document(new_id("doc"), "hours")
    store.write_now("ours", lambda tx: tx.insert(documents, row))
    assert store.read_now("ours", lambda tx: len(tx.rows(select(documents)))) == 2


def test_a_row_of_another_workspace_is_not_inserted(store: Store) -> None:
    row = {**_document(new_id("doc"), "hours"), "workspace_id": "theirs"}
    with pytest.raises(Unscoped):
        store.write_now("ours", lambda tx: tx.insert(documents, row))
    with pytest.raises(Unscoped):
        store.write_now("ours", lambda tx: tx.insert_new(documents, row, unique=["id"]))


def test_inserting_what_is_there_changes_nothing_and_says_so(store: Store) -> None:
    again = _document(new_id("doc"), "prices")
    unique = ["workspace_id", "name"]
    assert not store.write_now("ours", lambda tx: tx.insert_new(documents, again, unique=unique))
    fresh = _document(new_id("doc"), "hours")
    assert store.write_now("ours", lambda tx: tx.insert_new(documents, fresh, unique=unique))


def test_an_operator_sees_all_and_enters_a_workspace_by_name(store: Store) -> None:
    def look(tx: Transaction) -> tuple[int, int]:
        return len(tx.rows(select(documents))), len(tx.of("theirs").rows(select(documents)))

    assert store.read_now(None, look) == (2, 1)
