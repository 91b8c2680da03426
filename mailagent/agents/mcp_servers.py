"""Which MCP servers may be used, and for what? The operator's list, and what an agent's people add.

Programs (stdio) run on our machine, so only the operator lists them; agents name them. An address
is an agent's own. Which tools read, change or send is said by people: a server's own annotations
are hints of a stranger (Model Context Protocol, "Tools": annotations are untrusted).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailagent.agents.trust import Effect
from mailagent.egress import Egress
from mailagent.errors import Malformed, Misconfigured

__all__ = ["McpServer", "Program", "load_listing", "parse_servers"]

_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")
_MOST_SERVERS = 10


@dataclass(frozen=True, slots=True)
class Program:
    """What the operator lists: a program to run, or an address that is the same for all."""

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class McpServer:
    """One server as an agent uses it."""

    name: str
    url: str = ""
    """Empty: the operator's of that name."""
    reads: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    """Tools by the server's names; any other may send."""

    def effect(self, tool: str) -> Effect:
        """What its people say that a tool does."""
        if tool in self.reads:
            return "reads"
        return "changes" if tool in self.changes else "sends"


def load_listing(path: str) -> Mapping[str, Program]:
    """The operator's list from its JSON file; nothing without one. Raises Misconfigured.

    `{"crm": {"command": ["crm-mcp", "--stdio"], "env": {…}}, "wiki": {"url": "https://…"}}`
    """
    setting = "MAILAGENT_MCP_SERVERS"
    if not path:
        return {}
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Misconfigured(setting, f"{path} is no JSON file that can be read") from error
    if not isinstance(told, dict):
        raise Misconfigured(setting, "must hold an object: a name for each server")
    listing = {}
    for name, one in told.items():
        if not _NAME.fullmatch(name):
            raise Misconfigured(setting, f"{name!r} must be 1 to 20 of a-z and 0-9")
        listing[name] = _program(f"{setting}.{name}", one)
    return listing


def _program(setting: str, told: Any) -> Program:
    if not isinstance(told, dict) or set(told) - {"command", "env", "url", "headers"}:
        raise Misconfigured(setting, "must be an object of command and env, or of url and headers")
    command, url = told.get("command", []), told.get("url", "")
    if not _all_texts(command) or not isinstance(url, str) or bool(command) == bool(url):
        raise Misconfigured(setting, "must have either a command (a list of words) or a url")
    tables = (told.get("env", {}), told.get("headers", {}))
    if not all(isinstance(one, dict) and _all_texts(list(one.values())) for one in tables):
        raise Misconfigured(setting, "env and headers must be objects of texts")
    return Program(tuple(command), tables[0], url, tables[1])


def _all_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def parse_servers(
    name: str, fields: object, *, listed: Sequence[str], egress: Egress
) -> tuple[McpServer, ...]:
    """An agent's servers from `[{"name": "crm", "url": "https://…", "reads": ["find"]}]`.

    Raises Malformed, naming the field.
    """
    if not isinstance(fields, list) or len(fields) > _MOST_SERVERS:
        raise Malformed(name, f"must be a list of at most {_MOST_SERVERS} servers")
    found: dict[str, McpServer] = {}
    for number, one in enumerate(fields):
        where = f"{name}[{number}]"
        if not isinstance(one, Mapping) or set(one) - {"name", "url", "reads", "changes"}:
            raise Malformed(where, "must be an object of name, url, reads, changes")
        called, url = one.get("name"), one.get("url", "")
        if not isinstance(called, str) or not _NAME.fullmatch(called) or called in found:
            raise Malformed(f"{where}.name", "must be 1 to 20 of a-z and 0-9, each once")
        if not isinstance(url, str):
            raise Malformed(f"{where}.url", "must be text")
        if url:
            egress.check(url, name=f"{where}.url")
        elif called not in listed:
            known = ", ".join(listed) or "none"
            raise Malformed(f"{where}.name", f"is not on the operator's list ({known}): give a url")
        sets = []
        for key in ("reads", "changes"):
            words = one.get(key, [])
            if not _all_texts(words):
                raise Malformed(f"{where}.{key}", "must be a list of the server's tool names")
            sets.append(frozenset(words))
        found[called] = McpServer(called, url, *sets)
    return tuple(found.values())
