"""The docs: each link leads to a page and a heading, and each command is one that mailagent has."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.command_lines import complaint

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What is planned is named there by the commands that it will have.
_PLANS = {"roadmap.md"}
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
_INLINE = re.compile(r"`(mailagent [^`]+)`", re.S)
_BEFORE = {"$", "sudo", "-u", "mailagent"}
"""What may stand before the program, the user of `sudo -u mailagent` among them."""
_PROSE = {"…", "...", "·"}
_BETWEEN = re.compile(r"&&|\|\|?|[;&]|(?<!\S)[<>]{1,2}\s*\S+")


def _named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", _FENCE.sub("", page.read_text()), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(anchor)
    return found


@pytest.mark.parametrize("page", PAGES, ids=_named)
def test_every_relative_link_leads_to_a_page_and_its_heading(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", [one for one in PAGES if one.name not in _PLANS], ids=_named)
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    wrong = [
        f"{' '.join(arguments)}: {problem}"
        for arguments in _commands(page.read_text())
        if (problem := complaint(arguments)) is not None
    ]
    assert wrong == []


@pytest.mark.parametrize("shelf", ["how-to", "reference", "explanation"])
def test_the_index_has_every_page_of_a_shelf(shelf: str) -> None:
    docs = ROOT / "docs"
    listed = subprocess.run(
        ["git", "ls-files", shelf], cwd=docs, capture_output=True, text=True, check=True
    )
    pages = set(listed.stdout.split())
    assert pages <= set(_LINK.findall((docs / "README.md").read_text()))


def _commands(text: str) -> Iterator[list[str]]:
    """The arguments of each `mailagent` that a page shows, in blocks and in running text."""
    for block in _FENCE.findall(text):
        for line in block.splitlines()[1:-1]:
            yield from _in_line(line)
    for code in _INLINE.findall(_FENCE.sub("", text)):
        yield from _in_line(code.replace("\n", " "))


def _in_line(line: str) -> Iterator[list[str]]:
    for command in _BETWEEN.split(re.sub(r"\$\(|\)", " ; ", re.sub(r"(^|\s)#\s.*", "", line))):
        words = _words(command)
        at = [n for n, word in enumerate(words) if word.rpartition("/")[2] == "mailagent"]
        # The last of them: `sudo -u mailagent …/mailagent` names the user first.
        runs = at and all(word in _BEFORE or "=" in word for word in words[: at[-1]])
        inside = words[:2] == ["docker", "exec"]
        if at and (runs or inside):
            yield [one for one in words[at[-1] + 1 :] if one not in _PROSE]


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation mark of prose
        return command.split()
