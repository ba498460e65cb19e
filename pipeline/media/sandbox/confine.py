"""Confine this process to what it needs to read a recording, on Linux.

Sources: `setrlimit(2)`, `unshare(2)`, and the kernel's description of Landlock (`landlock(7)`,
`linux/landlock.h`).
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
from pipeline.confinement import (
    CREATE_RULES,
    describe_obstacle,
    landlock_version,
    network_flags,
)
from pipeline.errors import InputError
from pipeline.media.sandbox.seccomp import deny_changes

_NO_NEW_PRIVILEGES = 38  # option of prctl

_SET_PIPE_SIZE = 1031  # fcntl's F_SETPIPE_SZ
_PIPE_SIZE = 1 << 20

# Numbers of Landlock's system calls after CREATE_RULES; they are the same on every processor.
_ADD = 445
_RESTRICT = 446

# Landlock's access rights.
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute (to map libraries), read a file, list a folder
_ALL = (1 << 13) - 1  # every right of Landlock's first version
_TRUNCATE = 1 << 14
_DEVICES = 1 << 15  # ioctl on devices
_OF_A_FILE = 0b111 | _TRUNCATE | _DEVICES  # the rights that apply to a file
_TCP = 0b11  # bind and connect
_OTHER_PROCESSES = 0b11  # abstract Unix sockets, and signals

_BENEATH = 1  # type of a rule: a path and everything below it

# The first version of Landlock that can restrict each of these.
_TRUNCATE_VERSION = 3
_NETWORK_VERSION = 4
_DEVICES_VERSION = 5
_PROCESSES_VERSION = 6

_PACKAGES = ("crossnetpp", "deploy", "pipeline")

# The parts of the system that Python needs. They do not include all of /proc, because the
# environments of other processes may contain credentials.
# fmt: off
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
)
# fmt: on


def require_confinement() -> None:
    """Raise InputError if this system cannot confine processes."""
    if not is_linux():
        raise InputError(
            f"this is {system_name()}, but confined child processes need Linux; "
            "if you trust the recordings, try --sandbox off"
        )
    if obstacle := describe_obstacle():
        raise InputError(
            f"child processes cannot be confined, because {obstacle}; if you trust the "
            "recordings, try --sandbox off"
        )


def enlarge_pipe(handle: int) -> None:
    """Enlarge a pipe's buffer to 1 MiB, so that the processes at its ends wait less."""
    import fcntl

    fcntl.fcntl(handle, _SET_PIPE_SIZE, _PIPE_SIZE)


def limit_memory(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def confine_process(readable: Iterable[Path], writable: Iterable[Path] = ()) -> None:
    """Deny this process the network, and all files but the given ones and those that Python needs.

    If `writable` is empty, the process can write no files at all. It can neither start programs nor
    signal or inspect other processes. Call this function while the process has a single thread.
    Steps that the system does not support are skipped: files can be restricted from Linux 5.13 on,
    and `require_confinement` refuses systems that can restrict neither files nor the network.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not tuple(writable):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare(network_flags())
    _allow_files(libc, [*list_libraries(), *readable], writable)
    deny_changes()


def list_libraries() -> list[Path]:
    """Return the files and folders that Python, its packages, this project and the system need.

    Other folders on Python's path are left out, because a script's folder may contain anything.
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
    version = landlock_version()
    handled = _ALL
    handled |= _TRUNCATE if version >= _TRUNCATE_VERSION else 0
    handled |= _DEVICES if version >= _DEVICES_VERSION else 0
    rights = struct.pack("=Q", handled)
    if version >= _NETWORK_VERSION:
        rights += struct.pack("=Q", _TCP)
    if version >= _PROCESSES_VERSION:
        rights += struct.pack("=Q", _OTHER_PROCESSES)

    rules = libc.syscall(CREATE_RULES, rights, ctypes.c_size_t(len(rights)), 0)
    if rules < 0:
        return
    for allowed, paths in ((_READ, readable), (handled, writable)):
        for path in paths:
            _allow(libc, rules, allowed, path)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.syscall(_RESTRICT, rules, 0)
    os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, allowed: int, path: Path) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it does not exist, or cannot be opened
    if not path.is_dir():
        allowed &= _OF_A_FILE
    rule = struct.pack("=Qi", allowed, place)
    libc.syscall(_ADD, rules, _BENEATH, rule, 0)
    os.close(place)
