"""The last stage of a streamed run: write enhanced frames to a stream, not to segment files."""

from __future__ import annotations

from pipeline.errors import StageError
from pipeline.execution.task import SegmentTask, StagePosition
from pipeline.media.write.raw import RawStreamWriter
from pipeline.pixels import Pixels
from pipeline.schema.plan import SegmentRecord


class StreamStage:
    """Writes the frames of segments to a stream in order, and nothing more after a failure.

    A stream cannot be read back, so the stage checks only that every frame in the plan is written,
    in order.
    """

    def __init__(self, writer: RawStreamWriter) -> None:
        self._writer = writer
        self._pts: list[int] = []
        self._last: int | None = None
        self._is_broken = False
        self.position = StagePosition()

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Write one H x W x 3 frame.

        Raises StageError if an earlier segment failed, or if the frame is not later than the
        previous one.
        """
        self.position.move_to(pts)
        if self._is_broken:
            raise StageError("the stream ended before this segment, because an earlier one failed")
        if self._last is not None and pts <= self._last:
            raise StageError(
                f"the frame at pts {pts} follows the frame at pts {self._last}, but must be later"
            )
        self._writer.write(frame)
        self._pts.append(pts)
        self._last = pts

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Do nothing, because a stream has no record of replaced corrupt frames."""

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Return the record of a segment that has been written.

        Raises StageError if the written frames are not the planned ones.
        """
        planned = list(task.choices.pts)
        if self._pts != planned:
            raise StageError(
                f"the frames in the stream are not those in the plan (written: {len(self._pts)}, "
                f"planned: {len(planned)}); try -o FILE"
            )
        record = SegmentRecord(
            segment=task.segment.index,
            plan="",
            file="",
            frames=len(planned),
            first_pts=planned[0],
            last_pts=planned[-1],
            sha256="",
        )
        self._pts = []
        return record

    def abandon(self) -> None:
        """Refuse to write more frames, because a stream with a gap would look complete."""
        self._is_broken = True
