"""The settings of a run, in groups; each field states its type, default and option in one place.

A function accepts only the group that it needs; `RunSettings` combines all groups. Values are
checked here individually; `pipeline.planning` checks them against the files.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.schema.clip import Model
from pipeline.schema.encoding import Quality, find_encoder
from pipeline.schema.options import Option
from pipeline.schema.parsing import parse_pair, parse_seconds

# A number that a plan's JSON can hold.
Finite = Annotated[float, Field(allow_inf_nan=False)]
Pair = tuple[int, int]
Layout = Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"]

# What Python callers may pass for options that the command line takes as text.
_PAIR = "tuple[int, int] | str | None"
_TIME = "float | str | None"


class GridSettings(Model):
    """How a light field is stored on disk; None means that it is detected."""

    layout: Annotated[
        Literal[Layout, "stereo"] | None,
        Option("How the views are stored; default: detected.", "Light fields"),
    ] = None
    grid: Annotated[
        Pair | None,
        Option(
            "Rows and columns of views in a sheet, or of numbered files, such as 8x8.",
            "Light fields",
            "RxC",
            is_text=True,
            python_type=_PAIR,
        ),
    ] = None
    crop_grid: Annotated[
        Pair | None,
        Option(
            "Use only the central rows and columns of views, such as 5x5.",
            "Light fields",
            "RxC",
            is_text=True,
            python_type=_PAIR,
        ),
    ] = None
    order: Annotated[
        Literal["row,col", "col,row"] | None,
        Option("Order of the numbers in the views' names; default row,col.", "Light fields"),
    ] = None
    template: Annotated[
        str | None,
        Option(
            "Names of the views, such as 'v_{row:02}_{col:02}' or 'cam{index}'.",
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
            "Axes of the dataset, such as rchw3: t (moments), r (rows), c (columns), h, w, 3.",
            "Light fields",
            "LETTERS",
        ),
    ] = None

    @field_validator("grid", "crop_grid", mode="before")
    @classmethod
    def _parse_grid(cls, value: object) -> object:
        return parse_pair(value, "x") if isinstance(value, str) else value


class OutputSettings(Model):
    """Where the output goes, what it may replace, and the ground truth to compare it with."""

    output: Annotated[
        str | None,
        Option(
            "Default: INPUT plus _x2, _x4 or _x8; - is stdout, frames/%06d.png numbered pictures.",
            metavar="OUT",
            flags=("-o", "--output"),
        ),
    ] = None
    to: Annotated[
        Layout | None, Option("Layout of the output; default: that of the input.", "Light fields")
    ] = None
    ground_truth: Annotated[
        str | None,
        Option(
            "Original recording; measure PSNR and SSIM of the output against it.",
            "Output and logging",
            "HR",
            python_type="AnyPath | None",
        ),
    ] = None
    force: Annotated[bool, Option("Replace an existing output.")] = False


class InputSettings(GridSettings):
    """Which recording to enhance, which part of it, and how to read it."""

    input: str
    start: Annotated[
        Finite | None,
        Option(
            "Begin at this time (seconds or h:mm:ss).",
            metavar="TIME",
            is_text=True,
            python_type=_TIME,
        ),
    ] = None
    """Seconds on the input's clock, inclusive."""
    end: Annotated[
        Finite | None,
        Option(
            "End before this time (seconds or h:mm:ss).",
            metavar="TIME",
            is_text=True,
            python_type=_TIME,
        ),
    ] = None
    """Seconds on the input's clock, exclusive."""
    on_error: Annotated[
        Literal["stop", "conceal"],
        Option("At a corrupt frame, stop (default) or repeat the previous frame (conceal)."),
    ] = "stop"
    deinterlace: Annotated[
        Literal["auto", "off", "bwdif"],
        Option("Deinterlace frames that are flagged or comb (auto), none (off), or all (bwdif)."),
    ] = "auto"
    """"auto" deinterlaces flagged frames if the first frame is flagged, and all frames of an
    unflagged recording that combs."""
    sandbox: Annotated[
        Literal["auto", "on", "off"],
        Option(
            "Open recordings in confined child processes: from URLs (auto), all (on), none (off)."
        ),
    ] = "auto"

    @field_validator("start", "end", mode="before")
    @classmethod
    def _parse_time(cls, value: object) -> object:
        return parse_seconds(value) if isinstance(value, str) else value


class PairingSettings(Model):
    """Which references to borrow from, and how to match them with the input."""

    ref_stream: Annotated[
        str | None, Option("HR recording to borrow detail from.", "References", "REF")
    ] = None
    scale: Annotated[
        Literal["auto", "2", "4", "8"],
        Option(
            "Enlargement; auto (default) compares the sizes of REF and INPUT.",
            python_type='Literal["auto", "2", "4", "8", 2, 4, 8]',
        ),
    ] = "auto"
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
            "Seconds to add to the times of REF; auto estimates them from the pictures.",
            "References",
            "SECONDS|auto",
            is_text=True,
        ),
    ] = None
    """"auto" estimates offset and drift. None is 0, or "auto" for dated photographs beside a
    recording without a date."""
    max_ref_distance: Annotated[
        Finite,
        Field(gt=0),
        Option(
            "Ignore references that are farther away than this; default 2.", "References", "SECONDS"
        ),
    ] = 2.0
    """Seconds; hand-held recordings rarely share much detail over longer times."""

    @field_validator("scale", mode="before")
    @classmethod
    def _scale_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @field_validator("ref_offset", mode="before")
    @classmethod
    def _parse_offset(cls, value: object) -> object:
        return float(value) if isinstance(value, str) and value != "auto" else value


class ViewSettings(PairingSettings, GridSettings):
    """How to pair the views of a light field, beyond the settings of any pairing."""

    ref_view: Annotated[
        Pair | Literal["center"] | None,
        Option(
            "Light field: the view that REF shows.",
            "References",
            "ROW,COL|center",
            is_text=True,
            python_type=_PAIR,
        ),
    ] = None
    ref_position: Annotated[
        tuple[Finite, Finite] | None,
        Option(
            "Light field: position of REF's camera in grid steps (columns, rows).",
            "References",
            "X,Y",
            is_text=True,
            python_type="tuple[float, float] | str | None",
        ),
    ] = None
    """May be outside the grid."""
    ref_count: Annotated[
        int,
        Field(ge=1, le=8),
        Option("Light field: references to fuse for each view; default 1.", "References", "N"),
    ] = 1
    consistent: Annotated[
        bool,
        Option(
            "Light field: borrow from enhanced neighbouring views in a second pass.",
            "References",
            flags=("--consistent/--no-consistent",),
        ),
    ] = False

    @field_validator("ref_view", mode="before")
    @classmethod
    def _parse_view(cls, value: object) -> object:
        return parse_pair(value, ",") if isinstance(value, str) and value != "center" else value

    @field_validator("ref_position", mode="before")
    @classmethod
    def _parse_position(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value


class EncoderSettings(Model):
    """How the output is encoded; None means that the encoder's default for the input is used."""

    codec: Annotated[
        str | None,
        Option("x264, x265, av1, prores, ffv1, or any encoder of FFmpeg.", "Encoder", "NAME"),
    ] = None
    quality: Annotated[
        Quality | None, Option("Quality in words instead of a number.", "Encoder")
    ] = None
    crf: Annotated[
        Finite | None,
        Option("Constant quality of the encoder; lower is better.", "Encoder", "NUMBER"),
    ] = None
    preset: Annotated[str | None, Option("Speed preset of the encoder.", "Encoder", "NAME")] = None
    pix_fmt: Annotated[str | None, Option("Pixel format of the output.", "Encoder", "FORMAT")] = (
        None
    )
    audio: Annotated[
        Literal["copy", "none"], Option("Copy the audio (default) or drop it.", "Encoder")
    ] = "copy"

    @field_validator("codec", mode="before")
    @classmethod
    def _find_encoder(cls, value: object) -> object:
        return find_encoder(value) if isinstance(value, str) else value


class ExecutionSettings(Model):
    """Which engine runs the network, on which machines, in which batches and segments."""

    engine: Annotated[
        str,
        Option(
            "auto (default), tensorrt, torch, onnx, openvino or bicubic.",
            "Execution",
            "NAME",
        ),
    ] = "auto"
    model: Annotated[
        str,
        Option(
            "fast (default), paper, or a file of weights.",
            "Execution",
            "NAME|FILE",
            python_type="AnyPath",
        ),
    ] = "fast"
    runner: Annotated[
        Literal["auto", "inline", "ray"],
        Option("Run in this process (inline) or on Ray; default auto.", "Execution"),
    ] = "auto"
    address: Annotated[str | None, Option("Address of the Ray cluster.", "Execution", "ADDR")] = (
        None
    )
    workers: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Option("Maximum number of Ray actors; default: one per GPU.", "Execution", "N"),
    ] = None
    accelerator: Annotated[
        str | None,
        Option("Use only GPUs of this type, such as H100.", "Execution", "TYPE"),
    ] = None
    """A GPU type as Ray labels its nodes."""
    batch: Annotated[
        int,
        Field(ge=1),
        Option("Frames per call of the network; default 2.", "Execution", "N"),
    ] = 2
    """Frames per call; on a CPU they run in parallel."""
    segment: Annotated[
        Finite,
        Field(gt=0),
        Option("Length of a segment; default 10.", "Execution", "SECONDS"),
    ] = 10.0
    placement: Annotated[
        Literal["auto", "fused", "split"],
        Option(
            "Decode and encode in the GPU actor (fused, as auto) or in CPU actors (split).",
            "Execution",
        ),
    ] = "auto"


class RunSettings(
    ExecutionSettings, EncoderSettings, ViewSettings, PairingSettings, InputSettings, OutputSettings
):
    """All settings of a run; None means that the program decides."""

    plan: Annotated[
        str | None,
        Option(
            "Run this plan, which may have been edited.",
            metavar="FILE",
            python_type="AnyPath | None",
        ),
    ] = None

    @property
    def reading(self) -> InputSettings:
        """The group that says which recording is enhanced and how it is read."""
        return self

    @property
    def pairing(self) -> ViewSettings:
        """The group that says how references are chosen."""
        return self

    @property
    def target(self) -> OutputSettings:
        """The group that says where the output goes."""
        return self

    @property
    def encoder(self) -> EncoderSettings:
        """The group that says how the output is encoded."""
        return self


# The order of `pipeline run --help` within each section.
OPTION_GROUPS: tuple[type[Model], ...] = (
    OutputSettings,
    PairingSettings,
    InputSettings,
    ViewSettings,
    GridSettings,
    EncoderSettings,
    ExecutionSettings,
    RunSettings,
)
