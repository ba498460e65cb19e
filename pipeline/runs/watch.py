"""Enhance every recording that appears in a folder, once it has stopped growing (`--watch`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipeline.errors import InputError, Interrupted
from pipeline.interrupt import Interrupts
from pipeline.media.join.capabilities import VIDEO_SUFFIXES
from pipeline.media.pictures.stills import natural_key
from pipeline.runs.items import failed_item
from pipeline.runs.manifest import Entry
from pipeline.runs.own_outputs import is_output
from pipeline.runs.result import ItemResult

POLL_SECONDS = 1.0
SETTLED_SECONDS = 5.0  # time without a change after which a recording is considered complete


class RunEntries(Protocol):
    """A function that runs inputs one after the other."""

    def __call__(
        self, entries: Sequence[Entry], results: list[ItemResult], *, interrupts: Interrupts
    ) -> Interrupted | None:
        """Append the result of every input; return the Interrupted that ended the runs, or None."""


@dataclass(frozen=True)
class Pauses:
    """The waiting times while a folder is watched, in seconds."""

    until_idle: float | None = None
    """Time without a new or growing recording after which the watch ends; None means never."""
    settled: float = SETTLED_SECONDS
    """Time without a change after which a recording is considered complete."""
    poll: float = POLL_SECONDS
    """Time between two checks of the folder."""


@dataclass
class Watched:
    """The inputs found in a watched folder, and their results."""

    entries: list[Entry] = field(default_factory=list)
    results: list[ItemResult] = field(default_factory=list)
    interrupted: Interrupted | None = None


class FolderWatch:
    """Finds the recordings in a folder, and returns each once, when it has stopped growing."""

    def __init__(
        self, folder: str, settled: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch a folder; raises InputError if there is none. `clock` returns seconds."""
        self._folder = Path(folder)
        self._clock = clock
        self._settled = settled
        self._states: dict[Path, tuple[int, int]] = {}
        self._since: dict[Path, float] = {}
        self._returned: set[Path] = set()
        self.changed_at = clock()
        """When a recording last appeared or grew."""
        if not self._folder.is_dir():
            raise InputError(f"--watch {folder} is not an existing folder; create it first")

    def list_settled(self) -> list[str]:
        """Return the recordings that have stopped growing since the last call, in natural order.

        Outputs of runs are left out. Raises OSError if the folder cannot be read now.
        """
        now = self._clock()
        found = []
        try:
            files = self._list_videos()
        except OSError:
            self._states.clear()  # it is unknown whether anything is growing
            raise
        for file in files:
            try:
                status = file.stat()
            except FileNotFoundError:
                continue  # it was moved away
            state = (status.st_size, status.st_mtime_ns)
            if self._states.get(file) != state:
                self._states[file] = state
                self._since[file] = self.changed_at = now
            elif status.st_size and now - self._since[file] >= self._settled:
                self._returned.add(file)
                if not is_output(file):
                    found.append(str(file))
        return found

    def has_growing(self) -> bool:
        """Return whether a recording with content may still be growing."""
        return any(state[0] for file, state in self._states.items() if file not in self._returned)

    def _list_videos(self) -> list[Path]:
        files = [
            file
            for file in self._folder.iterdir()
            if file.suffix.lower() in VIDEO_SUFFIXES
            and file.name[0] != "."
            and file not in self._returned
            and file.is_file()
        ]
        for file in set(self._states) - set(files):
            del self._states[file]
        return sorted(files, key=lambda file: natural_key(file.name))


def watch_folder(
    folder: str,
    make_entries: Callable[[tuple[str, ...]], Sequence[Entry]],
    run_entries: RunEntries,
    pauses: Pauses,
    note: Callable[[str], None],
) -> Watched:
    """Run the recordings in a folder as they are completed, until a signal or an idle period.

    If the folder (a network share, for example) cannot be read, `note` receives a message, and the
    watch waits until the folder can be read again. Raises InputError if there is no such folder at
    the beginning.
    """
    watch = FolderWatch(folder, pauses.settled)
    watched = Watched()
    is_readable = True
    with Interrupts() as interrupts:
        try:
            while watched.interrupted is None:
                ready: list[str] = []
                try:
                    ready = watch.list_settled()
                    is_readable = True
                except OSError as error:
                    if is_readable:
                        note(f"waiting for {folder}, which cannot be read ({error.strerror})")
                    is_readable = False
                if ready:
                    entries = make_entries(tuple(ready))
                    watched.entries += entries
                    watched.interrupted = run_entries(
                        entries, watched.results, interrupts=interrupts
                    )
                    watch.changed_at = time.monotonic()
                    continue

                if _is_idle(watch, pauses.until_idle):
                    break
                time.sleep(pauses.poll)
        except KeyboardInterrupt:
            watched.interrupted = Interrupted("interrupted; run the same command again to resume")
    for entry in watched.entries[len(watched.results) :]:
        watched.results.append(failed_item(entry, None, "not run"))
    return watched


def _is_idle(watch: FolderWatch, seconds: float | None) -> bool:
    """Return whether no recording is growing, or has appeared or grown for `seconds`.

    The result is False if `seconds` is None.
    """
    if seconds is None or watch.has_growing():
        return False
    return time.monotonic() - watch.changed_at >= seconds
