"""Hostile environment variables, and folders that are inaccessible or do not exist."""

from __future__ import annotations

import os
from functools import partial

from jobs.stress.hostile.bench import PLAN, RUN, Bench, Case, SkippedError

_ESCAPE = "\x1b]0;evil\x07"
_VARIABLES: dict[str, dict[str, str | None]] = {
    "log": {"PIPELINE_LOG": "weird"},
    "cache-device": {"PIPELINE_CACHE": "/dev/null"},
    "cache-file": {"PIPELINE_CACHE": "lr.mkv"},
    "cache-size": {"PIPELINE_CACHE_GB": "nan"},
    "megapixels-nan": {"PIPELINE_MAX_MEGAPIXELS": "nan"},
    "sandbox-seconds": {"PIPELINE_SANDBOX_SECONDS": "inf"},
    "sandbox-memory": {"PIPELINE_SANDBOX_GB": "0"},
    "crf": {"PIPELINE_RUN_CRF": "abc"},
    "segment": {"PIPELINE_RUN_SEGMENT": "nan"},
    "codec": {"PIPELINE_RUN_CODEC": _ESCAPE},
    "config": {"PIPELINE_CONFIG": "/dev/zero"},
    "config-escape": {"PIPELINE_CONFIG": _ESCAPE},
    "threads": {"OMP_NUM_THREADS": "abc"},
    "columns": {"COLUMNS": "abc", "LINES": "-1"},
    "locale-c": {"LANG": "C", "LC_ALL": "POSIX", "PYTHONUTF8": "0"},
    "terminal": {"TERM": _ESCAPE},
    "home-none": {"HOME": None},
    "home-missing": {"HOME": "/nowhere"},
    "home-relative": {"HOME": ""},
    "temporary": {"TMPDIR": "/nowhere"},
    "path-none": {"PATH": None},
    "ray": {"RAY_ADDRESS": "evil.invalid:1"},
    "surrogate": {"PIPELINE_RUN_TEMPLATE": os.fsdecode(b"\xff")},
}


# prefixes of keys in _VARIABLES; only these variables are also tried with `run`
_USED_IN_RUNS = ("cache", "home", "temporary", "path", "threads", "ray", "xdg", "locale-c")


def _attack_variables(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    makes = ("out*", ".out*", "*evil*", "relative", ".cache")
    bench.attack(*PLAN, environment=_VARIABLES[name], makes=makes)
    if name.startswith(_USED_IN_RUNS):
        bench.attack(*RUN, environment=_VARIABLES[name], makes=makes)


def _attack_gone(bench: Bench, command: tuple[str, ...]) -> None:
    """Run a command in a deleted folder."""
    bench.copy("lr.mkv", "hr.mkv")
    shell = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    bench.attack(*command, shell=shell)


_ENTER = (
    'exec setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-all "$@"'
    if os.geteuid() == 0
    else 'exec "$@"'
)


def _attack_mode(bench: Bench, name: str, command: tuple[str, ...]) -> None:
    """Pass a file or folder without read permission to a command."""
    bench.copy("lr.mkv", "hr.mkv", "frames", "views", "large.png")
    (bench.folder / name).chmod(0)
    bench.attack(*command, shell=_ENTER, status=(1, 2))
    (bench.folder / name).chmod(0o700)


def _attack_read_only(bench: Bench) -> None:
    """Write to a folder without write permission."""
    bench.copy("lr.mkv", "hr.mkv", "views")
    (bench.folder / "out").mkdir(mode=0o555)
    for command in (
        (*RUN[:-1], "out/a.mkv"),
        ("degrade", "lr.mkv", "--scale", "2", "-o", "out/a.mkv", "-q"),
        (*PLAN, "--save", "out/a.json"),
        ("convert", "views", "--to", "mosaic", "-o", "out/a.png", "-q"),
        ("look", "views", "-o", "out/look", "-q"),
        ("keyframes", "lr.mkv", "-o", "out/keys", "--at", "0", "-q"),
        ("compare", "lr.mkv", "hr.mkv", "-o", "out/a.png", "-q"),
        ("probe", "views", "--contact-sheet", "out/a.png"),
    ):
        bench.attack(*command, shell=_ENTER, status=(1, 2))


def _attack_command_line(bench: Bench) -> None:
    if os.geteuid() != 0 and not os.access("/proc/self", os.R_OK):
        raise SkippedError("this system has no /proc")
    bench.copy("lr.mkv", "hr.mkv")
    for command in (
        ("probe", ""),
        ("probe", "."),
        ("probe", "/proc"),
        ("probe", "/proc/self/environ"),
        ("probe", "/dev/full"),
        ("probe", "a" * 10_000),
        ("probe", "/".join(["a" * 200] * 30)),
        ("probe", os.fsdecode(b"\xff\xfe.mkv")),
        (*PLAN, "--start", "nan"),
        (*PLAN, "--end", "-inf"),
        (*PLAN, "--segment", "1e-300"),
        (*PLAN, "--crf", "1e999"),
        (*PLAN, "--size", "9999999x9999999"),
        (*PLAN, "--codec", "libx264:stats=PWNED"),
        (*PLAN, "--pix-fmt", "x\ny"),
        (*PLAN, "--preset", "a:b=c"),
        (*PLAN, "--ref-offset", "1e400"),
        (*PLAN, "--max-ref-distance", "nan"),
    ):
        bench.attack(*command, status=(0, 2) if "--segment" in command else (2,))


def _attack_cluster(bench: Bench) -> None:
    """Run on cluster addresses at which nothing listens."""
    bench.copy("lr.mkv", "hr.mkv")
    run = [word for word in RUN if word not in ("--runner", "inline")]
    for address in ("127.0.0.1:9", "ray://nowhere.invalid:10001", f"{_ESCAPE}:99999"):
        bench.attack(*run, "--runner", "ray", "--address", address, status=(2,))


_FORBIDDEN = {
    "folder": ("frames", ("probe", "frames")),
    "views": ("views", ("probe", "views")),
    "input": ("lr.mkv", RUN),
    "reference": ("hr.mkv", RUN),
    "reference-folder": ("frames", ("plan", "lr.mkv", "--ref-stream", "frames", "--scale", "2")),
    "batch": ("frames", ("run", "lr.mkv", "frames", *RUN[2:-1], "out")),
    "glob": ("frames", ("run", "frames/*.png", *RUN[2:-1], "out")),
}

CASES = (
    *(
        Case(
            f"variable-{name}",
            "system",
            ", ".join(f"{key}={str(value)[:20]!r}" for key, value in variables.items()),
            partial(_attack_variables, name=name),
            name == "log",
        )
        for name, variables in _VARIABLES.items()
    ),
    *(
        Case(
            f"gone-{command[0].strip('-')}",
            "system",
            f"{command[0]} in a folder that was deleted",
            partial(_attack_gone, command=command),
            command[0] == "probe",
        )
        for command in (
            ("probe", "lr.mkv"),
            RUN,
            PLAN,
            ("doctor",),
            ("demo", "-q"),
            ("engines", "list"),
            ("status", "out.mkv"),
            ("degrade", "lr.mkv", "--scale", "2", "-o", "out.mkv"),
            ("--help",),
        )
    ),
    *(
        Case(
            f"forbidden-{name}",
            "system",
            f"`{' '.join(command[:2])}`, where {place} has mode 000",
            partial(_attack_mode, name=place, command=command),
            name == "folder",
        )
        for name, (place, command) in _FORBIDDEN.items()
    ),
    Case("cluster", "system", "addresses at which no cluster listens", _attack_cluster),
    Case("read-only", "system", "a folder that nobody may write to", _attack_read_only),
    Case("command-line", "system", "invalid paths and numbers", _attack_command_line),
)
