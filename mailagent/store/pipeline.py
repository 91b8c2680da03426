"""How do many statements reach PostgreSQL with one write, and their answers come with one wait?

The driver's own pipeline waits at every command. Beside it stands no thread either: one that waits
for the server has to win the interpreter back from a busy event loop each time, and that cost more
than the rows. So this speaks to libpq through `psycopg.pq`, in the event loop:
https://www.postgresql.org/docs/current/libpq-pipeline-mode.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from mailagent.store.postgres import OPTIONS

__all__ = ["Pipeline"]

_FAILED = (ExecStatus.FATAL_ERROR, ExecStatus.PIPELINE_ABORTED)


class Pipeline:
    """A session for one task at a time, of no more use once it raised."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """`connect` makes one."""
        self._connection = connection
        self._connection.pgconn.enter_pipeline_mode()
        self._names: dict[str, bytes] = {}

    @classmethod
    async def connect(cls, url: str) -> Pipeline:
        """`url` is a plain `postgresql://` address. Raises psycopg.OperationalError."""
        return cls(
            await psycopg.AsyncConnection.connect(
                url, autocommit=True, connect_timeout=5, options=OPTIONS
            )
        )

    def close(self) -> None:
        """End the session, which rolls back what was open."""
        self._connection.pgconn.finish()

    async def run(
        self, statements: Sequence[tuple[str, tuple[Any, ...]]]
    ) -> list[list[tuple[str | None, ...]]]:
        """Run each statement, with `$1`, `$2`… for its values; the rows of each, as texts.

        What follows a statement that failed is not run. Raises psycopg.Error, and ValueError for
        a value that is no text.
        """
        given = [(sql, [_parameter(value) for value in values]) for sql, values in statements]
        to = self._connection.pgconn
        is_asked: list[bool] = []
        for sql, parameters in given:
            name = self._names.get(sql)
            if name is None:
                name = self._names[sql] = f"own_{len(self._names)}".encode()
                to.send_prepare(name, sql.encode())
                is_asked.append(False)
            octets, formats = [one for one, _ in parameters], [one for _, one in parameters]
            to.send_query_prepared(name, octets, formats)
            is_asked.append(True)
        to.pipeline_sync()
        results = await self._connection.wait(_exchange(to, len(is_asked)))
        return [_rows(one) for one, asked in zip(results, is_asked, strict=True) if asked]


def _parameter(value: Any) -> tuple[bytes | None, Format]:
    match value:
        case None:
            return None, Format.TEXT
        case bytes():
            return value, Format.BINARY
        case datetime():
            return value.isoformat().encode(), Format.TEXT
    octets = str(value).encode()
    if b"\0" in octets:  # where libpq would end it
        raise ValueError("a text with a NUL")
    return octets, Format.TEXT


def _exchange(to: PGconn, commands: int) -> PQGen[list[PGresult]]:
    yield from generators.send(to)
    results: list[PGresult] = []
    for _ in range(commands):
        (result,) = yield from generators.fetch_many(to)
        if result.status in _FAILED:
            raise error_from_result(result)
        results.append(result)
    # Of the end of the pipeline, where the server says that it is ready for the next.
    yield from generators.fetch_many(to)
    return results


def _rows(result: PGresult) -> list[tuple[str | None, ...]]:
    columns = range(result.nfields)
    return [
        tuple(_text(result.get_value(row, column)) for column in columns)
        for row in range(result.ntuples)
    ]


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode()
