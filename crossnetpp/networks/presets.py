"""Configurations of the networks, and the presets (the published networks and `fast`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

Activation = Literal["relu", "selu"]


def _check_odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("expected an odd number")
    return value


# Bounds far beyond useful values, so that a hostile weights file cannot exhaust memory or time
_Channels = Annotated[int, Field(ge=8, le=512)]
_Blocks = Annotated[int, Field(ge=0, le=64)]
_Turns = Annotated[int, Field(ge=0, le=16)]
_Votes = Annotated[int, Field(ge=0, le=256)]
_Window = Annotated[int, Field(ge=3, le=127), AfterValidator(_check_odd)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Windows = Annotated[tuple[_Window, ...], Field(min_length=1, max_length=8)]


@dataclass(frozen=True)
class PaperConfig:
    """Options of the published CrossNet++, including the papers' variants."""

    stages: Literal[1, 2] = 2
    """Number of flow nets: 1 (CrossNet), or 2, of which the second finds the residual motion
    (CrossNet++)."""
    shared_encoder: bool = True
    """Whether LR_up and the reference share one encoder."""
    activation: Activation = "relu"
    """Activation of encoder and decoder: `relu` as in the paper, or `selu` as in its code."""
    warping: Literal["feature", "image"] = "feature"
    """What the last flow warps: the reference's features at four scales, or the reference."""
    upsample: Literal["bicubic", "learned"] = "bicubic"
    """Input of the encoder: bicubic LR_up, or LR_up from a small single-image network."""


@dataclass(frozen=True)
class FastConfig:
    """Options of the cheaper network; the defaults need at most 16 GFLOP per 512x320 frame."""

    stages: Literal[1, 2] = 2
    """Number of searches for motion; the second is between LR_up and the warped reference."""
    arbitration: bool = False
    """Whether each pixel follows the search that explains LR best, or no motion where that does."""
    width: _Channels = 64
    """Number of channels in the fusion, which works at 1/4 size."""
    blocks: _Blocks = 4
    """Number of residual blocks in the fusion."""
    windows: _Windows = (31, 15, 7)
    """Window sizes of the Lucas-Kanade steps in pixels at 1/2 size; x8 needs the large ones."""
    refinements: _Turns = 1
    """Number of Lucas-Kanade refinements of the flow."""
    settlings: _Turns = 3
    """Number of variational refinements after the Lucas-Kanade refinements."""
    lr_steps: _Turns = 0
    """Number of refinements on the LR grid after the variational ones; none at x8."""
    lr_smoothing: _Share = 1.0
    """Share of the smoothness term of these refinements that applies to the flow; the rest applies
    only to the increment. The flow of lossless LR needs less smoothing than that of noisy LR."""
    votes: _Votes = 0
    """Number of channels in the network that corrects the weights of several references; if it is
    0, there is no such network, and only the references' errors count."""
    chroma: bool = False
    """Whether luma and chroma are borrowed in different shares; 4:2:0 video lacks more chroma
    detail than luma detail."""


Config = PaperConfig | FastConfig

PRESETS: dict[str, Config] = {
    "paper": PaperConfig(),
    "crossnet": PaperConfig(stages=1),
    "fast": FastConfig(),
}


# Other shipped weights -> the preset of their network
VARIANTS = {"fast-recorded": "fast", "fast-quick": "fast", "fast-recorded-quick": "fast"}


def make_config(preset: str, options: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of `preset`, overridden by `options`.

    Raises KeyError if the preset is unknown, and ValueError with a one-line message if the options
    do not fit it.
    """
    base = PRESETS[preset]
    defaults = asdict(base)
    for name in options or {}:
        if name not in defaults:
            raise ValueError(
                f"found the option {name!r} for the network '{preset}', "
                f"expected one of {', '.join(defaults)}"
            )

    try:
        return TypeAdapter(type(base)).validate_python({**defaults, **(options or {})})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"found {where} = {first['input']!r} for the network '{preset}': {first['msg']}"
        ) from error
