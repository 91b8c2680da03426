"""What may people call things? Every name that comes in from outside is checked here.

Each function returns the name in the form it is kept in, and raises Malformed with the field it was
given in, the rule it breaks and the mend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mailagent.errors import Malformed
from mailagent.flow.directory import ROLES
from mailagent.mime.outgoing_rules import check_address

__all__ = [
    "RESERVED_SLUGS",
    "checked_email",
    "checked_local_part",
    "checked_name",
    "checked_slug",
    "checked_text",
]

_NAME_CHARACTERS = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # PostgreSQL keeps no NUL, UTF-8 no surrogate

_LABEL = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_RULE = (
    "must be a DNS label (RFC 1035 §2.3.1): 1 to 63 lower-case letters, digits and hyphens, "
    "a letter first, no hyphen last"
)
RESERVED_SLUGS: Mapping[str, str] = {
    "postmaster": "RFC 5321 §4.5.1 names a person so",
    "abuse": "RFC 2142 §2 names a person so",
    "admin": "people take it for the operator",
    "www": "web servers stand there",
    "api": "this installation's API may stand there",
    "mail": "mail servers stand there",
    "mx": "the mail exchanger's name stands there",
    "smtp": "mail programs look for the submission server there (RFC 6186)",
    "imap": "mail programs look for a mailbox server there (RFC 6186)",
    "autodiscover": "Outlook looks for settings there",
    "autoconfig": "Thunderbird looks for settings there",
    "mta-sts": "senders fetch the TLS policy there (RFC 8461 §3.2)",
    "bounce": "the MAIL FROM domain of the default account",
    "return": "where our own return paths lead",
    "pm-bounces": "Postmark's return path",
    **{f"ns{number}": "a name server may stand there" for number in range(1, 10)},
}
"""Names below the default domain that no workspace may have, and why. Those that begin with `_` are
refused besides, all of them.
"""

_LOCAL_PART = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?")
_RESERVED_LOCAL_PARTS = ROLES | {"mailer-daemon"}
_RESERVED_PREFIXES = ("b.", "t.")  # what return addresses and reply tokens begin with


def checked_name(field: str, value: str) -> str:
    """A display name: one line of 1 to 200 characters."""
    name = value.strip()
    if not name:
        raise Malformed(field, "is empty: give a name")
    if _CONTROL.search(name) or _UNSTORABLE.search(name):
        raise Malformed(field, "holds a line break or another control character: remove it")
    if len(name) > _NAME_CHARACTERS:
        raise Malformed(field, f"is longer than {_NAME_CHARACTERS} characters")
    return name


def checked_text(field: str, value: str, *, at_most: int) -> str:
    """Text of any number of lines that both databases can keep."""
    if _UNSTORABLE.search(value):
        raise Malformed(field, "holds a NUL or half a character: remove it")
    if len(value) > at_most:
        raise Malformed(field, f"is longer than {at_most:,} characters")
    return value


def checked_slug(slug: str) -> str:
    """A workspace's name in addresses: one label below the default domain."""
    if slug.startswith("_"):
        raise Malformed("slug", "begins with an underscore: such names are DNS records' (RFC 8552)")
    if not _LABEL.fullmatch(slug):
        raise Malformed("slug", _LABEL_RULE)
    if slug[2:4] == "--":
        raise Malformed("slug", "has hyphens in places 3 and 4: those are A-labels (RFC 5890)")
    if slug in RESERVED_SLUGS:
        raise Malformed("slug", f"{slug!r} is reserved ({RESERVED_SLUGS[slug]}): choose another")
    return slug


def checked_local_part(field: str, value: str) -> str:
    """The part of an agent's address before the @.

    32 characters at most, because `+t.` and a reply token of 29 must fit behind it into the 64
    octets of RFC 5321 §4.5.3.1.1.
    """
    if "+" in value:
        raise Malformed(field, "has a plus sign: what follows it is a tag, leave it out")
    if not _LOCAL_PART.fullmatch(value):
        raise Malformed(
            field,
            "must be 1 to 32 lower-case letters, digits, dots, underscores and hyphens, "
            "with a letter or digit first and last",
        )
    if ".." in value:
        raise Malformed(field, "has two dots in a row (RFC 5321 §4.1.2)")
    if value in _RESERVED_LOCAL_PARTS or value.startswith(_RESERVED_PREFIXES):
        raise Malformed(field, f"{value!r} is reserved for the mail system: choose another")
    return value


def checked_email(field: str, value: str) -> str:
    """Anybody's e-mail address, in lower case: how people are told apart."""
    address = value.strip().lower()
    check_address(field, address)
    return address
