"""The folder of a run beside its output: segments, their records and the stored plan."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from pipeline.ledger import mirror
from pipeline.ledger.durable import ATTEMPT_PREFIX, fsync, sha256, write_atomically
from pipeline.remote import cache
from pipeline.schema.plan import Plan, Segment, SegmentRecord


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
        return self.segments / f"{ATTEMPT_PREFIX}{segment:05d}-{uuid.uuid4().hex}.nut"

    def commit(self, attempt: Path, written: Written) -> SegmentRecord:
        """Move a finished attempt into place and write its record; the last act of a segment.

        Where another attempt was committed meanwhile, that one stays and its record is returned.
        """
        if (first := self.record(written.segment)) is not None:
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


def record_fits(record: SegmentRecord, segment: Segment) -> bool:
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


def unfinished(plan: Plan) -> Plan | None:
    """Return the plan of an unfinished run of the same output, here or at its URL."""
    here = stored_plan(Path(plan.output))
    if here is None and plan.output_url:
        return mirror.stored_plan(mirror.mirror_of(plan.output_url))
    return here


def own_folder(folder: RunFolder) -> RunFolder:
    """Return a folder of this process where segments go to a URL: the driver's is not here."""
    if not folder.mirror:
        return folder
    own = replace(folder, path=cache.scratch())
    own.segments.mkdir()
    return own
