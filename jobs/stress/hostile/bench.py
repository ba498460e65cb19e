"""The folders in which attacks run, and the verdict on what each command did in them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crossnetpp.printable import make_printable
from jobs.stress.hostile.listing import Listing, find_changes, list_tree
from jobs.stress.hostile.materials import Materials
from jobs.stress.hostile.process import PIPELINE, ROOT, Outcome, run_command

MEMORY = 3 << 29  # limit for the resident bytes of one process
MARKER = "PWNED"  # name of the file that a stranger's code would write
SECRET = "the secret of the victim"
REFUSED = 2
PLAIN = ("--scale", "2", "--engine", "bicubic")
OPTIONS = (*PLAIN, "--preset", "ultrafast", "--segment", "0.4", "--runner", "inline", "-q")
RUN = ("run", "lr.mkv", "--ref-stream", "hr.mkv", *OPTIONS, "-o", "out.mkv")
PLAN = ("plan", "lr.mkv", "--ref-stream", "hr.mkv", *PLAIN)

# what every command may write: its output in the working folder, and the cache
_OUTPUTS = ("out*", ".out*")
_CACHE = ("home", "home/.cache", "home/.cache/*")

# matches the output if an attack's own command line is wrong, in which case it proves nothing
_WRONG_USE = re.compile(r"Missing (argument|option)|No such (option|command) '-?-?[a-z]")

Result = Literal["refused", "harmless", "broken"]
RESULTS: tuple[Result, ...] = ("refused", "harmless", "broken")


class SkippedError(Exception):
    """Raised by a case that cannot run on this system; the message states why."""


@dataclass
class Attempt:
    """One command of an attack."""

    command: str
    outcome: Outcome
    faults: list[str] = field(default_factory=list)

    @property
    def result(self) -> Result:
        """Whether the attack did harm, was refused, or ran harmlessly."""
        if self.faults:
            return "broken"
        return "refused" if self.outcome.status == REFUSED else "harmless"


@dataclass(frozen=True)
class Case:
    """An attack, with a function that prepares and runs it."""

    name: str
    direction: str
    """The way in which a stranger reaches the program, such as plans."""
    attack: str
    act: Callable[[Bench], None]
    is_quick: bool = False
    """Whether `--quick` includes the case."""


class Bench:
    """The folders of one case: a working folder, a victim's folder, a home and a scratch folder.

    `attack` runs a command and judges it: only its output and the cache may have changed in these
    folders, no code from a stranger may have run, no process may remain, and the time, the memory,
    the exit status and the text must be as expected.
    """

    def __init__(self, root: Path, materials: Materials) -> None:
        self.root = root
        self.folder = root / "some" / "where" / "work"
        self.victim = root / "victim"
        self.home = root / "home"
        self.scratch = root / "scratch"
        self.materials = materials
        self.attempts: list[Attempt] = []
        for folder in (self.folder, self.victim / "segments", self.home, self.scratch):
            folder.mkdir(parents=True)
        for name in ("thesis.txt", "plan.json", "segments/00000.json", "1.nut", "lock"):
            (self.victim / name).write_text(SECRET, encoding="utf-8")

    @property
    def marker(self) -> Path:
        """The path of the file that a stranger's code would write."""
        return self.root / MARKER

    def copy(self, *names: str) -> None:
        """Copy materials into the working folder."""
        for name in names:
            source, target = self.materials.get(name), self.folder / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy(source, target)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file in the working folder, creating its parents, and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def link(self, name: str, target: str | Path) -> Path:
        """Create a symbolic link in the working folder, and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        return path

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment for commands; None as a value in `changes` removes a variable."""
        values: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "TMPDIR": str(self.scratch),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            **(changes or {}),
        }
        return {name: value for name, value in values.items() if value is not None}

    def prepare(self, *arguments: str) -> None:
        """Run `pipeline` as the victim would. Raises AssertionError if the command fails."""
        done = self._run((*PIPELINE, *arguments))
        assert done.status == 0, f"the preparation failed: {done.last_line}"

    def attack(
        self,
        *arguments: str,
        status: tuple[int, ...] = (0, REFUSED),
        says: str = "",
        makes: tuple[str, ...] = _OUTPUTS,
        races: tuple[str, ...] = (),
        program: tuple[str, ...] = PIPELINE,
        shell: str = 'exec "$@"',
        environment: Mapping[str, str | None] | None = None,
        stdin: Path | None = None,
        terminal: bool = False,
    ) -> Outcome:
        """Run `pipeline ARGUMENTS`, judge what it did, and return the outcome.

        `status` lists the allowed exit statuses, and `says` is text that the output must contain.
        `makes` and `races` are patterns for paths in the working folder that may change: because
        the command writes them, or because the case itself changes them while the command runs.
        For `shell`, `stdin` and `terminal`, see `run_command`.
        """
        before = list_tree(self.root)
        outcome = self._run(
            (*program, *arguments),
            shell=shell,
            environment=environment,
            stdin=stdin,
            terminal=terminal,
        )
        attempt = Attempt(" ".join(arguments), outcome)
        self.attempts.append(attempt)
        attempt.faults += find_text_faults(outcome, terminal=terminal)
        attempt.faults += find_process_faults(outcome)
        attempt.faults += self._find_changes(before, outcome, makes, races)

        if _WRONG_USE.search(outcome.text):
            self.expect(False, f"a wrong command line: {outcome.last_line}")
        if outcome.status not in status:
            self.expect(False, f"status {outcome.status}: {outcome.last_line}")
        elif says not in outcome.text:
            self.expect(False, f"a message without {says!r}: {outcome.last_line}")
        return outcome

    def expect(self, right: bool, fault: str) -> None:
        """Add a fault to the last attempt unless `right` is True."""
        if not right:
            self.attempts[-1].faults.append(make_printable(fault))

    def _run(
        self,
        command: tuple[str, ...],
        *,
        shell: str = 'exec "$@"',
        environment: Mapping[str, str | None] | None = None,
        stdin: Path | None = None,
        terminal: bool = False,
    ) -> Outcome:
        return run_command(
            command,
            folder=self.folder,
            environment=self.environment(environment),
            shell=shell,
            stdin=stdin,
            terminal=terminal,
        )

    def _find_changes(
        self, before: Listing, outcome: Outcome, makes: tuple[str, ...], races: tuple[str, ...]
    ) -> list[str]:
        """Return the changes that a command was not allowed to make.

        A refused command must not write any output.
        """
        work = self.folder.relative_to(self.root).as_posix()
        if outcome.status == REFUSED:
            makes = tuple(pattern for pattern in makes if pattern.startswith((".", "cache")))
        allowed = (*_CACHE, *(f"{work}/{pattern}" for pattern in (*makes, *races)))
        after = list_tree(self.root)
        found = find_changes(before, after, allowed)
        ran = [path for path in after if Path(path).name == MARKER and path not in before]
        return [*found, *(f"code ran: {path}" for path in ran)]


def find_text_faults(outcome: Outcome, *, terminal: bool = False) -> list[str]:
    """Return what is wrong with a command's text: tracebacks and control characters.

    On a `terminal`, the only control characters that count are OSC sequences and BEL on stderr.
    """
    faults = []
    if "Traceback" in outcome.text:
        faults.append(f"a traceback: {outcome.last_line}")
    if terminal:
        if b"\x1b]" in outcome.stderr or b"\x07" in outcome.stderr:
            faults.append("an escape sequence reached the terminal")
        return faults
    plain = outcome.text.replace("\r", "").replace("\ufffd", "")
    if make_printable(plain) != plain:
        faults.append("control characters were printed")
    return faults


def find_process_faults(outcome: Outcome) -> list[str]:
    """Return what is wrong with a command's time, memory and processes."""
    faults = []
    if outcome.timed_out:
        faults.append(f"it did not end in {outcome.seconds:.0f} s")
    if outcome.memory > MEMORY:
        faults.append(f"it used {outcome.memory / 2**30:.1f} GiB")
    if outcome.left_processes:
        faults.append("a process was left running")
    return [make_printable(fault) for fault in faults]
