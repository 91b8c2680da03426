"""What must a provider show before it belongs to the tuple?

The sentences stand in `test_receives`, `test_reports`, `test_sends` and `test_identifies` and name
no provider. What they need to know of one stands in `tests/contract/<kind>.py`, as `RECEIVES`,
`REPORTS`, `SENDS` and `IDENTIFIES`: one value for each thing that its class in
`mailagent.providers.KINDS` can do.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as modern
from enum import Enum
from typing import Any, Literal, Protocol

from backend.simulating import Mail, Post
from mailagent.identity import Identifies
from mailagent.mail import EventKind
from mailagent.outgoing import Sends
from mailagent.providers import KINDS
from mailagent.providers.account import (
    CanIdentify,
    CanReceive,
    CanReport,
    CanSend,
    ProviderKind,
)
from mailagent.webhook import Fetch
from tests.sns_signer import NOW

__all__ = [
    "ABLE",
    "NOW",
    "About",
    "AtWork",
    "Damaged",
    "Failure",
    "Identifying",
    "Knowing",
    "Named",
    "Part",
    "Published",
    "Receiving",
    "Reporting",
    "Seen",
    "Sending",
    "Webhook",
    "cases",
    "changed_byte",
    "damaged",
    "kinds",
    "seen",
]

Named = Iterator[tuple[str, Post]]
"""Requests that differ from a good one in one thing, with the name of that thing."""


class Webhook(Protocol):
    """What both directions need."""

    @property
    def settings(self) -> Mapping[str, str]:
        """The operator's settings that authenticate the requests of these cases."""
        ...

    @property
    def refused_with(self) -> int:
        """The status of what is not authentic."""
        ...

    @property
    def fetch(self) -> Fetch: ...


class Receiving(Webhook, Protocol):
    """A webhook that brings mail."""

    def posts(self, mail: Mail) -> Sequence[Post]:
        """The provider's requests for a mail, authentic at `NOW`; the same for the same mail."""
        ...

    def forged(self, mail: Mail) -> Named:
        """For each part that is authenticated: a good request with one byte of it changed."""
        ...

    def malformed(self, mail: Mail) -> Named:
        """For each field that the mail needs: authentic requests without it, with an empty one, and
        with one of a wrong type. The name is in the refusal.
        """
        ...


@dataclass(frozen=True, slots=True)
class About:
    """One event of one sent mail."""

    provider_id: str
    message_id: str
    recipient: str
    number: int = 0
    """Two events of one word and one number are the same event; a higher one is later (seconds)."""


class Reporting(Webhook, Protocol):
    """A webhook that tells what became of sent mail."""

    @property
    def words(self) -> Mapping[str, EventKind | None]:
        """The provider's words and what they are here; None is one that says nothing new."""
        ...

    @property
    def unknown_word(self) -> str:
        """A word that the provider may say tomorrow."""
        ...

    def provider_id(self, number: int) -> str:
        """The provider's name for one of our mails."""
        ...

    def post(self, word: str, about: About) -> Post:
        """The request that says `word`, authentic at `NOW`."""
        ...

    def forged(self, about: About) -> Named:
        """As `Receiving.forged`."""
        ...

    def malformed(self, about: About) -> Named:
        """As `Receiving.malformed`."""
        ...


class Failure(Enum):
    """What goes wrong at the far side."""

    REFUSED = "it refuses the mail, its own documented 4xx"
    REFUSED_ACCOUNT = "it refuses the account"
    THROTTLED = "it says that there were too many, and when to come again if it can say that"
    FAILING = "it fails: 5xx, or SMTP's 4yz after the content"
    UNREACHABLE = "nobody listens"
    DEAF = "it reads nothing"
    SILENT = "it reads all and says nothing"
    RESET = "it reads all and resets the connection"


@dataclass(frozen=True, slots=True)
class Seen:
    """A mail as the far side has it."""

    message_id: str
    in_reply_to: str
    references: str
    subject: str
    from_name: str
    attachments: Mapping[str, bytes]
    mime: bytes = b""
    """The octets, where it came as MIME."""


@dataclass(frozen=True, slots=True)
class AtWork:
    """An account, and a far side that it speaks to."""

    sends: Sends
    seen: Callable[[], Sequence[Seen]]
    """The mails that the far side took."""


class Sending(Protocol):
    """An account that carries mail."""

    @property
    def secrets(self) -> Sequence[str]:
        """What must be in no log line and no error."""
        ...

    @property
    def reaches(self) -> Literal["nobody", "this house", "another host"]:
        """How far a mail goes: only what goes to another host fails in that host's ways."""
        ...

    @property
    def names_wait(self) -> bool:
        """Whether its THROTTLED says seven seconds."""
        ...

    def at_work(self, failure: Failure | None = None) -> AbstractAsyncContextManager[AtWork]:
        """An account, its clock at `NOW` and its patience below a second, and its far side."""
        ...


Published = Literal["all", "half", "wrong"]
"""What DNS says of a domain: its records, one of them, or another value for each."""


@dataclass(frozen=True, slots=True)
class Knowing:
    """An account that verifies domains, and a far side that it speaks to."""

    identifies: Identifies
    publish: Callable[[str, Published], None]
    """Let the far side find a domain's records in this state, as its own look would."""
    changes: Callable[[], Sequence[object]]
    """What the far side was asked to change until now."""


class Identifying(Protocol):
    """An account that verifies domains for sending."""

    @property
    def secrets(self) -> Sequence[str]:
        """What must be in no error."""
        ...

    @property
    def gives_up(self) -> bool:
        """Whether it says `failed` of wrong records, and not that it looks on."""
        ...

    @property
    def mail_from(self) -> str | None:
        """What to wish of `shop.example` as its reverse-path, where there is a choice."""
        ...

    def at_work(
        self, failure: Failure | None = None, *, at_change: bool = False
    ) -> AbstractAsyncContextManager[Knowing]:
        """An account whose first request fails; with `at_change` the one after it, which makes the
        domain known."""
        ...


Part = Literal["RECEIVES", "REPORTS", "SENDS", "IDENTIFIES"]
ABLE: Mapping[Part, Callable[[ProviderKind], bool]] = {
    "RECEIVES": lambda kind: isinstance(kind, CanReceive),
    "REPORTS": lambda kind: isinstance(kind, CanReport),
    "SENDS": lambda kind: isinstance(kind, CanSend),
    "IDENTIFIES": lambda kind: isinstance(kind, CanIdentify),
}
"""What each part of a cases file is for."""


def cases(kind: str, part: Part) -> Any:
    """One provider's cases. Raises LookupError with the file that is to be written."""
    name = f"tests.contract.{kind}"
    found = importlib.import_module(name) if importlib.util.find_spec(name) else None
    if found is None or not hasattr(found, part):
        raise LookupError(
            f"{kind!r} is in mailagent.providers.KINDS and has no cases: write {part} in "
            f"tests/contract/{kind}.py, as tests/contract/cases.py says"
        )
    return getattr(found, part)


def kinds(part: Part) -> list[str]:
    """The providers that can do it, and that have cases (`test_complete` asks for the others)."""
    return [kind.kind for kind in KINDS if ABLE[part](kind) and _has(kind.kind, part)]


def _has(kind: str, part: Part) -> bool:
    try:
        cases(kind, part)
    except LookupError:
        return False
    return True


# --- what cases are made of -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Damaged:
    """A JSON document with one member that is not as it should be."""

    how: str
    document: Any


def damaged(document: Any, path: str, *ways: Literal["missing", "empty"]) -> Iterator[Damaged]:
    """Without the member at `path` (dots between), with "" there, and with other types.

    `ways` are those that are left out, where such a document is good.
    """
    *above, name = path.split(".")

    def changed(value: Any) -> Any:
        whole = copy.deepcopy(document)
        inner = whole
        for step in above:
            inner = inner[step]
        if value is ...:
            del inner[name]
        else:
            inner[name] = value
        return whole

    wrong = {"missing": ..., "empty": "", "a number": 7, "an array": [7], "an object": {"x": 7}}
    for how, value in wrong.items():
        if how not in ways:
            yield Damaged(how, changed(value))


def changed_byte(text: str, at: int | None = None) -> str:
    """The text with one character changed: the one at `at`, else in the middle."""
    place = len(text) // 2 if at is None else at
    other = "b" if text[place] != "b" else "c"
    if text[place].isdigit():
        other = "1" if text[place] != "1" else "2"
    return text[:place] + other + text[place + 1 :]


def seen(mime: bytes) -> Seen:
    """A mail that came as MIME."""
    read = BytesParser(EmailMessage, policy=modern).parsebytes(mime)
    return Seen(
        message_id=str(read["Message-ID"]),
        in_reply_to=str(read["In-Reply-To"]),
        references=str(read["References"]),
        subject=str(read["Subject"]),
        from_name=read["From"].addresses[0].display_name,
        attachments={
            part.get_filename() or "": part.get_content().encode()
            for part in read.iter_attachments()
        },
        mime=mime,
    )
