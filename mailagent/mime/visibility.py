"""Which text of an HTML mail would a person not see?

Reads inline styles, the attributes that style, and simple rules of `<style>` (tag, class, id)
outside media queries. Not a CSS engine: it knows the ways in which mail hides text, for what a
person cannot see must not instruct an agent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

__all__ = ["PAGE", "Appearance", "Sheet", "appearance", "sheet"]

Colour = tuple[int, int, int]

_SAME_COLOUR = 12
"""Largest difference of a channel (0-255) at which text cannot be read on its background."""
_READABLE_PX = 2.0

_NAMED: dict[str, Colour] = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "navy": (0, 0, 128),
    "snow": (255, 250, 250),
    "ivory": (255, 255, 240),
    "whitesmoke": (245, 245, 245),
    "ghostwhite": (248, 248, 255),
    "floralwhite": (255, 250, 240),
    "azure": (240, 255, 255),
    "lightgray": (211, 211, 211),
    "lightgrey": (211, 211, 211),
}


@dataclass(frozen=True, slots=True)
class Appearance:
    """How text stands in one element, as far as it decides whether it is seen."""

    gone: bool = False
    """The element takes no part in display: nothing below it can be seen either."""
    invisible: bool = False
    """`visibility`: an element below may be visible again."""
    tiny: bool = False
    """Font size of about nothing: an element below may set its own."""
    colour: Colour | None = (0, 0, 0)
    """None: not known. Transparent text is the colour of what is behind it."""
    background: Colour | None = (255, 255, 255)
    transparent: bool = False
    preformatted: bool = False

    @property
    def hidden(self) -> bool:
        """Text that stands directly here is not seen."""
        if self.gone or self.invisible or self.tiny or self.transparent:
            return True
        if self.colour is None or self.background is None:
            return False
        pairs = zip(self.colour, self.background, strict=True)
        return max(abs(a - b) for a, b in pairs) <= _SAME_COLOUR


PAGE: Final = Appearance()
"""Black on white, as mail programs show what says nothing else."""

Sheet = Mapping[str, Mapping[str, str]]
"""Declarations by simple selector: `p`, `.note`, `#top`, `p.note`."""


def appearance(
    parent: Appearance, tag: str, attributes: Mapping[str, str], rules: Sheet
) -> Appearance:
    """Work out how the text of an element stands, given that of its parent."""
    style: dict[str, str] = {}
    if rules:
        for selector in _selectors(tag, attributes):
            style.update(rules.get(selector, {}))
    style.update(declarations(attributes.get("style", "")))
    if "hidden" in attributes or _takes_no_space(style):
        return replace(parent, gone=True)
    if not style and not attributes.keys() & {"color", "bgcolor", "background"} and tag != "pre":
        return parent
    now = parent
    match style.get("visibility"):
        case "hidden" | "collapse":
            now = replace(now, invisible=True)
        case "visible":
            now = replace(now, invisible=False)
        case _:
            pass
    if size := style.get("font-size") or _size_in_shorthand(style.get("font", "")):
        now = replace(now, tiny=_is_tiny(size, now.tiny))
    if (white_space := style.get("white-space", "")) or tag == "pre":
        now = replace(now, preformatted=white_space.startswith("pre") or not white_space)
    return _coloured(now, style, attributes)


def declarations(style: str) -> dict[str, str]:
    """Split a style attribute into lower-case properties and values, `!important` removed."""
    found: dict[str, str] = {}
    for declaration in _unescaped(_COMMENT.sub("", style[:4_000])).split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            found[name.strip().lower()] = value.lower().replace("!important", "").strip()
    return found


_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)")


def _unescaped(css: str) -> str:
    """Undo CSS escapes (`no\\6e e` is `none`), which hide a property from simple readers."""
    if "\\" not in css:
        return css
    return _ESCAPE.sub(lambda m: m[2] or chr(min(int(m[1], 16), 0x10FFFF)), css)


_COMMENT = re.compile(r"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/")
_NUMBER = re.compile(r"-?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})")
_OFF_SCREEN = -500.0


def _number(value: str) -> float | None:
    match = _NUMBER.match(value.strip())
    return float(match[0]) if match else None


def _takes_no_space(style: Mapping[str, str]) -> bool:
    if style.get("display") == "none" or style.get("content-visibility") == "hidden":
        return True
    opacity = _number(style.get("opacity", "1"))
    if opacity is not None and opacity <= (5 if "%" in style.get("opacity", "") else 0.05):
        return True
    if style.get("overflow", style.get("overflow-y", "")).startswith("hidden"):
        for name in ("height", "max-height", "width", "max-width"):
            extent = _number(style.get(name, ""))
            if extent is not None and extent <= 1 and not style[name].endswith("%"):
                return True
    for name in ("text-indent", "left", "top", "margin-left", "margin-top"):
        offset = _number(style.get(name, ""))
        if offset is not None and offset <= _OFF_SCREEN:
            return True
    if re.match(r"rect\(\s*[01](?:px)?[\s,]+[01]", style.get("clip", "")):
        return True
    if style.get("clip-path", "").startswith(("inset(50%", "inset(100%", "circle(0")):
        return True
    return re.search(r"scale\(\s*0(?:\.0+)?\s*[,)]", style.get("transform", "")) is not None


def _size_in_shorthand(font: str) -> str | None:
    match = re.search(r"(?:^|\s)(\d*\.?\d+(?:px|pt|em|rem|%))", font[:200])
    return match[1] if match else None


def _is_tiny(size: str, inherited: bool) -> bool:
    number = _number(size)
    if number is None:
        return inherited and size in {"inherit", "smaller", "larger"}
    if size.endswith(("em", "%")):
        relative = number / 100 if size.endswith("%") else number
        return (inherited and not size.endswith("rem")) or relative <= _READABLE_PX / 16
    return number <= _READABLE_PX


def _coloured(
    now: Appearance, style: Mapping[str, str], attributes: Mapping[str, str]
) -> Appearance:
    if "background" in attributes or "url(" in style.get("background-image", ""):
        now = replace(now, background=None)
    shorthand = style.get("background", "")
    if "url(" in shorthand or "gradient" in f"{shorthand}{style.get('background-image', '')}":
        now = replace(now, background=None)
    else:
        behind = style.get("background-color") or shorthand or attributes.get("bgcolor", "")
        if behind and not _is_transparent(behind):
            now = replace(now, background=_colour(behind))
    if front := style.get("color") or attributes.get("color", ""):
        if _is_transparent(front):
            return replace(now, transparent=True)
        if front not in {"inherit", "currentcolor", "initial", "unset"}:
            now = replace(now, transparent=False, colour=_colour(front))
    return now


_RGB = re.compile(r"rgba?\(\s*(\d{1,3})\s*[,\s]\s*(\d{1,3})\s*[,\s]\s*(\d{1,3})")
_ALPHA_ZERO = re.compile(r"(?:rgba|hsla?|rgb)\([^)]{0,60}[,/]\s*(?:0(?:\.0\d*)?|\.0\d*)%?\s*\)")


def _is_transparent(value: str) -> bool:
    return value.startswith("transparent") or _ALPHA_ZERO.match(value) is not None


def _colour(value: str) -> Colour | None:
    word = value.strip().lower().split(" ")[0]
    if word in _NAMED:
        return _NAMED[word]
    if match := _RGB.match(value.strip().lower()):
        return int(match[1]), int(match[2]), int(match[3])
    digits = word.removeprefix("#")
    if re.fullmatch(r"[0-9a-f]{3,4}", digits):
        digits = "".join(d * 2 for d in digits)
    if re.fullmatch(r"[0-9a-f]{6}(?:[0-9a-f]{2})?", digits):
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
    return None


_RULE = re.compile(r"([^{}]{1,500})\{([^{}]{0,2000})\}")
_SIMPLE = re.compile(r"[a-z][a-z0-9]{0,20}|[a-z][a-z0-9]{0,20}?[.#][\w-]{1,80}|[.#][\w-]{1,80}")
_MAX_RULES = 500


def sheet(css: str) -> Sheet:
    """Read the rules of a `<style>` that apply to every screen; 200,000 characters at most."""
    rules: dict[str, dict[str, str]] = {}
    for match in _RULE.finditer(_without_at_rules(_COMMENT.sub("", css[:200_000]))):
        for selector in match[1].lower().split(",")[:20]:
            if len(rules) < _MAX_RULES and _SIMPLE.fullmatch(selector.strip()):
                rules.setdefault(selector.strip(), {}).update(declarations(match[2]))
    return rules


def _without_at_rules(css: str) -> str:
    """Leave out `@media` and its kind: they hold for some screens only."""
    kept: list[str] = []
    depth = 0
    at_rule = False
    for piece in re.split(r"([{}]|@[a-z-]{1,40}|;)", css):
        if depth == 0 and piece.startswith("@"):
            at_rule = True
        if not at_rule:
            kept.append(piece)
        if piece == "{" and at_rule:
            depth += 1
        elif at_rule and ((piece == "}" and depth <= 1) or (piece == ";" and depth == 0)):
            at_rule, depth = False, 0
        elif piece == "}" and at_rule:
            depth -= 1
    return "".join(kept)


def _selectors(tag: str, attributes: Mapping[str, str]) -> list[str]:
    """Selectors that match an element, weakest first."""
    classes = attributes.get("class", "").lower().split()[:20]
    found = [tag, *(f".{c}" for c in classes), *(f"{tag}.{c}" for c in classes)]
    if identifier := attributes.get("id", "").lower():
        found += [f"#{identifier}", f"{tag}#{identifier}"]
    return found
