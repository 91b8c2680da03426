"""Which system calls are refused to a process that reads foreign bytes?

A seccomp filter in classic BPF: foreign ABIs and the calls below fail with EPERM, files open for
reading alone, and of the limits only the CPU's may be set. Sources: seccomp(2), Linux
`include/uapi/linux/{filter,seccomp,audit}.h`, the syscall tables of x86-64 and of asm-generic
(arm64).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct

__all__ = ["refuse_calls"]

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32_BIT = 0x40000000

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    "x86_64": {
        *(56, 57, 58, 59, 322, 435, 272, 308),  # clone fork vfork exec… clone3 unshare setns
        *(41, 42, 49, 50, 43, 288, 53),  # socket connect bind listen accept… socketpair
        *(44, 46, 307),  # sendto sendmsg sendmmsg
        *(62, 200, 234, 129, 297),  # kill tkill tgkill rt_…sigqueueinfo
        *(101, 310, 311, 440, 312),  # ptrace process_vm_… process_madvise kcmp
        *(424, 434, 438),  # pidfd_…
        *(76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 133),  # truncate … mknod
        *(258, 259, 260, 263, 264, 265, 266, 268, 316, 452),  # the same relative to a folder
        *(132, 235, 261, 280, 188, 189, 190, 197, 198, 199),  # utime… …setxattr …removexattr
        *(161, 155, 165, 166, 428, 429, 430, 431, 432, 433, 442),  # chroot, all of mounting
        *(437, 303, 304),  # openat2 and handles: their flags cannot be seen
        *(425, 426, 427),  # io_uring: whole calls cannot be seen
        *(29, 30, 64, 65, 68, 69, 70, 240),  # System V IPC, message queues
        *(319, 253, 294, 254, 300),  # memfd_create, inotify, fanotify
        *(321, 298, 323, 248, 249, 250),  # bpf perf_event_open userfaultfd, keys
        *(175, 313, 176, 246, 320, 169, 167, 170, 163, 179, 103),  # the machine's own
        *(160, 141, 203, 144, 251, 157, 135, 154, 126, 317),  # limits, priorities, prctl, ABI
        *(164, 227, 159),  # the clock
    },
    "aarch64": {
        *(220, 221, 281, 435, 97, 268),
        *(198, 203, 200, 201, 202, 242, 199),
        *(206, 211, 269),
        *(129, 130, 131, 138, 240),
        *(117, 270, 271, 440, 272),
        *(424, 434, 438),
        *(45, 46, 52, 55),
        *(33, 34, 35, 36, 37, 38, 53, 54, 276, 452),
        *(88, 5, 6, 7, 14, 15, 16),
        *(51, 41, 40, 39, 428, 429, 430, 431, 432, 433, 442),
        *(437, 264, 265),
        *(425, 426, 427),
        *(194, 196, 190, 193, 186, 189, 188, 180),
        *(279, 26, 27, 262),
        *(280, 241, 282, 217, 218, 219),
        *(105, 273, 106, 104, 294, 142, 224, 161, 89, 60, 116),
        *(164, 140, 122, 119, 30, 167, 92, 91, 277),
        *(170, 112, 171),
    },
}
# (number, index of its flags): open and openat on x86-64, openat on arm64.
_OPENS = {"x86_64": ((2, 1), (257, 2)), "aarch64": ((56, 2),)}
_CHANGING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# prlimit64(pid, resource, new, old): what `resource.setrlimit` and `getrlimit` come down to.
_LIMITS = {"x86_64": 302, "aarch64": 261}


def refuse_calls(libc: ctypes.CDLL) -> bool:
    """Install the filter on the calling process, which must have no_new_privs; whether it holds."""
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
    def instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, operand)

    def load_argument(index: int) -> bytes:
        return instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * index)  # the low half comes first

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
            load_argument(flags_index),
            instruction(_JUMP_ANY_BIT, _CHANGING_FLAGS, if_false=1),
            deny,
            allow,
        ]
    program += [
        instruction(_JUMP_EQUAL, _LIMITS[machine], if_false=6),
        load_argument(0),
        instruction(_JUMP_EQUAL, 0, if_true=1),  # this process
        deny,
        load_argument(1),
        instruction(_JUMP_EQUAL, resource.RLIMIT_CPU, if_true=1),
        deny,
    ]
    return b"".join([*program, allow])
