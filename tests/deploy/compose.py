"""What do the compose files say, merged and with the values of an `.env`, as compose reads them?

Follows the Compose Specification: `merge`, `interpolation`, `!reset` and `!override`, as far as our
files use them; anything else in them is an error here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Missing", "Service", "interpolated", "load", "services", "variables"]

_REPLACED = ("command", "entrypoint", "test")
_INNER = r"[A-Z_]+"
_VARIABLE = re.compile(r"\$\{([A-Z_]+)(?:(:-|:\?)((?:[^{}]|\$\{[A-Z_]+\})*))?\}")


class Missing(Exception):
    """A variable that must be set is not: compose ends here."""


@dataclass(frozen=True)
class _Override:
    value: Any


class _Loader(yaml.SafeLoader):
    pass


def _override(loader: yaml.SafeLoader, node: yaml.Node) -> _Override:
    if isinstance(node, yaml.MappingNode):
        return _Override(loader.construct_mapping(node, deep=True))
    assert isinstance(node, yaml.SequenceNode)
    return _Override(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("!override", _override)


def load(*files: Path) -> dict[str, Any]:
    """The files merged in their order, before any value is put in."""
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merged(merged, yaml.load(file.read_text(), Loader=_Loader))
    return merged


def _merged(ours: Any, theirs: Any, name: str = "") -> Any:
    match ours, theirs:
        case _, _Override(value):
            return value
        case dict(), dict():
            names = [*ours, *(one for one in theirs if one not in ours)]
            return {
                one: _merged(ours[one], theirs[one], one)
                if one in ours and one in theirs
                else ours.get(one, theirs.get(one))
                for one in names
            }
        case list(), list() if name == "volumes":
            by_target = {one.split(":")[1]: one for one in [*ours, *theirs]}
            return list(by_target.values())
        case list(), list() if name not in _REPLACED:
            return ours + theirs
        case _:
            return theirs


def variables(value: Any) -> set[str]:
    """Every variable that a file takes from `.env`."""
    return set(re.findall(rf"\$\{{({_INNER})", str(value)))


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """The value with every `${…}` put in. Raises Missing for an empty `${NAME:?…}`."""
    match value:
        case dict():
            return {name: interpolated(one, environment) for name, one in value.items()}
        case list():
            return [interpolated(one, environment) for one in value]
        case str():
            return _VARIABLE.sub(lambda found: _value(found, environment), value)
        case _:
            return value


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    name, how, rest = found.groups()
    if given := environment.get(name):
        return given
    if how == ":?":
        raise Missing(f"{name} {rest}")
    return str(interpolated(rest or "", environment))


@dataclass(frozen=True)
class Service:
    """One service that `up` starts, its values put in."""

    name: str
    what: Mapping[str, Any]

    @property
    def command(self) -> Sequence[str]:
        """The arguments after the image's entry point."""
        return list(self.what.get("command", []))

    @property
    def environment(self) -> dict[str, str]:
        """What compose sets, besides `env_file`."""
        return dict(self.what.get("environment", {}))

    @property
    def published(self) -> dict[int, int]:
        """Ports of the machine, and of the container behind each."""
        pairs = [one.removesuffix("/udp").split(":")[-2:] for one in self.what.get("ports", [])]
        return {int(outer): int(inner) for outer, inner in pairs}

    @property
    def ours(self) -> bool:
        """Whether it runs our image."""
        return str(self.what["image"]).startswith("mailagent:")


def services(
    merged: Mapping[str, Any], environment: Mapping[str, str], profiles: Collection[str] = ()
) -> dict[str, Service]:
    """What `up` starts: services that are in no profile, or in one of `profiles`."""
    return {
        name: Service(name, interpolated(what, environment))
        for name, what in merged["services"].items()
        if not what.get("profiles") or not set(profiles).isdisjoint(what["profiles"])
    }
