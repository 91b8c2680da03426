"""What do `Content-Type` and `Content-Disposition` say, and what may a file be called?

Own reader (RFC 2045 §5.1, RFC 2231): the stdlib's raises on mixed continuations and needs seconds
for thousands of them (libraries.md 1a).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from mailagent.mime import charset, headers

__all__ = ["filename", "parameters", "safe_filename"]

_MAX_CHARACTERS = 16 * 1024
_MAX_FILENAME: Final = 150
"""Characters; 255 octets is what file systems take, and a character may need four."""

_TOKEN = re.compile(r"[^\s;()\"]+(?:/[^\s;()\"]+)?")
_PARAMETER = re.compile(
    r""";\s{0,80}([^\s=;"()]{1,60})\s{0,80}=\s{0,80}(?:"((?:[^"\\]|\\.)*)(?:"|$)|([^;]*))""",
    re.DOTALL,
)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """Split a field value into its lower-case main word and its parameters by lower-case name.

    RFC 2231 continuations are joined and decoded; the first of several equal names counts, as
    it does for the MIME tree. Reads 16 KB at most and never raises.
    """
    value = value[:_MAX_CHARACTERS]
    main = _TOKEN.match(value.lstrip())
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for match in _PARAMETER.finditer(value):
        text = match[2] if match[2] is not None else match[3].partition(" (")[0].strip()
        if match[2] is not None:
            text = re.sub(r"\\(.)", r"\1", text)
        parts = _SECTION.fullmatch(match[1].lower())
        if parts is None or (parts[2] is None and parts[3] is None):
            plain.setdefault(match[1].lower(), text)
        else:
            cut = sections.setdefault(parts[1], {})
            cut.setdefault(int(parts[2] or 0), (text, parts[3] is not None))
    for name, cut in sections.items():
        # RFC 5987 §4.2 and RFC 2231: the extended form wins over the plain one.
        plain[name] = _joined(cut)
    return (main[0].lower() if main else ""), plain


def _joined(sections: Mapping[int, tuple[str, bool]]) -> str:
    label: str | None = None
    octets: list[bytes] = []
    for number in sorted(sections):
        text, extended = sections[number]
        if extended:
            if label is None and text.count("'") >= 2:
                label, _, text = text.split("'", 2)
            octets.append(unquote_to_bytes(text))
        else:
            octets.append(text.encode("utf-8", "replace"))
    return charset.decode(b"".join(octets), label or "utf-8")[0]


_EXTENSIONS = {
    "application/ms-tnef": "dat",
    "application/octet-stream": "bin",
    "application/pdf": "pdf",
    "application/pgp-signature": "asc",
    "application/pkcs7-signature": "p7s",
    "application/x-pkcs7-signature": "p7s",
    "application/zip": "zip",
    "image/gif": "gif",
    "image/jpeg": "jpg",
    "image/png": "png",
    "message/rfc822": "eml",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/vcard": "vcf",
}
_NAMES = {"application/ms-tnef": "winmail", "text/calendar": "invite", "message/rfc822": "message"}

# Besides path characters: Unicode "format" characters, for U+202E shows `gpj.exe` as `exe.jpg`.
_UNSAFE = re.compile(
    r'[\x00-\x1f\x7f-\x9f\ud800-\udfff<>:"|?*\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+'
)


def filename(disposition: str, content_type: str, kind: str) -> str:
    """Name a part safely: what the sender calls it, else a name made of its content type `kind`."""
    declared = parameters(disposition)[1].get("filename") or parameters(content_type)[1].get("name")
    if declared:
        safe = safe_filename(headers.decoded(declared))
        if safe:
            return safe
    stem = _NAMES.get(kind) or {"image": "image", "audio": "audio", "video": "video"}.get(
        kind.partition("/")[0], "attachment"
    )
    return f"{stem}.{_EXTENSIONS.get(kind, 'txt' if kind.startswith('text/') else 'bin')}"


def safe_filename(name: str) -> str:
    """Reduce a name to its last path segment without characters that mislead or escape.

    At most 150 characters, the extension kept; empty when nothing of it is usable.
    """
    name = re.split(r"[/\\]", charset.clean(name).rstrip("/\\ "))[-1]
    name = " ".join(_UNSAFE.sub(" ", name).split()).strip(". ")
    if len(name) > _MAX_FILENAME:
        stem, dot, extension = name.rpartition(".")
        if dot and len(extension) <= 16:
            name = stem[: _MAX_FILENAME - len(extension) - 1].rstrip(". ") + dot + extension
        else:
            name = name[:_MAX_FILENAME].rstrip(". ")
    return name
