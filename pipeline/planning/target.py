"""Choose the output of a run: its encoding, and its file or folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.lightfield.intermediate import Storage
from pipeline.lightfield.targets import (
    check_sheet_size,
    check_target,
    make_target_grid,
    name_target,
)
from pipeline.media.join import sequence
from pipeline.media.join.capabilities import (
    check_container,
    check_times,
    colour_notes,
    container_notes,
    default_output_path,
)
from pipeline.media.join.film import describe_output
from pipeline.media.write.encoder import check_encoder, choose_encoding
from pipeline.planning.output import check_output, check_room
from pipeline.planning.output_size import OutputSize, align_size
from pipeline.planning.pictures import intermediate_format, wanted_pictures
from pipeline.planning.sources import Sources
from pipeline.schema.clip import FrameIndex, LightField, Recording, Stills, VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.frame_size import match_pixel_aspect
from pipeline.schema.settings import EncoderSettings, OutputSettings


@dataclass(frozen=True)
class Target:
    """The output of a run, checked against the input, the encoder and the disk."""

    output: Path
    pattern: str
    """The name pattern if `output` is a folder of numbered pictures, else ""."""
    size: OutputSize
    encoding: Encoding
    notes: tuple[str, ...]
    """Sentences about properties of the input that the output loses, and the sources' notes."""


def choose_target(
    output: OutputSettings,
    encoder: EncoderSettings,
    size: OutputSize,
    sources: Sources,
    frames: FrameIndex,
    model: str | None = None,
    *,
    is_written: bool = True,
) -> Target:
    """Choose and check the encoder and the path of an output that consists of `frames`.

    Without `is_written`, the path is not checked and there are no notes. `model` is the name of a
    network, or the path of its weights file, which the output must not replace. Raises InputError
    if the encoder does not accept its settings, if the output cannot be written to the path, if the
    disk has too little room, or if the output's format cannot hold the encoded streams.
    """
    lr: Recording = sources.lr
    if isinstance(lr, Stills) and output.output is not None:
        lr = describe_output(lr, output.output)
    lr = match_pixel_aspect(lr, size.width, size.height)

    # how the segments are encoded
    pictures = wanted_pictures(output, encoder, lr)
    stored = intermediate_format(Storage(lr, output.to).clip(0), pictures)
    encoding = choose_encoding(
        stored,
        codec=encoder.codec,
        crf=encoder.crf,
        preset=encoder.preset,
        pix_fmt=encoder.pix_fmt,
        quality=encoder.quality,
        suffix=_named_suffix(output, lr),
    )
    size = align_size(size, encoding.pix_fmt)
    check_encoder(encoding, size.width, size.height)

    # where the output goes
    path, pattern = pictures or (_output_path(output, lr, size, encoding), "")
    if not is_written:
        return Target(path, pattern, size, encoding, ())
    check_output(path, output, lr, sources.ref, pattern, [model])
    check_room(path, stored if pattern else lr, len(frames.pts) * size.width * size.height)

    # what the output cannot hold
    notes: list[str] = []
    if isinstance(lr, LightField):
        check_sheet_size(make_target_grid(lr, output.to, path), (size.height, size.width))
    else:
        notes += colour_notes(lr, size.width, size.height)
        notes += sources.notes
        if pattern:
            notes += sequence.sequence_notes(lr, pattern, encoding)
        else:
            check_container(lr, path, encoding)
            check_times(lr, frames.pts, path)
            notes += container_notes(lr, path, encoding)

    return Target(path, pattern, size, encoding, tuple(notes))


def _named_suffix(output: OutputSettings, lr: Recording) -> str:
    """Return the suffix of the video to write, or "" if the input is not a video."""
    return Path(output.output or lr.path).suffix.lower() if isinstance(lr, VideoClip) else ""


def _output_path(
    output: OutputSettings, lr: Recording, size: OutputSize, encoding: Encoding
) -> Path:
    if not isinstance(lr, LightField):
        return Path(output.output or default_output_path(lr, size.mark, encoding)).absolute()

    if output.output is None:
        return name_target(lr, output.to, f"_{size.mark}")
    path = Path(output.output).absolute()
    check_target(lr, output.to, path)
    return path
