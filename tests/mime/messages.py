"""Mails for the tests of reading, put together by hand so that each byte is meant."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "mime"
CORPORA = Path(
    os.environ.get("MAILAGENT_CORPORA", Path(__file__).parents[2] / ".." / "shared" / "corpora")
)

TOP = b"From: Ada <ada@example.org>\r\nSubject: Hello\r\nMessage-ID: <1@example.org>\r\n"


def mail(body: bytes, *fields: bytes, top: bytes = TOP) -> bytes:
    return top + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def multipart(kind: bytes, *parts: bytes) -> bytes:
    """A whole mail of the parts, each with its own fields and empty line."""
    body = b"".join(b"--cut\r\n" + part + b"\r\n" for part in parts) + b"--cut--\r\n"
    return mail(body, b"Content-Type: multipart/%b; boundary=cut" % kind)


def nested(depth: int) -> bytes:
    raw = TOP + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
    for level in range(depth):
        raw += b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1)
    return raw
