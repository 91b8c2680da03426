"""What does deploy/Dockerfile do? Its instructions as values, and its build in an empty folder.

No engine: `COPY` copies what .dockerignore lets through, `RUN` runs in a shell, and every absolute
path of the image stands for the same path beneath the folder. What needs root in a real image
(users, owners) is left out, and that list is short and named.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Image", "Instruction", "allowed_into_the_context", "build", "parse"]

_AS_ROOT = ("groupadd ", "install --directory ")
_IMAGE_FOLDERS = re.compile(r"(?<![\w.])(/app|/build|/data|/certificates)(?=[/:\s]|$)")


@dataclass(frozen=True)
class Instruction:
    """One line of a Dockerfile; `stage` counts from 0."""

    stage: int
    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The arguments, of the JSON form as of the other."""
        return json.loads(self.rest) if self.rest.startswith("[") else self.rest.split()


@dataclass
class Image:
    """The last stage, built beneath `root`."""

    root: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    user: str = ""
    ports: list[int] = field(default_factory=list)

    def here(self, path: str) -> str:
        """An absolute path of the image, or a list of them, as it is on this machine."""
        return _IMAGE_FOLDERS.sub(rf"{self.root}\1", path)


def parse(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile; comments are left out, continued lines joined."""
    stage, found = -1, []
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in plain.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            stage += word == "FROM"
            found.append(Instruction(stage, word, rest.strip()))
    return found


def allowed_into_the_context(root: Path, path: str) -> bool:
    """Whether .dockerignore lets a file through; the last line that fits decides."""
    allowed = True
    for line in (root / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = [path, *map(str, Path(path).parents)]
            if any(_fits(part, pattern) for part in parts if part != "."):
                allowed = line.startswith("!")
    return allowed


def _fits(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch(Path(path).name, pattern.removeprefix("**/"))
    return "/" not in path if pattern == "*" else path == pattern


def build(instructions: Sequence[Instruction], context: Path, root: Path, uv: str) -> Image:
    """Build beneath `root`; `uv` stands for the one that the image would install."""
    image = Image(root, root)
    stages: list[Image] = []
    for one in instructions:
        match one.word:
            case "FROM":
                if stages:
                    # Stages have the same paths, and an environment of Python holds its own.
                    image.root = image.root.rename(root / f"stage-{len(stages)}")
                image = Image(root / "image", root)
                image.environment = {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
                image.root.mkdir(parents=True)
                stages.append(image)
            case "WORKDIR":
                image.folder = Path(image.here(one.rest))
                image.folder.mkdir(parents=True, exist_ok=True)
            case "ENV":
                image.environment |= {
                    name: image.here(value)
                    for name, value in (word.split("=", 1) for word in one.words)
                }
            case "COPY":
                _copy(one, stages, image, context)
            case "RUN":
                _run(one.rest, image, uv)
            case "USER":
                image.user = one.rest
            case "EXPOSE":
                image.ports = [int(word) for word in one.words]
            case "HEALTHCHECK":
                image.healthcheck = json.loads(one.rest.partition("CMD ")[2])
            case "ENTRYPOINT":
                image.entrypoint = one.words
            case "CMD":
                image.command = one.words
            case unknown:
                raise ValueError(f"{unknown} is not known here: teach it to tests/deploy")
    return image


def _copy(one: Instruction, stages: Sequence[Image], image: Image, context: Path) -> None:
    *sources, target = one.words
    origin: Image | None = None
    if sources[0].startswith("--from="):
        assert sources.pop(0) == "--from=build"
        origin = stages[0]
    for source in sources:
        inside = image.folder / target
        found = Path(origin.here(source)) if origin else context / source.rstrip("/")
        if found.is_dir():
            shutil.copytree(found, inside, symlinks=True, ignore=_ignored(context, origin))
        else:
            assert origin or allowed_into_the_context(context, source), f".dockerignore: {source}"
            inside.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, inside)


def _ignored(context: Path, origin: Image | None) -> Callable[[str, list[str]], Iterable[str]]:
    def names(folder: str, found: list[str]) -> set[str]:
        if origin is not None:
            return set()
        here = Path(folder).relative_to(context)
        return {one for one in found if not allowed_into_the_context(context, str(here / one))}

    return names


def _run(command: str, image: Image, uv: str) -> None:
    if command.startswith(_AS_ROOT):
        return
    if command.startswith("pip install "):
        assert command.endswith("-r scripts/uv.txt")
        return
    _run_offline_first(image.here(re.sub(r"^uv ", f"{uv} ", command)), image)


def _run_offline_first(command: str, image: Image) -> None:
    """Run a step on packages that this machine has fetched before, else with the network."""
    settings = {"UV_COMPILE_BYTECODE": "0", "UV_NO_CACHE": "0", "UV_LINK_MODE": "hardlink"}
    done = _shell(command, image, settings | {"UV_OFFLINE": "1"})
    if done.returncode != 0:
        done = _shell(command, image, settings)
    assert done.returncode == 0, f"{command}\n{done.stdout}"


def _shell(
    command: str, image: Image, settings: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=image.folder,
        env={**os.environ, **image.environment, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
