"""Take from this process what reading a recording does not need (Linux; best effort elsewhere).

Sources: `setrlimit(2)`, `unshare(2)`, and the kernel's description of Landlock (`landlock(7)`).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000
_NO_NEW_PRIVILEGES = 38
_CREATE, _ADD, _RESTRICT = 444, 445, 446
"""Numbers of Landlock's system calls, the same on every kind of processor."""
_READ = 1 << 0 | 1 << 2 | 1 << 3
"""Execute (libraries are mapped so), read a file, list a folder."""
_ALL = (1 << 13) - 1
"""Every right that the first version of Landlock knows."""
_READ_FILE, _OF_A_FILE = 1 << 2, 0b111
_BENEATH = 1
_VERSION, _KNOWS_NETWORK, _TCP = 1, 4, 0b11
# fmt: off
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu",
)
# fmt: on
"""Not all of /proc: the environment of other processes holds credentials."""


def limit_memory(memory: int) -> None:
    """Let this process have at most `memory` bytes of address space."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def confine_process(readable: Iterable[Path], writable: Iterable[Path] = ()) -> None:
    """Leave no files but these and what Python needs, and no network.

    Call it while the process has one thread. What the system cannot do is left out: it needs
    Linux, 5.13 for the files.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not tuple(writable):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # in a user's own namespace root could not read the files of others any more
    libc.unshare(_NEW_NETWORK | (0 if os.geteuid() == 0 else _NEW_USER))
    _allow_files(libc, [*_libraries(), *readable], writable)


def _libraries() -> list[Path]:
    """Return the folders that Python, its packages and the system's libraries lie in."""
    here = Path(__file__).parents[3]
    own = [Path(path) for path in {*sys.path, *sysconfig.get_paths().values()} if path]
    return [here / "pipeline", Path(sys.base_prefix) / "lib", *own, *map(Path, _SYSTEM)]


def _allow_files(libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]) -> None:
    rights = struct.pack("=Q", _ALL)
    if libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION) >= _KNOWS_NETWORK:
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
        return  # nothing to read there
    if not path.is_dir():
        allowed &= _OF_A_FILE
    rule = struct.pack("=Qi", allowed, place)
    libc.syscall(_ADD, rules, _BENEATH, rule, 0)
    os.close(place)
