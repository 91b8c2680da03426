"""The systemd units: their commands are ours, and their limits leave the sandbox what it needs."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from backend.app import PARTS
from tests.deploy.command_lines import complaint

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PROGRAM = "/opt/mailagent/.venv/bin/mailagent"
_NOT_OF_ALL = {"Type", "ExecStart", "Restart", "RestartSec", "KillMode", "TimeoutStopSec"}


def _service(unit: Path) -> dict[str, list[str]]:
    """The lines of `[Service]`; a name may stand there several times."""
    found: dict[str, list[str]] = defaultdict(list)
    section = re.split(r"^\[\w+\]$", unit.read_text(), flags=re.M)[2]
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return dict(found)


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


def test_the_units_are_those_of_the_page_on_installing() -> None:
    assert [one.name for one in UNITS] == [
        "mailagent-migrate.service",
        "mailagent.service",
        "mailagent@.service",
    ]
    page = (ROOT / "docs" / "how-to" / "install-one-machine.md").read_text()
    assert PROGRAM.removesuffix("/bin/mailagent") in page


def test_a_unit_s_command_is_one_that_the_command_line_takes(unit: Path) -> None:
    (command,) = _service(unit)["ExecStart"]
    program, *arguments = command.split()
    assert program == PROGRAM
    for part in PARTS if "%i" in command else ("",):
        assert complaint([one.replace("%i", part) for one in arguments]) is None


def test_a_unit_may_use_low_ports_and_nothing_else_of_root(unit: Path) -> None:
    service = _service(unit)
    assert service["User"] == ["mailagent"]
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert service[name] == ["CAP_NET_BIND_SERVICE"]
    for name in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictNamespaces"):
        assert service[name] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    # In a user namespace the right to bind would not hold for the machine's ports.
    assert "PrivateUsers" not in service


def test_all_units_have_the_same_limits() -> None:
    limits = [
        {name: value for name, value in _service(one).items() if name not in _NOT_OF_ALL}
        for one in UNITS
    ]
    for one in limits:
        one.pop("LimitNOFILE", None)
    assert limits[0] == limits[1] == limits[2]


def test_a_unit_that_serves_is_given_the_time_to_finish() -> None:
    for one in UNITS[1:]:
        service = _service(one)
        assert (service["KillMode"], service["TimeoutStopSec"]) == (["mixed"], ["30"])
        assert service["Restart"] == ["always"]


@pytest.mark.service("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.service("systemd-analyze")
def test_the_calls_that_build_our_sandbox_are_allowed(unit: Path) -> None:
    allowed = {word for line in _service(unit)["SystemCallFilter"] for word in line.split()}
    while groups := [one for one in allowed if one.startswith("@")]:
        for group in groups:
            allowed.remove(group)
            allowed |= _members(group)
    needed = {"prctl", "capset", "landlock_create_ruleset", "landlock_add_rule", "prlimit64"}
    assert needed | {"landlock_restrict_self", "setsid", "clone", "vfork", "execve"} <= allowed


def _members(group: str) -> set[str]:
    shown = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.strip() for line in shown.splitlines()[1:])
    return {line for line in lines if line and not line.startswith("#")}
