"""Jobs for the sandbox's tests: good ones, and what a hostile mail would love to do."""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from typing import Any

from mailagent.errors import Malformed, NotFound


def echo(blob: bytes, arguments: dict[str, Any]) -> bytes:
    return str(arguments.get("before", "")).encode() + blob


def pid(blob: bytes, arguments: dict[str, Any]) -> bytes:
    return str(os.getpid()).encode()


def wait(blob: bytes, arguments: dict[str, Any]) -> bytes:
    """Give what somebody writes into a named pipe."""
    with open(arguments["pipe"], "rb") as pipe:
        return pipe.read()


def prints(blob: bytes, arguments: dict[str, Any]) -> bytes:
    print("not part of the answer", flush=True)
    return blob


def hang(blob: bytes, arguments: dict[str, Any]) -> bytes:
    return str(re.match(r"(a+)+$", "a" * 64 + "b")).encode()


def segfault(blob: bytes, arguments: dict[str, Any]) -> bytes:
    ctypes.string_at(0)
    return b""


def memory_bomb(blob: bytes, arguments: dict[str, Any]) -> bytes:
    return b"x" * (8 << 30)


def malformed(blob: bytes, arguments: dict[str, Any]) -> bytes:
    raise Malformed("part", "there is no such part")


def not_found(blob: bytes, arguments: dict[str, Any]) -> bytes:
    raise NotFound("there is no part 1.9")


def bug(blob: bytes, arguments: dict[str, Any]) -> bytes:
    raise KeyError(blob.decode())


def environment(blob: bytes, arguments: dict[str, Any]) -> bytes:
    return json.dumps(dict(os.environ)).encode()


def descriptors(blob: bytes, arguments: dict[str, Any]) -> bytes:
    there = []
    for number in range(3, 64):
        try:
            os.fstat(number)
            there.append(number)
        except OSError:
            continue
    return json.dumps(there).encode()


def modules(blob: bytes, arguments: dict[str, Any]) -> bytes:
    return json.dumps(sorted(sys.modules)).encode()


def garbage(blob: bytes, arguments: dict[str, Any]) -> bytes:
    os.write(1, blob)
    return b""
