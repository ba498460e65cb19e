"""The encode stage: write enhanced frames into segment files, and commit the files."""

from __future__ import annotations

from pathlib import Path

from pipeline.execution.task import SegmentTask, StagePosition
from pipeline.ledger.run_folder import RunFolder, WrittenSegment
from pipeline.lightfield.intermediate import Storage
from pipeline.media.write.segment import SegmentWriter
from pipeline.pixels import Pixels
from pipeline.schema.frame_size import match_pixel_aspect
from pipeline.schema.plan import Plan, SegmentRecord


class EncodeStage:
    """Encodes segments one after another, and commits each of them once it is complete."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self._plan = plan
        self._folder = folder
        shown = match_pixel_aspect(plan.input, plan.width, plan.height)
        self._storage = Storage(shown, plan.to, plan.output)
        self._writer: SegmentWriter | None = None
        self._attempt: Path | None = None
        self._pts: list[int] = []
        self._concealed: tuple[int, ...] = ()
        self.position = StagePosition()

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Encode one H x W x 3 or H x W x 4 frame; a segment's first frame opens its file."""
        self.position.move_to(pts)
        if self._writer is None:
            self._attempt = self._folder.new_attempt(segment)
            self._writer = SegmentWriter(
                self._attempt,
                self._storage.clip(pts),
                self._plan.encoding,
                self._plan.width,
                self._plan.height,
            )
        self._writer.write(frame, self._storage.pts(pts))
        self._pts.append(pts)

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Record the pts of corrupt frames that were replaced, for the segment's record."""
        self._concealed += pts

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Close the segment's file, commit it and return its record."""
        assert self._writer is not None
        assert self._attempt is not None
        self._writer.close()
        written = WrittenSegment(
            segment=task.segment.index,
            frames=len(self._pts),
            first_pts=self._pts[0],
            last_pts=self._pts[-1],
            concealed=self._concealed,
        )
        record = self._folder.commit(self._attempt, written)
        self._reset()
        return record

    def abandon(self) -> None:
        """Close and delete the file of an unfinished segment, if one is open."""
        writer, attempt = self._writer, self._attempt
        self._reset()
        try:
            if writer is not None:
                writer.close()
        finally:
            if attempt is not None:
                attempt.unlink(missing_ok=True)

    def _reset(self) -> None:
        self._writer = None
        self._attempt = None
        self._pts = []
        self._concealed = ()
