"""How is the content after DATA read? Octets in, one mail out; knows no socket.

Only CRLF.CRLF ends the content. A line end that only some servers honour is how a second mail is
smuggled inside the first (CVE-2023-51764 and kin), so a bare CR or LF is refused, or made a CRLF
where the operator chose so. Reading in chunks and searching for the end costs a third of reading
lines.
"""

from __future__ import annotations

import io
import re
from typing import Literal

from mailagent.doors import smtp_replies as replies
from mailagent.doors.smtp_replies import Reply

__all__ = ["BareNewlines", "Content"]

BareNewlines = Literal["refuse", "normalize"]

_END = b"\r\n.\r\n"
_DOT = b"\r\n."
_SLICE_BYTES = 1 << 20
_ANY_NEWLINE = re.compile(rb"\r\n|\r|\n")


class Content:
    """Collects the content of one mail until its final dot, in bounded memory.

    As soon as the mail cannot be taken its octets are dropped, and the rest is only watched for the
    final dot, because a sender hears no reply before it (RFC 5321 §4.2.5). `endless` says that the
    wait for the dot is over too.
    """

    __slots__ = (
        "_bare_newlines",
        "_buffer",
        "_ceiling",
        "_dropped",
        "_line_bytes",
        "_line_start",
        "_patience_bytes",
        "_problem",
        "_searched",
        "_size_bytes",
        "_stuffed",
    )

    def __init__(self, *, size_bytes: int, line_bytes: int, bare_newlines: BareNewlines) -> None:
        self._problem: Reply | None = None
        self._size_bytes = size_bytes
        self._line_bytes = line_bytes
        self._bare_newlines = bare_newlines
        # The CRLF before the content is the DATA command's: a first line "." ends an empty mail.
        self._buffer = bytearray(b"\r\n")
        self._searched = 0
        self._stuffed = False
        self._line_start = 2
        self._ceiling = size_bytes + 2
        self._dropped = 0
        self._patience_bytes = size_bytes

    @property
    def endless(self) -> bool:
        """More came than any honest sender sends after a mail went wrong: cut the connection.

        A mail that is only too big is waited for up to twice the limit, so that its sender reads
        the 552 and does not try for days; a line without end is not.
        """
        return self._dropped > self._patience_bytes

    @property
    def held_bytes(self) -> int:
        """Octets in memory."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> bytes | None:
        """Take the next octets; None until the final dot came, then what followed it."""
        buffer = self._buffer
        buffer += chunk
        end = self._find_end()
        if end >= 0:
            rest = bytes(memoryview(buffer)[end + len(_END) :])
            del buffer[end + 2 :]
            self._check_growth(len(buffer))
            return rest
        # The last four octets may be the beginning of the end.
        self._check_growth(len(buffer) - len(_END) + 1)
        self._searched = max(0, len(buffer) - len(_END) + 1)
        return None

    def take(self) -> bytes | Reply:
        """The mail without its transparency dots (RFC 5321 §4.5.2), or why it is not taken."""
        if self._problem is not None:
            return self._problem
        buffer, self._buffer = self._buffer, bytearray()
        if self._stuffed:
            buffer = buffer.replace(_DOT, b"\r\n")
        raw = bytes(memoryview(buffer)[2:])
        if _every_newline_is_crlf(raw):
            return raw
        if self._bare_newlines == "refuse":
            return replies.BARE_NEWLINE
        return _ANY_NEWLINE.sub(b"\r\n", raw)

    def _find_end(self) -> int:
        """Where the CRLF before the final dot stands, or -1.

        The search for the end also tells whether any line begins with a dot, so that a mail without
        one is searched once; from the first such line on, only the end is looked for.
        """
        buffer = self._buffer
        if self._stuffed:
            return buffer.find(_END, self._searched)
        found = buffer.find(_DOT, self._searched)
        if found < 0 or len(buffer) < found + len(_END):
            return -1
        if buffer.startswith(_END, found):
            return found
        self._stuffed = True
        return buffer.find(_END, found)

    def _check_growth(self, grown: int) -> None:
        buffer = self._buffer
        if self._problem is None:
            if grown > self._ceiling:
                # RFC 1870 §5: transparency dots do not count. Each look raises the ceiling by those
                # found, so there are few looks however the mail is made.
                self._ceiling = self._size_bytes + 2 + buffer.count(b"\r\n.")
                if grown > self._ceiling:
                    self._problem = replies.TOO_BIG.about(size_bytes=self._size_bytes)
                    self._patience_bytes = 2 * self._size_bytes
            if len(buffer) - self._line_start > self._line_bytes + 2 and self._has_long_line():
                self._problem = replies.LINE_OF_MAIL_TOO_LONG.about(line_bytes=self._line_bytes)
        if self._problem is not None:
            surplus = len(buffer) - len(_END) + 1
            if surplus > 0:
                self._dropped += surplus
                del buffer[:surplus]

    def _has_long_line(self) -> bool:
        """Jump from line end to line end as far as a line may reach; remembers where it stands."""
        buffer, start = self._buffer, self._line_start
        reach = self._line_bytes + 2
        while len(buffer) - start > reach:
            end = buffer.rfind(b"\r\n", start, start + reach)
            if end < 0:
                return True
            start = end + 2
        self._line_start = start
        return False


def _every_newline_is_crlf(raw: bytes) -> bool:
    # The decoder of text files notes which newlines it saw and looks at each octet once: 35 µs for
    # 100 kB, where counting CR, LF and CRLF takes 190.
    seen = io.IncrementalNewlineDecoder(None, translate=False)
    for begin in range(0, len(raw), _SLICE_BYTES):
        seen.decode(raw[begin : begin + _SLICE_BYTES].decode("latin-1"))
    seen.decode("", final=True)
    return seen.newlines in {None, "\r\n"}
