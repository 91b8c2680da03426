"""What a mail does to the process that reads it, when its subject is one of these words."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Callable
from typing import Any

from mailagent import reading

__all__ = ["DEEDS", "crash", "deed", "hang", "leak", "read", "swell", "talk"]

_SUBJECT = re.compile(rb"^Subject: (\w+)\r$", re.MULTILINE)
_LEAK_BYTES = 64 * 1024 * 1024
_leaked: list[bytearray] = []


def hang() -> None:
    """Never come back."""
    while True:
        time.sleep(3600)


def crash() -> None:
    """Die of a segmentation fault."""
    ctypes.string_at(0)


def swell() -> None:
    """Take memory until there is none."""
    taken = []
    while True:
        taken.append(bytearray(16 * 1024 * 1024))


def talk() -> None:
    """Write on the pipe of the answers what is no answer."""
    os.write(1, b"\xff" * 64)


def leak() -> None:
    """Keep memory for ever; the mail itself is read as any other."""
    _leaked.append(bytearray(_LEAK_BYTES))


DEEDS: dict[bytes, Callable[[], None]] = {
    one.__name__.encode(): one for one in (hang, crash, swell, talk, leak)
}


def deed(raw: bytes) -> Callable[[], None] | None:
    """What this mail does, if it does anything."""
    subject = _SUBJECT.search(raw)
    return DEEDS.get(subject[1]) if subject else None


def read(raw: bytes, arguments: dict[str, Any]) -> bytes:
    """`mailagent.reading.read`, after the deed."""
    done = deed(raw)
    if done is not None:
        done()
    return reading.read(raw, arguments)
