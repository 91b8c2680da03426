"""How does the child of `mailagent.sandbox` run one job after another?

Run as a file by an isolated interpreter: `python -I -S -B sandbox_worker.py <start as JSON>`, where
the start value is `{"path": [...], "readable": [...], "memory_bytes": n, "parent": pid}`. It
imports next to nothing before a job asks for it: this process is there at rest too.

A frame is a 4-byte big-endian length, a JSON object of that length, and then `size` bytes if the
object says so. A request is `{"job", "arguments", "cpu_seconds", "size"}`; the answer is
`{"size"}` with the result's bytes, or `{"failed", …}`. The first frame is `{"ready": [...]}`, the
means of confinement that hold.
"""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

_REQUEST_BYTES = 16 * 1024 * 1024


def main() -> None:
    """Answer requests from standard input on standard output until it is closed."""
    start = json.loads(sys.argv[1])
    sys.path[:] = start["path"]
    from mailagent.sandbox_limits import allow_cpu_seconds, confine

    # What a job prints must not become part of an answer.
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdin, sys.stdout = io.StringIO(), sys.stderr
    held = confine(
        memory_bytes=start["memory_bytes"], parent=start["parent"], readable=start["readable"]
    )
    _write(answers, {"ready": held})
    while (request := _read(requests)) is not None:
        allow_cpu_seconds(request["cpu_seconds"])
        try:
            blob = requests.read(request["size"])
            result = _job(request["job"])(blob, request["arguments"])
            blob = b""
            _write(answers, {"size": len(result)}, result)
        except MemoryError:
            _write(answers, {"failed": "memory"})
            return
        except Exception as error:  # noqa: BLE001  the top of a job: its kind goes to the parent
            _write(answers, _described(error))


def _job(name: str) -> Callable[[bytes, dict[str, Any]], bytes]:
    module, _, function = name.partition(":")
    job: Callable[[bytes, dict[str, Any]], bytes] = getattr(
        importlib.import_module(module), function
    )
    return job


def _described(error: Exception) -> dict[str, Any]:
    """An error of ours by name and fields; any other by type and line, never by its text.

    The text of a foreign exception may quote the mail.
    """
    match type(error).__name__:
        case "Malformed" as kind if type(error).__module__ == "mailagent.errors":
            return {"failed": kind, "field": error.field, "problem": error.problem}  # type: ignore[attr-defined]
        case "NotFound" as kind if type(error).__module__ == "mailagent.errors":
            return {"failed": kind, "text": str(error)}
        case kind:
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            where = ""
            if frame is not None:
                file = frame.tb_frame.f_code.co_filename.rpartition("/")[2]
                where = f" at {file}:{frame.tb_lineno}"
            return {"failed": "crash", "detail": f"{kind}{where}"}


def _read(stream: BinaryIO) -> dict[str, Any] | None:
    length = int.from_bytes(stream.read(4), "big")
    if not 0 < length <= _REQUEST_BYTES:
        return None
    request: dict[str, Any] = json.loads(stream.read(length))
    return request


def _write(stream: BinaryIO, header: dict[str, Any], result: bytes = b"") -> None:
    encoded = json.dumps(header).encode()
    stream.write(len(encoded).to_bytes(4, "big") + encoded)
    if result:
        stream.write(result)
    stream.flush()


if __name__ == "__main__":
    main()
