"""Enhance a VapourSynth clip with the detail of reference frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Integral
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays.enhancer import Enhancer
from pipeline.arrays.plan import parse_rate
from pipeline.arrays.vapoursynth.choose import CHOSEN, choose_references
from pipeline.arrays.vapoursynth.convert import (
    convert_from_rgb,
    convert_to_rgb,
    is_deep,
    load_vapoursynth,
    read_numbers,
    read_pixels,
    write_pixels,
)
from pipeline.errors import InputError, PipelineError, count_items

if TYPE_CHECKING:
    from vapoursynth import VideoFrame, VideoNode


def enhance(
    clip: VideoNode,
    references: Mapping[int, VideoNode] | VideoNode,
    frames: Sequence[int] | None = None,
    *,
    format: int | None = None,
    model: str | PathLike[str] = "fast",
    engine: str = "auto",
    scale: float | str = "auto",
    size: str | None = None,
    capture: str | PathLike[str] = "bicubic",
    max_ref_distance: float = 2.0,
    ref_count: int | None = None,
) -> VideoNode:
    """Return a clip enlarged with the detail of references, which show some of its frames.

    `references` maps frame numbers of `clip` to clips, of which only the first frame is used. It
    can also be a single clip; `frames` then contains, for each frame of that clip, the number of
    the frame of `clip` that it shows. Each clip must have a constant format and size, and all
    references must have the same size.

    The result has the length, rate and frame properties of `clip`. It also has the format of
    `clip`, unless `format` selects another one. Frames can be requested in any order. The other
    options have the same meaning as in `Enhancer`, and references are chosen as in
    `Enhancer.video`. The engine is loaded when the first frame is enhanced.

    Raises InputError if VapourSynth is not installed, and vapoursynth.Error with a one-line message
    if an argument cannot be used.
    """
    vs = load_vapoursynth()
    try:
        enhancer, plain = (
            Enhancer(
                model,
                each,
                scale=scale,
                size=size,
                capture=capture,
                max_ref_distance=max_ref_distance,
                ref_count=ref_count,
            )
            for each in (engine, "bicubic")
        )
        _check_clip(clip, "the clip")
        numbers, pictures = _order_references(references, frames, clip.num_frames)
        wanted = _find_format(clip, format)
        lr = convert_to_rgb(clip, deep=is_deep(clip))
        height, width = enhancer.find_size(_make_blank(lr), _make_blank(pictures))
        _check_chroma(wanted, width, height)
        rate = parse_rate(Fraction(clip.fps) or None, ())
        chosen = choose_references(lr, numbers, rate, max_ref_distance, ref_count)
    except PipelineError as error:
        raise vs.Error(f"enhance: {error}") from error

    blank = vs.core.std.BlankClip(lr, width=width, height=height, keep=True)
    nearest = [_pick(pictures, chosen, rank) for rank in range(ref_count or 2)]
    no_detail = _make_blank(pictures)

    def enhance_frame(n: int, f: list[VideoFrame]) -> VideoFrame:
        template, frame, choice, *found = f
        positions = read_numbers(choice, CHOSEN)
        if not positions:
            return write_pixels(template, plain.frame(read_pixels(frame), no_detail))
        made = enhancer.frame(
            read_pixels(frame),
            [read_pixels(each) for each in found[: len(positions)]],
            distances=[abs(numbers[position] - n) for position in positions],
            total=clip.num_frames,
        )
        return write_pixels(template, made)

    made = vs.core.std.ModifyFrame(blank, [blank, lr, chosen, *nearest], enhance_frame)
    return convert_from_rgb(vs.core.std.CopyFrameProps(made, lr), clip, wanted.id)


def _pick(pictures: VideoNode, chosen: VideoNode, rank: int) -> VideoNode:
    """Return a clip with each frame's reference of the given rank, or black if it has none.

    Rank 0 is the best reference. `chosen` is the result of `choose_references`.
    """
    vs = load_vapoursynth()
    black = vs.core.std.BlankClip(pictures, length=chosen.num_frames, keep=True)

    def pick(n: int, f: VideoFrame) -> VideoNode:
        positions = read_numbers(f, CHOSEN)
        return pictures[positions[rank]] if rank < len(positions) else black

    return vs.core.std.FrameEval(black, pick, prop_src=chosen)


def _check_clip(clip: object, name: str) -> None:
    """Raise InputError unless `clip` is a VideoNode of constant format and size."""
    vs = load_vapoursynth()
    if not isinstance(clip, vs.VideoNode):
        raise InputError(
            f"{name} must be a vapoursynth.VideoNode, not {type(clip).__name__}; open the file "
            "with a source filter"
        )
    if clip.format is None or clip.format.color_family == vs.UNDEFINED or not clip.width:
        raise InputError(
            f"{name} must not change format or size from frame to frame; convert it with "
            "core.resize"
        )


def _order_references(
    references: Mapping[int, VideoNode] | VideoNode,
    frames: Sequence[int] | None,
    total: int,
) -> tuple[list[int], VideoNode]:
    """Return the references' frame numbers in ascending order, and the references as an RGB clip.

    `total` is the number of frames in the clip to enhance. Raises InputError if the references do
    not meet the requirements of `enhance`.
    """
    vs = load_vapoursynth()
    if isinstance(references, Mapping):
        if frames is not None:
            raise InputError(
                "`frames` cannot be combined with a dict of references, whose keys already are "
                "frame numbers; leave out `frames`"
            )
        _check_numbers(list(references), total)
        for number, picture in references.items():
            _check_clip(picture, f"the reference of frame {number}")
        numbers = sorted(references)
        pictures = [references[number][0] for number in numbers]
    else:
        _check_clip(references, "the references")
        if frames is None or len(frames) != references.num_frames:
            given = (
                "no frame numbers" if frames is None else count_items(len(frames), "frame number")
            )
            raise InputError(
                f"found {given} for {count_items(references.num_frames, 'reference')}, expected "
                "one for each reference; try frames=[0, 15, 30]"
            )
        _check_numbers(frames, total)
        order = sorted(range(len(frames)), key=lambda i: frames[i])
        numbers = [frames[i] for i in order]
        pictures = (
            [references] if order == list(range(len(order))) else [references[i] for i in order]
        )

    sizes = sorted({(each.width, each.height) for each in pictures})
    if len(sizes) > 1:
        listed = " and ".join(f"{width}x{height}" for width, height in sizes[:2])
        raise InputError(
            f"the references have different sizes ({listed}); resize them to one size with "
            "core.resize"
        )
    deep = any(map(is_deep, pictures))
    return numbers, vs.core.std.Splice([convert_to_rgb(each, deep=deep) for each in pictures])


def _check_numbers(numbers: Sequence[Any], total: int) -> None:
    """Raise InputError if `numbers` is empty or contains a duplicate or an invalid frame number.

    `total` is the number of frames in the clip.
    """
    if not numbers:
        raise InputError(
            "there are no references; pass a sharp picture with its frame number, as in "
            "{0: picture}"
        )
    for number in numbers:
        is_number = isinstance(number, Integral) and not isinstance(number, bool)
        if not is_number or not 0 <= number < total:
            raise InputError(
                f"a reference has the frame number {number!r}, expected 0 to {total - 1}; count "
                "frames from the first frame of the clip, which is 0"
            )
    if len(set(numbers)) < len(numbers):
        twice = next(each for each in numbers if list(numbers).count(each) > 1)
        raise InputError(f"there are two references for frame {twice}; leave one of them out")


def _find_format(clip: VideoNode, wanted: int | None) -> Any:
    """Return the result's format: `wanted`, or the clip's format if `wanted` is None.

    Raises InputError if VapourSynth has no such format.
    """
    vs = load_vapoursynth()
    if wanted is None:
        return clip.format
    try:
        return vs.core.get_video_format(wanted)
    except (vs.Error, OverflowError, TypeError, ValueError):
        raise InputError(
            f"the format {wanted!r} is not a VapourSynth format; try format=vapoursynth.RGB24"
        ) from None


def _check_chroma(wanted: Any, width: int, height: int) -> None:
    """Raise InputError if the chroma subsampling of a format does not allow this size."""
    columns, rows = 1 << wanted.subsampling_w, 1 << wanted.subsampling_h
    if width % columns or height % rows:
        raise InputError(
            f"the result would be {width}x{height}, but {wanted.name} needs a width that is a "
            f"multiple of {columns} and a height that is a multiple of {rows}; try another size, "
            "or format=vapoursynth.RGB24"
        )


def _make_blank(clip: VideoNode) -> NDArray[Any]:
    """Return a black picture (H x W x 3) of an RGB clip's size and depth that uses no memory."""
    black = np.uint16(0) if is_deep(clip) else np.uint8(0)
    return np.broadcast_to(black, (clip.height, clip.width, 3))
