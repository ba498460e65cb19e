"""The last stage of a streamed run: write enhanced frames to a pipe instead of segment files."""

from __future__ import annotations

from pipeline.errors import StageError
from pipeline.execution.task import SegmentTask, StagePosition
from pipeline.media.write.raw import RawStreamWriter
from pipeline.pixels import Pixels
from pipeline.schema.plan import SegmentRecord


class StreamStage:
    """Writes the frames of segments in order, and nothing more after a failure.

    It checks what can be checked of a stream: that every frame of the plan was written, in order.
    """

    def __init__(self, writer: RawStreamWriter) -> None:
        self._writer = writer
        self._pts: list[int] = []
        self._last: int | None = None
        self._is_broken = False
        self.position = StagePosition()

    def write(self, frame: Pixels, pts: int, segment: int) -> None:
        """Write one H x W x 3 frame.

        Raises StageError after a failure, or if the frame is not later than the one before it.
        """
        self.position.move_to(pts)
        if self._is_broken:
            raise StageError("the stream ended before this segment, because an earlier one failed")
        if self._last is not None and pts <= self._last:
            raise StageError(f"found pts {pts} after {self._last}, expected a later one")
        self._writer.write(frame)
        self._pts.append(pts)
        self._last = pts

    def conceal(self, pts: tuple[int, ...]) -> None:
        """Do nothing: a stream has no record of corrupt frames that were replaced."""

    def finish(self, task: SegmentTask) -> SegmentRecord:
        """Return the record of a segment. Raises StageError unless its frames are the plan's."""
        planned = list(task.choices.pts)
        if self._pts != planned:
            raise StageError(
                "found other frames in the stream than in the plan (written: "
                f"{len(self._pts)}, planned: {len(planned)}), expected the same ones in order; "
                "try -o FILE"
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
        """Write nothing more: a stream with a gap would look complete."""
        self._is_broken = True
