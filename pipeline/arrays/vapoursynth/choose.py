"""Choose the references of a clip's frames, which VapourSynth may request in any order.

A frame never borrows across a scene cut, but `CutFinder` needs frames in order. Cuts are therefore
found in blocks of frames, together with some frames before and after each block. VapourSynth does
not allow a filter to wait for frames, so every step is a clip of its own, whose tiny frames pass
results to the next step in their properties.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from pipeline.arrays.vapoursynth.convert import (
    load_vapoursynth,
    read_numbers,
    read_pixels,
    write_numbers,
    write_pixels,
)
from pipeline.pairing.choose_frames import choose_by_time
from pipeline.pairing.cuts import CUT_WIDTH, CutFinder, shrink_frame
from pipeline.pairing.rules import FrameRules, References
from pipeline.pairing.thumbnails import THUMBNAIL, make_thumbnail

if TYPE_CHECKING:
    from vapoursynth import VideoFrame, VideoNode

BLOCK = 32  # number of frames whose cuts are found together
_BEFORE, _AFTER = 16, 8  # frames around a block on which its cuts may depend
_CUTS = "CrossNetCuts"
CHOSEN = "CrossNetReferences"
"""The frame property that lists the positions of a frame's references, best first.

Frames without references lack this property."""


def choose_references(
    lr: VideoNode,
    numbers: Sequence[int],
    rate: Fraction,
    max_distance: float,
    ref_count: int | None,
) -> VideoNode:
    """Return a clip of tiny frames, one for each frame of `lr`, with the property CHOSEN.

    `lr` is RGB, `numbers` are the numbers of the frames that the references show, in ascending
    order, and `rate` is the number of frames per second. References are chosen as in a run:
    at most `max_distance` seconds away, and at most `ref_count` per frame. If `ref_count` is None,
    a frame has a second reference only if that is worth the work.
    """
    vs = load_vapoursynth()
    references = References(range(len(numbers)), [float(number / rate) for number in numbers])
    blocks = _find_cuts(lr)
    tiny = _make_tiny(lr.num_frames)
    reach = int(max_distance * rate)
    most = max(1, ref_count or 1)

    def choose(n: int, f: list[VideoFrame]) -> VideoFrame:
        cuts = [cut for block in f[1:] for cut in read_numbers(block, _CUTS)]
        rules = FrameRules(
            max_distance=max_distance,
            cuts=[float(cut / rate) for cut in cuts],
            margin=0.5 * float(1 / rate),
            count=ref_count,
        )
        (choice,) = choose_by_time([n], [float(n / rate)], references, rules)
        positions = [] if choice.ref_pts is None else list(choice.references)
        return write_numbers(f[0], CHOSEN, positions)

    def choose_after_cuts(n: int) -> VideoNode:
        first = bisect_left(numbers, n - reach)
        last = bisect_right(numbers, n + reach)
        after = bisect_right(numbers, n)
        near = numbers[max(first, after - most - 1) : min(last, after + most)]
        if not near:
            return tiny
        ends = min(near[0], n) // BLOCK, max(near[-1], n) // BLOCK
        needed = [blocks[i] for i in range(ends[0], ends[1] + 1)]
        return vs.core.std.ModifyFrame(tiny, [tiny, *needed], choose)

    return vs.core.std.FrameEval(tiny, choose_after_cuts)


def _find_cuts(lr: VideoNode) -> VideoNode:
    """Return a clip with one tiny frame per block of `lr`, which lists the block's cuts.

    The frame property _CUTS contains the number of the first frame after each cut.
    """
    vs = load_vapoursynth()
    total = lr.num_frames
    tiny = _make_tiny(-(-total // BLOCK))
    small = _shrink(lr)

    def find_block(n: int) -> VideoNode:
        block = n
        start = max(0, n * BLOCK - _BEFORE)
        end = min(total, (n + 1) * BLOCK + _AFTER)

        def find(n: int, f: list[VideoFrame]) -> VideoFrame:
            finder = CutFinder()
            for frame in f[1:]:
                pixels = shrink_frame(read_pixels(frame))
                finder.add(pixels, make_thumbnail(pixels))
            cuts = [start + cut for cut in finder.cuts()]
            return write_numbers(f[0], _CUTS, [cut for cut in cuts if cut // BLOCK == block])

        window = [small[number] for number in range(start, end)]
        return vs.core.std.ModifyFrame(tiny, [tiny, *window], find)

    blocks = vs.core.std.FrameEval(tiny, find_block)
    # cache all blocks: computing one needs all of its frames, but its result takes only 256 bytes
    blocks.std.SetVideoCache(mode=1, fixedsize=max(1, tiny.num_frames))
    return blocks


def _shrink(lr: VideoNode) -> VideoNode:
    """Return an RGB clip as RGB24 at the size for cut detection, so that blocks take less memory.

    The size is the one that `shrink_frame` produces.
    """
    vs = load_vapoursynth()
    height = max(THUMBNAIL[1], round(CUT_WIDTH * lr.height / lr.width))
    template = vs.core.std.BlankClip(lr, width=CUT_WIDTH, height=height, format=vs.RGB24, keep=True)

    def shrink(n: int, f: list[VideoFrame]) -> VideoFrame:
        return write_pixels(f[0], shrink_frame(read_pixels(f[1])))

    return vs.core.std.ModifyFrame(template, [template, lr], shrink)


def _make_tiny(length: int) -> VideoNode:
    """Return a clip of tiny grey frames, whose properties carry numbers."""
    vs = load_vapoursynth()
    return vs.core.std.BlankClip(width=16, height=16, format=vs.GRAY8, length=length, keep=True)
