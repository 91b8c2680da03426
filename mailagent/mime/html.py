"""What does a person see of an HTML mail, and what may be shown of it?

Two answers from two libraries: `to_text` walks turbohtml's tree with `visibility` and writes what
can be seen, `safe` filters by nh3's allow-list. Both are bounded before the library is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import nh3
import turbohtml

from mailagent.mime import charset, visibility

__all__ = ["MAX_TEXT_CHARACTERS", "MAX_TEXT_TAGS", "safe", "to_text"]

MAX_TEXT_CHARACTERS: Final = 2_000_000
MAX_TEXT_TAGS: Final = 50_000
"""What `to_text` reads of a document; the rest is cut, for the walk is Python."""

_MAX_SAFE_CHARACTERS = 10_000_000
_MAX_SAFE_TAGS = 20_000
_MAX_SAFE_DEPTH = 500
"""nh3 is quadratic in nesting: 100,000 elements take 19.5 s (libraries.md §1)."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_BLOCKS = _words(
    "address article aside blockquote body center dd details div dl dt fieldset figcaption figure"
    " footer form h1 h2 h3 h4 h5 h6 header hr li main nav ol p pre section summary table tbody"
    " tfoot thead tr ul"
)
_SPACED = _words("blockquote dl h1 h2 h3 h4 h5 h6 hr ol p pre table ul")
_UNSEEN = _words(
    "applet area audio base canvas datalist embed frame frameset head iframe input link map math"
    " meta noembed noframes object param script select source style svg template textarea title"
    " track video"
)
# What fills the preview line of a mailbox and shows nothing.
_FILLER = re.compile(
    "[\\s\u00a0\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u2000-\u200f"
    "\u2028-\u202f\u205f-\u206f\u3000\u3164\ufeff\uffa0]+"
)
_ZERO_WIDTH = re.compile("[\u00ad\u034f\u200b\u200c\u2060\ufeff]+")
_SPACES = re.compile(r"[ \t\n\r\f\u00a0]+")


def to_text(html: str) -> tuple[str, bool]:
    """Write what a person would see as text, and say whether hidden text was found and dropped.

    Lines end in LF. Quoted blocks stand behind `> `, list items behind `- `, cells of a row are
    two spaces apart; a link shows its address when its text does not. Never raises; of more than
    2,000,000 characters or 50,000 tags only the beginning is read.
    """
    html = charset.clean(html)[:MAX_TEXT_CHARACTERS]
    if html.count("<") > MAX_TEXT_TAGS:
        html = "<".join(html.split("<", MAX_TEXT_TAGS + 1)[:-1])
    document = turbohtml.parse(html)
    css = "\n".join(style.text for style in document.find_all("style", limit=20))
    writer = _Writer(visibility.sheet(css))
    writer.write(document)
    return writer.text(), writer.found_hidden


class _Writer:
    """Collects lines; a pending break becomes lines only when visible text follows."""

    def __init__(self, rules: visibility.Sheet) -> None:
        self.found_hidden = False
        self._rules = rules
        self._lines: list[str] = []
        self._line: list[str] = []
        self._quotes = 0
        self._breaks = 0
        self._mark = ""
        """A bullet or cell gap that the next text brings with it."""

    def write(self, document: turbohtml.Document) -> None:
        """Walk without recursion: nesting is the sender's choice."""
        stack: list[tuple[turbohtml.Node | _Closing, visibility.Appearance]] = [
            (document, visibility.PAGE)
        ]
        while stack:
            node, look = stack.pop()
            match node:
                case _Closing():
                    self._close(node)
                case turbohtml.Text():
                    self._take(node.text, look)
                case turbohtml.Element() if node.tag in _UNSEEN:
                    continue
                case turbohtml.Element():
                    attributes = _attributes(node)
                    look = visibility.appearance(look, node.tag, attributes, self._rules)
                    closing = self._open(node, attributes, look)
                    stack.append((closing, look))
                    stack.extend((child, look) for child in reversed(node.children))
                case turbohtml.Document():
                    stack.extend((child, look) for child in reversed(node.children))
                case _:
                    continue

    def text(self) -> str:
        self._end_line()
        return "\n".join(self._lines).strip("\n")

    def _open(
        self, element: turbohtml.Element, attributes: Mapping[str, str], look: visibility.Appearance
    ) -> _Closing:
        tag = element.tag
        if look.gone:
            return _Closing(tag)
        if tag == "br":
            self._end_line()
            return _Closing(tag)
        if tag in _BLOCKS:
            self._break(2 if tag in _SPACED else 1)
        if tag == "li":
            self._mark = "- "
        elif tag in {"td", "th"} and (self._line or self._mark):
            self._mark = "  "
        quotes = tag == "blockquote" and not _only_indents(attributes)
        self._quotes += quotes
        return _Closing(tag, quotes, _link(element, attributes) if tag == "a" else "")

    def _close(self, closing: _Closing) -> None:
        if closing.link and self._line:
            self._line.append(f" <{closing.link}>")
        if closing.tag in _BLOCKS:
            self._break(2 if closing.tag in _SPACED else 1)
        self._quotes -= closing.quotes

    def _take(self, text: str, look: visibility.Appearance) -> None:
        if look.hidden:
            self.found_hidden = self.found_hidden or bool(_FILLER.sub("", text))
            return
        text = _ZERO_WIDTH.sub("", text)
        if look.preformatted and "\n" in text.strip("\n"):
            for line in text.strip("\n").split("\n"):
                self._put(line.rstrip("\r"))
                self._end_line()
            return
        text = _SPACES.sub(" ", text)
        if not self._line or self._mark or self._line[-1].endswith(" "):
            text = text.removeprefix(" ")
        if text:
            self._put(text)

    def _put(self, text: str) -> None:
        if self._breaks and self._lines:
            self._lines.extend([self._prefix().rstrip()] * (self._breaks - 1))
        self._breaks = 0
        if self._mark:
            text, self._mark = self._mark + text, ""
        self._line.append(text)

    def _break(self, height: int) -> None:
        """End the line; `height` 2 also leaves one empty line before what follows."""
        if self._line:
            self._end_line()
        self._mark = ""
        self._breaks = max(self._breaks, height)

    def _end_line(self) -> None:
        line = "".join(self._line).rstrip()
        if line or self._breaks == 0:
            self._lines.append(f"{self._prefix()}{line}".rstrip())
        self._line = []

    def _prefix(self) -> str:
        return ">" * self._quotes + " " if self._quotes else ""


class _Closing:
    """Stands on the stack below an element's children: what to do after them."""

    __slots__ = ("link", "quotes", "tag")

    def __init__(self, tag: str, quotes: bool = False, link: str = "") -> None:
        self.tag = tag
        self.quotes = quotes
        self.link = link


def _attributes(element: turbohtml.Element) -> dict[str, str]:
    return {
        name: " ".join(value) if isinstance(value, list) else (value or "")
        for name, value in element.attrs.items()
    }


def _only_indents(attributes: Mapping[str, str]) -> bool:
    """Old composers indent with `<blockquote style="margin:0 0 0 40px; border:none">`."""
    return "border:none" in attributes.get("style", "").replace(" ", "").lower()


def _link(element: turbohtml.Element, attributes: Mapping[str, str]) -> str:
    """The address worth showing beside a link's text: another one, of the web, not endless."""
    address = _SPACES.sub("", attributes.get("href", ""))
    if not address.lower().startswith(("http://", "https://")) or len(address) > 500:
        return ""
    shown = "".join(element.text.split()).rstrip("/").lower()
    bare = re.sub(r"^https?://", "", address.rstrip("/").lower())
    return "" if not shown or shown in {bare, f"http://{bare}", f"https://{bare}"} else address


_TAGS = _words(
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col"
    " colgroup dd del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6"
    " header hr i img ins kbd li main mark ol p pre q s samp section small span strike strong sub"
    " summary sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
_ATTRIBUTES = {
    "*": {
        "align",
        "bgcolor",
        "color",
        "dir",
        "height",
        "lang",
        "style",
        "title",
        "valign",
        "width",
    },
    "a": {"href"},
    "font": {"color", "face", "size"},
    "img": {"alt", "src"},
    "ol": {"start", "type"},
    "table": {"border", "cellpadding", "cellspacing"},
    "td": {"colspan", "rowspan", "nowrap"},
    "th": {"colspan", "rowspan", "nowrap"},
}
# nh3 filters names, values pass: only properties whose values can neither fetch nor position.
_STYLES = _words(
    "background-color border border-bottom border-collapse border-color border-left border-radius"
    " border-right border-spacing border-style border-top border-width color direction display"
    " font-family font-size font-style font-weight height letter-spacing line-height margin"
    " margin-bottom margin-left margin-right margin-top max-height max-width min-width opacity"
    " overflow padding padding-bottom padding-left padding-right padding-top text-align"
    " text-decoration text-transform vertical-align visibility white-space width word-break"
)
_SUSPECT_STYLE = re.compile(
    r"url|image|expression|import|attr\s*\(|var\s*\(|[\\@]|/\*", re.IGNORECASE
)
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
# No SVG: it may hold scripts and references of its own.
_IMAGE = re.compile(r"cid:|data:image/(?:png|jpe?g|gif|webp|bmp);base64,", re.IGNORECASE)


def _filtered(_tag: str, name: str, value: str) -> str | None:
    match name:
        case "href":
            return value if _LINK.match(value) else None
        case "src":
            return value if _IMAGE.match(value) else None
        case "style":
            return None if _SUSPECT_STYLE.search(value) else value
        case _:
            return value


_CLEANER: Final = nh3.Cleaner(
    tags=set(_TAGS),
    clean_content_tags={"script", "style", "title", "template", "noembed", "noframes", "iframe"},
    attributes=_ATTRIBUTES,
    attribute_filter=_filtered,
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},
    url_schemes={"http", "https", "mailto", "cid", "data"},
    url_relative="deny",
    filter_style_properties=set(_STYLES),
)


def safe(html: str) -> str | None:
    """Filter HTML for display in a sandboxed iframe; None when it is too large or too deep.

    Nothing left fetches: images are `cid:` or inline data, styles cannot name an address. Links
    are http, https or mailto. The caller shows the text instead of None, and serves the result
    under a Content-Security-Policy all the same; it must not be parsed and filtered again.
    """
    html = charset.clean(html)
    if len(html) > _MAX_SAFE_CHARACTERS or html.count("<") > _MAX_SAFE_TAGS:
        return None
    if _depth(html) > _MAX_SAFE_DEPTH:
        return None
    return _CLEANER.clean(html)


_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]{0,30})")
_NOT_NESTING = _words(
    "area base br col dd dt embed hr img input li link meta option p param source tbody td tfoot"
    " th thead tr track wbr"
)


def _depth(html: str) -> int:
    """The deepest nesting that the tags could make; elements that end by themselves not counted."""
    depth = deepest = 0
    for match in _TAG.finditer(html):
        if match[2].lower() in _NOT_NESTING:
            continue
        depth = max(0, depth - 1) if match[1] else depth + 1
        deepest = max(deepest, depth)
    return deepest
