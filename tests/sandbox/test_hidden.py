"""Where no Landlock keeps a worker from its parent, the parent keeps itself from the worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailagent.sandbox import Sandbox

if sys.platform != "linux":
    pytest.skip("service: a Linux kernel", allow_module_level=True)

# As on a kernel without Landlock, in a process of an ordinary user.
_WITHOUT_LANDLOCK = """
import ctypes, os, sys
from mailagent import sandbox_limits
sandbox_limits.landlock_version = lambda libc: 0
GET_DUMPABLE, SET_DUMPABLE = 3, 4
libc = ctypes.CDLL(None)
"""
_LOOKED_AT = """
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    libc.prctl(SET_DUMPABLE, 1, 0, 0, 0)  # the change of user has taken it

def looks():
    child = os.fork()
    if child == 0:
        try:
            os.close(os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY))
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

print(looks(), sandbox_limits.hide_from_workers(), looks())
"""
_WORKS = """
import asyncio
from mailagent.sandbox import Sandbox

async def main():
    sandbox = Sandbox(allowed=("tests.sandbox.attempts",), workers=1)
    tried = {"name": "find anything in the environment", "path": ""}
    print((await sandbox.run("tests.sandbox.attempts:attempt", b"", tried)).decode())
    await sandbox.close()

sandbox_limits.hide_from_workers()
asyncio.run(main())
print(libc.prctl(GET_DUMPABLE, 0, 0, 0, 0), len(os.listdir("/proc/self/fd")) > 0)
"""
_SERVES = """
from backend import running

async def serve(*_, **__):
    print(libc.prctl(GET_DUMPABLE, 0, 0, 0, 0))

running._serve = serve
running.run(None, (), demo=False)
"""

_AS_IT_IS = """
from mailagent.sandbox_limits import hide_from_workers
print(hide_from_workers())
"""


@pytest.mark.parametrize(
    ("script", "told"),
    [(_LOOKED_AT, "True True False"), (_WORKS, "false 0 True"), (_SERVES, "0")],
    ids=["another process of its user", "its own workers", "serve"],
)
def test_where_there_is_no_landlock_serve_cannot_be_looked_into(script: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_LANDLOCK + script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == told.split(), done.stderr


@pytest.mark.asyncio
async def test_where_landlock_holds_the_workers_their_parent_may_be_profiled() -> None:
    sandbox = Sandbox(allowed=("tests.sandbox.attempts",), workers=1)
    await sandbox.warm()
    held = "landlock" in sandbox.confinement
    await sandbox.close()
    done = subprocess.run(
        [sys.executable, "-c", _AS_IT_IS], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [str(not held)]
