"""Documents go in whole and bounded, and come out only to their own workspace."""

from __future__ import annotations

import pytest

from backend.documents import service
from backend.paging import EVERYTHING
from mailagent.errors import Malformed, NotFound
from mailagent.store.documents import search
from tests.backend.conftest import House


def test_a_document_is_kept_and_found_by_its_words(house: House) -> None:
    kept = house.store.write_now(
        house.acme.id, service.add, "returns.md", "Send it back within 30 days for a refund."
    )

    hits = house.store.read_now(house.acme.id, search, "refund")
    assert [hit.document_id for hit in hits] == [kept.id]
    assert house.store.read_now(house.acme.id, service.get, "returns.md") == kept


def test_a_document_of_the_same_name_takes_the_olders_place(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    first = write(acme, service.add, "a.md", "one")
    second = write(acme, service.add, "a.md", "two")

    assert second.id == first.id
    assert [one.text for one in _all(house)] == ["two"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x" * (service.MOST_BYTES + 1), "longer"),
        ("ä" * (service.MOST_BYTES // 2 + 1), "split it"),
        (" \n", "is empty"),
        ("a\x00b", "NUL"),
        ("a\ud800b", "half a character"),
    ],
)
def test_a_text_that_cannot_be_kept_is_refused(house: House, text: str, problem: str) -> None:
    with pytest.raises(Malformed, match=problem) as refused:
        house.store.write_now(house.acme.id, service.add, "a.md", text)
    assert refused.value.field == "text"


def test_a_removed_document_is_found_no_more(house: House) -> None:
    write, acme = house.store.write_now, house.acme.id
    write(acme, service.add, "a.md", "refund")
    write(acme, service.remove, "a.md")

    assert _all(house) == ()
    assert house.store.read_now(acme, search, "refund") == []
    with pytest.raises(NotFound):
        write(acme, service.remove, "a.md")


def test_a_document_of_another_workspace_is_not_seen(house: House) -> None:
    kept = house.store.write_now(house.acme.id, service.add, "a.md", "secret refund")

    assert house.store.read_now(house.other.id, search, "refund") == []
    for reference in (kept.id, "a.md"):
        with pytest.raises(NotFound):
            house.store.read_now(house.other.id, service.get, reference)


def _all(house: House) -> tuple[service.Document, ...]:
    return house.store.read_now(house.acme.id, service.list_documents, EVERYTHING).items
