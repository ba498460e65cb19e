"""A plan's capture: how the camera or downscaler made the input's LR pixels from HR pixels."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.schema.model import Model
from pipeline.schema.texts import Word

SUM_ERROR = 1e-3  # largest difference between a kernel's sum and 1
MOST_WEIGHT = 100.0  # largest absolute value of a weight; no real kernel comes near it

Number = Annotated[float, Field(allow_inf_nan=False)]
Pair = tuple[Number, Number]
Weights = tuple[Annotated[float, Field(ge=-MOST_WEIGHT, le=MOST_WEIGHT)], ...]


class ColourChange(Model):
    """A map from the reference's colours to the input's colours, both RGB in 0..1."""

    curves: tuple[Weights, Weights, Weights]
    """A curve for each of red, green and blue: the new values of evenly spaced levels in 0..1."""
    matrix: tuple[
        tuple[Number, Number, Number],
        tuple[Number, Number, Number],
        tuple[Number, Number, Number],
    ]
    """Rows of the 3 x 3 matrix that is applied to (red, green, blue) after the curves."""

    @model_validator(mode="after")
    def _check_curves(self) -> Self:
        lengths = [len(curve) for curve in self.curves]
        if len(set(lengths)) > 1 or not 2 <= lengths[0] <= 1024:
            raise ValueError(
                f"the curves have {lengths} values, but must all have the same number, from 2 to "
                "1024"
            )
        return self


class Capture(Model):
    """The downscaling from HR to LR, measured from the recordings or chosen by the user."""

    source: Literal["measured", "sensor", "file", "bicubic"]
    scale: Literal[2, 4, 8]
    shape: Word = ""
    """What the measured kernel resembles, such as box or gaussian."""
    rows: tuple[Weights, ...]
    """Vertical weights of the kernel, which is the sum of one or two separable terms: the outer
    products of `rows` and `columns`. A term has 4 x scale weights in each direction; weight i of
    the LR pixel at x applies to the HR pixel at scale * x + i - 1.5 * scale."""
    columns: tuple[Weights, ...]
    """Horizontal weights of the same terms."""
    shift: Pair = (0.0, 0.0)
    """Centroid (x, y) of the kernel in LR pixels; for information only."""
    width: Number = 1.0
    """Width of the kernel in LR pixels, 1 for plain averaging; for information only."""
    chroma_shift: Pair | None = None
    """Offset (x, y) of the chroma samples from luma in LR pixels. If it is large, the input is read
    with another chroma location and measured again."""
    fits_db: Number | None = None
    """PSNR in dB between downscaled HR luma and LR luma, on parts held out from the measurement."""
    bicubic_db: Number | None = None
    """The same PSNR if HR is downscaled with the bicubic kernel."""
    colour: ColourChange | None = None
    """The map from the reference's colours to the input's; None if the colours agree."""
    pairs: tuple[int, ...] = ()
    """Pts of the LR frames from which the capture was measured."""

    @model_validator(mode="after")
    def _check_kernel(self) -> Self:
        terms = len(self.rows)
        lengths = {len(weights) for weights in (*self.rows, *self.columns)}
        if terms not in (1, 2) or len(self.columns) != terms or lengths != {4 * self.scale}:
            raise ValueError(
                f"the kernel has {len(self.rows)} rows and {len(self.columns)} columns with "
                f"{sorted(lengths)} weights; expected one or two of each, with {4 * self.scale} "
                f"weights for scale {self.scale}"
            )
        total = math.fsum(
            math.fsum(row) * math.fsum(column)
            for row, column in zip(self.rows, self.columns, strict=True)
        )
        if not abs(total - 1) <= SUM_ERROR:
            raise ValueError(
                f"the kernel sums to {total:.4g}, but must sum to 1; divide its rows by that sum"
            )
        return self
