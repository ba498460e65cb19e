"""The settings of a run, in groups; each field declares its type, default and option in one place.

Functions accept only the group that they need; `RunSettings` combines all groups. Here, each value
is checked on its own; `pipeline.planning` checks the values against the files.
"""

from __future__ import annotations

from os import PathLike, fspath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.schema.encoders import Quality, find_encoder
from pipeline.schema.model import Settings
from pipeline.schema.options import Option
from pipeline.schema.parsing import (
    joined_by,
    parse_frame_size,
    parse_place,
    parse_scale,
    parse_seconds,
    parse_size,
    parsed_by,
)

Layout = Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"]

# Types of option values. Some are parsed from text, and written to JSON as the same text.
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A finite number; JSON has no infinities or NaN."""
Seconds = Annotated[Finite, parsed_by(parse_seconds, float | str)]
Pair = tuple[int, int]
GridSize = Annotated[Pair, parsed_by(parse_size, Pair | str), joined_by("x")]
ViewPlace = Annotated[Pair, parsed_by(parse_place, Pair | str), joined_by(",")]
Position = Annotated[
    tuple[Finite, Finite],
    parsed_by(lambda text: text.split(","), tuple[float, float] | str),
    joined_by(","),
]
EncoderName = Annotated[str, AfterValidator(find_encoder)]
Scale = Annotated[str, BeforeValidator(parse_scale, json_schema_input_type=float | str)]
FrameSize = Annotated[str, AfterValidator(parse_frame_size)]
FilePath = Annotated[
    str,
    BeforeValidator(
        lambda value: fspath(value) if isinstance(value, PathLike) else value,
        json_schema_input_type=str | PathLike[str],
    ),
]


class GridSettings(Settings):
    """How a light field is stored on disk; settings that are None are detected."""

    layout: Annotated[
        Literal[Layout, "stereo"] | None,
        Option("How the views are stored; default: detected.", "Light fields"),
    ] = None
    grid: Annotated[
        GridSize | None,
        Option(
            "Number of rows and columns of views in a sheet, or of numbered files, such as 8x8.",
            "Light fields",
            "RxC",
        ),
    ] = None
    crop_grid: Annotated[
        GridSize | None,
        Option(
            "Use only this many central rows and columns of views, such as 5x5.",
            "Light fields",
            "RxC",
        ),
    ] = None
    order: Annotated[
        Literal["row,col", "col,row"] | None,
        Option("Order of the numbers in the views' names; default row,col.", "Light fields"),
    ] = None
    template: Annotated[
        str | None,
        Option(
            "Template of the views' names, such as 'v_{row:02}_{col:02}' or 'cam{index}'.",
            "Light fields",
            "TEMPLATE",
        ),
    ] = None
    dataset: Annotated[str | None, Option("Name of the HDF5 dataset.", "Light fields", "NAME")] = (
        None
    )
    axes: Annotated[
        str | None,
        Option(
            "Axes of the dataset, such as rchw3: t moments, r rows, c columns, h, w, 3 channels.",
            "Light fields",
            "LETTERS",
        ),
    ] = None


class OutputSettings(Settings):
    """Where the output goes, whether it may replace a file, and its ground truth."""

    output: Annotated[
        FilePath | None,
        Option(
            "Output; default: INPUT plus _x4 or _1280x720; - for stdout, %06d.png for pictures.",
            metavar="OUT",
            flags=("-o", "--output"),
        ),
    ] = None
    to: Annotated[
        Layout | None, Option("Layout of the output; default: the input's.", "Light fields")
    ] = None
    fps: Annotated[
        Finite | None,
        Field(gt=0, le=1000),
        Option(
            "Frame rate of a video made from pictures; default: from their times or REF, else 25.",
            "Output and logging",
            "RATE",
        ),
    ] = None
    """None means the rate implied by the pictures' times, else a reference video's, else 25."""
    ground_truth: Annotated[
        FilePath | None,
        Option(
            "Original HR recording; the output's PSNR and SSIM are measured against it.",
            "Output and logging",
            "HR",
            is_planned=False,
        ),
    ] = None
    force: Annotated[bool, Option("Replace an existing output.")] = False


class InputSettings(GridSettings):
    """Which recording to enhance, which part of it, and how to read it."""

    input: FilePath
    start: Annotated[
        Seconds | None, Option("Begin at this time (seconds or h:mm:ss).", metavar="TIME")
    ] = None
    """Seconds on the input's clock, inclusive."""
    end: Annotated[
        Seconds | None, Option("End before this time (seconds or h:mm:ss).", metavar="TIME")
    ] = None
    """Seconds on the input's clock, exclusive."""
    on_error: Annotated[
        Literal["stop", "conceal"],
        Option("At a corrupt frame, stop (default) or repeat the last intact frame (conceal)."),
    ] = "stop"
    deinterlace: Annotated[
        Literal["auto", "off", "bwdif"],
        Option(
            "Deinterlace frames that are flagged or look interlaced (auto, the default), no frame "
            "(off), or all (bwdif)."
        ),
    ] = "auto"
    """"auto" deinterlaces the flagged frames if the first frame is flagged, and all frames if none
    are flagged but the recording shows combing."""
    sandbox: Annotated[
        Literal["auto", "on", "off"],
        Option(
            "Decode in confined child processes: URLs only (auto, default), all (on) or none (off)."
        ),
    ] = "auto"


class PairingSettings(Settings):
    """Which references to borrow from, and how to match them with the input."""

    ref_stream: Annotated[
        FilePath | None, Option("HR recording or pictures to borrow from.", "References", "REF")
    ] = None
    scale: Annotated[
        Scale,
        Option(
            "Enlargement, 1 to 8; auto (default) picks 2, 4 or 8, whichever suits REF best.",
            metavar="auto|NUMBER",
        ),
    ] = "auto"
    size: Annotated[
        FrameSize | None,
        Option(
            "Output size instead of --scale: 1920x1080, 1080p, 4k, or reference (the size of REF).",
            metavar="SIZE",
        ),
    ] = None
    select: Annotated[
        Literal["auto", "time", "view", "content"],
        Option(
            "Choose references by time, by view, or by similarity (content); default auto.",
            "References",
        ),
    ] = "auto"
    ref_offset: Annotated[
        Finite | Literal["auto"] | None,
        Option(
            "Seconds to add to the times of REF; auto estimates the offset from sound or pictures.",
            "References",
            "SECONDS|auto",
        ),
    ] = None
    """"auto" estimates the offset and the drift. None means 0, except for dated photographs with an
    undated input, for which the offset is estimated, or guessed if that fails."""
    max_ref_distance: Annotated[
        Finite,
        Field(gt=0),
        Option(
            "Ignore references farther away in time than this; default 2.", "References", "SECONDS"
        ),
    ] = 2.0
    """After a longer time, hand-held recordings rarely show much of the same detail."""
    ref_count: Annotated[
        int | None,
        Field(ge=1, le=8),
        Option(
            "Number of references per frame; default 2 between two key frames, else 1.",
            "References",
            "N",
        ),
    ] = None
    """None means 2 for frames of a clip that lie between two key frames of their scene, and 1 for
    all other frames and for light fields."""
    capture: Annotated[
        FilePath,
        Option(
            "How INPUT was downscaled from HR: as measured (auto, the default), bicubically "
            "(bicubic), by averaging pixels (sensor), or as described in a FILE, such as a plan.",
            "References",
            "NAME|FILE",
        ),
    ] = "auto"
    """"auto" measures it if a reference and a frame show the same instant, else it is bicubic."""
    trust_reference: Annotated[
        bool,
        Option(
            "Carry your edits of key frames (grade, repairs, painted detail) over to other frames.",
            "References",
        ),
    ] = False


class ViewSettings(PairingSettings, GridSettings):
    """How to pair the views of a light field with references, beyond the general settings."""

    ref_view: Annotated[
        ViewPlace | Literal["center"] | None,
        Option("Light field: the view that REF shows.", "References", "ROW,COL|center"),
    ] = None
    ref_position: Annotated[
        Position | None,
        Option(
            "Light field: position of REF's camera in grid steps (column, row).",
            "References",
            "X,Y",
        ),
    ] = None
    """The position may be outside the grid."""
    consistent: Annotated[
        bool,
        Option(
            "Light field: borrow from enhanced neighbouring views in a second pass.",
            "References",
            flags=("--consistent/--no-consistent",),
        ),
    ] = False


class EncoderSettings(Settings):
    """How the output is encoded; None means that the default depends on the input."""

    codec: Annotated[
        EncoderName | None,
        Option("x264, x265, av1, prores, ffv1, or any FFmpeg encoder.", "Encoder", "NAME"),
    ] = None
    quality: Annotated[
        Quality | None, Option("Quality in words instead of a number.", "Encoder")
    ] = None
    crf: Annotated[
        Finite | None,
        Option("Constant-quality value of the encoder; lower is better.", "Encoder", "NUMBER"),
    ] = None
    preset: Annotated[str | None, Option("Speed preset of the encoder.", "Encoder", "NAME")] = None
    pix_fmt: Annotated[str | None, Option("Pixel format of the output.", "Encoder", "FORMAT")] = (
        None
    )
    audio: Annotated[
        Literal["copy", "none"], Option("Copy the audio (default) or drop it.", "Encoder")
    ] = "copy"


class ExecutionSettings(Settings):
    """Which engine runs the network, on which machines, in which batches and segments."""

    engine: Annotated[
        str,
        Option(
            "auto (default), tensorrt, torch, bf16, int8, onnx, openvino or bicubic.",
            "Execution",
            "NAME",
        ),
    ] = "auto"
    model: Annotated[
        FilePath,
        Option(
            "fast or fast-recorded (default: whichever suits INPUT), paper, or a weights file.",
            "Execution",
            "NAME|FILE",
        ),
    ] = "fast"
    effort: Annotated[
        Literal["auto", "fast", "normal", "best"],
        Option(
            "A smaller network (fast), the usual one (normal), or the mean of four passes (best); "
            "nearly lossless INPUT: also optical flow (best, and the default auto on a CPU).",
            "Execution",
        ),
    ] = "auto"
    adapt: Annotated[
        FilePath,
        Option(
            "Train the weights on the recording's own key frames: if worthwhile (auto, default), "
            "never (off), or for SECONDS; or use a FILE from `pipeline adapt`.",
            "Execution",
            "auto|off|SECONDS|FILE",
        ),
    ] = "auto"
    """"auto" needs the engine auto or torch, four key frames, and a run that takes long enough."""
    adapt_together: Annotated[
        bool,
        Option(
            "Batch from one camera: train once, and use the weights for every input they improve.",
            "Execution",
            is_planned=False,
        ),
    ] = False
    runner: Annotated[
        Literal["auto", "inline", "ray"],
        Option("Run in this process (inline) or on Ray; default auto.", "Execution"),
    ] = "auto"
    address: Annotated[str | None, Option("Address of the Ray cluster.", "Execution", "ADDR")] = (
        None
    )
    workers: Annotated[
        int | None,
        Field(ge=1),
        Option("Maximum number of Ray actors; default: one per GPU or node.", "Execution", "N"),
    ] = None
    accelerator: Annotated[
        str | None, Option("Use only GPUs of this type, such as H100.", "Execution", "TYPE")
    ] = None
    """A GPU type as in Ray's node labels."""
    batch: Annotated[
        int,
        Field(ge=1),
        Option("Frames per network call; default 2.", "Execution", "N"),
    ] = 2
    """On a CPU, the frames of one call are processed in parallel."""
    segment: Annotated[
        Finite,
        Field(gt=0),
        Option(
            "Segment length; default 10, or less if that would take the engine over a minute.",
            "Execution",
            "SECONDS",
        ),
    ] = 10.0
    placement: Annotated[
        Literal["auto", "fused", "split"],
        Option(
            "Decode and encode in the GPU actors (fused) or in CPU actors (split); auto (default) "
            "is fused, and suggests split if the GPU waits.",
            "Execution",
        ),
    ] = "auto"


class RunSettings(
    ExecutionSettings, EncoderSettings, ViewSettings, PairingSettings, InputSettings, OutputSettings
):
    """All settings of a run; None means that the program decides, or that there is no value."""

    plan: Annotated[
        FilePath | None, Option("Run this plan, which you may have edited.", metavar="FILE")
    ] = None


# The order of `pipeline run --help` within each section.
OPTION_GROUPS: tuple[type[Settings], ...] = (
    OutputSettings,
    PairingSettings,
    InputSettings,
    ViewSettings,
    GridSettings,
    EncoderSettings,
    ExecutionSettings,
    RunSettings,
)
