"""What does a mail say? Raw octets in, one `Content` out.

The same result feeds display, agent and screening: two readers that disagree are a way around
the stricter one. `Malformed` is the only thing raised; the caller quarantines the mail then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mailagent.errors import NotFound
from mailagent.mail import Address, Attachment, Content
from mailagent.mime import addresses, charset, headers, html, text, tree
from mailagent.mime.parameters import filename
from mailagent.mime.tree import Part

__all__ = ["attachment", "read"]

_MAX_HEADERS = 1_000
_TEXT_KINDS = frozenset({"text/plain", "text/html"})


def read(raw: bytes) -> Content:
    """Read a mail whose lines end in CRLF or LF.

    Raises Malformed, and nothing else, with the field `size` (100 MiB), `header` (1 MiB), `depth`
    (100), `parts` (2,000) or `structure` when a cap is exceeded.

    `Content.defects` are among `bad_date`, `broken_base64`, `charset_replaced`, `headers_cut`,
    `html_cut`, `malformed_from`, `no_boundary`, `no_from`, `no_message_id`, `several_from`,
    `several_message_ids`. A From of which any part is ambiguous gives no address at all.
    """
    fields, body = headers.split(raw)
    root = tree.read(raw)
    top = _Top(fields)
    found = _Body()
    found.take(root)
    plain, markup = found.joined()
    seen, hidden = html.to_text(markup) if markup else ("", False)
    whole = plain if plain.strip() else seen
    subject = headers.decoded(top.first(b"subject"))
    forward = text.is_forward(whole, subject)
    return Content(
        message_id=top.message_id(),
        in_reply_to=top.message_ids(b"in-reply-to"),
        references=top.message_ids(b"references"),
        date=headers.date(headers.decoded(top.first(b"date"))),
        subject=subject,
        from_=top.from_(),
        sender=top.mailboxes(b"sender"),
        reply_to=top.mailboxes(b"reply-to"),
        to=top.mailboxes(b"to"),
        cc=top.mailboxes(b"cc"),
        text=whole,
        written=whole.strip() if forward else text.written(whole),
        html=markup or None,
        hidden_text=hidden,
        is_forward=forward,
        attachments=tuple(found.attachments),
        headers=top.decoded(),
        content_sha256=_content_sha256(body),
        defects=tuple(sorted({*top.defects(), *found.defects, *_html_defects(markup)})),
    )


def attachment(raw: bytes, part: str) -> bytes:
    """Return the decoded octets of the part with this id, e.g. `1.2`.

    Raises NotFound when the mail has no such part, Malformed as `read` does.
    """
    for candidate in tree.read(raw).walk():
        if candidate.path == part and candidate.content is not None:
            return candidate.content
    raise NotFound(f"the mail has no part {part[:40]!r}")


class _Top:
    """The header of the mail, field by field."""

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        self._fields = fields
        self._by_name: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            self._by_name.setdefault(name.lower(), []).append(value)

    def first(self, name: bytes) -> bytes:
        return self._by_name.get(name, [b""])[0]

    def decoded(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (name.decode("ascii"), headers.decoded(value))
            for name, value in self._fields[:_MAX_HEADERS]
        )

    def message_ids(self, name: bytes) -> tuple[str, ...]:
        joined = b" ".join(self._by_name.get(name, []))
        return headers.message_ids(charset.decode(joined, None)[0])

    def message_id(self) -> str | None:
        return next(iter(self.message_ids(b"message-id")), None)

    def mailboxes(self, name: bytes) -> tuple[Address, ...]:
        return self._list(name).mailboxes

    def from_(self) -> tuple[Address, ...]:
        found = self._list(b"from")
        return () if found.malformed else found.mailboxes

    def _list(self, name: bytes) -> addresses.AddressList:
        """Field by field: an open quote in one must not swallow the next."""
        lists = [
            addresses.read(charset.decode(value, None)[0]) for value in self._by_name.get(name, [])
        ]
        found = [address for one in lists for address in one.mailboxes]
        return addresses.AddressList(
            tuple(found[: addresses.MAX_ADDRESSES]),
            any(one.malformed for one in lists) or len(found) > addresses.MAX_ADDRESSES,
        )

    def defects(self) -> set[str]:
        sender = self._list(b"from")
        date = self.first(b"date")
        claims = {
            "malformed_from": sender.malformed,
            "no_from": not sender.mailboxes and not sender.malformed,
            "several_from": len(sender.mailboxes) > 1 or len(self._by_name.get(b"from", [])) > 1,
            "no_message_id": self.message_id() is None,
            "several_message_ids": len(self._by_name.get(b"message-id", [])) > 1,
            "bad_date": bool(date) and headers.date(headers.decoded(date)) is None,
            "headers_cut": len(self._fields) > _MAX_HEADERS,
        }
        return {word for word, holds in claims.items() if holds}


@dataclass(slots=True)
class _Body:
    """Sorts the parts of a mail into its text, its HTML and its attachments."""

    plain: list[str] = field(default_factory=list)
    markup: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    defects: set[str] = field(default_factory=set)

    def take(self, part: Part) -> None:
        self.defects.update(part.defects)
        match part.content_type:
            case "multipart/alternative":
                self._take_alternatives(part)
            case "multipart/related":
                self._take_related(part)
            case kind if kind.startswith("multipart/"):
                for child in part.children:
                    self.take(child)
            case kind if kind in _TEXT_KINDS and not self._is_file(part):
                self._take_text(part)
            case _:
                self._attach(part)

    def joined(self) -> tuple[str, str]:
        return "\n".join(self.plain), "\n".join(self.markup)

    def _is_file(self, part: Part) -> bool:
        if part.disposition == "attachment":
            return True
        named = "name" in part.parameters or "filename" in part.fields.get(
            "content-disposition", ""
        )
        return named and bool(self.plain or self.markup)

    def _take_text(self, part: Part) -> None:
        content = part.content or b""
        parameters = part.parameters
        label = parameters.get("charset")
        if part.content_type == "text/html":
            decoded, replaced = charset.decode(content, label or _meta_charset(content))
            self.markup.append(text.normalised(decoded))
        else:
            decoded, replaced = charset.decode(content, label)
            decoded = text.normalised(decoded)
            if parameters.get("format", "").lower() == "flowed":
                delsp = parameters.get("delsp", "").lower() == "yes"
                decoded = text.unflowed(decoded, delsp=delsp)
            self.plain.append(decoded)
        if replaced:
            self.defects.add("charset_replaced")

    def _take_alternatives(self, part: Part) -> None:
        """One content in several forms: the plain one and the HTML one, each taken once."""
        forms: list[_Body] = []
        for child in part.children:
            form = _Body()
            form.take(child)
            forms.append(form)
        plain = next((f.plain for f in forms if any(p.strip() for p in f.plain)), [])
        markup = next((f.markup for f in reversed(forms) if f.markup), [])
        if markup and not plain and self.plain:
            # Beside earlier plain parts the HTML alone would drop out of the text.
            plain = [html.to_text("\n".join(markup))[0]]
        self.plain.extend(plain)
        self.markup.extend(markup)
        for form in forms:
            self.attachments.extend(form.attachments)
            self.defects |= form.defects

    def _take_related(self, part: Part) -> None:
        """RFC 2387: one root, named by `start` or the first; the others belong to it."""
        start = part.parameters.get("start", "").strip("<> ")
        root = next(
            (c for c in part.children if start and _content_id(c) == start), part.children[0]
        )
        self.take(root)
        for child in part.children:
            if child is not root:
                if child.content_type.startswith("multipart/"):
                    self.take(child)
                else:
                    self._attach(child)

    def _attach(self, part: Part) -> None:
        content = part.content or b""
        content_id = _content_id(part)
        inline = part.disposition == "inline" or (
            content_id is not None and part.disposition != "attachment"
        )
        fields = part.fields
        self.attachments.append(
            Attachment(
                part=part.path,
                filename=filename(
                    fields.get("content-disposition", ""),
                    fields.get("content-type", ""),
                    part.content_type,
                ),
                content_type=part.content_type,
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                content_id=content_id,
                inline=inline,
            )
        )
        self.defects.update(part.defects)
        for child in part.children:
            # A mail inside the mail: its files are listed too, its text is read by opening it.
            inner = _Body()
            inner.take(child)
            self.attachments.extend(inner.attachments)


def _content_id(part: Part) -> str | None:
    return part.fields.get("content-id", "").strip().strip("<>").strip() or None


_META_CHARSET = re.compile(
    rb"<meta[^>]{0,200}charset\s{0,5}=\s{0,5}[\"']?\s{0,5}([\w.:-]{1,60})", re.I
)


def _meta_charset(content: bytes) -> str | None:
    match = _META_CHARSET.search(content[:4_096])
    return match[1].decode("ascii", "replace") if match else None


def _html_defects(markup: str) -> set[str]:
    cut = len(markup) > html.MAX_TEXT_CHARACTERS or markup.count("<") > html.MAX_TEXT_TAGS
    return {"html_cut"} if cut else set()


_LINE_END = re.compile(rb"\r?\n")


def _content_sha256(body: bytes) -> str:
    """Hash the body as any transport leaves it: CRLF line ends, no empty lines at the end."""
    return hashlib.sha256(_LINE_END.sub(b"\r\n", body).rstrip(b"\r\n")).hexdigest()
