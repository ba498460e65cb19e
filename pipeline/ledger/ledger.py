"""The run folder beside the output: which segments are done, and the proof of it.

    .{output name}.run/
        lock                     held while a run is working here
        plan.json                what the segments were made for
        segments/00003-*.nut     a committed segment, moved into place when it was on disk
        segments/00003.json      its record, written last, which names the file
        segments/attempt-*       work that was never committed

        publishing.json          which file is about to become the output

A valid record (same plan, file there, same sha256) means done; nothing else does. Every attempt has
a name of its own, so two that end at once disturb each other as little as a killed one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from pipeline.errors import InputError, PipelineError, StageError
from pipeline.ledger import mirror
from pipeline.ledger.durable import (
    ATTEMPT_PREFIX,
    content_digest,
    remove_folder,
    sha256,
    write_atomically,
)
from pipeline.ledger.run_folder import RunFolder, record_fits, run_folder_of, stored_plan
from pipeline.schema.plan import Plan, SegmentRecord
from pipeline.schema.plan_file import plan_lines

PUBLISHING = "publishing.json"
"""Digest of the file or folder that is being renamed to the output."""


class Ledger:
    """The locked run folder of one output; a context manager which holds the lock."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.output = Path(plan.output).absolute()
        there = mirror.mirror_of(plan.output_url) if plan.output_url else ""
        self.folder = RunFolder(run_folder_of(self.output), plan.digest(), there)
        self.note: str | None = None
        """What was found and thrown away, for the user; None when there was nothing to say."""
        self.records: dict[int, SegmentRecord] = {}
        """Committed segments by index."""
        self.resumed = 0
        """Segments that were already committed when the ledger was opened."""
        self._lock = FileLock(self.folder.path / "lock")

    def __enter__(self) -> Ledger:
        self._acquire()
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # a run that committed nothing has nothing to resume: leave no trace of it
            if self.folder.path.exists() and not any(self.folder.segments.glob("[0-9]*.json")):
                self.remove()
        finally:
            self._lock.release()

    def announce(self, finished: Path) -> None:
        """Write down what is about to become the output, in case this process dies in the act."""
        digest = content_digest(finished)
        write_atomically(self.folder.path / PUBLISHING, digest)
        if self.folder.mirror:
            mirror.announce(self.folder.mirror, digest)

    def published(self) -> bool:
        """Return whether a run of this very plan was killed after it had published the output."""
        if self.folder.mirror:
            return mirror.published(self.folder.mirror, self.plan.output_url)
        try:
            expected = (self.folder.path / PUBLISHING).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return self.output.exists() and content_digest(self.output) == expected

    def todo(self) -> list[int]:
        """Return the indices of the segments that are not committed, in order."""
        return [s.index for s in self.plan.segments if s.index not in self.records]

    def add(self, record: SegmentRecord) -> None:
        """Note a segment which a worker has just committed."""
        self.records[record.segment] = record

    def files(self) -> list[Path]:
        """Return the committed segment files in presentation order; all must be there and sound.

        They are looked at once more: hours may lie between a commit and the joining.
        """
        if missing := self.todo():
            raise StageError(
                f"assemble: {len(missing)} of {len(self.plan.segments)} segments are missing, "
                f"first {missing[0]}; run the same command again"
            )
        for segment, record in sorted(self.records.items()):
            file = self.folder.segment_file(record)
            # not its record on disk: a second attempt, as good, may have written its own since
            if not file.exists() or sha256(file) != record.sha256:
                raise StageError(
                    f"assemble: segment {segment} is not what was committed, its file was changed "
                    "since; run the same command again to do it anew"
                )
        return [self.folder.segment_file(self.records[s.index]) for s in self.plan.segments]

    def remove(self) -> None:
        """Delete the run folder; only the lock inside it is still held."""
        if self.folder.segments.exists():
            # first what is large; what tells a later run that this one was complete, last
            remove_folder(self.folder.segments)
        for path in self._leftovers():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.folder.path / PUBLISHING).unlink(missing_ok=True)
        remove_folder(self.folder.path)
        if self.folder.mirror:
            mirror.clear(self.folder.mirror)

    def fetch(self, segment: int) -> None:
        """Bring a segment here that another machine committed at the mirror."""
        if self.folder.mirror and not self.folder.record_file(segment).exists():
            mirror.pull(self.folder.mirror, segment, self.folder.segments, self.folder.digest)

    def _acquire(self) -> None:
        if not self.output.parent.is_dir():
            raise InputError(
                f"the output's folder {self.output.parent} does not exist; create it, "
                "or choose another with -o"
            )
        try:
            self.folder.path.mkdir(exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"another run is writing {self.output}; wait for it to end, "
                "or choose another output with -o"
            ) from None
        except OSError as error:
            raise InputError(
                f"cannot write beside the output {self.output}: {error.strerror}; "
                "choose a writable folder with -o"
            ) from None

    def _open(self) -> None:
        plan_file = self.folder.path / "plan.json"
        useless = 0
        try:
            if plan_file.exists():
                self._discard_stale()
            self.folder.segments.mkdir(exist_ok=True)
            for stale in (*self.folder.segments.glob(f"{ATTEMPT_PREFIX}*"), *self._leftovers()):
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            if not plan_file.exists():
                write_atomically(plan_file, plan_lines(self.plan, secrets=True))
            if self.folder.mirror and not mirror.open_mirror(self.folder.mirror, self.plan):
                mirror.pull_all(self.folder.mirror, self.folder.segments, self.folder.digest)
            for segment in self.plan.segments:
                record = self.folder.record(segment.index)
                if record is not None and record_fits(record, segment):
                    self.records[segment.index] = record
                elif self.folder.record_file(segment.index).exists():
                    useless += 1
                    self.folder.record_file(segment.index).unlink()
                    if self.folder.mirror:
                        mirror.discard(self.folder.mirror, segment.index)
            if useless and self.note is None:
                self.note = (
                    f"{useless} segments of an unfinished run of {self.output.name} are broken or "
                    "of another version, and are done again"
                )
            named = {record.file for record in self.records.values()}
            for orphan in self.folder.segments.glob("*.nut"):
                if orphan.name not in named:
                    orphan.unlink()
        except OSError as error:
            raise PipelineError(
                f"cannot use the run folder {self.folder.path}: {error.strerror}; "
                "free some space, or remove the folder"
            ) from None
        self.resumed = len(self.records)

    def _leftovers(self) -> list[Path]:
        """Return what an interrupted plan write or assembly left in the run folder."""
        keep = {"lock", "plan.json", "segments", PUBLISHING}
        return [path for path in self.folder.path.iterdir() if path.name not in keep]

    def _discard_stale(self) -> None:
        found = stored_plan(self.output)
        if found is not None and found.digest() == self.folder.digest:
            return
        done = len(list(self.folder.segments.glob("[0-9]*.json")))
        if self.folder.segments.exists():
            shutil.rmtree(self.folder.segments)
        (self.folder.path / PUBLISHING).unlink(missing_ok=True)
        (self.folder.path / "plan.json").unlink()
        self.note = (
            f"an unfinished run of {self.output.name} with other settings was discarded "
            f"({done} segments)"
        )
