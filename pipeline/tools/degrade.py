"""Make test inputs from an HR recording: a low-resolution copy, or every N-th frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.errors import InputError
from pipeline.ledger.durable import publish_output, staging_folder
from pipeline.lightfield import sidecar
from pipeline.media.colour import describe_colour
from pipeline.media.join.capabilities import check_container, check_times
from pipeline.media.join.remux import join_segments
from pipeline.media.read.frames import Frame, read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import check_encoder, choose_encoding, find_chroma_step
from pipeline.media.write.segment import SegmentWriter
from pipeline.paths import check_new_file, check_not_read
from pipeline.planning.output import check_pictures_only
from pipeline.progress import SILENT, Reporter
from pipeline.schema.clip import Clip, VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.model import Model

Kernel = Literal["bicubic", "area"]
MATRIX_TAGS = {"bt709": 1, "bt601": 6}  # guessed matrix -> its code in ITU-T H.273
FULL_CHROMA_ENCODERS = ("libx264", "libx265")


class DegradeResult(Model):
    """The recording that was written; the fields of `pipeline degrade --json`."""

    output: str
    frames: int
    width: int
    height: int
    scale: int
    kernel: Kernel


def degrade(
    source: str,
    output: Path,
    *,
    scale: int,
    kernel: Kernel = "bicubic",
    every: int = 1,
    codec: str | None = None,
    crf: float | None = None,
    pix_fmt: str | None = None,
    force: bool = False,
    progress: Reporter = SILENT,
) -> DegradeResult:
    """Write every N-th frame of `source` (N = `every`), downscaled by `scale`, to `output`.

    By default, the output is encoded losslessly and without chroma subsampling, so that detail is
    lost only in the downscaling. Timestamps are unchanged. Raises InputError for invalid arguments.
    """
    clip = probe(source)
    width = clip.width // scale
    height = clip.height // scale
    clip = _tag_matrix(clip, width, height)
    _check_arguments(clip, output, width, height, scale, every, force)

    encoding = _choose_encoding(clip, codec, crf, pix_fmt, width, height)
    check_encoder(encoding, width, height)
    check_container(clip, output, encoding)
    pts = scan(clip).pts[::every]
    check_times(clip, pts, output)

    with staging_folder(output) as work:
        segment = work / "00000.nut"
        frames = 0
        step = progress.step("reducing", len(pts))
        with step as count, SegmentWriter(str(segment), clip, encoding, width, height) as writer:
            for frame in _select_every(read_frames(clip), every):
                writer.write(_reduce(frame, scale, kernel), frame.pts)
                frames += 1
                count(frames)

        finished = work / f"finished{output.suffix}"
        join_segments(clip, [segment], finished, encoding)
        if every == 1:
            _copy_sidecar(Path(source), finished, width, height)

        publish_output(finished, output, work, force=force)

    return DegradeResult(
        output=str(output), frames=frames, width=width, height=height, scale=scale, kernel=kernel
    )


def _tag_matrix(clip: Clip, width: int, height: int) -> Clip:
    """Return the clip, tagged with its guessed matrix if the new size would suggest another one."""
    colour = clip.colour
    if not colour.guessed or colour.matrix in (1, 6):
        return clip

    guess = describe_colour(clip.pix_fmt, width, height).used_matrix
    if guess == colour.used_matrix:
        return clip

    tagged = colour.model_copy(update={"matrix": MATRIX_TAGS[colour.used_matrix]})
    return clip.model_copy(update={"colour": tagged})


def _copy_sidecar(source: Path, finished: Path, width: int, height: int) -> None:
    """Copy the sidecar of a folder of views, whose names alone may not determine their order."""
    source_sidecar = sidecar.sidecar_path(source)
    if finished.is_dir() and source.is_dir() and source_sidecar.is_file():
        grid = sidecar.Sidecar.model_validate_json(source_sidecar.read_bytes())
        small = grid.model_copy(update={"width": width, "height": height})
        (finished / sidecar.NAME).write_text(small.model_dump_json(indent=1), encoding="utf-8")


def _choose_encoding(
    clip: Clip,
    codec: str | None,
    crf: float | None,
    pix_fmt: str | None,
    width: int,
    height: int,
) -> Encoding:
    """Return the given settings, or by default lossless ones with full chroma.

    With other settings, x264 and x265 still get full chroma if `pix_fmt` is not given and the size
    is not divisible by the chroma subsampling, because they would reject such a size.
    """
    usual = choose_encoding(clip, codec=codec, crf=crf, pix_fmt=pix_fmt)
    full_chroma = usual.pix_fmt.replace("420", "444").replace("422", "444")
    if codec is not None or crf is not None or usual.crf is None:
        columns, rows = find_chroma_step(usual.pix_fmt)
        is_odd = bool(width % columns or height % rows)
        if pix_fmt is None and is_odd and usual.codec in FULL_CHROMA_ENCODERS:
            return choose_encoding(clip, codec=codec, crf=crf, pix_fmt=full_chroma)
        return usual
    return choose_encoding(clip, crf=0, pix_fmt=pix_fmt or full_chroma)


def _check_arguments(
    clip: Clip, output: Path, width: int, height: int, scale: int, every: int, force: bool
) -> None:
    """Raise InputError if the size, the interval or the output cannot be used."""
    if min(width, height) < 16:
        raise InputError(
            f"{clip.path} is {clip.width}x{clip.height}, but --scale {scale} needs at least "
            f"{16 * scale}x{16 * scale}; try a smaller scale"
        )
    if every < 1:
        raise InputError(f"--every is {every}, but must be 1 or more, such as --every 15")
    check_not_read(output, clip.list_paths())
    if output.is_dir() and isinstance(clip, VideoClip):
        raise InputError(
            f"the output {output} is a folder, but must be a file; try {output / 'lr.mp4'}"
        )
    check_new_file(output, force=force)
    if output.is_dir():
        check_pictures_only(output, also=frozenset({sidecar.NAME}))


def _select_every(frames: Iterator[Frame], every: int) -> Iterator[Frame]:
    return (frame for number, frame in enumerate(frames) if number % every == 0)


def _reduce(frame: Frame, scale: int, kernel: Kernel) -> np.ndarray:
    if scale == 1:
        return frame.rgb

    from crossnetpp.data.degradation import degrade as reduce  # imports torch

    return reduce(frame.rgb, scale, kernel)
