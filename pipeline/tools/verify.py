"""Compare a finished output with the recording from which it was made."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.media.join import sequence
from pipeline.media.join.film import as_film
from pipeline.media.join.verify import find_differences
from pipeline.media.pictures import numbered
from pipeline.media.read.probe import probe, scan
from pipeline.progress import SILENT, Reporter
from pipeline.schema.clip import Stills, VideoClip
from pipeline.schema.frame_size import expect_size, match_pixel_aspect
from pipeline.schema.model import Model


class Verification(Model):
    """How an output differs from its input; the fields of `pipeline verify --json`."""

    input: str
    output: str
    same: bool
    differences: list[str]


def verify_output(source: str, output: str, progress: Reporter = SILENT) -> Verification:
    """Compare the frame count, times, size, tags and copied streams of `output` and `source`.

    Raises MediaError if a recording cannot be read, and InputError if `source` is a video but
    `output` contains pictures that are not a run's numbered sequence.
    """
    clip = probe(source)
    if (
        isinstance(clip, VideoClip)
        and Path(output).is_dir()
        and numbered.read_sequence(Path(output))
    ):
        with progress.step(f"comparing the pictures in {output} with {source}"):
            found = sequence.compare_sequence(clip, Path(output))
        return Verification(input=source, output=output, same=not found, differences=found)

    made = probe(output)
    if isinstance(clip, VideoClip) and isinstance(made, Stills):
        raise InputError(
            f"{output} contains still pictures, but {source} is a video; pass the output of a run "
            "on that video"
        )
    if isinstance(clip, Stills) and isinstance(made, VideoClip) and len(clip.files) > 1:
        rate = made.frame_rate or 1 / clip.time_base
        clip = as_film(clip.model_copy(update={"time_base": 1 / rate, "frame_rate": rate}))
    size = expect_size(clip, made.width, made.height)
    clip = match_pixel_aspect(clip, *size)
    with progress.step(f"reading the times of {source}"):
        times = scan(clip)
    with progress.step(f"comparing {output} with {source}"):
        found = find_differences(clip, times, Path(made.path), *size)
    if clip.alpha and not made.alpha:
        found.append("it is opaque, but the input has transparency")
    return Verification(input=source, output=output, same=not found, differences=found)
