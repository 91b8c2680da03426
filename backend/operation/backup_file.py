"""How does an installation stand in one file, whichever database it comes from or goes to?

A gzip stream (RFC 1952) of lines of JSON: the header; for each table a line that names it and one
line a row, a list of values in the order of the header's columns; the end, with the SHA-256 of
all that stands before it. Octets stand as they are behind their row's line, which holds their
lengths. `zcat FILE | head -1` shows the header.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO

from mailagent.errors import Malformed
from mailagent.store.types import microseconds

__all__ = ["Column", "Header", "Kind", "Reader", "TableRows", "Writer"]

_WHAT = "mailagent backup"
_FORMAT = 1
_LEVEL = 1  # mail is text or compressed already: higher levels cost thrice the time for a tenth
_BUFFER = 1024 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(StrEnum):
    """What a column holds, and how it stands in a line."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    """A decimal; as text."""
    BOOLEAN = "boolean"
    MOMENT = "moment"
    """Aware; as microseconds since 1970."""
    JSON = "json"
    OPTIONAL_JSON = "optional json"
    """JSON in a column that may be empty: null is that, and no JSON value."""
    OCTETS = "octets"
    """As their length; they follow the line."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class TableRows:
    """One table, and how many rows of it the file holds."""

    name: str
    columns: tuple[Column, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Header:
    """What one must know of a backup before its rows are read."""

    version: str
    """Of mailagent."""
    revision: str
    """Of the tables."""
    made_at: datetime
    """The moment that the backup shows; aware."""
    default_domain: str
    keys: Mapping[str, str]
    """Key id → check value of every secret key, the current one first."""
    tables: tuple[TableRows, ...]
    """In an order in which no row refers to a later table."""

    def rows_of(self, table: str) -> int:
        """How many rows of a table the file holds."""
        return sum(one.rows for one in self.tables if one.name == table)

    def to_json(self) -> dict[str, Any]:
        """As a line's value."""
        made_at = self.made_at.isoformat()
        return {"what": _WHAT, "format": _FORMAT, **asdict(self), "made_at": made_at}

    @staticmethod
    def from_json(value: Any) -> Header:
        """The inverse of `to_json`. Raises Malformed."""
        if not isinstance(value, dict) or value.get("what") != _WHAT:
            raise _no_backup()
        if value.get("format") != _FORMAT:
            raise Malformed("FILE", "is of a newer mailagent: install that version to restore it")
        try:
            tables = tuple(
                TableRows(
                    one["name"],
                    tuple(Column(each["name"], Kind(each["kind"])) for each in one["columns"]),
                    int(one["rows"]),
                )
                for one in value["tables"]
            )
            return Header(
                value["version"],
                value["revision"],
                datetime.fromisoformat(value["made_at"]),
                value["default_domain"],
                dict(value["keys"]),
                tables,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("FILE", "is damaged: its header cannot be read") from error


class Writer:
    """Writes one backup; what is given to it must be what the header announces."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        # The buffer gathers rows: the compressor is slow at small pieces.
        compressed = gzip.GzipFile("", "wb", _LEVEL, file, mtime=header.made_at.timestamp())
        self._stream = io.BufferedWriter(compressed, _BUFFER)
        self._compressed = compressed
        self._digest = hashlib.sha256()
        self._line(header.to_json())

    def table(self, table: TableRows, rows: Iterator[Sequence[Any]]) -> None:
        """Write a table's rows, each a value a column. Raises RuntimeError when they are not
        as many as the header says.
        """
        self._line({"table": table.name})
        kinds = [column.kind for column in table.columns]
        count = 0
        for row in rows:
            octets: list[bytes] = []
            self._line([_plain(kind, one, octets) for kind, one in zip(kinds, row, strict=True)])
            for one in octets:
                self._write(one)
            count += 1
        if count != table.rows:
            raise RuntimeError(f"{table.name}: {count} rows in a snapshot of {table.rows}")

    def end(self) -> None:
        """Seal the file: without this nobody restores it."""
        self._line({"end": self._digest.hexdigest()})
        self._stream.flush()
        self._compressed.close()

    def _line(self, value: Any) -> None:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        # JSON may hold half a surrogate pair; `json.loads` takes it back in the same way.
        self._write(text.encode("utf-8", "surrogatepass") + b"\n")

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._stream.write(data)


class Reader:
    """Reads one backup from its beginning, once.

    Every method raises Malformed, with one sentence, for what is no backup, or not a whole one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._stream = io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER)
        self._digest = hashlib.sha256()
        try:
            self.header = Header.from_json(self._line())
        except gzip.BadGzipFile as error:
            raise _no_backup() from error

    def rows(self) -> Iterator[tuple[TableRows, list[Any]]]:
        """Every row with its table, to the end, and proof that nothing is missing or changed.

        What came is to be trusted only once the iteration has ended without an error.
        """
        try:
            for table in self.header.tables:
                if self._line() != {"table": table.name}:
                    raise Malformed("FILE", f"is damaged before the rows of {table.name}")
                for _ in range(table.rows):
                    yield table, self._row(table)
            said = self._digest.hexdigest()
            if self._line() != {"end": said}:
                raise Malformed("FILE", "is damaged: its checksum does not hold")
            if self._stream.read(1):
                raise Malformed("FILE", "is damaged: something follows its end")
        except gzip.BadGzipFile as error:
            raise Malformed("FILE", "is damaged: its checksum does not hold") from error

    def _row(self, table: TableRows) -> list[Any]:
        values = self._line()
        if not isinstance(values, list) or len(values) != len(table.columns):
            raise Malformed("FILE", f"is damaged in the rows of {table.name}")
        try:
            return [
                self._value(column.kind, one)
                for column, one in zip(table.columns, values, strict=True)
            ]
        except (ArithmeticError, TypeError, ValueError) as error:
            raise Malformed("FILE", f"is damaged in the rows of {table.name}") from error

    def _value(self, kind: Kind, plain: Any) -> Any:
        if plain is None:
            return None
        match kind:
            case Kind.OCTETS:
                return self._read(int(plain))
            case Kind.MOMENT:
                return _EPOCH + timedelta(microseconds=plain)
            case Kind.NUMBER:
                return Decimal(plain)
            case _:
                return plain

    def _line(self) -> Any:
        try:
            line = self._stream.readline()
        except (EOFError, zlib.error) as error:
            raise _cut() from error
        if not line.endswith(b"\n"):
            raise _cut()
        try:
            value = json.loads(line)
        except ValueError as error:
            raise _no_backup() from error
        self._digest.update(line)
        return value

    def _read(self, size: int) -> bytes:
        try:
            octets = self._stream.read(size)
        except (EOFError, zlib.error) as error:
            raise _cut() from error
        if len(octets) != size:
            raise _cut()
        self._digest.update(octets)
        return octets


def _plain(kind: Kind, value: Any, octets: list[bytes]) -> Any:
    if value is None:
        return None
    match kind:
        case Kind.OCTETS:
            octets.append(bytes(value))
            return len(octets[-1])
        case Kind.MOMENT:
            return microseconds(value)
        case Kind.NUMBER:
            return str(value)
        case _:
            return value


def _no_backup() -> Malformed:
    return Malformed("FILE", "is no backup made by mailagent backup, or it is damaged")


def _cut() -> Malformed:
    return Malformed("FILE", "is cut off or damaged: take another copy of the backup")
