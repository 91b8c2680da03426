"""The house is in order: public names, layers, the lock, the README's first screen."""

import importlib
import pkgutil
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import backend
import mailagent
from mailagent.settings import Settings

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _packages() -> list[str]:
    found = ["mailagent", "backend"]
    for root in (mailagent, backend):
        modules = pkgutil.walk_packages(root.__path__, prefix=f"{root.__name__}.")
        found += [module.name for module in modules if module.ispkg]
    return found


def _tracked() -> list[Path]:
    git = shutil.which("git")
    assert git is not None
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def _normalised(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def _wanted() -> set[str]:
    direct = PYPROJECT["project"]["dependencies"] + PYPROJECT["dependency-groups"]["dev"]
    return {_normalised(requirement) for requirement in direct}


def _locked() -> dict[str, str]:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK)
    return {_normalised(block): block for block in blocks if block.strip()}


@pytest.mark.parametrize("name", _packages())
def test_a_package_lists_its_public_names_and_has_them(name: str) -> None:
    package: ModuleType = importlib.import_module(name)
    public = package.__all__
    assert sorted(set(public)) == sorted(public)
    assert [each for each in public if not hasattr(package, each)] == []


def test_imports_go_down_the_layers_only() -> None:
    tool = ROOT / ".venv" / "bin" / "lint-imports"
    done = subprocess.run(
        [tool, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_dependency_is_locked_with_hashes() -> None:
    assert _wanted() <= _locked().keys()
    assert [name for name, block in _locked().items() if "--hash=sha256:" not in block] == []


def test_the_lock_asks_for_nothing_that_pyproject_does_not() -> None:
    asked = {name for name, block in _locked().items() if "mailagent (pyproject.toml" in block}
    assert asked <= _wanted()


@pytest.mark.parametrize("lock", ["requirements.lock", "scripts/uv.txt"])
def test_a_lock_names_no_address(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()


def test_no_tracked_file_names_a_place_of_one_machine() -> None:
    # Put together, so that this file does not name what it looks for.
    places = [str(ROOT), str(Path.home()) + "/", "pypi." + "org", "/simple" + "/"]
    named = [
        f"{path.relative_to(ROOT)}: {place}"
        for path in _tracked()
        if path.is_file() and "data" not in path.relative_to(ROOT).parts
        for place in places
        if place.encode() in path.read_bytes()
    ]
    assert named == []


def test_the_first_screen_of_the_readme_has_the_two_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:30]
    assert {"make run", "make test"} <= {line.split("#")[0].strip() for line in first_screen}


def test_make_lists_every_command_that_the_readme_names() -> None:
    commands = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text()))
    assert named <= commands


def test_every_setting_is_on_the_page_of_settings_and_nothing_else() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    described = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", page))
    assert described == {name.upper() for name in Settings.model_fields}


def test_every_page_that_a_page_links_to_is_there() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
