"""A question finds the passages that speak of it, in its own workspace alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import select

from mailagent.store import documents, signing_keys
from mailagent.store.engine import Store
from mailagent.store.tables import passages, workspaces
from mailagent.store.tables import signing_keys as signing_key_rows
from mailagent.store.transaction import Transaction
from mailagent.tokens import Secrets, new_id

_HOURS = (
    "# Opening hours\n\nWe are open Monday to Friday from 9 to 17.\n\nOn Saturday we are closed."
)
_REFUND = "# Refunds\n\nA refund is paid within 14 days to the card that was used."
_JAPANESE = (
    "# 営業時間\n\n月曜日から金曜日まで営業しております。\n\n返品は十四日以内に受け付けます。"
)


@pytest.fixture
def space(shared_store: Store) -> str:
    """A workspace of this test's own, with three documents."""
    id_ = _space(shared_store)
    for name, content in (("hours", _HOURS), ("refunds", _REFUND), ("日本語", _JAPANESE)):
        shared_store.write_now(id_, documents.add, name, content)
    return id_


def _space(store: Store) -> str:
    id_ = new_id("wsp")
    row = {"id": id_, "slug": id_, "name": id_, "settings": {}, "created_at": store.now()}
    store.write_now(None, lambda tx: tx.insert(workspaces, row))
    return id_


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("When are you open on Saturday?", "hours"),
        ("I would like a REFUND please", "refunds"),
        ("how are refunds paid", "refunds"),
        ("金曜日は営業していますか", "日本語"),
    ],
)
def test_a_question_finds_the_document_that_answers_it(
    shared_store: Store, space: str, question: str, name: str
) -> None:
    hits = shared_store.read_now(space, documents.search, question)
    assert hits[0].name == name
    assert 0 < hits[0].score <= 1


@pytest.mark.parametrize(
    "question",
    ["", "?!", "the and for", "elephants", 'x" OR "refund" NEAR', "' | 'a':* & !b", "\x00", "返"],
)
def test_a_question_about_nothing_we_know_finds_no_more_than_its_words(
    shared_store: Store, space: str, question: str
) -> None:
    hits = shared_store.read_now(space, documents.search, question)
    assert {hit.name for hit in hits} <= ({"refunds"} if "refund" in question else set())


def test_a_question_of_any_length_is_searched(shared_store: Store, space: str) -> None:
    question = " ".join(f"word{n}" for n in range(5_000)) + "金" * 5_000
    assert shared_store.read_now(space, documents.search, question) == []


def test_another_workspace_finds_nothing(shared_store: Store, space: str) -> None:
    stranger = _space(shared_store)
    assert shared_store.read_now(stranger, documents.search, "refund") == []
    assert shared_store.read_now(stranger, documents.search, "金曜日まで") == []


def test_a_document_of_the_same_name_is_replaced(shared_store: Store, space: str) -> None:
    first = shared_store.write_now(space, documents.add, "refunds", "Vouchers instead of money.")
    again = shared_store.write_now(space, documents.add, "refunds", "Vouchers instead of money.")
    assert first == again
    assert shared_store.read_now(space, documents.search, "refund paid card") == []
    (hit,) = shared_store.read_now(space, documents.search, "vouchers")
    assert (hit.document_id, hit.text) == (first, "Vouchers instead of money.")


def test_a_removed_document_is_found_no_more(shared_store: Store, space: str) -> None:
    (hit,) = shared_store.read_now(space, documents.search, "refund")
    assert shared_store.write_now(space, documents.remove, hit.document_id)
    assert not shared_store.write_now(space, documents.remove, hit.document_id)
    assert shared_store.read_now(space, documents.search, "refund") == []
    left = select(passages.c.id).where(passages.c.document_id == hit.document_id)
    assert shared_store.read_now(space, lambda tx: tx.rows(left)) == []


def test_a_document_of_another_workspace_is_not_removed(shared_store: Store, space: str) -> None:
    (hit,) = shared_store.read_now(space, documents.search, "refund")
    assert not shared_store.write_now(_space(shared_store), documents.remove, hit.document_id)
    assert shared_store.read_now(space, documents.search, "refund") == [hit]


def test_a_heading_stays_with_what_follows_it() -> None:
    assert documents.passages_of("# Prices\n\nTen euros.\n\nMore.") == [
        "# Prices\nTen euros.",
        "More.",
    ]


@given(st.text(alphabet=st.sampled_from("ab#\n ."), max_size=3_000))
@example("# " + "a" * 600 + "\n\n" + "b" * 2_000)
def test_a_passage_has_at_most_1200_characters_and_none_is_empty(content: str) -> None:
    made = documents.passages_of(content)
    assert all(len(one.strip()) > 0 and len(one) <= 1_200 for one in made)
    assert "".join("".join(made).split()) == "".join(content.split())


def test_the_newest_key_of_a_domain_signs(shared_store: Store) -> None:
    secrets = Secrets(["k" * 40])

    def key(selector: str) -> signing_keys.StoredKey:
        return signing_keys.StoredKey("x.example", selector, selector.encode(), "v=DKIM1; p=")

    def add(tx: Transaction, selector: str) -> bool:
        return signing_keys.add(tx, secrets, key(selector))

    assert [shared_store.write_now(None, add, one) for one in ("a", "b", "a")] == [
        True,
        True,
        False,
    ]
    newest = shared_store.read_now(None, signing_keys.newest, secrets, "x.example")
    assert newest == key("b")
    assert shared_store.read_now(None, signing_keys.newest, secrets, "y.example") is None


def test_a_stored_key_is_encrypted(shared_store: Store) -> None:
    secrets = Secrets(["k" * 40])
    key = signing_keys.StoredKey("z.example", "s", b"-----BEGIN PRIVATE KEY-----", "v=DKIM1; p=")
    shared_store.write_now(None, signing_keys.add, secrets, key)
    stored = select(signing_key_rows.c.private_key)
    found = shared_store.read_now(
        None, lambda tx: tx.value(stored.where(signing_key_rows.c.domain == "z.example"))
    )
    assert b"PRIVATE" not in found
    assert "PRIVATE" not in repr(key)
