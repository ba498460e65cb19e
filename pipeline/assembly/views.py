"""Join the segments of a light field into the output's layout, and check the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.lightfield import sidecar
from pipeline.lightfield.intermediate import as_stills, is_joined_by_packets
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewTimes, iterate_frames
from pipeline.lightfield.sinks import SheetSink, open_sink
from pipeline.lightfield.targets import make_target_grid
from pipeline.media.join.remux import join_segments
from pipeline.media.join.verify import find_differences
from pipeline.media.read.frames import FrameReader
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import check_encoder, choose_encoding
from pipeline.media.write.segment import SegmentWriter
from pipeline.pairing.given import list_view_steps
from pipeline.pixels import Pixels
from pipeline.schema.clip import FrameIndex, Grid, LightField, VideoClip
from pipeline.schema.plan import Plan


def join_views(plan: Plan, source: LightField, files: Sequence[Path], finished: Path) -> None:
    """Write the views of all segments to `finished`, in the plan's layout, with a sidecar.

    `source` is the plan's input.
    """
    out = Path(plan.output)
    grid = make_target_grid(source, plan.to, out)

    if is_joined_by_packets(source, plan.to):
        finished.mkdir(parents=True, exist_ok=True)
        for clip, index, parts, name in _match_cameras(plan, source.grid, files, grid):
            assert index.pts
            join_segments(clip, parts, finished / name, plan.encoding)
    else:
        _write_frames(plan, source, files, grid, finished)

    given = frozenset(place for place, steps in list_view_steps(plan).items() if steps is None)
    enlarged = source.model_copy(update={"width": plan.width, "height": plan.height})
    sidecar.write_sidecar(enlarged, grid, out, finished, given)


def _match_cameras(
    plan: Plan, source: Grid, files: Sequence[Path], grid: Grid
) -> list[tuple[VideoClip, FrameIndex, list[Path], str]]:
    """Return each camera's recording, frame index, segment files and output name."""
    cameras = []
    for position, view in enumerate(source.views):
        first = source.number(position, 0)
        numbers = range(first, first + view.frames)
        parts = [
            file
            for segment, file in zip(plan.segments, files, strict=True)
            if segment.start_pts in numbers
        ]
        name = Path(grid.views[position].files[0]).name
        cameras.append((view.video, scan(view.video), parts, name))
    return cameras


class _SegmentFrames:
    """Reads frames by number from the files of all segments; only one file is open at a time."""

    def __init__(self, plan: Plan, files: Sequence[Path]) -> None:
        self._segments = list(zip(plan.segments, files, strict=True))
        self._open: tuple[int, FrameReader, Sequence[int]] | None = None

    def get(self, number: int) -> Pixels:
        """Return the frame with this number as uint8 or uint16 H x W x 3 RGB."""
        at, (segment, file) = next(
            (i, item)
            for i, item in enumerate(self._segments)
            if item[0].start_pts <= number < item[0].end_pts
        )
        if self._open is None or self._open[0] != at:
            self.close()
            clip = probe(str(file))
            self._open = at, FrameReader(clip, cache=1), scan(clip).pts
        _, reader, pts = self._open
        return reader.get(pts[number - segment.start_pts])

    def close(self) -> None:
        """Close the open file."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _write_frames(
    plan: Plan, source: LightField, files: Sequence[Path], grid: Grid, finished: Path
) -> None:
    size = plan.height, plan.width
    bits = as_stills(source).bit_depth
    sink = (
        SheetVideo(source, grid, finished, size, bits)
        if grid.has_video_sheets
        else open_sink(source, grid, Path(plan.output), finished, size)
    )
    segments = _SegmentFrames(plan, files)
    try:
        for position, moment in iterate_frames(source.grid, by_view=sink.by_view):
            sink.write(position, moment, segments.get(source.grid.number(position, moment)))
    finally:
        sink.close()
        segments.close()


class SheetVideo(SheetSink):
    """Writes a video whose frames each contain all views of a moment.

    The video has the input's times and other streams.
    """

    def __init__(
        self, source: LightField, grid: Grid, out: Path, size: tuple[int, int], bits: int
    ) -> None:
        super().__init__(grid, out, size, bits)
        self._clip = grid.sheet_clip
        self._times = ViewTimes(source)
        self._out = out
        rows, cols = grid.tiling
        height, width = size[0] * rows, size[1] * cols
        self._encoding = choose_encoding(self._clip)
        check_encoder(self._encoding, width, height)
        self._part = out.with_name("sheets.nut")
        self._writer = SegmentWriter(self._part, self._clip, self._encoding, width, height)

    def save(self, sheet: Pixels, moment: int) -> None:
        """Encode a finished sheet (H x W x 3) with the pts of its moment."""
        self._writer.write(sheet, self._times.sheet_pts(moment))

    def close(self) -> None:
        """Finish the video, and add the input's other streams."""
        super().close()
        self._writer.close()
        join_segments(self._clip, [self._part], self._out, self._encoding)
        self._part.unlink()


def find_view_differences(plan: Plan, source: LightField, finished: Path) -> list[str]:
    """Return how the light field at `finished` differs from what the plan promises.

    Each item is one line of text. `source` is the plan's input.
    """
    grid = make_target_grid(source, plan.to, Path(plan.output))
    if is_joined_by_packets(source, plan.to):
        return [
            f"{name}: {line}"
            for clip, index, _, name in _match_cameras(
                plan, source.grid, [finished] * len(plan.segments), grid
            )
            for line in find_differences(clip, index, finished / name, plan.width, plan.height)
        ]
    made = open_light_field(finished)
    if made is None:
        return ["it cannot be read back as a light field"]

    pairs = {
        "views": ([(v.row, v.col) for v in made.grid.views], [(v.row, v.col) for v in grid.views]),
        "size": ((made.width, made.height), (plan.width, plan.height)),
        "moments": (made.grid.moments, grid.moments),
    }
    return [
        f"its {name}: {actual}, expected {promised}"
        for name, (actual, promised) in pairs.items()
        if actual != promised
    ]
