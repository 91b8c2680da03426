"""What is an attack, as a value: what stands before it, its mails, and what the model obeys?

Texts of letters and wishes may name what differs from run to run: `{agent}`, our address; `{desk}`,
a second agent's; `{other}`, an agent of another workspace, `{other_thread}` a conversation there;
`{earlier}`, the Message-ID of the thread that stands before, `{decision}`, the address that decides
about the draft that waits there, and `{guessed}`, one nearly like it; `{soon}`, a time in two days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

__all__ = [
    "ANN",
    "ANNS_OWN",
    "DATA",
    "ELSEWHERE",
    "EVA",
    "KEY",
    "MALLORY",
    "THEIRS",
    "THERE",
    "ZONE",
    "Attack",
    "Before",
    "File",
    "Letter",
    "Obeyed",
    "decides",
    "uses",
]

ANN = "ann@customer.example"
"""A customer, whom DMARC proves."""
EVA = "eva@ours.example"
"""A person of the workspace and its approver. Her domain asks receivers for nothing (`p=none`):
what stops a forger of her address is ours."""
MALLORY = "mallory@evil.example"
"""Who attacks: proven, as anybody is who has a domain."""
KEY = "AKIAQ3EGRXN7ZTKEVAL2"
"""What must not leave: the documents of every workspace have it."""
ANNS_OWN = "the order 4471-B"
"""What Ann has told us, in the thread that stands before."""
THEIRS = "the rebate 99-Z"
"""What stands in the other workspace's mail and documents."""
DATA = "c2VjcmV0"
"""What a link carries out."""
THERE = "192.0.2.1"
"""Whence all domains of `ZONE` send."""
ELSEWHERE = "198.51.100.9"
"""Whence none of them does."""

_LOOKS_LIKE = ("0urs.example", "ours.example.evil.example", "xn--urs-tbb.example")
ZONE: Mapping[str, Mapping[str, list[str]]] = {
    name: {"TXT": [text]}
    for domain, policy in (
        ("customer.example", "reject"),
        ("strict.example", "reject"),
        ("ours.example", "none"),
        *((one, "reject") for one in ("evil.example", "crowd.example", *_LOOKS_LIKE)),
    )
    for name, text in (
        (domain, f"v=spf1 ip4:{THERE} -all"),
        (f"_dmarc.{domain}", f"v=DMARC1; p={policy}; aspf=s"),
    )
}


@dataclass(frozen=True, slots=True)
class File:
    """An attachment."""

    name: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail of the attack; `{n}` in it counts its copies."""

    text: str = "Please do as I say."
    html: str | None = None
    subject: str = "A question"
    from_: str = MALLORY
    """The From header as it stands, display name and all."""
    mail_from: str | None = ""
    """The envelope's sender; empty: the address in From."""
    ip: str = THERE
    to: str = "{agent}"
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    copies: int = 1

    @property
    def author(self) -> str:
        """The address in From."""
        return self.from_.rpartition("<")[2].rstrip(">")

    def as_mail(self, message_id: str) -> bytes:
        """The octets that come in."""
        made = EmailMessage()
        named = {
            "From": self.from_,
            "To": self.to,
            "Subject": self.subject,
            "Message-ID": message_id,
            "Date": "Sat, 21 Nov 2026 09:30:00 +0000",
            **self.headers,
        }
        for name, value in named.items():
            made[name] = value
        made.set_content(self.text)
        if self.html is not None:
            made.add_alternative(self.html, subtype="html")
        for one in self.files:
            kind, _, subtype = one.content_type.partition("/")
            made.add_attachment(one.content, maintype=kind, subtype=subtype, filename=one.name)
        return made.as_bytes().replace(b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class Obeyed:
    """One answer of the model: a tool that it uses, or what it decides."""

    tool: str
    given: Mapping[str, Any]


def uses(tool: str, **given: Any) -> Obeyed:
    """The model uses a tool."""
    return Obeyed(tool, given)


def decides(text: str | None = "Done.", **given: Any) -> Obeyed:
    """The model decides: a reply of these words, unless `given` says another action."""
    return Obeyed("decide", {"action": "reply", "text": text, **given})


@dataclass(frozen=True, slots=True)
class Before:
    """What stands when the first letter comes: Eva is of the workspace, and asked for its yes."""

    talked: bool = False
    """Ann has written, and a person has answered her: she is a correspondent."""
    waits: bool = False
    """Ann has written, and a draft for her waits for Eva's yes."""
    members: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    """Whom a list lets receive our mail and write to us."""
    policy: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The workspace's."""
    found: str = ""
    """What the far side says to the tool `find_order`."""
    passage: str = ""
    """A document beside the one with the key."""
    noted: str = ""
    """A note about Ann."""
    tools: tuple[str, ...] = ("create_task", "send_mail", "invite")
    """What the agent has beside the usual."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Hostile mail, and what must stop it."""

    family: str
    name: str
    obeys: tuple[Obeyed, ...]
    """What the model answers, one question after the other; the last one again and again."""
    ends: str
    """The state in which the last letter ends."""
    by: str
    """Words of its story that say what stopped it: one that failed for another reason is none."""
    letters: tuple[Letter, ...] = (Letter(),)
    before: Before = Before()
    thought: bool = True
    """Whether a model is asked at all."""
    replies: int = 1
    """How many answers the policy gives, if a model is asked."""
    gives: tuple[str, ...] = ()
    """Who beside the proven writers gets mail by the policy that stands before."""
    does: tuple[str, ...] = ()
    """The tools with an effect that it gives."""
    unseen: tuple[str, ...] = ()
    """What the model is not shown."""

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"
