"""Presets: the published networks and ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

Activation = Literal["relu", "selu"]


@dataclass(frozen=True)
class PaperConfig:
    """CrossNet++ as published, and what the papers vary."""

    stages: Literal[1, 2] = 2
    """Flow nets: one (CrossNet), or a second one for what the first has left (CrossNet++)."""
    shared_encoder: bool = True
    """One encoder for LR_up and for the reference, or one for each."""
    activation: Activation = "relu"
    """Of encoder and decoder: `relu` in the paper, `selu` in its published code."""
    warping: Literal["feature", "image"] = "feature"
    """What the last flow warps: the reference's features at four scales, or its picture."""
    upsample: Literal["bicubic", "learned"] = "bicubic"
    """What the encoder sees of LR: LR_up, or the answer of a single-image network."""


@dataclass(frozen=True)
class FastConfig:
    """The cheap network: at most 16 GFLOP at 320 x 512."""

    stages: Literal[1, 2] = 2
    """1 leaves out the second search, between LR_up and the warped reference."""
    width: int = 64
    """Channels of the fusion at 1/4 size."""
    blocks: int = 4
    """Residual blocks of the fusion."""
    windows: tuple[int, ...] = (31, 15, 7)
    """Sides of the windows of the Lucas-Kanade steps, pixels at 1/2 size: x8 wants them wide."""
    refinements: int = 1
    """Times that the flow is refined by Lucas-Kanade steps."""
    settlings: int = 3
    """Times that the flow is refined by variational steps after that."""


Config = PaperConfig | FastConfig

PRESETS: dict[str, Config] = {
    "paper": PaperConfig(),
    "crossnet": PaperConfig(stages=1),
    "fast": FastConfig(),
}


def make_config(preset: str, options: Mapping[str, Any] | None = None) -> Config:
    """Return the configuration of `preset` with `options` in place of its own.

    Raises KeyError for an unknown preset, ValueError with one line for options that do not fit.
    """
    base = PRESETS[preset]
    own = asdict(base)
    for name in options or {}:
        if name not in own:
            raise ValueError(
                f"found the option '{name}' of the network '{preset}', "
                f"expected one of {', '.join(own)}"
            )
    try:
        return TypeAdapter(type(base)).validate_python({**own, **(options or {})})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f"found {where} = {first['input']!r} of the network '{preset}': {first['msg']}"
        ) from error
