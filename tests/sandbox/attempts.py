"""What a worker that a mail has taken over would try. Each job says whether it was possible.

They call the kernel, not Python: what Python refuses proves nothing.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
from collections.abc import Callable
from typing import Any

__all__ = ["ATTEMPTS", "attempt", "pid"]

_LIBC = ctypes.CDLL(None, use_errno=True)
_AF_UNIX, _AF_INET, _STREAM, _DATAGRAM, _RAW = 1, 2, 1, 2, 3
_X86 = platform.machine() == "x86_64"
_REFUSED = {errno.EPERM, errno.EACCES}


def _call(name: str, *arguments: Any) -> bool:
    """Whether libc's function worked; a refusal for another reason than a right is no proof."""
    ctypes.set_errno(0)
    if getattr(_LIBC, name)(*arguments) >= 0:
        return True
    if (number := ctypes.get_errno()) not in _REFUSED:
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return False


def _raw(x86: int, arm: int, *arguments: Any) -> bool:
    return _call("syscall", ctypes.c_long(x86 if _X86 else arm), *arguments)


def _opens(path: str, flags: int) -> bool:
    return _call("open", path.encode(), flags, 0o600)


def _spawns(name: str) -> bool:
    ctypes.set_errno(0)
    child = getattr(_LIBC, name)()
    if child == 0:
        os._exit(0)
    if child < 0 and ctypes.get_errno() not in _REFUSED:
        raise OSError(ctypes.get_errno(), name)
    return bool(child >= 0)


def _raises(limit: int) -> bool:
    try:
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        return False
    return True


def _arguments_of(program: bytes) -> Any:
    return (ctypes.c_char_p * 2)(program, None)


ATTEMPTS: dict[str, Callable[[str], bool]] = {
    "find anything in the environment": lambda _: bool(set(os.environ) - {"LC_CTYPE"}),
    "read the parent's environment": lambda _: _opens(f"/proc/{os.getppid()}/environ", os.O_RDONLY),
    "read a file of ours": lambda path: _opens(path, os.O_RDONLY),
    "read /etc/passwd": lambda _: _opens("/etc/passwd", os.O_RDONLY),
    "read its own memory map": lambda _: _opens("/proc/self/maps", os.O_RDONLY),
    "write a file": lambda path: _opens(path, os.O_WRONLY),
    "empty a file while reading it": lambda path: _opens(path, os.O_RDONLY | os.O_TRUNC),
    "make a file": lambda path: _opens(path + ".new", os.O_CREAT | os.O_WRONLY),
    "remove a file": lambda path: _call("unlink", path.encode()),
    "rename a file": lambda path: _call("rename", path.encode(), (path + ".moved").encode()),
    "change a file's rights": lambda path: _call("chmod", path.encode(), 0o777),
    "change a file's times": lambda path: _call("utimes", path.encode(), None),
    "make a folder": lambda path: _call("mkdir", (path + ".d").encode(), 0o700),
    "link to a file": lambda path: _call("symlink", path.encode(), (path + ".link").encode()),
    "list a folder of ours": lambda path: _opens(os.path.dirname(path), os.O_RDONLY),
    "list the root folder": lambda _: _opens("/", os.O_RDONLY | os.O_DIRECTORY),
    "make a file in memory": lambda _: _call("memfd_create", b"x", 0),
    "fork": lambda _: _spawns("fork"),
    "run a program": lambda _: _call("execv", b"/bin/true", _arguments_of(b"true")),
    "make a thread by clone3": lambda _: _raw(435, 435, None, 0),
    "make a TCP socket": lambda _: _call("socket", _AF_INET, _STREAM, 0),
    "make a UDP socket": lambda _: _call("socket", _AF_INET, _DATAGRAM, 0),
    "make a Unix socket": lambda _: _call("socket", _AF_UNIX, _STREAM, 0),
    "make a raw socket": lambda _: _call("socket", _AF_INET, _RAW, 1),
    "signal its parent": lambda _: _call("kill", os.getppid(), 0),
    "queue a signal to its parent": lambda _: _raw(129, 138, os.getppid(), 0, None),
    "open its parent by a pidfd": lambda _: _raw(434, 434, os.getppid(), 0),
    "trace its parent": lambda _: _call("ptrace", 16, os.getppid(), None, None),
    "read its parent's memory": lambda _: _raw(310, 270, os.getppid(), None, 0, None, 0, 0),
    "open its parent's memory": lambda _: _opens(f"/proc/{os.getppid()}/mem", os.O_RDONLY),
    "share memory by System V": lambda _: _call("shmget", 0, 4096, 0o1600),
    "mount a file system": lambda _: _call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "make a namespace": lambda _: _call("unshare", 0x10000000),
    "change its root": lambda _: _call("chroot", b"/"),
    "use io_uring": lambda _: _raw(425, 425, 1, None),
    "load a BPF program": lambda _: _raw(321, 280, 0, None, 0),
    "raise its memory limit": lambda _: _raises(resource.RLIMIT_AS),
    "raise its limit of open files": lambda _: _raises(resource.RLIMIT_NOFILE),
    "raise its limit of file size": lambda _: _raises(resource.RLIMIT_FSIZE),
    "outlive its parent": lambda _: _call("prctl", 1, 0, 0, 0, 0),
    "let others look into it": lambda _: _call("prctl", 4, 1, 0, 0, 0),
    "become another user": lambda _: _call("setuid", 12345 if os.getuid() == 0 else 0),
    "set the clock": lambda _: _raw(164, 170, None, None),
}


def attempt(blob: bytes, arguments: dict[str, Any]) -> bytes:
    """Try one of `ATTEMPTS` by its name on `path`; JSON: whether it was possible."""
    return json.dumps(ATTEMPTS[arguments["name"]](arguments["path"])).encode()


def pid(blob: bytes, arguments: dict[str, Any]) -> bytes:
    """Which process this is, for who asks the kernel about it."""
    return str(os.getpid()).encode()
