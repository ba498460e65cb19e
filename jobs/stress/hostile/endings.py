"""Runs that are interrupted, killed or out of disk space, and recordings that change afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jobs.stress.hostile.bench import RUN, Bench, Case, SkippedError
from jobs.stress.hostile.killing import interrupt_before, kill_before
from jobs.stress.hostile.process import PIPELINE

# moment -> the audit event that marks it, and the end of the path in that event
_MOMENTS: dict[str, tuple[str, str]] = {
    "the first commit": ("os.rename", "00000.json"),
    "the last commit": ("os.rename", "00001.json"),
    "announcing": ("os.rename", "publishing.json"),
    "publishing": ("os.rename", "out.mkv"),
    "the plan": ("os.rename", "out.plan.json"),
    "removing the run folder": ("shutil.rmtree", ".out.mkv.run"),
    "the report": ("os.rename", "out.html"),
    "measuring": ("import", "pipeline.measuring.clips"),
}
_MORE = ("--report", "out.html", "--ground-truth", "hr.mkv")


def _attack_ending(
    bench: Bench, moment: str, end: Callable[..., None], more: tuple[str, ...] = ()
) -> None:
    """End a run at `moment`; the same command must finish it, and then find it finished."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.prepare(*RUN[:-1], "out-whole.mkv")
    run = (*RUN, *more)
    end(bench, *_MOMENTS[moment], *run)
    for _ in range(2):
        bench.attack(*run, status=(0,))
    _expect_whole(bench)


def _expect_whole(bench: Bench) -> None:
    out, whole = (bench.folder / name for name in ("out.mkv", "out-whole.mkv"))
    same = out.is_file() and out.read_bytes() == whole.read_bytes()
    bench.expect(same, "an uninterrupted run has a different output")
    bench.expect(not (bench.folder / ".out.mkv.run").exists(), "the run folder was left behind")


def _flip(path: Path) -> None:
    """Change a byte in the middle of a file without changing the file's size or times."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(times.st_size // 2)
        byte = file.read(1)[0]
        file.seek(times.st_size // 2)
        file.write(bytes([byte ^ 0x55]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace(path: Path) -> None:
    """Replace a file with another one of the same size and times."""
    times = path.stat()
    shutil.copy(path, path.with_name("other"))
    _flip(path.with_name("other"))
    path.with_name("other").replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(16))


_CHANGES: dict[str, Callable[[Path], None]] = {
    "one byte, with the same size and times": _flip,
    "another file of the same size and times": _replace,
    "16 bytes more": _append,
}


def _attack_change(bench: Bench, role: str, how: str) -> None:
    """Change a recording between a kill and the resumption; the output must not mix both."""
    bench.copy("lr.mkv", "hr.mkv")
    kill_before(bench, "os.rename", "00001.json", *RUN)
    _CHANGES[how](bench.folder / role)
    more = ("--on-error", "conceal")
    done = bench.attack(*RUN, *more, status=(0, 1, 2))
    fresh = bench.attack(*RUN[:-1], "out-fresh.mkv", *more, status=(0, 1, 2))
    bench.expect(done.status == fresh.status, f"status {done.status}, in a new run {fresh.status}")
    out, other = (bench.folder / name for name in ("out.mkv", "out-fresh.mkv"))
    if done.status == 0:
        same = out.read_bytes() == other.read_bytes()
        bench.expect(same, "the output is a mixture of both recordings")


def _attack_space(bench: Bench, kibibytes: int) -> None:
    """Run `run` and `degrade` with outputs on a file system of only `kibibytes` KiB."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        raise SkippedError("this system does not allow tests to mount file systems")
    bench.copy("lr.mkv", "hr.mkv")
    (bench.folder / "full").mkdir()
    mount = f"mount -t tmpfs -o size={kibibytes}k tmpfs full"
    shell = f'{mount}; "$@"; status=$?; test -e full/out.mkv && echo an output; exit $status'
    for command in ((*RUN[:-1], "full/out.mkv"), ("degrade", "hr.mkv", "--scale", "2", "-o",
                     "full/out.mkv", "-q")):  # fmt: skip
        done = bench.attack(
            *command,
            program=("unshare", "-m", "bash", "-c", shell, "bash", *PIPELINE),
            status=(0, 1, 2),
        )
        left = b"an output" in done.stdout
        bench.expect(left == (done.status == 0), "the output does not match the exit status")
        bench.expect(len(done.stderr.splitlines()) <= 3, f"many lines: {done.last_line}")


def _attack_size(bench: Bench, blocks: int) -> None:
    """Run with file sizes limited to `blocks` KiB, so that writing fails half-way."""
    bench.copy("lr.mkv", "hr.mkv")
    done = bench.attack(*RUN, shell=f'ulimit -f {blocks}; exec "$@"', status=(0, 1, 2))
    bench.expect(
        (bench.folder / "out.mkv").exists() == (done.status == 0),
        "the output does not match the exit status",
    )
    bench.attack(*RUN, status=(0,))


CASES = (
    *(
        Case(
            f"kill-{moment.replace(' ', '-')}",
            "endings",
            f"SIGKILL at {moment}, then the same command",
            partial(
                _attack_ending,
                moment=moment,
                end=kill_before,
                more=_MORE if moment in ("the report", "measuring") else (),
            ),
            moment == "publishing",
        )
        for moment in _MOMENTS
    ),
    *(
        Case(
            f"interrupt-{moment.replace(' ', '-')}",
            "endings",
            f"SIGINT at {moment}, then the same command",
            partial(
                _attack_ending,
                moment=moment,
                end=interrupt_before,
                more=_MORE if moment in ("the report", "measuring") else (),
            ),
        )
        for moment in _MOMENTS
    ),
    *(
        Case(
            f"change-{role[:2]}-{number}",
            "endings",
            f"{role} changes between kill and resumption: {how}",
            partial(_attack_change, role=role, how=how),
        )
        for role in ("lr.mkv", "hr.mkv")
        for number, how in enumerate(_CHANGES)
    ),
    *(
        Case(
            f"full-disk-{size}",
            "endings",
            f"a disk of {size} KiB",
            partial(_attack_space, kibibytes=size),
        )
        for size in (4, 16, 40, 64)
    ),
    *(
        Case(
            f"file-size-{size}",
            "endings",
            f"no file above {size} KiB",
            partial(_attack_size, blocks=size),
        )
        for size in (1, 4, 8)
    ),
)
