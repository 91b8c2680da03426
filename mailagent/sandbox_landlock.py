"""Which files may a process that reads foreign bytes still see?

Those of the interpreter and of the packages its jobs need, by Landlock, which holds for the process
for good. What a kernel's version of it cannot do is left to seccomp. Source: landlock(7), Linux
`include/uapi/linux/landlock.h`; the syscall numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

__all__ = ["restrict_files", "version"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_ALL_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""By the version that brought them: execute … make_sym, then refer, truncate, ioctl_dev."""
_TCP_SINCE, _TCP_RIGHTS = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11
"""Abstract Unix sockets and signals: none to outside of this domain."""


def version(libc: ctypes.CDLL) -> int:
    """Of the kernel's Landlock; below 1 where there is none, or it may not be used."""
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _RULESET_VERSION))


def restrict_files(libc: ctypes.CDLL, readable: Iterable[str]) -> bool:
    """Let the calling process read beneath these paths and nothing else; whether that holds.

    It must have no_new_privs. A path that does not exist is passed over.
    """
    known = version(libc)
    if known < 1:
        return False
    ruleset = libc.syscall(_CREATE_RULESET, *_ruleset(known), 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path)
        return int(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), 0)) == 0
    finally:
        os.close(ruleset)


def _ruleset(version: int) -> tuple[ctypes.Array[ctypes.c_char], ctypes.c_size_t]:
    files = max(rights for since, rights in _ALL_FILE_RIGHTS.items() if since <= version)
    fields = [files]
    if version >= _TCP_SINCE:
        fields.append(_TCP_RIGHTS)
    if version >= _SCOPES_SINCE:
        fields.append(_SCOPES)
    packed = struct.pack(f"={len(fields)}Q", *fields)
    return ctypes.create_string_buffer(packed, len(packed)), ctypes.c_size_t(len(packed))


def _allow(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # A right that only folders have is refused for a file.
        rights = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112
        packed = struct.pack("=Qi", rights, beneath)
        rule = ctypes.create_string_buffer(packed, len(packed))
        libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(beneath)
