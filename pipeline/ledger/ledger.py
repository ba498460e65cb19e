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

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout
from pydantic import ValidationError

from pipeline.errors import InputError, PipelineError, StageError
from pipeline.ledger import mirror
from pipeline.schema.plan import Plan, Segment, SegmentRecord
from pipeline.schema.plan_file import pieces

_ATTEMPT = "attempt-"
PUBLISHING = "publishing.json"
"""Digest of the file or folder that is being renamed to the output."""


def fsync(path: Path) -> None:
    """Force a file or a folder's entries onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write `text`, or its pieces, to `path`: a reader sees the old file or the whole new one."""
    # not longer than the name beside it may be
    temporary = path.with_name(f"{_ATTEMPT}{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder into which a late copy of a segment may still be writing."""
    for _ in range(5):
        try:
            return shutil.rmtree(path)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    shutil.rmtree(path)


def sha256(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Return a digest of a file, or of the names and content of all files in a folder."""
    if path.is_file():
        return sha256(path)
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    listed = [f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files]
    return hashlib.sha256("".join(listed).encode()).hexdigest()


@dataclass(frozen=True)
class Written:
    """What an encoder put into a segment's file, before it is committed."""

    segment: int
    frames: int
    first_pts: int
    last_pts: int
    concealed: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunFolder:
    """The segments of one run; all a worker needs to commit its work, and it can be sent to one."""

    path: Path
    digest: str
    """Digest of the plan which the segments belong to."""
    mirror: str = ""
    """URL of the run folder at the output's URL; "" where the output is on a file system."""

    @property
    def segments(self) -> Path:
        """Return the folder of segments and records."""
        return self.path / "segments"

    def segment_file(self, record: SegmentRecord) -> Path:
        """Return where the committed segment lies."""
        return self.segments / record.file

    def record_file(self, segment: int) -> Path:
        """Return where the segment's record lies."""
        return self.segments / f"{segment:05d}.json"

    def attempt(self, segment: int) -> Path:
        """Return a new name, used by nobody else, to write the segment under."""
        return self.segments / f"{_ATTEMPT}{segment:05d}-{uuid.uuid4().hex}.nut"

    def commit(self, attempt: Path, written: Written) -> SegmentRecord:
        """Move a finished attempt into place and write its record; the last act of a segment.

        Where another attempt was committed meanwhile, that one stays and its record is returned.
        """
        if (first := self.record(written.segment)) is not None:
            attempt.unlink()
            return first
        fsync(attempt)
        target = attempt.with_name(attempt.name.removeprefix(_ATTEMPT))
        record = SegmentRecord(
            segment=written.segment,
            plan=self.digest,
            file=target.name,
            frames=written.frames,
            first_pts=written.first_pts,
            last_pts=written.last_pts,
            sha256=sha256(attempt),
            concealed=written.concealed,
        )
        attempt.replace(target)
        fsync(self.segments)
        write_atomically(self.record_file(written.segment), record.model_dump_json())
        return mirror.push(self.mirror, target, record) if self.mirror else record

    def drop(self, segment: int) -> None:
        """Delete the local copy of a segment that lies at the mirror."""
        for path in self.segments.glob(f"{segment:05d}*"):
            path.unlink(missing_ok=True)

    def record(self, segment: int) -> SegmentRecord | None:
        """Return the segment's record if it proves that the segment is done, else None."""
        try:
            text = self.record_file(segment).read_text(encoding="utf-8")
            record = SegmentRecord.model_validate_json(text)
            if (record.segment, record.plan) != (segment, self.digest):
                return None
            if not re.fullmatch(rf"{segment:05d}-[0-9a-f]{{32}}\.nut", record.file):
                return None
            return record if sha256(self.segment_file(record)) == record.sha256 else None
        except (FileNotFoundError, UnicodeDecodeError, ValidationError):
            return None


def _fits(record: SegmentRecord, segment: Segment) -> bool:
    inside = segment.start_pts <= record.first_pts <= record.last_pts < segment.end_pts
    return inside and record.frames == segment.frames


def run_folder_of(output: Path) -> Path:
    """Return the path of the run folder that belongs to `output`."""
    return output.with_name(f".{output.name}.run")


def stored_plan(output: Path) -> Plan | None:
    """Return the plan of an unfinished run of `output`, if there is a readable one."""
    try:
        text = (run_folder_of(output) / "plan.json").read_text(encoding="utf-8")
        return Plan.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


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
            for stale in (*self.folder.segments.glob(f"{_ATTEMPT}*"), *self._leftovers()):
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            if not plan_file.exists():
                write_atomically(plan_file, pieces(self.plan, secrets=True))
            if self.folder.mirror and not mirror.open_mirror(self.folder.mirror, self.plan):
                mirror.pull_all(self.folder.mirror, self.folder.segments, self.folder.digest)
            for segment in self.plan.segments:
                record = self.folder.record(segment.index)
                if record is not None and _fits(record, segment):
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
