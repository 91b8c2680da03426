"""How do several acceptors on one port keep the caps of one door?

A row of counters for each process in memory that all of them map. A process writes its own row only
and reads all, so there is nothing to lock; two that admit a client in the same microsecond may pass
a cap by one. Addresses are counted by a keyed hash: two that share a slot share a cap, by chance
one in 65,536, and nobody can choose to.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile

__all__ = ["SharedCounts"]

_SLOTS = 1 << 16
_HEADER_BYTES = 16
_ROW_BYTES = _HEADER_BYTES + 2 * _SLOTS


class SharedCounts:
    """The counters of `processes` acceptors, seen by number `own`; None only reads and clears.

    `fd` is the file of an earlier `SharedCounts`, whose `salt` is the same.
    """

    def __init__(
        self, processes: int, *, own: int | None = None, fd: int | None = None, salt: bytes = b""
    ) -> None:
        self.salt = salt or os.urandom(16)
        self.fd = _new_file(processes * _ROW_BYTES) if fd is None else fd
        self._memory = mmap.mmap(self.fd, processes * _ROW_BYTES)
        all_rows = memoryview(self._memory)
        rows = [all_rows[n * _ROW_BYTES :][:_ROW_BYTES] for n in range(processes)]
        self._totals = [row[:_HEADER_BYTES].cast("Q") for row in rows]
        self._slots = [row[_HEADER_BYTES:].cast("H") for row in rows]
        self._own = own

    @property
    def connections(self) -> int:
        """Open connections of all processes."""
        return sum(row[0] for row in self._totals)

    @property
    def held_bytes(self) -> int:
        """Octets of unfinished mails in all processes."""
        return sum(row[1] for row in self._totals)

    def connections_from(self, address: str) -> int:
        """Admitted connections of one client in all processes."""
        slot = self._slot(address)
        return sum(row[slot] for row in self._slots)

    def tell(self, *, connections: int, held_bytes: int) -> None:
        """Write this process's totals."""
        assert self._own is not None
        totals = self._totals[self._own]
        totals[0], totals[1] = connections, held_bytes

    def admitted(self, address: str, change: int) -> None:
        """One connection of a client more, or with -1 one less, in this process."""
        assert self._own is not None
        self._slots[self._own][self._slot(address)] += change

    def clear(self, process: int) -> None:
        """Forget what a process that is gone had counted."""
        begin = process * _ROW_BYTES
        self._memory[begin : begin + _ROW_BYTES] = bytes(_ROW_BYTES)

    def close(self) -> None:
        """Let go of the file; others that have it keep theirs."""
        os.close(self.fd)

    def _slot(self, address: str) -> int:
        digest = hashlib.blake2b(address.encode(), digest_size=2, key=self.salt).digest()
        return int.from_bytes(digest)


def _new_file(size: int) -> int:
    with tempfile.TemporaryFile() as file:
        os.ftruncate(file.fileno(), size)
        return os.dup(file.fileno())
