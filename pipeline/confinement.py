"""Determine how this system can confine processes: Landlock for files, namespaces for networks.

Sources: `landlock(7)` and `unshare(2)`.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import lru_cache

from crossnetpp.machine import is_linux, system_name

NEW_NETWORK = 0x40000000  # this and NEW_USER are flags of unshare
NEW_USER = 0x10000000
CREATE_RULES = 444  # system call landlock_create_ruleset, the same on every architecture
_VERSION = 1  # flag with which CREATE_RULES returns Landlock's version


def describe_obstacle() -> str:
    """Return why processes cannot be confined here at all, or "" if they can."""
    if not is_linux():
        return f"the sandbox needs Linux, but this is {system_name()}"
    if landlock_version() or can_leave_network():
        return ""
    return "this system permits neither Landlock nor namespaces"


def describe_gap() -> str:
    """Return what a confined process can still reach here, or "" if confinement is complete.

    The result is also "" if processes cannot be confined at all.
    """
    if describe_obstacle() or landlock_version():
        return ""
    return "the sandbox denies the network but not your files: this kernel has no Landlock"


def landlock_version() -> int:
    """Return the version of Landlock that the kernel offers this process, or 0 if none."""
    if not is_linux():
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(CREATE_RULES, None, ctypes.c_size_t(0), _VERSION)))


@lru_cache
def can_leave_network() -> bool:
    """Return whether a process may leave the host's network, as tested in a child process."""
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(int(sys.argv[1])) != 0)"
    command = [sys.executable, "-I", "-S", "-c", code, str(network_flags())]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def network_flags() -> int:
    """Return the flags for `unshare` that take a process off the host's network."""
    # root needs no NEW_USER, and in a new user namespace could not read other users' files
    return NEW_NETWORK | (0 if os.geteuid() == 0 else NEW_USER)
