"""Python code in a process in which this project finds what macOS or Windows has, and no more.

python -m tests.support.elsewhere darwin|win32 CODE

Other packages are those of Linux, so they find all that they need. Only for callers in this
project, `sys.platform` differs, and modules, functions and /proc are absent.
"""

from __future__ import annotations

import builtins
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from tests.support import ROOT

PACKAGES = ("crossnetpp", "deploy", "pipeline")
MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog")
LINUX_FUNCTIONS = (
    *("sched_getaffinity", "sched_setaffinity", "posix_fallocate", "copy_file_range", "setxattr"),
    *("memfd_create", "O_PATH", "O_TMPFILE"),
)
POSIX_FUNCTIONS = (
    *("getuid", "geteuid", "getgid", "fork", "pread", "pwrite", "readv", "mkfifo", "chown"),
    *("killpg", "getpgid", "setsid", "uname", "getloadavg", "sysconf", "statvfs", "sendfile"),
    *(
        "nice",
        "sync",
        "fchmod",
        "fchown",
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_CLOEXEC",
        "O_NONBLOCK",
        "WNOHANG",
    ),
)
SIGNALS = (
    *("SIGHUP", "SIGKILL", "SIGPIPE", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT"),
    *("SIGCHLD", "alarm", "setitimer", "pthread_sigmask"),
)
LINUX_FOLDERS = ("/proc/", "/sys/", "/dev/shm")


def run_elsewhere(
    system: str, code: str, folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `code` in `folder` in a process of its own; `system` is a value of `sys.platform`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "tests.support.elsewhere", system, code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def is_own(frame: FrameType | None) -> bool:
    """Return whether a frame runs code of this project."""
    name = "" if frame is None else str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in PACKAGES


def is_called_by_us(depth: int) -> bool:
    """Return whether this project called, directly or through the standard library."""
    frame = sys._getframe(depth)
    while frame is not None and frame.f_globals.get("__name__") in ("pathlib", "shutil", "os"):
        frame = frame.f_back  # type: ignore[assignment]
    return is_own(frame)


def change_module(module: ModuleType, absent: Sequence[str], **changed: object) -> None:
    """Let names of a module be absent, or have other values, for this project."""

    class Changed(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            if (name in absent or name in changed) and is_own(sys._getframe(1)):
                if name in changed:
                    return changed[name]
                raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")
            return getattr(module, name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(module, name, value)

    sys.modules[module.__name__] = Changed(module.__name__)


def hide_modules() -> None:
    """Let imports of modules of POSIX fail for this project."""
    whole = builtins.__import__

    def find(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] in MODULES and is_own(sys._getframe(1)):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return whole(name, *arguments, **keywords)

    builtins.__import__ = find


def hide_files(folders: Sequence[str]) -> None:
    """Let files of Linux be absent for this project."""

    def hide(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **keywords: Any) -> Any:
            named = isinstance(path, str | Path) and str(path).startswith(tuple(folders))
            if named and is_called_by_us(2):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return function(path, *arguments, **keywords)

        return call

    import io

    builtins.open = hide(open)
    io.open = hide(io.open)
    os.stat = hide(os.stat)
    os.listdir = hide(os.listdir)
    os.scandir = hide(os.scandir)


def protect_open_files() -> None:
    """Refuse what Windows refuses: to open or replace folders, to move or delete open files."""
    whole_open = os.open
    whole_replace = os.replace
    whole_unlink = os.unlink

    def open_file(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        if is_own(sys._getframe(1)) and Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return whole_open(path, flags, *arguments, **keywords)

    def replace(source: Any, target: Any) -> None:
        if Path(target).is_dir() or is_open(source) or is_open(target):
            raise PermissionError(13, "Permission denied", str(target))
        whole_replace(source, target)

    def rename(source: Any, target: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(17, "File exists", str(target))
        replace(source, target)

    def unlink(path: Any) -> None:
        if is_open(path):
            raise PermissionError(13, "Permission denied", str(path))
        whole_unlink(path)

    os.open = open_file
    os.replace = replace
    os.rename = rename
    os.unlink = unlink
    os.remove = unlink
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # so that it calls `unlink`


def is_open(path: Any) -> bool:
    """Return whether this process has a file, or a file in a folder, open."""
    place = os.path.realpath(path)
    opened = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # another thread has closed it
            opened.append(os.path.realpath(handle))
    return any(file == place or file.startswith(f"{place}/") for file in opened)


def main() -> None:
    """Run the code as on another system."""
    system, code = sys.argv[1:]
    hide_files(LINUX_FOLDERS)
    change_module(sys, (), platform=system)
    if system == "win32":
        protect_open_files()
        hide_modules()
        change_module(os, (*LINUX_FUNCTIONS, *POSIX_FUNCTIONS))
        change_module(signal, SIGNALS)
    else:
        change_module(os, LINUX_FUNCTIONS)
    exec(compile(code, "<elsewhere>", "exec"), {"__name__": "elsewhere"})


if __name__ == "__main__":
    main()
