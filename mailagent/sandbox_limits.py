"""What may a process that reads foreign bytes still do?

Little: compute, read the files of its own program, and answer on the pipes it was given. `confine`
takes the rest away from the calling process for good and says what it took; which means holds on
which kernel stands in docs/explanation/sandbox.md.

Each means covers what the other leaves open: RLIMIT_NPROC does not bind root, RLIMIT_FSIZE does not
stop O_TRUNC, seccomp cannot tell one file from another, and Landlock is younger than many kernels.
Sources: setrlimit(2), prctl(2), capset(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable

from mailagent.sandbox_landlock import restrict_files
from mailagent.sandbox_landlock import version as landlock_version
from mailagent.sandbox_syscalls import refuse_calls

__all__ = ["allow_cpu_seconds", "confine", "hide_from_workers"]

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION_3 = 0x20080522


def confine(*, memory_bytes: int, parent: int, readable: Iterable[str]) -> tuple[str, ...]:
    """Take away from this process what reading mail does not need.

    `parent` is the process that must outlive this one, `readable` the files and folders it needs.
    Returns which means took hold, of `rlimits`, `dies_with_parent`, `undumpable`,
    `no_capabilities`, `no_new_privs`, `landlock`, `seccomp`; outside Linux only the first.
    """
    held = []
    if _limit(memory_bytes):
        held.append("rlimits")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0:
            held.append("dies_with_parent")
        if os.getppid() != parent:  # it died before the call above could bind us to it
            os._exit(1)
        if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
            held.append("undumpable")
        if _drop_capabilities(libc):
            held.append("no_capabilities")
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            held.append("no_new_privs")
            if restrict_files(libc, readable):
                held.append("landlock")
            if refuse_calls(libc):
                held.append("seccomp")
    return tuple(held)


def hide_from_workers() -> bool:
    """Let no process of the same user read this one's environment and memory, where no Landlock
    keeps the workers from it; whether that was needed and took hold.

    Elsewhere its user may go on looking into it with a profiler or a debugger. Source:
    PR_SET_DUMPABLE(2const), ptrace(2) "Ptrace access mode checking".
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if landlock_version(libc) >= 1:
        return False
    return int(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)) == 0


def allow_cpu_seconds(seconds: int) -> None:
    """Let this process burn at most so much CPU from now on: it ends itself if nobody kills it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit(memory_bytes: int) -> bool:
    limits = {
        "RLIMIT_AS": memory_bytes,
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_NPROC": 0,
    }
    held = True
    for name, most in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (most, most))
        except (AttributeError, ValueError, OSError):  # macOS knows no usable RLIMIT_AS
            held = False
    return held


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    """Root without capabilities is a user as any other: it cannot raise a limit or mount."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    none = ctypes.create_string_buffer(24)  # effective, permitted, inheritable, twice 32 bits
    return int(libc.capset(header, none)) == 0
