"""A backup holds every value as it was, and one that is not whole is never taken for one."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from backend.operation.backup import kind_of
from backend.operation.backup_file import Column, Header, Kind, Reader, TableRows, Writer
from mailagent.errors import Malformed
from mailagent.store.tables import metadata

MADE_AT = datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC)
ROWS: list[list[Any]] = [
    ["é\n日本", 7, Decimal("0.000001"), True, MADE_AT, {"a": ["\ud800", None]}, None, b"\r\n\x00"],
    ["", -1, Decimal("-2"), False, datetime(1969, 1, 1, tzinfo=UTC), None, [1], b""],
    [None, None, None, None, None, None, None, None],
    ["x", 0, Decimal(1), True, MADE_AT, "text", "text", b'["a line"]\n' * 1000],
]
TABLE = TableRows("things", tuple(Column(kind.name, kind) for kind in Kind), len(ROWS))
HEADER = Header("0.1.0", "0001", MADE_AT, "aexy.example", {"b": "00ff", "a": "ff00"}, (TABLE,))


def written(rows: list[list[Any]] = ROWS, header: Header = HEADER) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, header)
    writer.table(header.tables[0], iter(rows))
    writer.end()
    return file.getvalue()


def read(backup: bytes) -> list[list[Any]]:
    return [row for _, row in Reader(io.BytesIO(backup)).rows()]


def altered(change: Any) -> bytes:
    """A backup of which somebody changed what is inside, and compressed it again."""
    return gzip.compress(change(gzip.decompress(written())))


def test_what_was_written_is_read() -> None:
    backup = written()
    assert read(backup) == ROWS
    assert Reader(io.BytesIO(backup)).header == HEADER


def test_the_header_is_the_first_line_of_a_gzip_file() -> None:
    with gzip.open(io.BytesIO(written())) as lines:
        shown = json.loads(lines.readline())
    assert (shown["what"], shown["version"], shown["tables"][0]["rows"]) == (
        *("mailagent backup", "0.1.0"),
        4,
    )


def test_a_backup_that_ends_early_is_refused_wherever_it_ends() -> None:
    backup = written()
    for length in range(len(backup)):
        with pytest.raises(Malformed, match="FILE: is "):
            read(backup[:length])


@pytest.mark.parametrize("bit", [1, 0x10, 0x80])
def test_a_flipped_bit_is_refused_or_changes_nothing(bit: int) -> None:
    backup = written()
    refused = 0
    for position in range(len(backup)):
        flipped = bytearray(backup)
        flipped[position] ^= bit
        try:
            assert read(bytes(flipped)) == ROWS
        except Malformed:
            refused += 1
    # A gzip header holds a time and a system's name, and its last octet of data spare bits.
    assert refused >= len(backup) - 9


@pytest.mark.parametrize(
    "change",
    [
        lambda inside: inside.replace(b'["x",0', b'["y",0'),
        lambda inside: inside.replace(b'["x",0', b'["x",0,0'),
        lambda inside: inside.replace(b'{"table":"things"}', b'{"table":"others"}'),
        lambda inside: inside.replace(b'"1",true', b'"one",true'),
        lambda inside: inside[: inside.rindex(b'{"end"')],
        lambda inside: inside + b"more",
        lambda inside: inside.replace(b'"kind":"text"', b'"kind":"song"'),
    ],
    ids=["value", "column", "table", "number", "no end", "more", "kind"],
)
def test_a_change_inside_is_refused(change: Any) -> None:
    with pytest.raises(Malformed, match=r"FILE: is damaged|FILE: is cut"):
        read(altered(change))


@pytest.mark.parametrize(
    "other",
    [b"", b"SQLite format 3\x00", gzip.compress(b"{}\n"), gzip.compress(b"hello\n")],
    ids=["nothing", "a database", "other JSON", "a text"],
)
def test_another_file_is_no_backup(other: bytes) -> None:
    with pytest.raises(Malformed, match=r"FILE: is (no backup|cut off)"):
        read(other)


def test_a_newer_format_names_the_mend() -> None:
    newer = altered(lambda inside: inside.replace(b'"format":1', b'"format":2'))
    with pytest.raises(Malformed, match="is of a newer mailagent: install that version"):
        read(newer)


def test_rows_that_the_header_does_not_announce_are_a_bug_of_ours() -> None:
    with pytest.raises(RuntimeError, match="3 rows in a snapshot of 4"):
        written(ROWS[:3])


def test_every_column_of_ours_has_a_form() -> None:
    kinds = {kind_of(column) for table in metadata.sorted_tables for column in table.c}
    assert kinds >= {Kind.TEXT, Kind.JSON, Kind.OCTETS, Kind.MOMENT}
