"""Which parts is a message made of?

Two parsers stand behind one value, `Part`: fast-mail-parser, and the stdlib's (policy compat32,
never its accessors) for what the first one refuses or loses: base64 with stray characters, a
multipart without its boundary, tens of thousands of encoded words. Caps hold for both.
"""

from __future__ import annotations

import binascii
import email.errors
import email.message
import email.parser
import email.policy
import quopri
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import fast_mail_parser

from mailagent.errors import Malformed
from mailagent.mime import headers
from mailagent.mime.parameters import parameters

__all__ = ["MAX_DEPTH", "MAX_OCTETS", "MAX_PARTS", "Part", "read"]

MAX_DEPTH: Final = 100
MAX_PARTS: Final = 2_000
MAX_OCTETS: Final = 100 * 1024 * 1024

_MAX_ENCODED_WORDS = 5_000
"""fast-mail-parser decodes encoded words in quadratic time: 300,000 of them take 70 s."""
_MAX_SLOW_BOUNDARIES = 500
"""The stdlib compares every line with every open boundary."""

_MIME_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Part:
    """One node of the MIME tree. `path` is its IMAP section; a leaf or message is found by it.

    The root multipart of an inner mail shares the path of the message part that holds it.
    `content` holds the transfer-decoded octets of a leaf or of a whole `message/rfc822`, None for
    a multipart. A message part has its inner mail's root as its only child.
    """

    path: str
    content_type: str
    fields: Mapping[str, str]
    """Lower-case name of each `Content-*` field and the first value it has."""
    content: bytes | None
    children: tuple[Part, ...] = ()
    defects: tuple[str, ...] = ()

    @property
    def is_message(self) -> bool:
        return self.content is not None and bool(self.children)

    @property
    def disposition(self) -> str:
        """`attachment`, `inline`, another word in lower case, or empty."""
        return parameters(self.fields.get("content-disposition", ""))[0]

    @property
    def parameters(self) -> Mapping[str, str]:
        """Parameters of `Content-Type`."""
        return parameters(self.fields.get("content-type", ""))[1]

    def walk(self) -> Iterator[Part]:
        """Yield this part and all below it, in the order of the message."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(raw: bytes) -> Part:
    """Read a message's MIME tree; the same octets always give the same tree and the same paths.

    Raises Malformed with the field `size`, `header`, `depth`, `parts` or `structure` when a cap is
    exceeded, and nothing else.
    """
    if len(raw) > MAX_OCTETS:
        raise Malformed("size", f"more than {MAX_OCTETS} octets")
    fields, body = headers.split(raw)
    # Only what MIME needs of the header: the rest costs time and is read by `headers`.
    mime = [(name, value) for name, value in fields if name[:8].lower() == b"content-"]
    message = b"".join(b"%b: %b\r\n" % pair for pair in mime) + b"\r\n" + body
    node = None
    if message.count(b"=?") <= _MAX_ENCODED_WORDS:
        node = _fast(message)
    return _numbered(node or _slow(message))


@dataclass(slots=True)
class _Node:
    content_type: str
    fields: dict[str, str]
    content: bytes | None
    children: list[_Node] = field(default_factory=list)
    defects: tuple[str, ...] = ()


class _Budget:
    """Counts what all parts of one message use up together."""

    def __init__(self) -> None:
        self.parts = 0
        self.header_characters = 0

    def spend(self, depth: int, fields: Mapping[str, str]) -> None:
        self.parts += 1
        self.header_characters += sum(len(k) + len(v) for k, v in fields.items())
        if depth > MAX_DEPTH:
            raise Malformed("depth", f"parts nested deeper than {MAX_DEPTH}")
        if self.parts > MAX_PARTS:
            raise Malformed("parts", f"more than {MAX_PARTS} parts")
        if self.header_characters > headers.MAX_HEADER_OCTETS:
            raise Malformed("header", f"more than {headers.MAX_HEADER_OCTETS} octets in parts")


class _Refused(Exception):
    """fast-mail-parser cannot give the octets of this message."""


def _fast(message: bytes) -> _Node | None:
    try:
        root = fast_mail_parser.parse_email_tree(message, mode="lazy")
        return _from_fast(root, 0, _Budget())
    except fast_mail_parser.MimeStructureError as error:
        raise Malformed("depth", f"parts nested deeper than {MAX_DEPTH}") from error
    except (fast_mail_parser.ParseError, _Refused):
        return None


def _from_fast(source: fast_mail_parser.PyLazyMimePart, depth: int, budget: _Budget) -> _Node:
    fields: dict[str, str] = {}
    for name, values in source.headers.items():
        if name[:8].lower() == "content-":
            fields.setdefault(name.lower(), headers.one_line(values[0]) if values else "")
    budget.spend(depth, fields)
    children = [_from_fast(child, depth + 1, budget) for child in source.children]
    content = source.content
    if content is None and not children:
        raise _Refused
    kind = "message/rfc822" if source.is_message else _kind(fields)
    encoding = fields.get("content-transfer-encoding", "")
    if content is not None and not source.is_message:
        if kind.startswith("multipart/"):
            raise _Refused
        if encoding.strip().lower() not in {"base64", "quoted-printable"}:
            content, defects = _transfer_decoded(content, encoding)
            return _Node(kind, fields, content, children, defects)
    return _Node(kind, fields, content, children)


def _slow(message: bytes) -> _Node:
    if message.lower().count(b"boundary") > _MAX_SLOW_BOUNDARIES:
        raise Malformed("structure", "broken in too many parts to be read")
    try:
        root = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(message)
        return _from_stdlib(root, 0, _Budget())
    except RecursionError as error:
        raise Malformed("depth", f"parts nested deeper than {MAX_DEPTH}") from error


def _from_stdlib(source: email.message.Message, depth: int, budget: _Budget) -> _Node:
    fields: dict[str, str] = {}
    for name, value in source.raw_items():
        if name[:8].lower() == "content-":
            octets = str(value).encode("utf-8", "surrogateescape")
            unfolded = octets.replace(b"\r", b"").replace(b"\n", b"")
            fields.setdefault(name.lower(), headers.decoded(unfolded))
    budget.spend(depth, fields)
    kind = _kind(fields) if source.get_content_type() != "message/rfc822" else "message/rfc822"
    payload: object = source.get_payload()
    if isinstance(payload, Sequence) and not isinstance(payload, str):
        inner = [p for p in payload if isinstance(p, email.message.Message)]
        children = [_from_stdlib(p, depth + 1, budget) for p in inner]
        if kind.startswith("message/") and inner:
            # message/delivery-status is a list of header blocks (RFC 3464 §2.1): all of them.
            content = b"".join(_serialised(one) for one in inner)
            return _Node(kind, fields, content, children[:1] if kind == "message/rfc822" else [])
        return _Node(kind, fields, None, children)
    octets = str(payload or "").encode("utf-8", "surrogateescape")
    content, defects = _transfer_decoded(octets, fields.get("content-transfer-encoding", ""))
    if kind.startswith("multipart/"):
        # Boundary missing or never found: what stands there is shown rather than lost.
        return _Node("text/plain", {}, content, [], (*defects, "no_boundary"))
    return _Node(kind, fields, content, [], defects)


def _serialised(message: email.message.Message) -> bytes:
    """Write an inner mail again: the stdlib keeps no octets of it. Line ends may differ."""
    try:
        return message.as_bytes()
    except (ValueError, LookupError, TypeError, AttributeError, email.errors.MessageError):
        return b""


def _kind(fields: Mapping[str, str]) -> str:
    """RFC 2045 §5.2: what is no media type is text/plain."""
    kind = parameters(fields.get("content-type", ""))[0]
    return kind if _MIME_TYPE.fullmatch(kind) else "text/plain"


_NOT_BASE64 = bytes(set(range(256)) - set(b"+/=" + string.ascii_letters.encode() + b"0123456789"))
_UUENCODED = {"uuencode", "x-uuencode", "uue", "x-uue"}


def _transfer_decoded(data: bytes, encoding: str) -> tuple[bytes, tuple[str, ...]]:
    """Undo a Content-Transfer-Encoding leniently; an unknown one is the identity."""
    word = re.match(r"[a-z0-9-]*", encoding.strip().strip("\"'").lower())
    match word[0] if word else "":
        case "base64":
            return _base64(data)
        case "quoted-printable":
            return quopri.decodestring(data), ()
        case name if name in _UUENCODED:
            return _uudecoded(data), ()
        case _:
            return data, ()


def _base64(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Decode what can be decoded. Data ends at its padding: list software adds a footer below."""
    try:
        return binascii.a2b_base64(b"".join(data.split()), strict_mode=True), ()
    except binascii.Error:
        pass
    letters = data.translate(None, delete=_NOT_BASE64)
    end = letters.find(b"=")
    letters = letters if end < 0 else letters[:end]
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)), ("broken_base64",)


def _uudecoded(data: bytes) -> bytes:
    decoded: list[bytes] = []
    started = False
    for line in data.splitlines():
        if not started:
            started = line.startswith(b"begin ")
        elif line.strip() == b"end":
            break
        else:
            try:
                decoded.append(binascii.a2b_uu(line))
            except binascii.Error:
                # Some encoders count the last line's octets wrong: take the length it claims.
                octets = (((line[0] - 32) & 63) * 4 + 5) // 3 if line else 0
                try:
                    decoded.append(binascii.a2b_uu(line[:octets]))
                except binascii.Error:
                    continue
    return b"".join(decoded) if started else data


def _numbered(root: _Node) -> Part:
    """Give every addressable part its path as IMAP does (RFC 9051 §6.4.5)."""
    return _children_of("", root) if root.content is None else _part("1", root)


def _part(path: str, node: _Node) -> Part:
    if node.content is not None and node.children:
        inner = node.children[0]
        child = _children_of(path, inner) if inner.content is None else _part(f"{path}.1", inner)
        return Part(path, node.content_type, node.fields, node.content, (child,), node.defects)
    if node.content is None:
        return _children_of(path, node)
    return Part(path, node.content_type, node.fields, node.content, (), node.defects)


def _children_of(path: str, node: _Node) -> Part:
    prefix = f"{path}." if path else ""
    children = tuple(_part(f"{prefix}{n}", child) for n, child in enumerate(node.children, 1))
    return Part(path, node.content_type, node.fields, None, children, node.defects)
