"""Which agents come with mailagent? A folder of data each, in `templates/`.

`agent.yaml` is an agent's file without what stands beside it: `prompt.md` are its instructions,
`examples/*.eml` the mails that `agent.yaml` names under `examples`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import yaml

from backend.agents.agent_file import AgentFile, parsed
from mailagent.errors import NotFound

__all__ = ["Template", "names", "template", "templates"]


@dataclass(frozen=True, slots=True)
class Template:
    """One agent, ready to be imported under a handle."""

    name: str
    file: AgentFile

    @property
    def title(self) -> str:
        """What its mails are signed with."""
        return self.file.name or self.name

    @property
    def description(self) -> str:
        """What it is for, for who chooses."""
        return self.file.description or ""


def names() -> tuple[str, ...]:
    """The templates by name."""
    return tuple(sorted(one.name for one in _folder().iterdir() if (one / "agent.yaml").is_file()))


def templates() -> Iterator[Template]:
    """All of them."""
    yield from map(template, names())


@cache
def template(name: str) -> Template:
    """The template of a name. Raises NotFound."""
    if name not in names():
        raise NotFound(f"there is no template {name[:80]!r}: choose one of {', '.join(names())}")
    folder = _folder() / name
    fields = yaml.safe_load((folder / "agent.yaml").read_text(encoding="utf-8"))
    examples = [
        {"name": mail, "mail": _mail(folder, mail), "expect": expect or {}}
        for mail, expect in fields.pop("examples").items()
    ]
    prompt = (folder / "prompt.md").read_text(encoding="utf-8")
    return Template(name, parsed({**fields, "instructions": prompt, "examples": examples}))


def _mail(folder: Traversable, name: str) -> str:
    return (folder / "examples" / f"{name}.eml").read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("backend.agents") / "templates"
