"""Turns and helpers that the agents' tests share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mailagent.agents import Memory, Passage, Profile, Reminder, Step, Summary, Turn
from mailagent.agents.tools import TOOLS, Tool, ToolResult, checked, data_block
from mailagent.errors import Malformed
from mailagent.mail import (
    Address,
    Attachment,
    Authentication,
    Content,
    DmarcVerdict,
    Kind,
    Mail,
    SpfVerdict,
    Thread,
)

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
PROFILE = Profile("Sam", "hello@acme.example", "Acme", "Be brief.")
RETURNS = Passage(
    "d1", "returns.md", "Goods may be returned within 30 days.\nReturn shipping is free.", 2.0
)
OFFICE = Passage("d2", "office.md", "The office is open from nine to five.", 1.0)


def soon(seconds: float = 30) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def mail(written: str, **changes: Any) -> Mail:
    content: dict[str, Any] = {
        "message_id": "<q1@customer.example>",
        "in_reply_to": (),
        "references": (),
        "date": AT,
        "subject": "Question",
        "from_": (Address("alice@customer.example", "Alice"),),
        "sender": (),
        "reply_to": (),
        "to": (Address("hello@acme.example"),),
        "cc": (),
        "text": written + "\n\n> an old quote",
        "written": written,
        "html": None,
        "hidden_text": False,
        "is_forward": False,
        "attachments": (),
        "headers": (),
        "content_sha256": "0" * 64,
    }
    return Mail(
        delivery_id="dlv_1",
        workspace_id="ws_1",
        recipient="hello@acme.example",
        mail_from="alice@customer.example",
        received_at=AT,
        content=Content(**{**content, **changes}),
        authentication=Authentication(
            SpfVerdict("pass"), (), DmarcVerdict("pass", "customer.example"), "mailagent"
        ),
        kind=Kind.PERSON,
        why_kind="nothing says otherwise",
    )


def attachment(part: str, filename: str, content_type: str = "text/plain") -> Attachment:
    return Attachment(part, filename, content_type, 10, "0" * 64)


@dataclass
class Shelf:
    """Tools over a few passages and attachment texts; remembers what was asked."""

    passages: Sequence[Passage] = (RETURNS, OFFICE)
    texts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    queries: list[str] = field(default_factory=list)
    octets: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    results: Mapping[str, ToolResult] = field(default_factory=dict)
    """What other tools give, by their name."""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)

    @property
    def offered(self) -> Sequence[Tool]:
        return [TOOLS["search_documents"], *(TOOLS[name] for name in self.results)]

    async def use(self, call_id: str, name: str, wish: object) -> ToolResult:
        self.calls.append((call_id, name, wish))
        if name in self.results:
            return self.results[name]
        if name != "search_documents":
            return ToolResult("There is no such tool.", is_error=True)
        try:
            given = checked(TOOLS[name].input_schema, wish)
        except Malformed as error:
            return ToolResult(str(error), is_error=True)
        passages = await self.search_documents(given["query"])
        if not passages:
            return ToolResult("Nothing was found.")
        names = tuple(dict.fromkeys(passage.document_name for passage in passages))
        return ToolResult(data_block("passages", [one.text for one in passages]), names)

    async def attachment_octets(self, delivery_id: str, part: str) -> bytes | None:
        return self.octets.get((delivery_id, part))

    async def search_documents(self, query: str, *, limit: int = 5) -> Sequence[Passage]:
        self.queries.append(query)
        return self.passages[:limit]

    async def attachment_text(self, delivery_id: str, part: str) -> str | None:
        return self.texts.get((delivery_id, part))


class Killed(Exception):
    """The process died."""


@dataclass
class Notebook:
    """Steps that survive: what was recorded went through JSON. `most` more are possible."""

    past: list[Step] = field(default_factory=list)
    most: int = 1000

    async def record(self, *steps: Step) -> None:
        if self.most == 0:
            raise Killed
        self.most -= 1
        self.past += [Step(one.kind, json.loads(json.dumps(one.content))) for one in steps]

    def of_kind(self, kind: str) -> list[Any]:
        return [step.content for step in self.past if step.kind == kind]


@dataclass
class Kept:
    """The memory of a thread: what was kept stays."""

    summary: Summary | None = None

    async def keep(self, summary: Summary) -> None:
        self.summary = summary


def turn(
    *mails: Mail,
    thread: Thread | None = None,
    tools: Shelf | None = None,
    steps: Notebook | None = None,
    profile: Profile = PROFILE,
    memory: Memory | None = None,
    reminders: tuple[Reminder, ...] = (),
) -> Turn:
    return Turn(
        id="turn_1",
        profile=profile,
        mails=mails,
        thread=thread or Thread("thr_1", "Question"),
        tools=tools or Shelf(),
        steps=steps or Notebook(),
        memory=memory,
        reminders=reminders,
    )
