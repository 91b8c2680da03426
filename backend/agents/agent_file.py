"""What is an agent as one file?

YAML that holds all that its people have set, and nothing of the installation: no id and no secret,
only the names of those that it needs. What is left out of a file is left as it is by who imports
it. Pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from backend.strict_yaml import StrictLoader
from mailagent.agents import prices
from mailagent.agents.limits import parse_limits
from mailagent.agents.tools import TOOLS
from mailagent.agents.trust import Effect, parse_policy
from mailagent.errors import Malformed, Misconfigured
from mailagent.flow.tools.http_request import Where
from mailagent.routing import check_condition

__all__ = [
    "LONGEST_FILE",
    "AgentFile",
    "Decision",
    "Example",
    "Expected",
    "HttpToolPart",
    "MalformedFile",
    "McpServerPart",
    "ModelPart",
    "PlacePart",
    "RulePart",
    "SettingsPart",
    "parse",
    "parsed",
    "render",
]

LONGEST_FILE = 1024 * 1024
"""Octets: the instructions, and some mails as examples."""
_MOST_NAMED = 20
"""Problems that one error names: a file that has more is another kind of file."""
_MOST_EXAMPLES = 100

Decision = Literal[
    "reply",
    "request_approval",
    "escalate",
    "no_action",
    "hold",
    "reject",
    "quarantine",
    "elsewhere",
]
"""What becomes of a mail; `elsewhere`: another agent gets it."""

_Text = Annotated[str, StringConstraints(max_length=50_000)]
_Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Phrase = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]


class _Part(BaseModel):
    """Strict, so that a typo or a number for a text is told and never guessed at."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelPart(_Part):
    """Which model, at which price, and how much of it in one turn."""

    name: Annotated[str, StringConstraints(max_length=200)] | None = None
    price: Annotated[str, StringConstraints(max_length=40)] | None = None
    """US dollars a million tokens, in and out: `3/15`."""
    most_questions: Annotated[int, Field(ge=1, le=50)] | None = None
    history_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None


class SettingsPart(_Part):
    """Switches and caps."""

    email_enabled: bool | None = None
    escalation_address: Annotated[str, StringConstraints(max_length=320)] | None = None
    usd_a_day: int | float | str | None = None
    usd_a_month: int | float | str | None = None


class McpServerPart(_Part):
    """An MCP server that the agent uses; without `url` the operator's of that name."""

    name: _Line
    url: Annotated[str, StringConstraints(max_length=2_000)] = ""
    reads: list[_Line] = Field(default=[], max_length=200)
    changes: list[_Line] = Field(default=[], max_length=200)


class PlacePart(_Part):
    """Where a property of a tool's input goes, and as what."""

    where: Where
    name: Annotated[str, StringConstraints(max_length=200)]
    joined: bool = False


class HttpToolPart(_Part):
    """A tool that calls an address; of its header fields and secret parameters the file has the
    names.
    """

    name: _Line
    description: Annotated[str, StringConstraints(max_length=2_000)]
    input_schema: dict[str, Any]
    effect: Effect
    method: _Line
    url: Annotated[str, StringConstraints(max_length=2_000)]
    least: _Line = "stranger"
    repeatable: bool = False
    headers: list[_Line] = Field(default=[], max_length=20)
    places: dict[_Line, PlacePart] | None = None
    """Where each property of the input goes; without it, by the method."""
    query_secrets: list[_Line] = Field(default=[], max_length=20)


class RulePart(_Part):
    """A rule that leads to this agent."""

    name: _Line
    condition: dict[str, Any]
    overrides: bool = False
    enabled: bool = True


class Expected(_Part):
    """What should become of a mail; what is left out is not looked at."""

    decision: Decision | None = None
    contains: list[_Phrase] = Field(default=[], max_length=20)
    """What the answer must say, whatever the case of its letters."""
    lacks: list[_Phrase] = Field(default=[], max_length=20)
    """What it must not say."""
    tools: list[_Line] = Field(default=[], max_length=20)
    """Tools that must be used."""
    like: _Text | None = None
    """An answer that a person would give: how many of its words are met counts for the score."""

    @property
    def empty(self) -> bool:
        """Nothing is expected."""
        return self == Expected()


class Example(_Part):
    """A mail, and what should become of it."""

    name: _Line
    mail: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    """RFC 5322, as text."""
    expect: Expected = Expected()


class AgentFile(_Part):
    """An agent, as far as the file speaks of it."""

    mailagent: Literal[1] = 1
    """The version of this form."""
    handle: _Line | None = None
    name: _Line | None = None
    description: Annotated[str, StringConstraints(max_length=1_000)] | None = None
    """For who chooses a file; the agent does not see it."""
    instructions: _Text | None = None
    processor: Annotated[str, StringConstraints(max_length=32)] | None = None
    """Empty: the installation's own."""
    model: ModelPart | None = None
    tools: list[_Line] | None = Field(default=None, max_length=100)
    policy: dict[str, dict[str, str]] | None = None
    limits: dict[str, Any] | None = None
    settings: SettingsPart | None = None
    rules: list[RulePart] | None = Field(default=None, max_length=100)
    aliases: list[_Line] | None = Field(default=None, max_length=100)
    """Further addresses: `name` in the workspace's own domain, or `name@domain`."""
    webhook_url: Annotated[str, StringConstraints(max_length=2_000)] | None = None
    task_url: Annotated[str, StringConstraints(max_length=2_000)] | None = None
    mcp_servers: list[McpServerPart] | None = Field(default=None, max_length=10)
    http_tools: list[HttpToolPart] | None = Field(default=None, max_length=50)
    secrets: list[_Line] | None = Field(default=None, max_length=50)
    """Names of those that the agent uses."""
    examples: list[Example] | None = Field(default=None, max_length=_MOST_EXAMPLES)


class MalformedFile(Malformed):
    """A file that breaks rules; `problems` are (field, problem and mend), all of them."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        field, problem = problems[0]
        more = [f"{name}: {what}" for name, what in problems[1:_MOST_NAMED]]
        left = len(problems) - 1 - len(more)
        super().__init__(
            field, "; ".join([problem, *more, *([f"and {left} more"] if left > 0 else [])])
        )
        self.problems = tuple(problems)


def parse(text: str) -> AgentFile:
    """An agent from YAML. Raises MalformedFile, naming each wrong field and the mend."""
    if len(text.encode(errors="surrogatepass")) > LONGEST_FILE:
        raise MalformedFile([("file", f"has more than {LONGEST_FILE:,} octets")])
    try:
        found = yaml.load(text, StrictLoader)  # noqa: S506 - a SafeLoader that takes still less
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise MalformedFile(
            [("file", f"is no YAML of ours at {place}: {error.problem}")]
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise MalformedFile([("file", "is no YAML: look for unusual characters")]) from error
    return parsed(found)


def parsed(fields: object) -> AgentFile:
    """As `parse`, from what a YAML or JSON text says."""
    if not isinstance(fields, Mapping):
        raise MalformedFile([("file", "must be fields and values, such as `name: Support`")])
    try:
        made = AgentFile.model_validate(dict(fields))
    except ValidationError as error:
        raise MalformedFile(list(_problems(error))) from error
    problems = list(_beyond_types(made))
    if problems:
        raise MalformedFile(problems)
    return made


def render(file: AgentFile) -> str:
    """The file as YAML that `parse` reads back as the same."""
    fields = file.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    dumped: str = yaml.dump(
        {"mailagent": 1, **fields}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return dumped


# --- what is wrong ----------------------------------------------------------------------------


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    seen = set()
    for one in error.errors():
        # A union tells each of its members; the first is enough.
        place = tuple(part for part in one["loc"] if not _is_member(part))
        if place in seen:
            continue
        seen.add(place)
        field = _place(place)
        match one["type"]:
            case "extra_forbidden":
                yield field, _unknown(str(place[-1]), _known_at(place[:-1]))
            case "missing":
                yield field, "is missing"
            case kind if kind in _MENDS:
                yield field, _MENDS[kind]
            case _:
                message = one["msg"].removeprefix("Value error, ")
                yield field, message[:1].lower() + message[1:]


_MENDS: Mapping[str, str] = {
    "string_type": "must be text: put it in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be fields and values",
    "model_type": "must be fields and values",
}


def _is_member(part: int | str) -> bool:
    return isinstance(part, str) and part in ("int", "float", "str")


def _place(parts: Sequence[int | str]) -> str:
    """`rules[0].condition`, as people write it."""
    named = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return named.removeprefix(".")[:200] or "file"


_PARTS: Mapping[str, type[_Part]] = {
    "": AgentFile,
    "model": ModelPart,
    "settings": SettingsPart,
    "mcp_servers": McpServerPart,
    "http_tools": HttpToolPart,
    "rules": RulePart,
    "examples": Example,
    "examples.expect": Expected,
}


def _known_at(place: Sequence[int | str]) -> Sequence[str]:
    path = ".".join(part for part in place if isinstance(part, str))
    return list(_PARTS[path].model_fields) if path in _PARTS else []


def _unknown(said: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(said, known, n=1, cutoff=0.5)
    return f"is unknown: did you mean {near[0]!r}?" if near else f"is unknown: {_listed(known)}"


def _listed(known: Sequence[str]) -> str:
    return f"known are {', '.join(known)}"


def _beyond_types(file: AgentFile) -> Iterator[tuple[str, str]]:
    """What types do not say: words of ours, conditions, names that must differ."""
    for index, tool in enumerate(file.tools or ()):
        if tool not in TOOLS:
            yield f"tools[{index}]", f"{tool!r} {_unknown(tool, list(TOOLS))}"
    if file.limits is not None:
        yield from _told(parse_limits, file.limits)
    if file.model is not None and file.model.price:
        yield from _told(_check_price, file.model.price)
    if file.policy is not None:
        spoken = {
            cell.removeprefix("tool:")
            for row in file.policy.values()
            for cell in row
            if cell.startswith("tool:")
        }
        yield from _told(
            parse_policy, file.policy, name="file", version=1, tools={*TOOLS, *_own(file, spoken)}
        )
    for index, rule in enumerate(file.rules or ()):
        yield from _told(check_condition, rule.condition, where=f"rules[{index}].condition")
    lists: Sequence[tuple[str, Sequence[Any] | None]] = (
        *(("rules", file.rules), ("examples", file.examples)),
        *(("mcp_servers", file.mcp_servers), ("http_tools", file.http_tools)),
    )
    for field, named in lists:
        names = [one.name for one in named or ()]
        for index, name in enumerate(names):
            if name in names[:index]:
                yield f"{field}[{index}].name", f"{name!r} stands twice: give another name"


def _check_price(price: str) -> None:
    try:
        prices.parse(price)
    except Misconfigured as error:
        raise Malformed(
            "model.price", "must be US dollars a million tokens, such as 3/15"
        ) from error


def _own(file: AgentFile, spoken: set[str]) -> set[str]:
    """Names behind `tool:` that may be tools of people's own: none that looks like one of ours."""
    described = {one.name for one in file.http_tools or ()}
    return described | {
        one for one in spoken if not difflib.get_close_matches(one, TOOLS, n=1, cutoff=0.7)
    }


def _told(check: Any, *args: Any, **kwargs: Any) -> Iterator[tuple[str, str]]:
    try:
        check(*args, **kwargs)
    except Malformed as error:
        yield error.field, error.problem


# --- YAML -------------------------------------------------------------------------------------


_OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, for people and for differences."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    if _OTHER_BREAKS.search(value):
        style = '"'  # YAML 1.1 reads these as line breaks; only in quotes can they be escaped
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
