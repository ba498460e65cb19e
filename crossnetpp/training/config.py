"""The configuration of a training run, read from YAML.

File patterns in a configuration are relative to the data folder.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crossnetpp.networks.presets import PRESETS, make_config

CONFIG_FOLDER = Path(__file__).parents[1] / "configs"

Scale = Literal[2, 4, 8]
_MOST_VALUES = 100_000  # in a configuration
_LONGEST_NUMBER = 50  # characters
_MOST_BYTES = 16_000_000  # in a configuration
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Side = Annotated[int, Field(ge=64, le=8192, multiple_of=64)]  # of a square, in pixels
Scales = Annotated[tuple[Scale, ...], Field(min_length=1)]


# Network options that may differ from those of the weights to start from, because they only add or
# leave out parts, or have no weights
CHANGEABLE = {
    "votes",
    "chroma",
    "stages",
    "arbitration",
    "blocks",
    "settlings",
    "lr_steps",
    "lr_smoothing",
}


class ConfigError(Exception):
    """Raised if a configuration cannot be used, with a one-line message."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourceConfig(_Strict):
    """A source of training pairs."""

    kind: Literal[
        "photographs", "clips", "views", "stereo", "light_fields", "lenslets", "mosaics", "hdf5"
    ]
    weight: Positive = 1.0
    """Weight of the source in the mixture, relative to the weights of the other sources."""
    files: tuple[str, ...]
    """Glob patterns of files; for `light_fields`, of folders of views; for `stereo`, of the left
    pictures, the right pictures and the true disparities, in this order."""
    leave_out: tuple[str, ...] = ()
    """Glob patterns of held-out files."""
    shrink: tuple[Positive, ...] = ()
    """For `views` and `stereo`: factors by which the scene is scaled; all sizes are used."""
    reach: Count = 15
    """For `clips`: largest distance in frames between target and reference."""


class RecordingsConfig(_Strict):
    """Samples from clips recorded with a real encoder, with one or two key frames."""

    share: Share = 0.5
    """Share of the steps that use these samples instead of the sources."""
    files: tuple[str, ...]
    """Glob patterns of clips."""
    captures: Annotated[
        tuple[Literal["bicubic", "sensor", "recorded", "recorded28"], ...], Field(min_length=1)
    ] = ("bicubic", "sensor", "recorded", "recorded28")
    """Ways to record the clips, of which each step draws one."""
    scales: Scales = (4,)
    """Scales, of which each step draws one; repeat a scale to draw it more often."""
    frames: Annotated[int, Field(ge=16)] = 76
    """Number of frames to use from the start of each clip."""


class SyntheticConfig(_Strict):
    """Samples that the training device composes from pictures; see `data/synthetic`."""

    share: Share = 0.5
    """Share of the steps that use these samples instead of the sources."""
    files: tuple[str, ...]
    """Glob patterns of pictures."""
    leave_out: tuple[str, ...] = ()
    """Glob patterns of held-out files."""
    layers: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=32)]] = (1, 8)
    """Minimum and maximum number of surfaces in a scene."""
    reach: Annotated[float, Field(ge=1, le=8192)] = 64.0
    """Largest motion between target and reference in most scenes, in pixels."""
    recorded: Share = 0.4
    """Share of the batches whose LR is noisy and compressed."""
    single_rate: Share = 0.4
    """Share of the batches with one reference; the others have two."""

    @model_validator(mode="after")
    def _check_layers(self) -> SyntheticConfig:
        if self.layers[0] > self.layers[1]:
            raise ValueError(
                f"found {self.layers}, expected the minimum number of layers, then the maximum"
            )
        return self


class LossConfig(_Strict):
    """Weights of the terms of the hybrid loss; see LossWeights.

    The super-resolution loss always has weight 1.
    """

    warping: NotNegative = 0.5
    warping_stage1: NotNegative = 0.25
    flow: NotNegative = 0.004
    landmark: NotNegative = 0.0
    squared: NotNegative = 0.0


class ValidationConfig(_Strict):
    """Validation on pairs drawn once from held-out sources, which selects the weights to save."""

    every: Count = 500
    """Steps between validations."""
    pairs: Annotated[int, Field(ge=1, le=10_000)] = 24
    size: Side = 256
    scales: Scales = (4, 8)
    """Scales at which each pair is measured."""
    sources: tuple[SourceConfig, ...] = ()
    recordings: RecordingsConfig | None = None
    """Held-out clips, from which `pairs` further samples are drawn; `share` is ignored."""


class TrainingConfig(_Strict):
    """All settings of a run."""

    preset: str = "fast"
    network: dict[str, Any] = {}
    """Options that override the preset's options; with `start`, only those in CHANGEABLE."""
    start: str | None = None
    """Weights to start from (a preset or a file), which also determine the network's options."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that are not trained, such as `encoder`."""
    steps: Count
    batch: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Samples per step, summed over all processes."""
    size: Side = 192
    """Pixels along each side of a crop."""
    scales: Scales = (2, 4, 4, 4, 8, 8)
    """Scales, of which each step draws one."""
    rate: Positive = 4e-4
    """Peak learning rate, reached by linear warm-up."""
    schedule: Literal["cosine", "hold"] = "cosine"
    """After the warm-up, the rate falls to 1 % of its peak (`cosine`), or stays constant (`hold`)
    for runs whose length is not known in advance."""
    warm_up: Annotated[int, Field(ge=0)] = 100
    """Steps in the warm-up."""
    weight_decay: NotNegative = 1e-4
    clip_gradient: Positive = 1.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the exponential moving average of the weights; OUT contains the averaged weights."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the convolutions; coordinates, images and sums are always float32."""
    chroma_subsampled: Share = 0.5
    """Share of steps whose LR has 4:2:0 chroma, like most recorded video."""
    recorded: Share = 0.0
    """Share of steps whose LR has a camera's blur, noise and JPEG compression."""
    area: Share = 0.0
    """Share of the other steps whose LR consists of pixel means; the network is given that
    kernel."""
    fault_rate: Share = 0.15
    """Share of samples whose reference has a fault, such as other light or unrelated content."""
    curriculum: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the run over which motion grows from `curriculum_start` to its full range."""
    curriculum_start: Share = 0.1
    """Motion in the first step, as a share of its full range."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    workers: Annotated[int, Field(ge=0, le=1000)] = 1
    """Number of processes that prepare samples for each training process."""
    log_every: Count = 50
    save_every: Count = 250
    loss: LossConfig = LossConfig()
    sources: tuple[SourceConfig, ...]
    recordings: RecordingsConfig | None = None
    """Recorded clips, on which a share of the steps trains."""
    synthetic: SyntheticConfig | None = None
    """Composed scenes, on which a share of the steps trains."""
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _check_start(self) -> TrainingConfig:
        fixed = sorted(set(self.network) - CHANGEABLE)
        if self.start and fixed:
            raise ValueError(
                f"found {', '.join(fixed)} in `network` together with `start`, but with `start`, "
                f"only {', '.join(sorted(CHANGEABLE))} can be set; remove the other options or "
                "`start`"
            )
        if self.preset not in PRESETS:
            raise ValueError(
                f"found the preset {self.preset!r}, expected one of {', '.join(PRESETS)}"
            )
        make_config(self.preset, self.network)
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> TrainingConfig:
        shares = [part.share for part in (self.recordings, self.synthetic) if part is not None]
        if sum(shares) > 1 + 1e-9:
            raise ValueError(
                f"found shares of {sum(shares):g} for recordings and synthetic samples together, "
                "expected 1 or less"
            )
        return self

    def digest(self) -> str:
        """Return a hash of all settings that affect the run's results."""
        decisive = self.model_dump_json(exclude={"workers", "log_every", "save_every"})
        return hashlib.sha256(decisive.encode()).hexdigest()[:16]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """A loader of plain data that refuses long numbers.

    Parsing YAML's base-60 numbers, such as 1:30:00, takes time quadratic in their length, and
    Python refuses to print very large numbers.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node. Raises ValueError if it is a long number."""
        is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if is_number and len(node.value) > _LONGEST_NUMBER:
            raise ValueError(
                f"found a number that is {len(node.value):,} characters long, expected at most "
                f"{_LONGEST_NUMBER} characters"
            )
        return super().construct_object(node, deep)


def load_yaml(text: str) -> Any:
    """Return the plain data in a YAML text.

    Aliases (*name) may repeat values, but not so often that a short text fills the memory. Raises
    YAMLError, ValueError or RecursionError if the text is not plain data, or contains too much.
    """
    content = yaml.load(text, _Loader)
    count = 0
    waiting = [content]
    while waiting:
        value = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"found too many values, expected at most {_MOST_VALUES}")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value
    return content


def _read_text(path: Path) -> str:
    """Return the text of a file. Raises ValueError if it has more than _MOST_BYTES."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"the file has more than {_MOST_BYTES // 1_000_000} MB")
    return content.decode()


def load_config(name: str, overrides: dict[str, Any] | None = None) -> TrainingConfig:
    """Return the shipped configuration `name` or, if there is none, the one in the file `name`.

    Raises ConfigError with a one-line message if the file is missing or not YAML, or if a
    setting is missing, unknown or out of range.
    """
    shipped = CONFIG_FOLDER / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    try:
        content = load_yaml(_read_text(path))
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in CONFIG_FOLDER.glob("*.yaml")))
        raise ConfigError(
            f"found no configuration '{name}', expected a readable YAML file or one of {known}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(f"found {path}, expected YAML of plain values: {first_line}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"found no settings in {path}, expected lines such as 'steps: 8500'")

    try:
        return TrainingConfig.model_validate(
            {str(k): v for k, v in content.items()} | (overrides or {})
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"found {where or 'settings'} = {str(first['input'])[:60]!r} in {path}: {first['msg']}"
        ) from error
