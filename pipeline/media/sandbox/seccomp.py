"""Deny this process system calls that Landlock does not restrict on every Linux kernel.

The filter is a program in classic BPF, which the kernel runs for every call (`seccomp(2)`, Linux
`bpf_common.h`). It lists the calls to deny rather than those to allow, because the calls that
Python, FFmpeg and the C library make depend on their versions.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

# Options of prctl, and the mode that is passed with the first of them.
_SET_SECCOMP = 22
_NO_NEW_PRIVILEGES = 38
_FILTER_MODE = 2

# Instructions of classic BPF: load a word of the call, compare and jump, return.
_LOAD = 0x20
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_AT_LEAST = 0x35
_RETURN = 0x06

# Byte offsets in `struct seccomp_data`.
_NUMBER = 0
_ARCHITECTURE = 4
_FIRST_ARGUMENT = 16  # its lower half: both processors below are little-endian

_ALLOW = 0x7FFF0000
_DENY = 0x00050000 | errno.EPERM
_OTHER_ABI = 0x40000000  # set in the call numbers of x32, x86-64's second interface


@dataclass(frozen=True)
class _Processor:
    """The numbers of a processor's system calls (Linux `unistd.h`)."""

    architecture: int
    """The value `AUDIT_ARCH_*` that identifies its native calls."""
    denied: tuple[int, ...]
    """Numbers of the calls that a confined process must not make."""
    signal_thread: int
    """Number of `tgkill`, with which `abort` signals its own process."""
    unshare: int


# fmt: off
_PROCESSORS = {
    "x86_64": _Processor(
        0xC000003E,
        (
            76, 90, 91, 268, 452,  # truncate, chmod, fchmod, fchmodat, fchmodat2
            92, 93, 94, 260,  # chown, fchown, lchown, fchownat
            132, 235, 261, 280,  # utime, utimes, futimesat, utimensat
            188, 189, 190, 197, 198, 199, 463, 466,  # set and remove extended attributes
            86, 88, 133, 259, 265, 266, 304,  # link, symlink, mknod and *at, open_by_handle_at
            41, 42, 49, 425,  # socket, connect, bind, io_uring_setup
            59, 322, 62, 129, 200, 297, 424,  # execve, execveat, kill and other ways to signal
            101, 310, 311, 434, 438,  # ptrace, process_vm_*, pidfd_open, pidfd_getfd
            155, 161, 165, 166, 272, 308,  # pivot_root, chroot, mount, umount2, unshare, setns
            175, 248, 249, 250, 298, 313, 321, 323,  # modules, keys, perf, bpf, userfaultfd
        ),
        signal_thread=234,
        unshare=272,
    ),
    "aarch64": _Processor(
        0xC00000B7,
        (
            45, 52, 53, 452, 54, 55, 88,  # truncate, chmod, chown, utimensat
            5, 6, 7, 14, 15, 16, 463, 466,  # set and remove extended attributes
            33, 36, 37, 265,  # mknodat, symlinkat, linkat, open_by_handle_at
            198, 200, 203, 425,  # socket, bind, connect, io_uring_setup
            221, 281, 129, 130, 138, 240, 424,  # execve, execveat, kill and other ways to signal
            117, 270, 271, 434, 438,  # ptrace, process_vm_*, pidfd_open, pidfd_getfd
            39, 40, 41, 51, 97, 268,  # umount2, mount, pivot_root, chroot, unshare, setns
            105, 217, 218, 219, 241, 273, 280, 282,  # modules, keys, perf, bpf, userfaultfd
        ),
        signal_thread=131,
        unshare=97,
    ),
}
# fmt: on


def deny_changes() -> bool:
    """Deny calls that change file attributes, open sockets, start programs or access processes.

    Call it while the process has a single thread. Returns whether the calls are now denied.
    """
    processor = _PROCESSORS.get(platform.machine())
    return processor is not None and deny_calls(processor.denied, own_signals=True)


def deny_confinement() -> bool:
    """Deny, for tests, the calls that `confine_process` needs, as some container runtimes do.

    Returns whether the calls are now denied.
    """
    processor = _PROCESSORS.get(platform.machine())
    return processor is not None and deny_calls((444, processor.unshare))


def deny_calls(numbers: Iterable[int], *, own_signals: bool = False) -> bool:
    """Make the system calls with these numbers fail with EPERM; return whether they now do.

    With `own_signals`, threads can only signal threads of this process. The result is False if the
    processor is unknown or the kernel refuses the filter.
    """
    processor = _PROCESSORS.get(platform.machine())
    if processor is None:
        return False

    program = _make_filter(processor, tuple(numbers), os.getpid() if own_signals else None)
    code = ctypes.create_string_buffer(b"".join(program))
    listed = struct.pack("HP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(libc.prctl(_SET_SECCOMP, _FILTER_MODE, listed, 0, 0) == 0)


def _make_filter(processor: _Processor, numbers: tuple[int, ...], pid: int | None) -> list[bytes]:
    """Return the instructions of a filter that denies the system calls with these `numbers`.

    It also denies all calls of other architectures and interfaces and, unless `pid` is None,
    signals to threads outside the process `pid`.
    """
    body = [
        _instruct(_LOAD, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, processor.architecture, "next", "deny"),
        _instruct(_LOAD, _NUMBER),
        (_JUMP_IF_AT_LEAST, _OTHER_ABI, "deny", "next"),
        *((_JUMP_IF_EQUAL, number, "deny", "next") for number in numbers),
    ]
    if pid is not None:
        body += [
            (_JUMP_IF_EQUAL, processor.signal_thread, "next", "allow"),
            _instruct(_LOAD, _FIRST_ARGUMENT),
            (_JUMP_IF_EQUAL, pid, "next", "deny"),
        ]

    allow = len(body)
    places = {"allow": allow, "deny": allow + 1}
    program = []
    for position, (code, value, yes, no) in enumerate(body):
        jumps = [places.get(word, position + 1) - position - 1 for word in (yes, no)]
        program.append(struct.pack("=HBBI", code, *jumps, value))
    program.append(struct.pack("=HBBI", _RETURN, 0, 0, _ALLOW))
    program.append(struct.pack("=HBBI", _RETURN, 0, 0, _DENY))
    return program


def _instruct(code: int, value: int) -> tuple[int, int, str, str]:
    return code, value, "next", "next"
