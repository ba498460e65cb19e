"""The options of `enhance` for editors and type checkers; `RunSettings` is what checks them."""

from __future__ import annotations

from os import PathLike
from typing import Literal, TypedDict

Layout = Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"]
Place = str | PathLike[str]


class RunOptions(TypedDict, total=False):
    """Those of `pipeline run`, with underscores; what is left out is decided as there."""

    scale: Literal["auto", "2", "4", "8", 2, 4, 8]
    model: Place
    engine: str
    select: Literal["auto", "time", "view", "content"]
    ref_offset: float | Literal["auto"] | None
    max_ref_distance: float
    runner: Literal["auto", "inline", "ray"]
    address: str | None
    workers: int | None
    accelerator: str | None
    batch: int
    segment: float
    placement: Literal["auto", "fused", "split"]
    codec: str | None
    crf: float | None
    quality: Literal["visually-lossless", "high", "small"] | None
    preset: str | None
    pix_fmt: str | None
    audio: Literal["copy", "none"]
    start: float | str | None
    end: float | str | None
    on_error: Literal["stop", "conceal"]
    plan: Place | None
    deinterlace: Literal["auto", "off", "bwdif"]
    sandbox: Literal["auto", "on", "off"]
    ground_truth: Place | None
    force: bool
    layout: Layout | Literal["stereo"] | None
    grid: tuple[int, int] | str | None
    crop_grid: tuple[int, int] | str | None
    order: Literal["row,col", "col,row"] | None
    template: str | None
    dataset: str | None
    axes: str | None
    ref_view: tuple[int, int] | str | None
    ref_position: tuple[float, float] | str | None
    ref_count: int
    consistent: bool
    to: Layout | None
