"""Choose the output of a run: its scale, size, encoding, and file or folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, PairingError
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
    colour_notes,
    container_notes,
    default_output_path,
)
from pipeline.media.join.film import describe_output
from pipeline.media.write.encoder import check_encoder, choose_encoding
from pipeline.pairing.geometry import count_quarter_turns, swap_size
from pipeline.planning.output import check_output, check_room
from pipeline.planning.pictures import intermediate_format, wanted_pictures
from pipeline.planning.sources import Sources
from pipeline.schema.clip import LightField, Recording, Stills, VideoClip
from pipeline.schema.encoding import Encoding
from pipeline.schema.settings import EncoderSettings, OutputSettings

SCALES = (2, 4, 8)

# Shortest side, in pixels, of an input that can be aligned.
LEAST_SIDE = 16

# Smallest ratio of the reference's size (side length) to the input's with detail to borrow.
LEAST_RATIO = 1.3

# Largest ratio of the output's size (side length) to the reference's.
MOST_OVERSIZE = 2.2


@dataclass(frozen=True)
class Target:
    """The output of a run, checked against the input, the encoder and the disk."""

    output: Path
    pattern: str
    """The name pattern if `output` is a folder of numbered pictures, else ""."""
    scale: int
    width: int
    height: int
    encoding: Encoding
    notes: tuple[str, ...]
    """Sentences about what the output loses."""

    @property
    def size(self) -> tuple[int, int]:
        """The height and width of the output's frames in pixels."""
        return self.height, self.width


def choose_target(
    output: OutputSettings,
    encoder: EncoderSettings,
    scale: int,
    sources: Sources,
    frames: int,
    model: str | None = None,
    *,
    is_written: bool = True,
) -> Target:
    """Choose and check the encoder and the path of an output with `frames` frames.

    The path is not checked unless the output `is_written`. `model` is a network's name, or the path
    of its weights file, which the output must not replace. Raises InputError if the encoder does
    not accept its settings, if the output cannot be written to the path, or if its format cannot
    hold what is encoded.
    """
    lr: Recording = sources.lr
    if isinstance(lr, Stills) and output.output is not None:
        lr = describe_output(lr, output.output)
    width = lr.width * scale
    height = lr.height * scale

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
    check_encoder(encoding, width, height)

    # where the output goes
    path, pattern = pictures or (_output_path(output, lr, scale, encoding), "")
    if not is_written:
        return Target(path, pattern, scale, width, height, encoding, ())
    check_output(path, output, lr, sources.ref, pattern, [model])
    check_room(path, stored if pattern else lr, frames * width * height)

    # what it keeps
    notes: list[str] = []
    if isinstance(lr, LightField):
        check_sheet_size(make_target_grid(lr, output.to, path), (height, width))
    else:
        notes += colour_notes(lr, width, height)
        notes += sources.notes
        if pattern:
            notes += sequence.sequence_notes(lr, pattern, encoding)
        else:
            check_container(lr, path, encoding)
            notes += container_notes(lr, path, encoding)

    return Target(path, pattern, scale, width, height, encoding, tuple(notes))


def _named_suffix(output: OutputSettings, lr: Recording) -> str:
    """Return the suffix of the video to write; "" if the output is not a video file."""
    return Path(output.output or lr.path).suffix.lower() if isinstance(lr, VideoClip) else ""


def _output_path(output: OutputSettings, lr: Recording, scale: int, encoding: Encoding) -> Path:
    if not isinstance(lr, LightField):
        return Path(output.output or default_output_path(lr, scale, encoding)).absolute()

    if output.output is None:
        return name_target(lr, output.to, f"_x{scale}")
    path = Path(output.output).absolute()
    check_target(lr, output.to, path)
    return path


def choose_scale(lr: Recording, ref: Recording, wanted: str) -> int:
    """Return the scale (2, 4 or 8): the wanted one or, for "auto", the one that fits `ref` best.

    Raises PairingError if the reference is too small, and InputError if the input is.
    """
    height, width = swap_size(ref, count_quarter_turns(lr, ref))
    across = width / lr.width
    down = height / lr.height
    if max(across, down) < 1.0:
        raise PairingError(
            f"found a reference of {ref.width}x{ref.height}, smaller than the input of "
            f"{lr.width}x{lr.height}, expected a larger one; are INPUT and --ref-stream swapped?"
        )
    if min(lr.width, lr.height) < LEAST_SIDE:
        raise InputError(
            f"found an input of {lr.width}x{lr.height}, expected at least "
            f"{LEAST_SIDE}x{LEAST_SIDE}; try a larger recording"
        )

    ratio = (across * down) ** 0.5
    if wanted == "auto":
        if ratio < LEAST_RATIO:
            raise PairingError(
                f"found a reference of {ref.width}x{ref.height} for an input of "
                f"{lr.width}x{lr.height}, expected one about 2, 4 or 8 times as large; "
                "use a larger reference, or --scale"
            )
        return min(SCALES, key=lambda scale: max(scale / ratio, ratio / scale))

    scale = int(wanted)
    if ratio < scale / MOST_OVERSIZE:
        raise PairingError(
            f"found a reference only {ratio:.2g} times as large as the input, expected about "
            f"{scale} times for --scale {scale}; try --scale auto"
        )
    return scale
