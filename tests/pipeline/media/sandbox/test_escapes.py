"""What a confined process cannot do, held by Landlock or by the filter of system calls."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.confinement import landlock_version

_PROCESSOR = platform.machine() in ("x86_64", "aarch64")

_ESCAPES = """
import ctypes, os, platform, socket, sys
from pathlib import Path
from pipeline.media.sandbox import confine
from pipeline.media.sandbox.seccomp import deny_changes
means, inside, outside, port = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
if means == "files":
    confine.deny_changes = lambda: False
if means in ("files", "files and calls"):
    confine.confine_process([inside])
if means == "calls":
    assert deny_changes()
inside.read_bytes()

def connect():
    socket.create_connection(("127.0.0.1", port), 5).close()

def signal_thread():
    number = {"x86_64": 234, "aarch64": 131}[platform.machine()]
    if libc.syscall(number, parent, parent, 0):
        raise OSError(ctypes.get_errno(), "tgkill")

def start_program():
    child = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitpid(child, 0)[1] == 0

acts = {
    "read a file": outside.read_bytes,
    "list a folder": lambda: os.listdir(outside.parent),
    "make a file": lambda: (inside.parent / "new").write_bytes(b"x"),
    "write a file": lambda: inside.write_bytes(b"y"),
    "remove a file": inside.unlink,
    "read an environment": Path(f"/proc/{parent}/environ").read_bytes,
    "connect": connect,
    "make a Unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "truncate a file": lambda: os.truncate(outside, 0),
    "change a mode": lambda: os.chmod(outside, 0o666),
    "change a time": lambda: os.utime(outside, (1, 1)),
    "set an attribute": lambda: os.setxattr(outside, "user.x", b"1"),
    "signal the parent": lambda: os.kill(parent, 0),
    "signal a thread": signal_thread,
    "start a program": start_program,
}
for name, act in acts.items():
    try:
        act()
    except OSError:
        print("held|" + name)
    else:
        print("done|" + name)
"""

# What Landlock holds by its first version, and what the filter of system calls holds.
FILES = frozenset(
    {
        "read a file", "list a folder", "make a file", "write a file", "remove a file",
        "read an environment",
    }
)  # fmt: skip
CALLS = frozenset(
    {
        "connect", "make a Unix socket", "truncate a file", "change a mode", "change a time",
        "set an attribute", "signal the parent", "signal a thread", "start a program",
    }
)  # fmt: skip
NEVER_BY_LANDLOCK = frozenset({"change a mode", "change a time", "start a program"})


def try_escapes(folder: Path, means: str) -> set[str]:
    """Return what a process can do that is confined by `means`, of everything it should not do."""
    inside, outside = folder / "inside", folder / "elsewhere/outside"
    outside.parent.mkdir(parents=True)
    for file in (inside, outside):
        file.write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        command = [sys.executable, "-c", _ESCAPES, means, str(inside), str(outside), port]
        made = subprocess.run(command, capture_output=True, text=True, check=True)

    outcomes = [line.split("|") for line in made.stdout.splitlines()]
    assert {name for _, name in outcomes} == FILES | CALLS
    return {name for outcome, name in outcomes if outcome == "done"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Landlock")
def test_a_confined_process_reaches_no_other_file_and_no_network(tmp_path: Path) -> None:
    done = try_escapes(tmp_path, "files and calls")
    if not landlock_version():
        pytest.skip("this kernel has no Landlock")
    assert done == set()
    assert (tmp_path / "inside").read_bytes() == b"x"
    assert (tmp_path / "elsewhere/outside").read_bytes() == b"x"


@pytest.mark.skipif(not landlock_version(), reason="needs Landlock")
def test_landlock_holds_files_but_not_their_attributes(tmp_path: Path) -> None:
    done = try_escapes(tmp_path, "files")
    assert done & FILES == set()
    assert done >= NEVER_BY_LANDLOCK


@pytest.mark.skipif(not _PROCESSOR or sys.platform != "linux", reason="needs seccomp")
def test_the_filter_holds_calls_but_not_files(tmp_path: Path) -> None:
    assert try_escapes(tmp_path, "calls") == FILES


@pytest.mark.skipif(not _PROCESSOR or sys.platform != "linux", reason="needs Linux")
def test_a_process_that_is_not_confined_can_do_all_of_it(tmp_path: Path) -> None:
    """Otherwise, the tests above would pass without any confinement."""
    possible = FILES | CALLS
    try:
        os.setxattr(tmp_path, "user.x", b"1")
    except OSError:  # some file systems have no attributes
        possible -= {"set an attribute"}
    assert try_escapes(tmp_path / "scene", "nothing") == possible


_ABORTS = """
import os, sys
from pathlib import Path
from pipeline.media.sandbox.confine import confine_process
confine_process([])
os.abort()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs seccomp")
def test_a_confined_process_can_still_abort() -> None:
    made = subprocess.run([sys.executable, "-c", _ABORTS], capture_output=True, check=False)
    assert made.returncode == -signal.SIGABRT
