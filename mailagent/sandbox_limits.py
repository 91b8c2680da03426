"""What may a process that reads foreign bytes still do?

Little: compute, read files, and answer on the pipes it was given. `confine` takes the rest away
from the calling process for good and says what it took. What it cannot take away: a process that
an attacker controls may read what its user may read, but has nobody to tell except us.

Each means covers what the other leaves open: RLIMIT_NPROC does not bind root, RLIMIT_FSIZE does not
stop O_TRUNC, and seccomp does not exist outside Linux. Sources: setrlimit(2), prctl(2), seccomp(2),
Linux `include/uapi/linux/{filter,seccomp,audit}.h`, syscall tables of x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import struct
import sys

__all__ = ["allow_cpu_seconds", "confine"]

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32_BIT = 0x40000000

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Processes and threads, programs, sockets, other processes, namespaces, and every way to change a
# file by its name. openat2 hides its flags behind a pointer, io_uring hides whole calls.
_DENIED = {
    "x86_64": {
        *(56, 57, 58, 59, 322, 435),  # clone fork vfork execve execveat clone3
        *(41, 42, 49, 53),  # socket connect bind socketpair
        *(62, 200, 234, 101, 310, 311, 424, 434, 438),  # kill tkill tgkill ptrace vm pidfd
        *(76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94),  # truncate … creat … lchown
        *(133, 258, 259, 260, 263, 264, 265, 266, 268, 316, 452),  # mknod … and the …at forms
        *(161, 165, 166, 272, 308, 321, 425, 437),  # chroot mount umount unshare setns bpf uring
    },
    "aarch64": {
        *(220, 221, 281, 435),
        *(198, 199, 200, 203),
        *(129, 130, 131, 117, 270, 271, 424, 434, 438),
        *(33, 34, 35, 36, 37, 38, 45, 46, 52, 53, 54, 55, 276, 452),
        *(39, 40, 51, 97, 268, 280, 425, 437),
    },
}
# (number, index of its flags): open and openat on x86-64, openat on arm64.
_OPENS = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
_CHANGING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def confine(*, memory_bytes: int, parent: int) -> tuple[str, ...]:
    """Take away from this process what reading mail does not need.

    `parent` is the process that must outlive this one. Returns which means took hold, of `rlimits`,
    `no_new_privs`, `undumpable`, `dies_with_parent`, `seccomp`; outside Linux only the first.
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
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            held.append("no_new_privs")
            if _filter_syscalls(libc):
                held.append("seccomp")
    return tuple(held)


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


def _filter_syscalls(libc: ctypes.CDLL) -> bool:
    machine = os.uname().machine
    if machine not in _AUDIT_ARCHITECTURE:
        return False
    program = _program(machine)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count and a pointer, with the padding of the native ABI.
    header = ctypes.create_string_buffer(
        struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    )
    argument = ctypes.c_void_p(ctypes.addressof(header))
    return int(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, argument, 0, 0)) == 0


def _program(machine: str) -> bytes:
    """Classic BPF: refuse foreign ABIs and the denied calls, look at the flags of `open`."""

    def instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, operand)

    deny, allow = instruction(_RETURN, _DENY), instruction(_RETURN, _ALLOW)
    program = [
        instruction(_LOAD, _ARCHITECTURE_OFFSET),
        instruction(_JUMP_EQUAL, _AUDIT_ARCHITECTURE[machine], if_true=1),
        deny,
        instruction(_LOAD, _NUMBER_OFFSET),
    ]
    if machine == "x86_64":  # the same calls under x32 numbers
        program += [instruction(_JUMP_AT_LEAST, _X32_BIT, if_false=1), deny]
    for number in sorted(_DENIED[machine]):
        program += [instruction(_JUMP_EQUAL, number, if_false=1), deny]
    for number, flags_index in _OPENS[machine]:
        program += [
            instruction(_JUMP_EQUAL, number, if_false=4),
            instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * flags_index),
            instruction(_JUMP_ANY_BIT, _CHANGING_FLAGS, if_false=1),
            deny,
            allow,
        ]
    return b"".join([*program, allow])
