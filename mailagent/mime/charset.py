"""Which text do these octets mean, whatever their label claims?

Order: byte order mark, declared codec, strict UTF-8, the declared codec with few replacements, a
guess, and at last windows-1252. Labels are a sender's claim: only text codecs of an allow-list
are ever looked up (`codecs.lookup` also offers `zlib`, `rot13`, `idna` and `unicode_escape`).
"""

from __future__ import annotations

import codecs
import re

import chardet

__all__ = ["clean", "codec", "decode"]

_GUESS_OCTETS = 64 * 1024
_FEWEST_TO_GUESS_FROM = 4
"""8-bit octets: for the one in `caf\xe9` any guess is noise (chardet says Greek)."""
_TOLERATED_REPLACEMENTS = 0.05
"""Share of replaced characters up to which a declared charset is believed before a guess."""

_ALIASES = {
    # The web's reading of labels (WHATWG "Encoding"), which is what senders mean: supersets.
    "ascii": "cp1252",
    "us": "cp1252",
    "us-ascii": "cp1252",
    "ansi_x3.4-1968": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252",
    "iso-8859-1-windows-3.1-latin-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "x-cp1252": "cp1252",
    "x-ansi": "cp1252",
    "iso-8859-8-i": "iso8859-8",
    "iso-8859-8-e": "iso8859-8",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "cp936": "gb18030",
    "hz-gb-2312": "hz",
    "big5": "big5hkscs",
    "x-x-big5": "big5hkscs",
    "ks_c_5601": "cp949",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601-1989": "cp949",
    "ksc5601": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "ms_kanji": "cp932",
    # Half-width kana and JIS X 0212 are common under this label and outside Python's strict one.
    "iso-2022-jp": "iso2022_jp_ext",
    "x-euc-jp": "euc_jp",
    "koi8-ru": "koi8-u",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "unicode-1-1-utf-8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "utf8": "utf-8",
    "x-utf-8": "utf-8",
    "utf-8mb4": "utf-8",
    "unicode": "utf-16",
    "ucs-2": "utf-16",
}

_TEXT_CODECS = frozenset(
    codecs.lookup(name).name
    for name in (
        *["utf-8", "utf-7", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
        *(f"iso8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)),
        *(f"cp{n}" for n in (437, 737, 775, 850, 852, 855, 856, 857, 858, 860, 861, 862, 863)),
        *(f"cp{n}" for n in (864, 865, 866, 869, 874, 932, 949, 950, 1125)),
        *(f"cp{n}" for n in range(1250, 1259)),
        *["koi8-r", "koi8-u", "koi8-t", "kz1048", "ptcp154"],
        *["mac-roman", "mac-cyrillic", "mac-greek", "mac-turkish", "mac-latin2", "mac-iceland"],
        *["gb18030", "hz", "big5hkscs", "euc_kr", "johab", "iso2022_kr"],
        *["euc_jp", "euc_jis_2004", "shift_jis_2004", "iso2022_jp_ext", "iso2022_jp_2004"],
        *["iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_3"],
    )
)

_LONE_SURROGATE_OR_NUL = re.compile("[\ud800-\udfff\x00]")
_LABEL = re.compile(r"[A-Za-z0-9_.:+-]{1,64}")


def codec(label: str | None) -> str | None:
    """Name the Python codec that `label` means, None when it is missing, unknown or no charset."""
    if label is None or not _LABEL.fullmatch(name := label.strip().strip("\"'").lower()):
        return None
    for candidate in (name, name.replace("cp-", "cp"), name.removeprefix("x-")):
        try:
            found = codecs.lookup(_ALIASES.get(candidate, candidate)).name
        except LookupError:
            continue
        if found in _TEXT_CODECS:
            return found
    return None


def clean(text: str) -> str:
    """Remove NUL and lone surrogates: databases and UTF-8 take neither. Every stored str passes."""
    if "\x00" not in text:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            pass
        else:
            return text
    return _LONE_SURROGATE_OR_NUL.sub("", text)


def decode(data: bytes, label: str | None) -> tuple[str, bool]:
    """Decode `data` and say whether characters had to be replaced. Never raises.

    The text is `clean`. A wrong label that another reading mends replaces nothing.
    """
    if not data:
        return "", False
    declared = codec(label)
    for candidate in _exact_candidates(data, declared):
        if (text := _strict(data, candidate)) is not None:
            return clean(text), False
    if declared is not None:
        text = data.decode(declared, "replace")
        if text.count("\ufffd") <= len(text) * _TOLERATED_REPLACEMENTS:
            return clean(text), True
    return _guessed(data)


def _exact_candidates(data: bytes, declared: str | None) -> list[str]:
    if data.startswith(codecs.BOM_UTF8):
        return ["utf-8-sig"]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and declared in {
        None,
        "cp1252",
        "utf-8",
    }:
        return ["utf-16", "utf-8"]
    if declared is None:
        return ["utf-8"]
    if declared == "cp1252" and not data.isascii():
        # "us-ascii" and "iso-8859-1" are what software writes when it does not know; text of
        # another charset that happens to be valid UTF-8 does not occur in practice.
        return ["utf-8", "cp1252"]
    return [declared, "utf-8"]


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except UnicodeError:
        return None


def _guessed(data: bytes) -> tuple[str, bool]:
    sample = data[:_GUESS_OCTETS]
    guess = None
    if sum(octet > 0x7F for octet in sample) >= _FEWEST_TO_GUESS_FROM or b"\x1b" in sample:
        guess = codec(chardet.detect(sample).get("encoding"))
    if guess is not None:
        text = data.decode(guess, "replace")
        replaced = text.count("\ufffd")
        if replaced <= len(text) * _TOLERATED_REPLACEMENTS:
            return clean(text), replaced > 0
    text = data.decode("cp1252", "replace")
    return clean(text), "\ufffd" in text
