"""Decode the frames of segments, for outputs that are pictures rather than a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from av.container import InputContainer

from pipeline.media.alpha import extract_alpha, has_alpha
from pipeline.media.colour import ToRgb, make_contiguous
from pipeline.media.container import open_container
from pipeline.media.pictures import stills
from pipeline.media.write.segment import FIRST_PTS_TAG, LEAD
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, Stills


def read_first_pts(container: InputContainer) -> int:
    """Return the pts of a segment's first frame, in ticks of the input."""
    # Matroska stores the names of tags in upper case
    tags = {name.lower(): value for name, value in container.metadata.items()}
    return int(tags[FIRST_PTS_TAG])


def decode_segments(clip: Clip, files: Sequence[str | Path]) -> Iterator[tuple[int, Pixels]]:
    """Yield the pts, in ticks of the clip, and the pixels of each frame in the segments.

    Pixels are uint8 or uint16, H x W x 3 RGB or H x W x 4 RGBA.
    """
    for file in files:
        with open_container(str(file)) as container:
            first = read_first_pts(container)
            stream = container.streams.video[0]
            convert = ToRgb(clip.colour)
            for frame in container.decode(stream):
                assert frame.pts is not None
                assert stream.time_base is not None
                pts = frame.pts * stream.time_base / clip.time_base - LEAD + first
                transparent = has_alpha(frame.format.name)
                # alpha is read before the conversion, which removes the frame's tags
                alpha = extract_alpha(frame, deep=clip.bit_depth > 8) if transparent else None
                rgb = convert(frame)
                yield int(pts), rgb if alpha is None else make_contiguous(np.dstack([rgb, alpha]))


def name_stills(clip: Stills) -> list[str]:
    """Return the names of the pictures in an output folder: the input's names with the suffix .png.

    If two names would be the same, every name is prefixed with a number.
    """
    names = [f"{Path(file).stem}.png" for file in clip.files]
    if len(set(names)) < len(names):
        width = len(str(len(names)))
        return [f"{number:0{width}d}_{name}" for number, name in enumerate(names)]
    return names


def write_stills(clip: Stills, files: list[Path], out: Path) -> None:
    """Write the frames of the segments as pictures: into the folder `out`, or as the file `out`.

    The output is a file if the input is a single picture, given by its own path.
    """
    names = name_stills(clip)
    folder = len(clip.files) > 1 or not Path(clip.path).is_file()
    if folder:
        out.mkdir(parents=True, exist_ok=True)
    for pts, pixels in decode_segments(clip, files):
        place = out / names[pts] if folder else out
        if pixels.shape[2] == 3:
            stills.save_picture(place, pixels)
        else:
            stills.save_picture(
                place, make_contiguous(pixels[..., :3]), make_contiguous(pixels[..., 3])
            )
