"""What does the model say? What the script has for the mail that it is shown, question by question.

It knows nothing but what it is asked: the newest mail of the conversation, how far it has got in
this turn, and whether it is woken.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.attacks.attack import Obeyed
from tests.day.post import Post
from tests.model_server import Answer, decide, message, status, wish

__all__ = ["Mind"]

_BLOCK = r"<{name}>\n(.*?)\n</{name}>"


class Mind:
    """Answers the requests of a day; `posts` are all that may be asked about."""

    def __init__(self, posts: Iterable[Post]) -> None:
        self._by_text = {one.text.splitlines()[0]: one for one in posts if one.says or one.busy}
        self.asked: dict[str, asyncio.Event] = {one.name: asyncio.Event() for one in self._posts}
        self.go: dict[str, asyncio.Event] = {}
        """Mails about which it thinks until this is set."""
        self._number = 0

    @property
    def _posts(self) -> Iterable[Post]:
        return self._by_text.values()

    async def __call__(self, request: Mapping[str, Any]) -> Answer:
        """The answer to one question."""
        messages = request["messages"]
        shown = [(n, one) for n, one in enumerate(messages) if _blocks(one, "mail")]
        at, newest = shown[-1]
        (*_, told) = _blocks(newest, "mail")
        mail = json.loads(told)
        post = self._by_text[mail["said_by_the_sender"]["text"].splitlines()[0]]
        woken = any(_blocks(one, "reminders") for one in messages[at:])
        rounds = sum(one["role"] == "assistant" for one in messages[at:])
        first = not self.asked[post.name].is_set()
        self.asked[post.name].set()
        if post.name in self.go:
            await self.go[post.name].wait()
        if post.busy and first:
            return status(529, kind="overloaded_error")
        said = (post.later if woken else post.says)[rounds]
        received = datetime.fromisoformat(mail["known_by_us"]["received_at"])
        return self._answer(said, received)

    def _answer(self, said: Obeyed, received: datetime) -> Answer:
        self._number += 1
        given = {
            name: (received + value).isoformat() if isinstance(value, timedelta) else value
            for name, value in said.given.items()
        }
        if said.tool == "decide":
            return decide(given.pop("text", None), number=self._number, **given)
        block = wish(said.tool, given, number=self._number)
        return message(block, stop_reason="tool_use")


def _blocks(one: Mapping[str, Any], name: str) -> list[str]:
    content = one["content"]
    if one["role"] != "user":
        return []
    texts = [content] if isinstance(content, str) else [b.get("text", "") for b in content]
    return [f for text in texts for f in re.findall(_BLOCK.format(name=name), text, re.S)]
