"""Convert VapourSynth clips to RGB and back, and frames to arrays and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import InputError
from pipeline.media.colour import describe_colour
from pipeline.pixels import Pixels, as_pixels

if TYPE_CHECKING:
    from vapoursynth import VideoFrame, VideoNode

_MATRICES = {"bt601": 6, "bt709": 1}  # H.273
_UNKNOWN = (0, 2, 3)  # values that specify no YUV or grey matrix: RGB, unspecified, reserved
_LEFT = 0  # chroma location of most video


def load_vapoursynth() -> Any:
    """Return the module `vapoursynth`. Raises InputError if it is not installed."""
    try:
        import vapoursynth
    except ImportError as error:
        raise InputError(
            f"VapourSynth is not installed in this Python ({error}); install it, for example with "
            "`pip install vapoursynth`, or run the script with VapourSynth's Python"
        ) from None
    return vapoursynth


def is_deep(clip: VideoNode) -> bool:
    """Return whether a clip has more than 8 bits per sample."""
    return bool(clip.format.bits_per_sample > 8)


def convert_to_rgb(clip: VideoNode, *, deep: bool) -> VideoNode:
    """Return a clip as RGB48 if `deep`, else as RGB24, in full range.

    The matrix, range and chroma location of each frame come from its properties. A missing matrix
    is guessed from the size, as in a run. Requesting an interlaced frame fails with an InputError,
    which VapourSynth reports as its own error.
    """
    vs = load_vapoursynth()
    wanted = vs.RGB48 if deep else vs.RGB24

    def convert(n: int, f: VideoFrame) -> VideoNode:
        if f.props.get("_FieldBased", 0):
            raise InputError(
                f"frame {n} is interlaced, expected progressive frames; deinterlace the clip or, "
                "if its frames are progressive, set _FieldBased to 0"
            )
        known = {} if clip.format.color_family == vs.RGB else {"matrix_in": _find_matrix(f)}
        return clip.resize.Bicubic(format=wanted, range_s="full", **known)

    template = vs.core.std.BlankClip(clip, format=wanted, keep=True)
    return vs.core.std.FrameEval(template, convert, prop_src=clip)


def convert_from_rgb(rgb: VideoNode, like: VideoNode, wanted: int) -> VideoNode:
    """Return an RGB clip in the format `wanted`, with the frame properties of `rgb`.

    The result's frames have the matrix, range and chroma location of the frames of `like`, a clip
    of any size. A matrix that those frames do not specify is guessed from their size. If only one
    of `like` and the result is RGB, the range is full for RGB and limited for other formats.
    """
    vs = load_vapoursynth()
    template = vs.core.std.BlankClip(rgb, format=wanted, keep=True)
    is_rgb = template.format.color_family == vs.RGB
    keeps_range = is_rgb == (like.format.color_family == vs.RGB)

    def convert(n: int, f: VideoFrame) -> VideoNode:
        full = _is_full_range(f, default=is_rgb) if keeps_range else is_rgb
        tags: dict[str, Any] = {"range_s": "full" if full else "limited"}
        if not is_rgb:
            tags["matrix"] = _find_matrix(f)
            if template.format.color_family == vs.YUV:
                tags["chromaloc"] = f.props.get("_ChromaLocation", _LEFT)
        return rgb.resize.Bicubic(format=wanted, **tags)

    return vs.core.std.FrameEval(template, convert, prop_src=like)


def _find_matrix(frame: VideoFrame) -> int:
    """Return the H.273 code of a frame's matrix, guessed from the frame's size if unspecified."""
    matrix = int(frame.props.get("_Matrix", 2))
    if matrix not in _UNKNOWN:
        return matrix
    return _MATRICES[describe_colour("yuv420p", frame.width, frame.height).used_matrix]


def _is_full_range(frame: VideoFrame, *, default: bool) -> bool:
    """Return whether a frame's properties specify full range, or `default` if they specify none."""
    if "_Range" in frame.props:
        return bool(frame.props["_Range"] == 1)
    # VapourSynth before R74 has this property instead, with the opposite values
    if "_ColorRange" in frame.props:
        return bool(frame.props["_ColorRange"] == 0)
    return default


def read_pixels(frame: VideoFrame) -> Pixels:
    """Return the pixels (H x W x 3) of an RGB24 or RGB48 frame."""
    return as_pixels(np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=2))


def write_pixels(template: VideoFrame, pixels: Pixels) -> VideoFrame:
    """Return a copy of an RGB frame with its pixels replaced by `pixels` (H x W x 3)."""
    frame = template.copy()
    for plane in range(3):
        np.copyto(np.asarray(frame[plane]), pixels[..., plane])
    return frame


def read_numbers(frame: VideoFrame, name: str) -> list[int]:
    """Return the integers in a frame property, or an empty list if the property is missing."""
    # VapourSynth returns a single integer as an int rather than a list
    value = frame.props.get(name, [])
    return [value] if isinstance(value, int) else list(value)


def write_numbers(template: VideoFrame, name: str, numbers: list[int]) -> VideoFrame:
    """Return a copy of a frame whose property `name` is set to `numbers`, if there are any."""
    frame = template.copy()
    if numbers:
        frame.props[name] = numbers
    return frame
