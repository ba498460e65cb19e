"""The arguments of `pipeline run`, checked for themselves; `plan.py` checks them against files."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator

from pipeline.errors import InputError
from pipeline.schema.clip import Model
from pipeline.schema.encoding import Quality, encoder_named

Given = TypeVar("Given", bound=Model)


Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A number that a plan's JSON can hold."""


def parse_seconds(text: str) -> float:
    """Return the seconds of "12.5", "1:02.5" or "1:00:02"; ValueError for anything else."""
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


Pair = tuple[int, int]


def parse_pair(text: str, separator: str) -> tuple[int, int]:
    """Return the two numbers of "8x8" or "0,3"; ValueError for anything else."""
    parts = text.lower().split(separator)
    if len(parts) != 2 or not all(part.strip().lstrip("-").isdecimal() for part in parts):
        raise ValueError(f"expected two whole numbers such as 8{separator}8")
    return int(parts[0]), int(parts[1])


class GridSettings(Model):
    """How a light field lies on the disk; None means "find out"."""

    layout: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video", "stereo"] | None = None
    grid: Pair | None = None
    """Rows and columns of views: of a sheet, or of numbered files."""
    crop_grid: Pair | None = None
    """Keep the central rows and columns only."""
    order: Literal["row,col", "col,row"] | None = None
    """Which number of a name, or axis of a sheet, comes first."""
    template: str | None = None
    dataset: str | None = None
    axes: str | None = None

    @field_validator("grid", "crop_grid", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        return parse_pair(value, "x") if isinstance(value, str) else value


class RunSettings(GridSettings):
    """What the user asked for; None means "decide for me"."""

    input: str
    ref_stream: str | None = None
    output: str | None = None
    scale: Literal["auto", "2", "4", "8"] = "auto"
    model: str = "fast"
    engine: str = "auto"
    select: Literal["auto", "time", "view", "content"] = "auto"
    ref_offset: Finite | Literal["auto"] | None = None
    """Seconds added to reference times; "auto" estimates offset and drift from the pictures.

    None is 0, or auto for photographs with a date beside a recording without one."""
    max_ref_distance: Annotated[Finite, Field(gt=0)] = 2.0
    """Seconds beyond which nothing is borrowed: hand-held motion rarely leaves much in common."""
    runner: Literal["auto", "inline", "ray"] = "auto"
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    accelerator: str | None = None
    """GPU type of the nodes to run on, as Ray labels them, for example "H100"."""
    batch: Annotated[int, Field(ge=1)] = 2
    """Frames for each call of the engine; on a CPU they run side by side."""
    segment: Annotated[Finite, Field(gt=0)] = 10.0
    """Seconds."""
    placement: Literal["auto", "fused", "split"] = "auto"
    codec: str | None = None
    """FFmpeg's name of the encoder, or one that people know, such as x265."""
    crf: Finite | None = None
    quality: Quality | None = None
    """In place of a number; None = `crf`, by default visually lossless."""
    preset: str | None = None
    pix_fmt: str | None = None
    audio: Literal["copy", "none"] = "copy"
    """Whether the input's sound comes along."""
    start: Finite | None = None
    """Seconds on the input's clock, inclusive."""
    end: Finite | None = None
    """Seconds on the input's clock, exclusive."""
    on_error: Literal["stop", "conceal"] = "stop"
    plan: str | None = None
    deinterlace: Literal["auto", "off", "bwdif"] = "auto"
    """auto: frames that say they are interlaced, in a recording whose first frame says so; all
    where it does not say so but combs."""
    sandbox: Literal["auto", "on", "off"] = "auto"
    """Whether child processes under limits open the recordings; auto: those from a URL."""
    ground_truth: str | None = None
    force: bool = False
    ref_view: Pair | Literal["center"] | None = None
    """Row and column that a single reference picture or video shows."""
    ref_position: tuple[Finite, Finite] | None = None
    """X (columns) and Y (rows), in grid steps, of a reference camera outside the grid."""
    ref_count: Annotated[int, Field(ge=1, le=8)] = 1
    """How many references are fused for each view."""
    consistent: bool = False
    """A second pass borrows from enhanced neighbours too, so that neighbouring views agree."""
    to: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"] | None = None
    """Layout of the output; None = the input's."""

    @field_validator("ref_view", mode="before")
    @classmethod
    def _view(cls, value: object) -> object:
        return parse_pair(value, ",") if isinstance(value, str) and value != "center" else value

    @field_validator("ref_position", mode="before")
    @classmethod
    def _position(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("codec", mode="before")
    @classmethod
    def _encoder(cls, value: object) -> object:
        return encoder_named(value) if isinstance(value, str) else value

    @field_validator("scale", mode="before")
    @classmethod
    def _scale_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value

    @field_validator("start", "end", mode="before")
    @classmethod
    def _time(cls, value: object) -> object:
        return parse_seconds(value) if isinstance(value, str) else value

    @field_validator("ref_offset", mode="before")
    @classmethod
    def _offset(cls, value: object) -> object:
        return float(value) if isinstance(value, str) and value != "auto" else value


def checked(kind: type[Given], values: dict[str, Any]) -> Given:
    """Return the settings that options make; what is None keeps its default.

    Raises InputError with the name of the option that does not fit.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "-".join(str(part) for part in first["loc"][:1]).replace("_", "-")
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"found {first['input']!r} for --{name}, which does not fit: {problem}; see --help"
        ) from error
