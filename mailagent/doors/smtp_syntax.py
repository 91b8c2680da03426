"""How are the arguments of MAIL and RCPT read? Pure functions over one line of text.

Grammar: RFC 5321 §4.1.2 with the UTF-8 of RFC 6531 §3.3. The parameters of RFC 1870 (SIZE), 3461
(RET, ENVID, NOTIFY, ORCPT), 4954 (AUTH), 6152 (BODY) and 6531 (SMTPUTF8) are known: senders use
them even where the extension was not announced, and a mail is not lost for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "MAIL_PARAMETERS",
    "RCPT_PARAMETERS",
    "BadParameter",
    "ParameterTable",
    "Path",
    "UnknownParameter",
    "longest_line",
    "parse_parameters",
    "parse_path",
]


@dataclass(frozen=True, slots=True)
class Path:
    """A reverse-path or forward-path and what followed it."""

    address: str
    """Without brackets and source route, case as given; empty is `<>`."""
    rest: str
    """The parameters, not yet read."""


class BadParameter(ValueError):
    """A parameter breaks its own grammar or is given twice; the text is its name, upper case."""


class UnknownParameter(ValueError):
    """A parameter of no extension that is known here (RFC 5321 §4.1.1.11: reply 555)."""


# U+0080 and above is let in here; who did not ask for SMTPUTF8 is refused by the caller.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_QUOTED = r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"'
# Underscores are no host names (RFC 952), and yet senders have them.
_LETTER = r"A-Za-z0-9_\u0080-\U0010ffff"
_LABEL = rf"[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[A-Za-z0-9.:-]+\]"

# No part can match what its neighbour begins with, so the time is linear in the line.
_PATH = re.compile(
    r"\s*<"
    rf"(?:(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"  # RFC 5321 §4.1.1.3: a source route is dropped
    rf"(?P<address>(?P<local>{_ATOM}(?:\.{_ATOM})*|{_QUOTED})@(?P<domain>{_DOMAIN}|{_LITERAL}))"
    r"|(?P<postmaster>[Pp][Oo][Ss][Tt][Mm][Aa][Ss][Tt][Ee][Rr]))?"  # §4.5.1: needs no domain
    r">(?:[ ]+(?P<rest>.*))?\Z"
)

_LOCAL_OCTETS = 64  # RFC 5321 §4.5.3.1.1
_DOMAIN_OCTETS = 255  # §4.5.3.1.2
_ADDRESS_OCTETS = 254  # §4.5.3.1.3: a path has 256, its two brackets included

_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"  # RFC 3461 §4

ParameterTable = Mapping[str, re.Pattern[str]]
"""What the value of each parameter must look like, by upper-case name."""

MAIL_PARAMETERS: ParameterTable = {
    "SIZE": re.compile(r"[0-9]{1,20}"),
    "BODY": re.compile(r"7BIT|8BITMIME", re.IGNORECASE),
    "SMTPUTF8": re.compile(r""),
    "RET": re.compile(r"FULL|HDRS", re.IGNORECASE),
    "ENVID": re.compile(_XTEXT + r"{1,100}"),
    "AUTH": re.compile(rf"<>|{_XTEXT}{{1,500}}"),
}
RCPT_PARAMETERS: ParameterTable = {
    "NOTIFY": re.compile(
        r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE
    ),
    # utf-8-addr-xtext of RFC 6533 §3 adds characters above ASCII and \x{…}.
    "ORCPT": re.compile(r"[A-Za-z0-9-]{1,63};[!-<>-~\u0080-\U0010ffff]{1,500}"),
}


def parse_path(argument: str) -> Path | None:
    """Read what follows `FROM:` or `TO:`; None when it cannot be an address.

    A space before the path is tolerated, missing brackets are not. Lengths are octets of UTF-8.
    """
    match = _PATH.match(argument)
    if match is None:
        return None
    address, local, domain, rest = match.group("address", "local", "domain", "rest")
    if address is None:
        return Path(match["postmaster"] or "", rest or "")
    return Path(address, rest or "") if _fits(address, local, domain) else None


def _fits(address: str, local: str, domain: str) -> bool:
    if address.isascii():
        return (
            len(local) <= _LOCAL_OCTETS
            and len(domain) <= _DOMAIN_OCTETS
            and len(address) <= _ADDRESS_OCTETS
        )
    return (
        len(local.encode()) <= _LOCAL_OCTETS
        and len(domain.encode()) <= _DOMAIN_OCTETS
        and len(address.encode()) <= _ADDRESS_OCTETS
    )


def parse_parameters(rest: str, known: ParameterTable) -> dict[str, str]:
    """Read `NAME=value NAME …` into values by upper-case name, as given; no value is ``""``.

    Raises UnknownParameter, BadParameter.
    """
    found: dict[str, str] = {}
    for word in rest.split():
        keyword, _, value = word.partition("=")
        name = keyword.upper()
        pattern = known.get(name)
        if pattern is None:
            raise UnknownParameter(name)
        if name in found or not pattern.fullmatch(value):
            raise BadParameter(name)
        found[name] = value
    return found


def longest_line(verb: str) -> int:
    """Octets a command line may have, CRLF included (RFC 5321 §4.5.3.1.4).

    MAIL and RCPT grow with each extension: AUTH alone adds 500 (RFC 4954 §3), ORCPT and NOTIFY 528
    (RFC 3461 §5), and UTF-8 paths are longer too; 2048 holds them all.
    """
    return 2048 if verb in {"MAIL", "RCPT"} else 512
