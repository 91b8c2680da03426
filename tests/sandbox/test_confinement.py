"""A worker that a mail has taken over reaches nothing: each attempt by name.

What holds on which kernel stands in docs/explanation/sandbox.md. Where a means is missing (an old
kernel, not Linux) its attempts are expected to succeed, and `confinement` says so.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from mailagent.sandbox import Sandbox
from tests.sandbox.attempts import ATTEMPTS

JOBS = "tests.sandbox.attempts"
NEEDS_LANDLOCK = {
    "read the parent's environment",
    "read a file of ours",
    "read /etc/passwd",
    "read its own memory map",
    "list a folder of ours",
    "list the root folder",
    "open its parent's memory",
}
"""Reading by name: seccomp cannot tell one file from another."""
NEEDS_NOTHING = {"find anything in the environment"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(allowed=(JOBS,), workers=1)
    await sandbox.warm()
    yield sandbox
    await sandbox.close()


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_a_worker_cannot(name: str, sandbox: Sandbox, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    tried = {"name": name, "path": str(precious)}
    possible = json.loads(await sandbox.run(f"{JOBS}:attempt", b"", tried))
    assert not possible or _means(name) not in {*sandbox.confinement, None}
    assert precious.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [precious]


def _means(name: str) -> str | None:
    if name in NEEDS_NOTHING:
        return None
    return "landlock" if name in NEEDS_LANDLOCK else "seccomp"


@pytest.mark.skipif(sys.platform != "linux", reason="service: a Linux kernel")
async def test_this_kernel_gives_every_means_it_has(sandbox: Sandbox) -> None:
    always = {"rlimits", "dies_with_parent", "undumpable", "no_capabilities", "no_new_privs"}
    assert always <= set(sandbox.confinement)
    release = tuple(int(one) for one in os.uname().release.split("-")[0].split(".")[:2])
    if release >= (5, 13) and "landlock" in _security_modules():
        assert "landlock" in sandbox.confinement


def _security_modules() -> str:
    try:
        return Path("/sys/kernel/security/lsm").read_text()
    except OSError:
        return ""


async def test_a_worker_reads_neither_settings_nor_data_of_a_working_copy(
    sandbox: Sandbox,
) -> None:
    root = Path(__file__).parents[2]
    for name in ("pyproject.toml", "backend/app.py", "docs/quickstart.md"):
        tried = {"name": "read a file of ours", "path": str(root / name)}
        possible = json.loads(await sandbox.run(f"{JOBS}:attempt", b"", tried))
        assert not possible or "landlock" not in sandbox.confinement
