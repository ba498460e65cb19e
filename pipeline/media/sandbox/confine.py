"""Confine this process to what it needs to read a recording, on Linux.

Sources: `setrlimit(2)`, `unshare(2)`, and the kernel's description of Landlock (`landlock(7)`).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from crossnetpp.machine import is_linux, system_name
from pipeline.errors import InputError

_NEW_NETWORK = 0x40000000  # this and the next are flags of unshare
_NEW_USER = 0x10000000
_NO_NEW_PRIVILEGES = 38  # option of prctl

_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ
_PIPE_SIZE = 1 << 20

# Numbers of Landlock's system calls, the same on every processor.
_CREATE = 444
_ADD = 445
_RESTRICT = 446

# Rights of Landlock.
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute (to map libraries), read a file, list a folder
_ALL = (1 << 13) - 1  # every right of Landlock's first version
_OF_A_FILE = 0b111  # the rights that apply to a file
_TCP = 0b11  # bind and connect

_BENEATH = 1  # type of a rule: a path and everything below it
_VERSION = 1  # flag that requests Landlock's version
_NETWORK_VERSION = 4  # the first version that restricts TCP

_PACKAGES = ("crossnetpp", "deploy", "pipeline")

# The parts of the system that Python needs. They do not include all of /proc, because the
# environments of other processes contain credentials.
# fmt: off
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
)
# fmt: on


def require_linux() -> None:
    """Raise InputError if this system cannot confine processes."""
    if not is_linux():
        raise InputError(
            f"found {system_name()}, expected Linux for confined child processes; "
            "if you trust the recordings, try --sandbox off"
        )


def enlarge_pipe(handle: int) -> None:
    """Make a pipe hold a good part of a frame, so that the processes at its ends wait less."""
    import fcntl

    fcntl.fcntl(handle, _SET_PIPE_SIZE, _PIPE_SIZE)


def limit_memory(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def confine_process(readable: Iterable[Path], writable: Iterable[Path] = ()) -> None:
    """Deny access to the network, and to all files but the given ones and those that Python needs.

    Call it while the process has a single thread. Files are restricted on Linux 5.13 or later;
    steps that the system does not support are skipped.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not tuple(writable):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    # not for root, which could no longer read other users' files in its own user namespace
    libc.unshare(_NEW_NETWORK | (0 if os.geteuid() == 0 else _NEW_USER))
    _allow_files(libc, [*list_libraries(), *readable], writable)


def list_libraries() -> list[Path]:
    """Return the folders of Python, installed packages, this project and the system.

    Other folders on Python's path are left out, because the folder of a script may hold anything.
    """
    root = Path(__file__).parents[3]
    folders = {Path(entry).resolve() for entry in sys.path} - {Path.cwd(), Path("/")}
    paths = sysconfig.get_paths()
    return [
        *(root / package for package in _PACKAGES),
        Path(sys.base_prefix) / "lib",
        *(folder for folder in folders if any(folder.glob("*.dist-info"))),
        *(Path(paths[kind]) for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
        *map(Path, _SYSTEM),
    ]


def _allow_files(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    rights = struct.pack("=Q", _ALL)
    if libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION) >= _NETWORK_VERSION:
        rights += struct.pack("=Q", _TCP)
    rules = libc.syscall(_CREATE, rights, ctypes.c_size_t(len(rights)), 0)
    if rules < 0:
        return
    for allowed, paths in ((_READ, readable), (_ALL, writable)):
        for path in paths:
            _allow(libc, rules, allowed, path)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.syscall(_RESTRICT, rules, 0)
    os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, allowed: int, path: Path) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it does not exist
    if not path.is_dir():
        allowed &= _OF_A_FILE
    rule = struct.pack("=Qi", allowed, place)
    libc.syscall(_ADD, rules, _BENEATH, rule, 0)
    os.close(place)
