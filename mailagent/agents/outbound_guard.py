"""What does a draft have that its thread has not, and what must never leave unseen?

Links, files, sums and recipients are compared with what the agent was given: an injected wish can
only be carried out by something new. Secrets and other tenants' addresses are found whatever the
thread has. It finds, and never decides: `flow.decide` does, by the policy. Pure.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import unquote

from mailagent.outgoing import Outgoing

__all__ = ["Finding", "Given", "addresses_in", "inspect", "secrets_in"]

_MOST_FINDINGS = 40
_SHOWN = 120

_SCHEME_LINK = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'`\\]+", re.I)
# What a mail program makes a link of though nobody wrote a scheme: also with a port or the root's
# dot, after an ellipsis, and below a top-level domain in any script, as itself or as RFC 5890
# §2.3.2.1 writes it (`xn--`).
_BARE_LINK = re.compile(
    r"""(?<![\w@/-])(?<!\w\.)
        (?:www\.[\w-]+(?:\.[\w-]+)+
         | (?:[\w-]+\.)+(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{1,59})(?=\.?(?::\d{1,5})?[/?\#]))
        [^\s<>"'`\\]*""",
    re.I | re.X,
)
_HTML_LINK = re.compile(
    r"""(?:href|src|srcset|action|formaction|background|poster|data|cite)\s*=\s*
        (?:"([^"]*)"|'([^']*)'|([^\s>]+))""",
    re.I | re.X,
)
_CSS_LINK = re.compile(r"url\(\s*['\"]?([^'\")]+)", re.I)
_INSIDE = ("cid:", "#")
_BEHIND_A_LINK = ".,;:!?)]}>*_'\"…"

_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.)+[\w-]{2,63}")

_CURRENCY = (
    r"(?:[$€£¥₹]|(?<![a-z])(?:USD|EUR|GBP|CHF|JPY|CAD|AUD|INR|dollars?|euros?|pounds?|francs?)\b)"
)
_NUMBER = r"\d{1,3}(?:[.,'’ \u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,2})?"
_SUM = re.compile(rf"{_CURRENCY}\s?({_NUMBER})(?![\d])|(?<![\d.,])({_NUMBER})\s?{_CURRENCY}", re.I)

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a key of this system", re.compile(r"\bma_[A-Za-z0-9_-]{20,}")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("an Anthropic or OpenAI key", re.compile(r"\bsk-[A-Za-z0-9_-]{20,}")),
    ("a Stripe key", re.compile(r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})")),
    ("a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("a SendGrid key", re.compile(r"\bSG\.[\w-]{16,}\.[\w-]{16,}")),
    ("a Mailgun key", re.compile(r"\bkey-[0-9a-f]{32}\b")),
    ("a Google key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
    ("a JSON Web Token", re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+")),
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")),
    (
        "a password or key by its name",
        re.compile(
            r"\b(?:password|passwort|api[ _-]?key|secret[ _-]?key|access[ _-]?token)\b"
            r"\s*(?:is\b|:|=)\s*[\"']?[^\s\"']{8,}",
            re.I,
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Given:
    """What the agent was given, and whom it may write to without asking."""

    addresses: frozenset[str] = frozenset()
    """The thread's proven participants, and whom a list allows; lower case."""
    texts: tuple[str, ...] = ()
    """Every text of the thread, HTML too, and the documents that the answer rests on."""
    files: frozenset[str] = frozenset()
    """SHA-256 (hex) of the thread's attachments."""
    own_keys: frozenset[str] = frozenset()
    """Those of `secrets_in` of the draft that are keys of this workspace."""
    foreign: frozenset[str] = frozenset()
    """Those of `addresses_in` of the draft that are another workspace's; lower case."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something new in a draft: the policy's action that it is, and words for a person.

    `action` is None for what always needs a person, whatever the policy says.
    """

    action: str | None
    words: str


def inspect(draft: Outgoing, given: Given, *, amount: Decimal | None) -> tuple[Finding, ...]:
    """What of a draft a policy must be asked about; empty for a mail that only answers."""
    found = [
        *_recipients(draft, given),
        *_links(draft, given),
        *_files(draft, given),
        *(_sums(draft, given, amount) if amount is not None else ()),
        *_secrets(draft, given),
        *_foreign(given),
    ]
    return tuple(found[:_MOST_FINDINGS])


def addresses_in(draft: Outgoing) -> frozenset[str]:
    """Every address in the words of a draft, lower case."""
    return frozenset(one.lower().rstrip(".") for one in _ADDRESS.findall(_words(draft)))


def secrets_in(draft: Outgoing) -> frozenset[str]:
    """Everything in a draft that looks like a key of ours."""
    (_, ours), *_ = _SECRETS
    return frozenset(ours.findall(_words(draft)))


def _recipients(draft: Outgoing, given: Given) -> Iterator[Finding]:
    domains = {one.rpartition("@")[2] for one in given.addresses}
    for one in (*draft.to, *draft.cc, *draft.bcc):
        if one.address.lower() in given.addresses:
            continue
        yield Finding("new_recipient", f"{one.address} takes no part in the thread")
        if one.domain not in domains:
            yield Finding("new_domain", f"nobody of {one.domain} takes part in the thread")


def _links(draft: Outgoing, given: Given) -> Iterator[Finding]:
    known = {link for text in given.texts for link in _links_of(text, as_html=True)}
    wanted = dict.fromkeys(_links_of(draft.text, as_html=False))
    wanted |= dict.fromkeys(_links_of(draft.html or "", as_html=True))
    for link in wanted:
        if link not in known:
            yield Finding("link", f"the link {_shown(link)} is not in the thread")


def _links_of(text: str, *, as_html: bool) -> Iterator[str]:
    plain = html.unescape(text)
    for pattern in (_SCHEME_LINK, _BARE_LINK):
        for match in pattern.finditer(plain):
            yield _same(match.group())
    if as_html:
        for match in _HTML_LINK.finditer(text):
            target = html.unescape(next(one for one in match.groups() if one is not None)).strip()
            if target and not target.lower().startswith((*_INSIDE, "mailto:")):
                yield _same(target)
        for match in _CSS_LINK.finditer(plain):
            if not match.group(1).lower().startswith(_INSIDE):
                yield _same(match.group(1))


def _same(link: str) -> str:
    """A link in the form in which two are compared: everything but scheme and host counts."""
    cut = link.strip().rstrip(_BEHIND_A_LINK)
    bare = re.sub(r"^(?:https?:)?//", "", cut, flags=re.I)
    host, slash, rest = bare.partition("/")
    return f"{host.lower()}{slash}{unquote(rest)}".rstrip("/")


def _files(draft: Outgoing, given: Given) -> Iterator[Finding]:
    for one in draft.attachments:
        if hashlib.sha256(one.content).hexdigest() not in given.files:
            size = f"{len(one.content):,} octets"
            yield Finding("attachment", f"the file {_shown(one.filename)} ({size}) is not from it")


def _sums(draft: Outgoing, given: Given, limit: Decimal) -> Iterator[Finding]:
    known = {amount for text in given.texts for amount, _ in _sums_of(text)}
    for amount, words in dict(_sums_of(_words(draft))).items():
        if amount > limit and amount not in known:
            yield Finding("amount", f"{words} is above {limit:f} and not in the thread")


def _sums_of(text: str) -> Iterator[tuple[Decimal, str]]:
    for match in _SUM.finditer(html.unescape(text)):
        yield _number(match.group(1) or match.group(2)), match.group().strip()


def _number(text: str) -> Decimal:
    """`1.234,50` and `1,234.50` alike: a last mark before one or two digits is the decimal one."""
    whole, cents = text, ""
    mark = max(text.rfind("."), text.rfind(","))
    if mark >= 0 and len(text) - mark - 1 < 3:
        whole, cents = text[:mark], text[mark + 1 :]
    return Decimal(f"{re.sub(r'[^0-9]', '', whole) or '0'}.{cents or '0'}")


def _secrets(draft: Outgoing, given: Given) -> Iterator[Finding]:
    words = _words(draft)
    if given.own_keys:
        yield Finding(None, "it has an API key of this workspace")
    for name, pattern in _SECRETS:
        if pattern.search(words):
            yield Finding(None, f"it has what looks like {name}")


def _foreign(given: Given) -> Iterator[Finding]:
    for one in sorted(given.foreign):
        yield Finding(None, f"it has {one}, an address of another workspace")


def _words(draft: Outgoing) -> str:
    """All that a reader of the mail, or of its files' names, would see."""
    files = draft.attachments
    readable = [one for one in files if one.content_type.startswith(("text/", "application/json"))]
    return "\n".join(
        (
            draft.subject,
            draft.text,
            html.unescape(draft.html or ""),
            *(one.filename for one in files),
            *(one.content.decode("utf-8", "replace") for one in readable),
        )
    )


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
