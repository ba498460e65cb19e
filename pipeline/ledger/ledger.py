"""The ledger: the run folder beside the output, which records the committed segments.

    .{output name}.run/
        lock                     held by the run that is using the folder
        plan.json                the plan to which the segments belong
        adapted.safetensors      the weights, if they were adapted to the recording
        segments/00003-*.nut     a committed segment, moved here after it was flushed to disk
        segments/00003.json      the segment's record, which is written last and names its file
        segments/attempt-*       a segment that is not committed yet
        publishing.json          the digest of the finished output, written before it is published

Only a valid record proves that a segment is done. It contains the digest of this plan, and the name
of an existing file with the recorded SHA-256. Every attempt has a unique name, so that attempts at
the same segment do not interfere, even if they finish at the same time.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from pipeline.errors import InputError, PipelineError, StageError, count_items
from pipeline.ledger import mirror
from pipeline.ledger.durable import (
    ATTEMPT_PREFIX,
    ON_WINDOWS,
    content_digest,
    release_lock,
    remove_folder,
    remove_path,
    write_atomically,
)
from pipeline.ledger.names import ADAPTED, PLAN, PUBLISHING, RECORDS
from pipeline.ledger.run_folder import (
    RunFolder,
    read_stored_plan,
    record_fits,
    run_folder_of,
)
from pipeline.paths import own_folder, sha256
from pipeline.schema.plan import Plan, SegmentRecord
from pipeline.schema.plan_file import plan_lines


class Ledger:
    """The locked run folder of one output; a context manager that holds the lock."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.output = Path(plan.output).absolute()
        url = mirror.mirror_url(plan.output_url) if plan.output_url else ""
        self.folder = RunFolder(run_folder_of(self.output), plan.digest(), url)
        self.note: str | None = None
        """A note for the user if an unfinished run was discarded or had broken segments."""
        self.records: dict[int, SegmentRecord] = {}
        """Records of the committed segments, by index."""
        self.resumed = 0
        """Number of segments that were already committed when the ledger was opened."""
        self._lock = FileLock(self.folder.path / "lock")

    def __enter__(self) -> Ledger:
        self._acquire()
        try:
            self._open()
        except BaseException:
            release_lock(self._lock)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # a run with neither a segment nor adapted weights has nothing to resume
            if self.folder.path.exists() and not self._has_work():
                self.remove_run_folder()
        finally:
            release_lock(self._lock)

    def pending_segments(self) -> list[int]:
        """Return the indices of the segments that are not committed, in order."""
        return [s.index for s in self.plan.segments if s.index not in self.records]

    def replace_plan(self, plan: Plan) -> None:
        """Store a plan whose adaptation is done, which invalidates segments of the old plan."""
        self.plan = plan
        self.folder = replace(self.folder, digest=plan.digest())
        write_atomically(self.folder.path / PLAN, plan_lines(plan, secrets=True), private=True)
        if self.folder.mirror:
            mirror.replace_plan(self.folder.mirror, plan)
        self.records = {}
        self.resumed = 0
        self._read_records()

    def add_record(self, record: SegmentRecord) -> None:
        """Register a segment that a worker has just committed."""
        self.records[record.segment] = record

    def fetch_segment(self, segment: int) -> None:
        """If the run has a mirror, download a segment that another process committed to it."""
        if self.folder.mirror and not self.folder.record_path(segment).exists():
            mirror.pull_segment(
                self.folder.mirror, segment, self.folder.segments, self.folder.digest
            )

    def committed_files(self) -> list[Path]:
        """Return the segment files in presentation order.

        Raises StageError if a segment is not committed, or if its file has changed since then.
        """
        if missing := self.pending_segments():
            raise StageError(
                f"assemble: {len(missing)} of {len(self.plan.segments)} segments are missing, "
                f"beginning with number {missing[0]}; run the same command again"
            )

        for segment, record in sorted(self.records.items()):
            file = self.folder.segment_path(record)
            # check against the record in memory, because another valid attempt may have replaced
            # the one on disk in the meantime
            if not file.exists() or sha256(file) != record.sha256:
                raise StageError(
                    f"assemble: the file of segment {segment} changed after it was committed; "
                    "run the same command again to replace the segment"
                )
        return [self.folder.segment_path(self.records[s.index]) for s in self.plan.segments]

    def announce_output(self, finished: Path) -> None:
        """Store the digest of the output just before it is published.

        If the process is then killed, `is_published` can find out whether it had published the
        output.
        """
        digest = content_digest(finished)
        write_atomically(self.folder.path / PUBLISHING, digest)
        if self.folder.mirror:
            mirror.announce_output(self.folder.mirror, digest)

    def is_announced(self) -> bool:
        """Return whether the run folder contains the digest of a finished output."""
        return (self.folder.path / PUBLISHING).exists()

    def is_published(self) -> bool:
        """Return whether a killed run of this plan had already published the output."""
        if self.folder.mirror:
            return mirror.is_published(self.folder.mirror, self.plan.output_url)

        try:
            expected = (self.folder.path / PUBLISHING).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        return self.output.exists() and content_digest(self.output) == expected

    def remove_run_folder(self) -> None:
        """Delete the run folder. The lock inside it stays held until the ledger is closed."""
        # Delete the largest files first, and PUBLISHING, which proves to a later run that this one
        # was complete, only after them.
        if self.folder.segments.exists():
            remove_folder(self.folder.segments)
        for path in self._leftovers():
            remove_path(path)
        (self.folder.path / ADAPTED).unlink(missing_ok=True)
        (self.folder.path / PUBLISHING).unlink(missing_ok=True)
        (self.folder.path / PLAN).unlink(missing_ok=True)
        if not ON_WINDOWS:  # where `release_lock` deletes the folder
            remove_folder(self.folder.path)

        if self.folder.mirror:
            mirror.clear_mirror(self.folder.mirror)

    def _has_work(self) -> bool:
        """Return whether the run folder has a committed segment or adapted weights."""
        adaptation = self.plan.adaptation
        is_adapted = adaptation is not None and adaptation.done and adaptation.request != "file"
        return is_adapted or any(self.folder.segments.glob(RECORDS))

    def _acquire(self) -> None:
        if not self.output.parent.is_dir():
            raise InputError(
                f"the output's folder {self.output.parent} does not exist; create it, "
                "or choose another with -o"
            )
        try:
            own_folder(self.folder.path)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"another run is writing {self.output}; wait for it to end, "
                "or choose another output with -o"
            ) from None
        except InputError as error:
            raise InputError(f"cannot write beside the output {self.output}: {error}") from error
        except OSError as error:
            raise InputError(
                f"cannot write beside the output {self.output}: {error.strerror}; "
                "choose a writable folder with -o"
            ) from None

    def _open(self) -> None:
        try:
            self._prepare_folder()
            self._read_records()
            self._remove_orphans()
        except OSError as error:
            raise PipelineError(
                f"cannot use the run folder {self.folder.path}: {error.strerror}; "
                "free some space, or remove the folder"
            ) from None
        self.resumed = len(self.records)

    def _prepare_folder(self) -> None:
        """Remove other plans' files from the run folder, and download the mirror's segments."""
        own_folder(self.folder.segments)
        plan_file = self.folder.path / PLAN
        if plan_file.exists():
            self._discard_other_plan()

        own_folder(self.folder.segments)
        for stale in (*self.folder.segments.glob(f"{ATTEMPT_PREFIX}*"), *self._leftovers()):
            remove_path(stale)

        if not plan_file.exists():
            write_atomically(plan_file, plan_lines(self.plan, secrets=True), private=True)
        if self.folder.mirror and not mirror.claim_mirror(self.folder.mirror, self.plan):
            mirror.pull_segments(self.folder.mirror, self.folder.segments, self.folder.digest)

    def _read_records(self) -> None:
        """Read the records of the plan's segments, and delete invalid records."""
        broken = 0
        for segment in self.plan.segments:
            record = self.folder.read_record(segment.index)
            if record is not None and record_fits(record, segment):
                self.records[segment.index] = record
            elif self.folder.record_path(segment.index).exists():
                broken += 1
                self.folder.record_path(segment.index).unlink()
                if self.folder.mirror:
                    mirror.remove_record(self.folder.mirror, segment.index)

        if broken and self.note is None:
            self.note = (
                f"{count_items(broken, 'segment')} of an unfinished run of {self.output.name} will "
                "be enhanced again (broken, or made by another version)"
            )

    def _remove_orphans(self) -> None:
        """Delete the segment files that no record names."""
        named = {record.file for record in self.records.values()}
        for file in self.folder.segments.glob("*.nut"):
            if file.name not in named:
                file.unlink()

    def _leftovers(self) -> list[Path]:
        """Return what an interrupted run left in the run folder and this run does not need."""
        known = {"lock", PLAN, "segments", PUBLISHING}
        if self.plan.adaptation is not None and self.plan.adaptation.done:
            known.add(ADAPTED)
        return [path for path in self.folder.path.iterdir() if path.name not in known]

    def _discard_other_plan(self) -> None:
        """Delete the files of an unfinished run with another plan.

        If the plan is the same but its recordings were moved, delete only the stored plan.
        """
        stored = read_stored_plan(self.output)
        if stored is not None and stored.digest() == self.folder.digest:
            here = (self.plan.input, self.plan.reference.clip)
            if (stored.input, stored.reference.clip) != here:
                (self.folder.path / PLAN).unlink()
            return

        done = len(list(self.folder.segments.glob(RECORDS)))
        if self.folder.segments.exists():
            shutil.rmtree(self.folder.segments)
        (self.folder.path / PUBLISHING).unlink(missing_ok=True)
        (self.folder.path / ADAPTED).unlink(missing_ok=True)
        (self.folder.path / PLAN).unlink()
        self.note = (
            f"an unfinished run of {self.output.name} {_describe_difference(stored, self.plan)} "
            f"was discarded ({count_items(done, 'segment')})"
        )


def _describe_difference(stored: Plan | None, plan: Plan) -> str:
    """Return how an unfinished run with the plan `stored` differs from a run with `plan`."""
    if stored is not None and stored.input.fingerprint != plan.input.fingerprint:
        return "with another version of the input"
    if stored is not None and stored.reference.clip.fingerprint != plan.reference.clip.fingerprint:
        return "with another version of the reference"
    return "with other settings"
