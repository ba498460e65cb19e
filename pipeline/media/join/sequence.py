"""Write the frames of segments losslessly as numbered pictures, and verify the pictures.

The pictures are upright, as a player would show the video. The file `numbered.SIDECAR` beside them
records the times and tags of the video, which pictures cannot store.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.errors import MediaError, PipelineError, StageError
from pipeline.media.colour import make_contiguous
from pipeline.media.join.capabilities import picture_notes, still_notes
from pipeline.media.join.decoded import decode_segments
from pipeline.media.join.remux import read_display_matrix
from pipeline.media.pictures import exr, numbered, stills
from pipeline.media.pictures.open_picture import load_with_pillow
from pipeline.media.read.probe import scan
from pipeline.media.sandbox.parent import sandboxed
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, FrameIndex, Stills, VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.frame_size import expect_size, match_pixel_aspect

_UNTAGGED = 2  # H.273's code for unspecified primaries and transfer


@sandboxed
def write_sequence(
    clip: Clip, segments: Sequence[str | Path], out: Path, index: FrameIndex, pattern: str
) -> None:
    """Write the frames of the segments as pictures into the folder `out`.

    If `clip` is a video, the sidecar is written, too. Raises StageError if the segments do not
    contain exactly the frames in `index`.
    """
    matrix = _matrix(clip)
    out.mkdir(exist_ok=True)
    for position, (wanted, found) in enumerate(
        zip_longest(index.pts, decode_segments(clip, segments), fillvalue=None)
    ):
        if found is None or wanted is None or found[0] != wanted:
            raise StageError(
                f"the segments differ from the plan from picture "
                f"{position + numbered.FIRST_NUMBER} on; delete the run folder and run again"
            )
        _save(out / numbered.picture_name(pattern, position), turn_upright(found[1], matrix))
    if isinstance(clip, VideoClip):
        text = _sidecar(clip, index, pattern, matrix).model_dump_json(indent=1)
        (out / numbered.SIDECAR).write_text(f"{text}\n", encoding="utf-8")


@sandboxed
def find_differences(
    clip: Clip,
    index: FrameIndex,
    out: Path,
    width: int,
    height: int,
    pattern: str,
    segments: Sequence[str | Path],
) -> list[str]:
    """Return the differences between the folder `out` and a faithful sequence, one per item.

    `width` and `height` are the size of the output before rotation. Every picture is read back. If
    there are `segments`, it must have exactly the pixels of its frame in them.
    """
    matrix = _matrix(clip)
    keeps_alpha = clip.alpha and not _is_exr(pattern)
    names = [numbered.picture_name(pattern, position) for position in range(len(index.pts))]
    found = _listed(clip, index, out, pattern, names)
    size = (width, height) if _transposes(matrix) else (height, width)
    shape = (*size, 4 if keeps_alpha else 3)
    dtype = np.dtype(np.uint16 if clip.bit_depth > 8 else np.uint8)
    frames = decode_segments(clip, segments) if segments else iter(())
    for name in names:
        frame = next(frames, None)
        if not (out / name).exists():
            continue  # already in `found`
        try:
            pixels = load_stored_picture(out / name)
        except (PipelineError, OSError) as error:
            found.append(f"{name} cannot be read back: {error}")
            continue
        if (pixels.shape, pixels.dtype) != (shape, dtype):
            found.append(
                f"{name} is {_described(pixels.shape, pixels.dtype)}, "
                f"expected {_described(shape, dtype)}"
            )
        elif segments and (
            frame is None or not np.array_equal(pixels, turn_upright(frame[1], matrix))
        ):
            found.append(f"the pixels of {name} differ from those of its frame")
    return found


def compare_sequence(clip: Clip, folder: Path) -> list[str]:
    """Return the differences between numbered pictures and their input `clip`, one per item.

    The pictures may be of any size that an output of the input can have. Raises MediaError if there
    is no sidecar beside them, or if it cannot be read.
    """
    stored = numbered.read_sequence(folder)
    if stored is None:
        raise MediaError(
            f"{folder} has no {numbered.SIDECAR}; expected the numbered pictures of a run; check "
            "the path"
        )
    try:
        shape = load_stored_picture(folder / stored.names[0]).shape if stored.pts else (0, 0)
    except (PipelineError, OSError):
        shape = 0, 0
    height, width = shape[:2]
    if _transposes(_matrix(clip)):
        height, width = width, height
    size = expect_size(clip, width, height)
    clip = match_pixel_aspect(clip, *size)
    found = find_differences(clip, scan(clip), folder, *size, stored.pattern, ())
    lost = clip.alpha and _is_exr(stored.pattern)
    return [*found, "it is opaque, expected the transparency of the input"] if lost else found


@sandboxed
def sequence_notes(clip: Clip, pattern: str, encoding: Encoding) -> list[str]:
    """Return notes on what numbered pictures lose, how they are rotated, and what EXR contains."""
    notes = _video_notes(clip, encoding) if isinstance(clip, VideoClip) else _still_notes(clip)
    if clip.alpha and _is_exr(pattern):
        notes.append("transparency is dropped, because EXR is written opaque; try .png or .tif")
    elif clip.alpha:
        notes.append("transparency is kept, but upsampled without the reference")
    if _is_exr(pattern):
        notes.append(
            "EXR stores the recording's own values, from 0 to 1, with its transfer curve: "
            "they are not linear"
        )
    return notes


def _still_notes(clip: Stills) -> list[str]:
    renamed = "the pictures are renumbered: their names, and the times in them, are dropped"
    return [renamed, *still_notes(clip)]


def _video_notes(clip: VideoClip, encoding: Encoding) -> list[str]:
    notes = picture_notes(clip.model_copy(update={"hdr": None, "alpha": False}), encoding)
    matrix = _matrix(clip)
    notes.append(
        f"pictures store no times: {numbered.SIDECAR} beside them lists the times of all frames"
    )
    if matrix is not None and not _aligned(matrix):
        notes.append(
            "players rotate the video by an angle that is not a multiple of 90 degrees; the "
            "pictures are not rotated"
        )
    elif matrix is not None and _turns(matrix):
        notes.append("players rotate or mirror the video; the pictures are written upright")
    if clip.sample_aspect_ratio != 1:
        notes.append(
            f"the pixel aspect ratio {clip.sample_aspect_ratio} is stored in "
            f"{numbered.SIDECAR} only"
        )
    if (clip.colour.primaries, clip.colour.transfer) != (_UNTAGGED, _UNTAGGED):
        notes.append(
            f"the colour tags (H.273 primaries {clip.colour.primaries}, transfer "
            f"{clip.colour.transfer}) are stored in {numbered.SIDECAR} only"
        )
    if clip.hdr is not None:
        notes.append(
            "pictures cannot store mastering display and content light level: both are dropped"
        )
    for info in clip.other_streams:
        language = f" ({info.language})" if info.language else ""
        notes.append(
            f"stream {info.index}, {info.type} {info.codec}{language}, is dropped, because "
            "pictures cannot hold it"
        )
    if clip.chapters:
        plural = "chapter is" if clip.chapters == 1 else "chapters are"
        notes.append(f"{clip.chapters} {plural} dropped, because pictures cannot hold chapters")
    return notes


def _listed(clip: Clip, index: FrameIndex, out: Path, pattern: str, names: list[str]) -> list[str]:
    """Return the differences in the folder's list of files and in the sidecar, one per item."""
    video = isinstance(clip, VideoClip)
    there = {entry.name for entry in out.iterdir()}
    wanted = {*names, *([numbered.SIDECAR] if video else [])}
    found = []
    if len(there - {numbered.SIDECAR}) != len(names):
        count = len(there - {numbered.SIDECAR})
        found.append(f"it has {count} picture{'' if count == 1 else 's'}, expected {len(names)}")
    elif there != wanted:
        found.append(
            f"{min(there ^ wanted)} is missing or superfluous, expected pictures like {pattern}"
        )
    if not video:
        return found
    try:
        stored = numbered.read_sequence(out)
    except MediaError as error:
        return [*found, str(error)]
    if stored != _sidecar(clip, index, pattern, _matrix(clip)):
        found.append(f"{numbered.SIDECAR} differs from the input in times, numbers or colours")
    return found


def _sidecar(
    clip: Clip, index: FrameIndex, pattern: str, matrix: list[int] | None
) -> numbered.PictureSequence:
    aspect = clip.sample_aspect_ratio
    return numbered.PictureSequence(
        pattern=pattern,
        time_base=clip.time_base,
        pts=tuple(index.pts),
        end_pts=index.end_pts,
        sample_aspect_ratio=1 / aspect if _transposes(matrix) else aspect,
        turned=matrix is not None and _aligned(matrix) and _turns(matrix),
        primaries=clip.colour.primaries,
        transfer=clip.colour.transfer,
    )


def _is_exr(name: str) -> bool:
    return Path(name).suffix.lower() == exr.SUFFIX


def _save(file: Path, pixels: Pixels) -> None:
    if _is_exr(file.name):
        exr.save_exr(file, pixels)
    elif pixels.shape[2] == 4:
        stills.save_picture(file, make_contiguous(pixels[..., :3]), make_contiguous(pixels[..., 3]))
    else:
        stills.save_picture(file, pixels)


def load_stored_picture(file: Path) -> Pixels:
    """Return a picture as stored: uint8 or uint16, H x W x 3 RGB or H x W x 4 RGBA.

    Raises MediaError if the file cannot be read as such a picture.
    """
    if _is_exr(file.name):
        return exr.load_exr(file)
    try:
        # not with stills.load_picture, which converts everything to 3 channels
        stored: Any = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error) as error:
        raise MediaError(f"{file.name} cannot be read: {error}") from error
    if stored is not None and stored.dtype == np.uint8 and stored.shape[2:] == (4,):
        return load_with_pillow(file, "RGBA")  # OpenCV multiplies the colours of TIFF by alpha
    if stored is None or stored.ndim != 3 or stored.shape[2] not in (3, 4):
        raise MediaError(f"{file.name} is not a picture with 3 or 4 channels")
    order = cv2.COLOR_BGR2RGB if stored.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return make_contiguous(cv2.cvtColor(stored, order))


def _described(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    opaque = "" if shape[2] == 3 else " with transparency"
    return f"{shape[1]}x{shape[0]} with {8 * dtype.itemsize} bits{opaque}"


def _matrix(clip: Clip) -> list[int] | None:
    return read_display_matrix(clip) if isinstance(clip, VideoClip) else None


def turn_upright(rgb: Pixels, matrix: list[int] | None) -> Pixels:
    """Return pixels (H x W x channels) rotated and mirrored according to a display matrix.

    The matrix maps (x, y) to (a x + c y, b x + d y) and is stored as a, b, u, c, d, v, x, y, w
    (ISO/IEC 14496-12, 6.2.2). A rotation that is not a multiple of 90 degrees is ignored.
    """
    if matrix is None or not _aligned(matrix):
        return rgb
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    turned = rgb.transpose(1, 0, 2) if b else rgb
    across, down = (c, b) if b else (a, d)
    return make_contiguous(turned[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _aligned(matrix: list[int]) -> bool:
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    return (a == d == 0 and b != 0 != c) or (b == c == 0 and a != 0 != d)


def _turns(matrix: list[int]) -> bool:
    return matrix[1] != 0 or matrix[0] < 0 or matrix[4] < 0


def _transposes(matrix: list[int] | None) -> bool:
    return matrix is not None and _aligned(matrix) and matrix[1] != 0
