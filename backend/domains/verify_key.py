"""Is a published DKIM key the whole of the key that mail is signed with? (RFC 6376 §3.6.1)"""

from __future__ import annotations

from backend.domains.finding import Asked, Finding
from mailagent.authentication.dkim_key import Unusable, parse_key, parse_tags
from mailagent.dns_answers import Unknown

__all__ = ["key", "public_key"]


def public_key(text: str) -> str | None:
    """The key (`p=`) of a TXT value without its blanks; None when the value is no key record."""
    tags = parse_tags(text)
    if tags is None or "p" not in tags:
        return None
    return "".join(tags["p"].split())


def key(asked: Asked) -> Finding:
    """Judge a DKIM key: exactly one record, the same key; other tags are free where RFCs say so."""
    found = asked.values()
    if isinstance(found, Unknown):
        return asked.unknown(found.reason)
    wanted = public_key(asked.record.record.value)
    if any(_bared(text) != text and public_key(_bared(text)) == wanted for text in found):
        return asked.wrong("quoted", found=found)
    keys = [text for text in found if public_key(text) is not None]
    if len(keys) > 1:
        return asked.wrong("dkim_multiple", "duplicate", found=found, detail=str(len(keys)))
    if not keys:
        return asked.missing(
            "dkim_missing", lambda there: wanted in map(public_key, there), found=found
        )
    return _compared(asked, keys[0], wanted or "")


def _compared(asked: Asked, text: str, wanted: str) -> Finding:
    published = public_key(text) or ""
    if published != wanted:
        if not published:
            return asked.wrong("dkim_key_mismatch", found=(text,), detail="it is revoked")
        if wanted.startswith(published) or wanted.endswith(published):
            whole = len(asked.record.record.value)
            detail = f"{whole - len(wanted) + len(published)} of {whole}"
            return asked.wrong("dkim_key_truncated", found=(text,), detail=detail)
        return asked.wrong("dkim_key_mismatch", found=(text,), detail="it is another key")
    algorithm = (parse_tags(asked.record.record.value) or {}).get("k", "rsa")
    usable = parse_key((text,), f"{algorithm}-sha256")
    if isinstance(usable, Unusable):
        return asked.wrong("dkim_key_mismatch", found=(text,), detail=usable.reason)
    return Finding("valid", found=(text,))


def _bared(text: str) -> str:
    return text.strip("\"'").replace("\\", "")
