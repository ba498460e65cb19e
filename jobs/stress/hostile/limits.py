"""System limits, special files, races, and unusual places for temporary files and outputs."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from jobs.stress.hostile.bench import PLAIN, PLAN, RUN, SECRET, Bench, Case, SkippedError

_TIB = 1 << 40
_COMMANDS: tuple[tuple[str, ...], ...] = (
    RUN,
    (*PLAN, "--save", "out.json"),
    ("degrade", "hr.mkv", "--scale", "2", "-o", "out.low.mkv", "-q"),
    ("convert", "views", "--to", "mosaic", "-o", "out.png", "-q"),
    ("compare", "lr.mkv", "hr.mkv", "-o", "out.beside.png"),
)
_ULIMITS = {
    "file-size": "ulimit -f 1",
    "file-size-ignored": "trap '' XFSZ; ulimit -f 1",
    "open-files": "ulimit -n 24",
    "few-files": "ulimit -n 8",
    "memory": "ulimit -v 3000000",
    "time": "ulimit -t 1",
    "stack": "ulimit -s 256",
    "locked": "ulimit -l 0",
}


def _attack_limit(bench: Bench, limit: str) -> None:
    """Run commands under a limit; if a command fails, it must not leave an incomplete output."""
    bench.copy("lr.mkv", "hr.mkv", "views")
    for command in _COMMANDS:
        # the kernel kills a process that exceeds the limit on CPU time or file size
        allowed = (0, 1, 2, -9, -24, -25, -31, 127, 137)
        # otherwise, Python would write incomplete bytecode for the installed program
        environment = {"PYTHONDONTWRITEBYTECODE": "1"}
        shell = f'{limit}; exec "$@"'
        bench.attack(*command, shell=shell, environment=environment, status=allowed)
        made = [path for path in bench.folder.glob("out*") if path.is_file()]
        succeeded = bench.attempts[-1].outcome.status == 0
        bench.expect(bool(made) == succeeded, f"status {bench.attempts[-1].outcome.status}, {made}")
        for path in made:
            path.unlink()


def _attack_umask(bench: Bench, mask: str) -> None:
    bench.copy("lr.mkv", "hr.mkv", "views")
    for command in _COMMANDS:
        bench.attack(*command, shell=f'umask {mask}; exec "$@"', status=(0, 1, 2))
    for path in (*bench.folder.glob(".out*"), *bench.home.glob(".cache/*/*")):
        if path.is_dir():
            mode = stat.S_IMODE(path.stat().st_mode)
            bench.expect(not mode & 0o022, f"{path.name} has mode {mode:04o}")


_OUTPUTS = ("/dev/full", "/dev/null", "/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", "/dev/tty",
            "/proc/self/cwd", "out.fifo", "out.socket", "out.folder", "/dev/fd/77")  # fmt: skip


def _attack_output(bench: Bench, place: str) -> None:
    """Write to something that is not a regular file."""
    bench.copy("lr.mkv", "hr.mkv")
    if place.endswith(".fifo"):
        os.mkfifo(bench.folder / place)
    elif place.endswith(".socket"):
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(bench.folder / place))
    elif place.endswith(".folder"):
        bench.write(f"{place}/precious", SECRET)
    for force in ((), ("--force",)):
        bench.attack(*RUN[:-1], place, *force, makes=(), status=(0, 1, 2))
        bench.attack("degrade", "hr.mkv", "--scale", "2", "-o", place, "-q", *force, makes=(),
                     status=(0, 1, 2))  # fmt: skip
    bench.attack(*PLAN, "--save", place, makes=(), status=(0, 1, 2))
    if place.startswith("/dev/"):
        bench.expect(stat.S_ISCHR(Path("/dev/null").stat().st_mode), "/dev/null was replaced")


_INPUTS = ("/dev/null", "/dev/zero", "/dev/random", "/dev/full", "/dev/fd/77", "/proc/self/mem",
           "/proc/self/maps", "/proc/kcore", "/proc/self/exe", "/proc/self/fd", "a.socket",
           "sparse.mkv", "sparse.png", "sparse.y4m", "sparse.h5", "sparse.exr")  # fmt: skip


def _attack_input(bench: Bench, place: str) -> None:
    """Read something that is not a regular file, or a sparse file of 1 TiB."""
    bench.copy("lr.mkv", "hr.mkv")
    if place.endswith(".socket"):
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(bench.folder / place))
    elif place.startswith("sparse"):
        head = b"YUV4MPEG2 W64 H48 F24:1\nFRAME\n" if place.endswith("y4m") else b""
        with bench.write(place, head).open("r+b") as file:
            file.truncate(_TIB)
    bench.attack("probe", place, status=(1, 2) if not place.endswith("y4m") else (0, 1, 2))
    if not place.endswith("y4m"):  # its 2^37 frames are counted one by one
        bench.attack("plan", place, "--ref-stream", "hr.mkv", *PLAIN, status=(1, 2))
        bench.attack("plan", "lr.mkv", "--ref-stream", place, *PLAIN, status=(1, 2))
    bench.attack("run", "--manifest", place, *RUN[2:-2], status=(1, 2))
    if place.startswith("sparse"):
        (bench.folder / place).unlink()


def _attack_hard_link(bench: Bench) -> None:
    """Replace an output that is a hard link to a victim's file, whose content must not change."""
    bench.copy("lr.mkv", "hr.mkv", "views")
    for command in _COMMANDS:
        name = next(word for word in command if word.startswith("out."))
        os.link(bench.victim / "thesis.txt", bench.folder / name)
        bench.attack(*command, *(["--force"] if command[0] != "plan" else []), status=(0, 2))
        (bench.folder / name).unlink()
    bench.expect(
        (bench.victim / "thesis.txt").read_text(encoding="utf-8") == SECRET,
        "the victim's file changed",
    )


def _attack_linked_ledger(bench: Bench) -> None:
    """Resume a run whose files are hard links to one of the victim's files."""
    bench.copy("lr.mkv", "hr.mkv")
    folder = bench.folder / ".out.mkv.run"
    (folder / "segments").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    for name in ("plan.json", "lock", "segments/00000.json", "segments/00000.nut"):
        os.link(bench.victim / "thesis.txt", folder / name)
    bench.attack(*RUN, status=(0, 2))
    bench.expect(
        (bench.victim / "thesis.txt").read_text(encoding="utf-8") == SECRET,
        "the victim's file changed",
    )


@contextmanager
def _repeating(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` again and again in a thread, until the context ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            act()
            time.sleep(0.001)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _swap(place: Path, targets: list[Path]) -> None:
    """Atomically point the link `place` to the next target."""
    targets.append(targets.pop(0))
    temporary = place.with_name(f"{place.name}.swap")
    temporary.symlink_to(targets[0])
    temporary.replace(place)


def _attack_race(bench: Bench, name: str) -> None:
    """Swap a link between two targets while a command uses it."""
    bench.copy("lr.mkv", "hr.mkv")
    (bench.folder / "out").mkdir()
    places = {
        "output": (bench.folder / "out.mkv", [bench.victim / "thesis.txt", bench.folder / "none"]),
        "run-folder": (bench.folder / ".out.mkv.run", [bench.victim, bench.folder / "out"]),
        "plan": (bench.folder / "out.plan.json", [bench.victim / "plan.json", bench.folder / "x"]),
        "input": (bench.folder / "in.mkv", [bench.folder / "lr.mkv", bench.folder / "hr.mkv"]),
        "cache": (bench.home / ".cache", [bench.victim, bench.folder / "out"]),
    }
    place, targets = places[name]
    run = ("run", "in.mkv" if name == "input" else "lr.mkv", *RUN[2:])
    races = (f"{place.name}*",)
    with _repeating(lambda: _swap(place, targets)):
        bench.attack(*run, "--force", races=races, status=(0, 1, 2))
        bench.attack(*run, races=races, status=(0, 1, 2))
    if name == "cache":
        place.unlink()


_VARIABLES: dict[str, dict[str, str | None]] = {
    "locale": {"LANG": "xx_YY.UTF-99", "LC_ALL": "tr_TR.ISO-8859-9"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"},
    "latin": {"PYTHONIOENCODING": "latin-1:strict", "LC_ALL": "C"},
    "warnings": {"PYTHONWARNINGS": "error"},
    "startup": {"PYTHONSTARTUP": "PWNED.py", "PYTHONBREAKPOINT": "os.system"},
    "optimize": {"PYTHONOPTIMIZE": "2", "PYTHONDEVMODE": "1"},
    "threads": {"OMP_NUM_THREADS": "-5", "MKL_NUM_THREADS": "999999999", "OMP_THREAD_LIMIT": "0"},
    "time-zone": {"TZ": "../../../../dev/zero"},
    "terminal-size": {"COLUMNS": "0", "LINES": "999999999"},
    "epoch": {"SOURCE_DATE_EPOCH": "-1"},
    "opencv": {"OPENCV_IO_MAX_IMAGE_PIXELS": "1", "OPENCV_LOG_LEVEL": "VERBOSE"},
    "cache-url": {"PIPELINE_CACHE": "https://nowhere.invalid/cache"},
    "cache-newline": {"PIPELINE_CACHE": "a\nb"},
    "cache-here": {"PIPELINE_CACHE": "."},
    "xdg": {"XDG_CACHE_HOME": "relative/cache", "XDG_CONFIG_HOME": "/dev/null"},
    "temporary-file": {"TMPDIR": "lr.mkv"},
    "temporary-long": {"TMPDIR": "/tmp/" + "a/" * 2000},
    "temporary-relative": {"TMPDIR": "."},
    "proxy": {"http_proxy": "http://nowhere.invalid:1", "https_proxy": "\x1b]0;evil\x07"},
}


def _attack_variables(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    environment = _VARIABLES[name]
    makes = ("out*", ".out*", "a\nb", "relative", "recordings*", "engines*", "work-*")
    bench.attack("probe", "lr.mkv", environment=environment, status=(0, 2))
    bench.attack(*RUN, environment=environment, makes=makes)
    bench.attack(*PLAN, "--sandbox", "on", environment=environment, makes=makes)


def _attack_linked_temporary(bench: Bench) -> None:
    """Use a folder for temporary files that is a link to the victim's folder."""
    bench.copy("lr.mkv", "hr.mkv")
    place = bench.link("temporary", bench.victim)
    bench.attack(*RUN, environment={"TMPDIR": str(place)})
    bench.attack(*PLAN, "--sandbox", "on", environment={"TMPDIR": str(place)})


_NAMES = {
    "dash": "-o.mkv",
    "dots": "...mkv",
    "hidden": ".mkv",
    "blank": " .mkv",
    "homoglyph": "lr.mk\u03bd",
    "same-looking": "l\u0433.mkv",
    "decomposed": "u\u0308\u200d.mkv",
    "number": "%06d%n.mkv",
    "url": "http:..x.mkv",
    "run": ".out.mkv.run",
    "longest": "b" * 251 + ".mkv",
    "nearly-longest": "b" * 243 + ".mkv",
}


def _attack_name(bench: Bench, name: str) -> None:
    """Enhance a recording with an unusual name to an output with an unusual name."""
    bench.copy("lr.mkv", "hr.mkv")
    (bench.folder / "lr.mkv").rename(bench.folder / name)
    makes = ("out*", ".out*")
    bench.attack("run", f"./{name}", *RUN[2:], status=(0, 2))
    (bench.folder / "out").mkdir()
    bench.attack("run", f"./{name}", *RUN[2:-1], f"out/{name}", makes=makes, status=(0, 2))
    if not name.startswith("-"):  # such a name would be an option
        bench.attack("run", name, *RUN[2:-1], f"out/{name}", makes=makes, status=(0, 2))


def _attack_deep_folder(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    shell = (
        "for n in $(seq 40); do mkdir " + "d" * 100 + " && cd " + "d" * 100 + " || exit; done; "
        'cp "$HOME/../some/where/work/"*.mkv .; exec "$@"'
    )
    if os.pathconf("/", "PC_PATH_MAX") > 4096:
        raise SkippedError("this system allows longer paths")
    bench.attack(*RUN, shell=shell, races=("d*",), status=(0, 1, 2))


CASES = (
    *(
        Case(f"limit-{name}", "limits", limit, partial(_attack_limit, limit=limit),
             name == "open-files")
        for name, limit in _ULIMITS.items()
    ),
    *(
        Case(f"umask-{mask}", "limits", f"umask {mask}", partial(_attack_umask, mask=mask))
        for mask in ("000", "777", "277")
    ),
    *(
        Case(f"output-at-{place.strip('/').replace('/', '-')}", "limits", f"{place} as output",
             partial(_attack_output, place=place))
        for place in _OUTPUTS
    ),
    *(
        Case(f"input-from-{place.strip('/').replace('/', '-')}", "limits", f"{place} as input",
             partial(_attack_input, place=place))
        for place in _INPUTS
    ),
    Case("links-output", "limits", "outputs that are hard links", _attack_hard_link),
    Case("links-ledger", "limits", "a run folder of hard links", _attack_linked_ledger),
    *(
        Case(f"race-{name}", "limits", f"a link as {name}, whose target changes all the time",
             partial(_attack_race, name=name))
        for name in ("output", "run-folder", "plan", "input", "cache")
    ),
    *(
        Case(f"environment-{name}", "limits",
             ", ".join(f"{key}={str(value)[:20]!r}" for key, value in variables.items()),
             partial(_attack_variables, name=name))
        for name, variables in _VARIABLES.items()
    ),
    Case("temporary-link", "limits", "a TMPDIR that is a link", _attack_linked_temporary),
    *(
        Case(f"called-{key}", "limits", f"the name {name[:20]!r}", partial(_attack_name, name=name))
        for key, name in _NAMES.items()
    ),
    Case("deep-folder", "limits", "a folder with the longest possible path", _attack_deep_folder),
)  # fmt: skip
