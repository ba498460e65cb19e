"""Cut the LR recording into segments, preferably at key frames."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from deploy.speed import Speed
from pipeline.lightfield.intermediate import is_joined_by_packets
from pipeline.media.read.probe import scan
from pipeline.schema.clip import FrameIndex, LightField
from pipeline.schema.plan import Segment
from pipeline.schema.reference_map import ReferenceMap

# A segment may be up to this many times the preferred length if it then ends at a key frame.
LONGEST = 2

# Greatest number of views in a segment: enough for views to share references, and few enough that
# losing a worker costs little.
LARGEST_GROUP = 16

# A stopped run may lose about this many seconds of work, because only whole segments are kept.
MOST_WORK = 60.0
# Additional time for each further reference of a clip's frame, relative to the time for a frame
# with one reference; measured with the engine torch on a CPU.
FURTHER_REFERENCE = 0.6
# Segments are not made shorter than this many frames, because each begins with a large key frame.
FEWEST_FRAMES = 8


def count_passes(choices: ReferenceMap) -> float:
    """Return the network's work for these frames, in passes with one reference each.

    The network runs once for each reference of a view, and not at all for given views. The
    references of a clip's frame are matched one by one but fused together, so a further one takes
    only FURTHER_REFERENCE of a pass.
    """
    passes = 0.0
    for choice in choices:
        count = len(choice.references)
        if choice.views is None:
            passes += 1 + FURTHER_REFERENCE * (count - 1) if count else 0
        elif choice.why != "given":
            passes += count
    return passes


def limit_frames(
    choices: ReferenceMap, size: tuple[int, int], speed: Speed | None, orientations: int = 1
) -> int | None:
    """Return how many frames an engine with this speed enhances in MOST_WORK seconds.

    `size` is the height and width of the network's frames, and `orientations` is the number of
    mirrored versions of each frame that it enhances. The result is at least FEWEST_FRAMES, or
    None if the speed is not known or the network has nothing to do.
    """
    passes = count_passes(choices)
    if speed is None or not passes:
        return None
    pixels = size[0] * size[1] * passes * orientations / len(choices)
    return max(FEWEST_FRAMES, round(MOST_WORK * speed.pixels_per_second / pixels))


def cut_segments(
    pts: Sequence[int], keys: Sequence[int], end_pts: int, time_base: Fraction, seconds: float
) -> tuple[Segment, ...]:
    """Return segments of about `seconds` that cover every frame in `pts` (ascending) exactly once.

    A segment starts at a key frame if one is near enough. Otherwise, the reader has to decode some
    frames that precede the segment.
    """
    if not pts:
        return ()

    preferred = max(1, round(Fraction(seconds) / time_base))
    starts = [pts[0]]
    while True:
        earliest = starts[-1] + preferred
        key = bisect_left(keys, earliest)
        latest = starts[-1] + LONGEST * preferred
        if key < len(keys) and keys[key] < latest and _is_frame(pts, keys[key]):
            start = keys[key]
        else:
            frame = bisect_left(pts, earliest)
            if frame == len(pts) or end_pts - pts[frame] < preferred // 2:
                break
            start = pts[frame]
        if start > pts[-1]:
            break
        starts.append(start)

    ends = [*starts[1:], max(end_pts, pts[-1] + 1)]
    return tuple(
        Segment(
            index=index,
            start_pts=start,
            end_pts=end,
            frames=bisect_left(pts, end) - bisect_left(pts, start),
        )
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _is_frame(pts: Sequence[int], key: int) -> bool:
    at = bisect_left(pts, key)
    return at < len(pts) and pts[at] == key


def shorten(index: FrameIndex, time_base: Fraction, seconds: float, most: int | None) -> float:
    """Return `seconds`, or the shorter time in which the video has `most` frames on average."""
    if most is None or not index.pts:
        return seconds
    duration = float((index.end_pts - index.pts[0]) * time_base)
    return min(seconds, most * duration / len(index.pts))


def cut_views(
    lr: LightField, seconds: float, to: str | None, most: int | None = None
) -> tuple[Segment, ...]:
    """Return segments that are groups of views or, if each view becomes a video, parts of views.

    A part lasts about `seconds`. No segment has many more than `most` frames.
    """
    grid = lr.grid
    if is_joined_by_packets(lr, to):
        segments: list[Segment] = []
        for position, view in enumerate(grid.views):
            index = scan(view.video)
            start = grid.number(position, 0)
            last = start + view.frames
            number_at = {pts: start + moment for moment, pts in enumerate(index.pts)}
            shorter = shorten(index, view.video.time_base, seconds, most)
            for part in cut_segments(
                index.pts, index.keys, index.end_pts, view.video.time_base, shorter
            ):
                segments.append(
                    Segment(
                        index=len(segments),
                        start_pts=number_at[part.start_pts],
                        end_pts=number_at.get(part.end_pts, last),
                        frames=part.frames,
                    )
                )
        return tuple(segments)

    line = grid.cols[1] if grid.cols[1] > 1 else len(grid.views)
    group = max(1, min(LARGEST_GROUP, line, most or LARGEST_GROUP))
    starts = range(0, grid.count, group)
    return tuple(
        Segment(
            index=index,
            start_pts=start,
            end_pts=min(start + group, grid.count),
            frames=min(group, grid.count - start),
        )
        for index, start in enumerate(starts)
    )
