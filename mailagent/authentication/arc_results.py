"""What did a sealer see? The results of RFC 8601 inside an ARC-Authentication-Results field.

Read leniently, as every sealer writes them a little differently; believed strictly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mailagent.dns_answers import ascii_name

__all__ = ["Result", "parse_results", "vouches"]

_MAX_RESULTS = 50
_VOUCHING = {"dkim": ("header.d", "header.i"), "spf": ("smtp.mailfrom",)}


@dataclass(frozen=True, slots=True)
class Result:
    """`method=result` with its properties, e.g. `{"header.from": "example.com"}`; lower case."""

    method: str
    result: str
    properties: dict[str, str]


def parse_results(text: str) -> tuple[Result, ...]:
    """Read `authserv-id; method=result …; …`, at most 50 results; what has no result is left out.

    Comments go (RFC 5322 §3.2.2, nested ones too), quoted strings lose their quotes.
    """
    results: list[Result] = []
    for words in _statements(text)[1 : _MAX_RESULTS + 1]:
        method, equals, result = words[0].partition("=") if words else ("", "", "")
        if not equals or not result:
            continue
        pairs = (word.partition("=") for word in words[1:])
        properties = {name.lower(): value.lower() for name, equals, value in pairs if equals}
        results.append(Result(method.partition("/")[0].lower(), result.lower(), properties))
    return tuple(results)


def vouches(text: str, author: str) -> str | None:
    """The pass, in words, that these results hold for the From domain `author`; None without one.

    DMARC's own result decides where it says anything; else SPF or DKIM must have passed for this
    very domain. A result that does not name its domain vouches for nobody.
    """
    results = parse_results(text)
    judged = [each for each in results if each.method == "dmarc"]
    if any(each.result not in ("pass", "none", "bestguesspass") for each in judged):
        return None
    for each in judged:
        if each.result == "pass" and _names(each, "header.from", author):
            return f"dmarc=pass for {author}"
    for each in results:
        names = _VOUCHING.get(each.method, ())
        if each.result == "pass" and any(_names(each, name, author) for name in names):
            return f"{each.method}=pass for {author}"
    return None


def _names(result: Result, name: str, author: str) -> bool:
    return ascii_name(result.properties.get(name, "").rpartition("@")[2]) == author


def _statements(text: str) -> list[list[str]]:
    """The text cut at its semicolons, each part in words; a word may hold quoted blanks."""
    statements: list[list[str]] = [[]]
    for word in _words(text):
        words = statements[-1]
        if word is None:
            statements.append([])
        elif words and (word.startswith("=") or words[-1].endswith("=")):
            words[-1] += word  # blanks may stand around the equals sign
        else:
            words.append(word)
    return statements


def _words(text: str) -> Iterator[str | None]:
    """The words outside of comments, in one pass; None is a semicolon that is not quoted."""
    word: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
            if depth == 0:
                word.append(character)
        elif character == "\\" and (quoted or depth):
            escaped = True
        elif depth:
            depth += (character == "(") - (character == ")")
        elif character == '"':
            quoted = not quoted
        elif quoted:
            word.append(character)
        elif character in "(; \t\r\n":
            if word:
                yield "".join(word)
                word.clear()
            if character == ";":
                yield None
            depth = int(character == "(")
        else:
            word.append(character)
    if word:
        yield "".join(word)
