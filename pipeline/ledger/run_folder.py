"""The run folder beside an output: its paths, and how segments are committed to it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from pipeline.ledger import mirror
from pipeline.ledger.durable import ATTEMPT_PREFIX, fsync, write_atomically
from pipeline.ledger.names import PLAN, record_name
from pipeline.paths import sha256
from pipeline.remote import cache
from pipeline.schema.plan import Plan, Segment, SegmentRecord


@dataclass(frozen=True)
class WrittenSegment:
    """Facts about a segment's file that the encoder has written, for the segment's record."""

    segment: int
    frames: int
    first_pts: int
    last_pts: int
    concealed: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: all that a worker needs to commit segments. It can be pickled."""

    path: Path
    digest: str
    """Digest of the plan to which the segments belong."""
    mirror: str = ""
    """URL of the mirror if the output is at a URL; "" for an output on a file system."""

    @property
    def segments(self) -> Path:
        """The subfolder of segments and their records."""
        return self.path / "segments"

    def segment_path(self, record: SegmentRecord) -> Path:
        """Return the path of a committed segment."""
        return self.segments / record.file

    def record_path(self, segment: int) -> Path:
        """Return the path of a segment's record."""
        return self.segments / record_name(segment)

    def new_attempt(self, segment: int) -> Path:
        """Return a new, unique path for the file of a segment."""
        return self.segments / f"{ATTEMPT_PREFIX}{segment:05d}-{uuid.uuid4().hex}.nut"

    def commit(self, attempt: Path, written: WrittenSegment) -> SegmentRecord:
        """Move a finished attempt into place, write its record, and return the record.

        If another attempt at the segment was committed first, delete this attempt, and return the
        record of the other one.
        """
        first = self.read_record(written.segment)
        if first is not None:
            attempt.unlink()
            return first

        fsync(attempt)
        target = attempt.with_name(attempt.name.removeprefix(ATTEMPT_PREFIX))
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
        write_atomically(self.record_path(written.segment), record.model_dump_json())

        return mirror.push_segment(self.mirror, target, record) if self.mirror else record

    def remove_local_copy(self, segment: int) -> None:
        """Delete the local files of a segment that is stored in the mirror."""
        for path in self.segments.glob(f"{segment:05d}*"):
            path.unlink(missing_ok=True)

    def read_record(self, segment: int) -> SegmentRecord | None:
        """Return the segment's record, or None if it is missing or invalid.

        A valid record has the plan's digest, and its file exists with the recorded SHA-256.
        """
        try:
            text = self.record_path(segment).read_text(encoding="utf-8")
            record = SegmentRecord.model_validate_json(text)
            if (record.segment, record.plan) != (segment, self.digest):
                return None
            if not re.fullmatch(rf"{segment:05d}-[0-9a-f]{{32}}\.nut", record.file):
                return None
            return record if sha256(self.segment_path(record)) == record.sha256 else None
        except (FileNotFoundError, UnicodeDecodeError, ValidationError):
            return None


def record_fits(record: SegmentRecord, segment: Segment) -> bool:
    """Return whether a record's frame count and times match the plan's segment."""
    inside = segment.start_pts <= record.first_pts <= record.last_pts < segment.end_pts
    return inside and record.frames == segment.frames


def run_folder_of(output: Path) -> Path:
    """Return the path of the run folder that belongs to `output`."""
    return output.with_name(f".{output.name}.run")


def read_stored_plan(output: Path) -> Plan | None:
    """Return the plan of an unfinished run of `output`, or None if there is no readable one."""
    try:
        text = (run_folder_of(output) / PLAN).read_text(encoding="utf-8")
        return Plan.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def find_stored_plan(plan: Plan) -> Plan | None:
    """Return the plan of an unfinished run with the same output, from its run folder or mirror.

    The result is None if there is no readable plan.
    """
    stored = read_stored_plan(Path(plan.output))
    if stored is None and plan.output_url:
        return mirror.read_plan(mirror.mirror_url(plan.output_url))
    return stored


def local_run_folder(folder: RunFolder) -> RunFolder:
    """Return `folder` or, if the run has a mirror, a scratch folder of this process instead.

    With a mirror, the path in `folder` is on the driver's machine, which may be a different one.
    """
    if not folder.mirror:
        return folder
    local = replace(folder, path=cache.make_scratch_folder())
    local.segments.mkdir()
    return local
