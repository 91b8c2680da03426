"""How do accepted mails become durable on PostgreSQL?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import psycopg

from mailagent.inbound import Later, Outcome
from mailagent.store.group_commit import Statements, Waiting
from mailagent.store.pipeline import Pipeline

__all__ = ["PostgresCommit"]

_STORAGE_AWAY = (psycopg.OperationalError, psycopg.InterfaceError)


class PostgresCommit:
    """A session that does nothing but accept. Used by one task at a time."""

    def __init__(self, url: str) -> None:
        self._address = url.replace("postgresql+psycopg://", "postgresql://")
        self._statements = Statements("${}".format, _as_it_is)
        self._pipeline: Pipeline | None = None

    async def commit(self, mails: Sequence[Waiting]) -> list[Outcome]:
        """Make all of them durable, one outcome for each. Raises nothing of the database's.

        A batch that fails is repeated mail by mail, so that one bad mail costs no neighbour its
        yes; when the storage itself is away or full, all are told `Later` at once.
        """
        try:
            return await self._together(mails)
        except _STORAGE_AWAY as error:
            self.close()
            return [Later(f"{type(error).__name__}: {error}")] * len(mails)
        except (psycopg.Error, ValueError) as error:
            # ValueError is a text that no database takes: an unpaired surrogate, a NUL.
            self.close()
            if len(mails) == 1:
                return [Later(f"{type(error).__name__}: {error}")]
        except BaseException:
            self.close()  # what was sent is not answered yet: the session is of no more use
            raise
        return [(await self.commit([mail]))[0] for mail in mails]

    def close(self) -> None:
        """Close the connection, which rolls back what was open."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    async def _together(self, mails: Sequence[Waiting]) -> list[Outcome]:
        if self._pipeline is None:
            self._pipeline = await Pipeline.connect(self._address)
        answers = {}
        # Asked before the transaction: who writes the same meanwhile makes it fail, and it is
        # asked again, mail by mail.
        if questions := self._statements.questions(mails):
            rows = await self._pipeline.run(questions)
            answers = dict(zip(questions, rows, strict=True))
        outcomes, writes = self._statements.plan(mails, answers)
        if writes:
            await self._pipeline.run([("BEGIN", ()), *writes, ("COMMIT", ())])
        return outcomes


def _as_it_is(moment: datetime) -> datetime:
    return moment
