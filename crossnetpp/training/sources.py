"""Open the data sources that a configuration lists."""

from __future__ import annotations

from pathlib import Path

import torch

from crossnetpp.data.light_fields import LightFields
from crossnetpp.data.photographs import Photographs
from crossnetpp.data.recorded_clips import RecordedClips
from crossnetpp.data.recordings import Clips, Views
from crossnetpp.data.sample import PairSource
from crossnetpp.data.stereo import Stereo
from crossnetpp.data.synthetic.generator import GeneratorSettings, PairGenerator
from crossnetpp.training.config import (
    ConfigError,
    RecordingsConfig,
    SourceConfig,
    TrainingConfig,
)


def find_files(data: Path, patterns: tuple[str, ...], leave_out: tuple[str, ...]) -> list[Path]:
    """Return the files that match any of `patterns` but none of `leave_out`.

    The files are sorted within each pattern. Raises ConfigError if there are no such files, or if a
    pattern is invalid.
    """
    left_out = {path for pattern in leave_out for path in _find_matches(data, pattern)}
    found = [path for pattern in patterns for path in _find_matches(data, pattern)]
    files = [path for path in found if path not in left_out]
    if not files:
        missing = "only held-out files"
        if not found:
            missing = f"no file {' or '.join(patterns)}" if patterns else "no pattern of files"
        raise ConfigError(
            f"found {missing} in {data}, expected at least one usable file; set --data to a folder "
            "laid out as in CONTRIBUTING.md, or change the configuration's sources"
        )
    return files


def _find_matches(data: Path, pattern: str) -> list[Path]:
    """Return the files in `data` that match `pattern`, sorted. Raises ConfigError if it is invalid.

    An empty pattern, an absolute one, and `**` within a name are invalid.
    """
    try:
        return sorted(data.glob(pattern))
    except (IndexError, NotImplementedError, ValueError) as error:
        # Path.glob raises IndexError for ".", and NotImplementedError for an absolute pattern
        raise ConfigError(
            f"found the pattern {pattern[:60]!r}, expected one for files in {data}, such as "
            "'photos/*.jpg'"
        ) from error


def open_recordings(
    data: Path, config: RecordingsConfig | None, fault_rate: float = 0.0
) -> RecordedClips | None:
    """Return the clips of `config`, read and recorded; None if `config` is None.

    Raises ConfigError if files are missing, and DataError if a clip is too short.
    """
    if config is None:
        return None
    files = find_files(data, config.files, ())
    return RecordedClips(
        files, config.captures, config.scales, frames=config.frames, fault_rate=fault_rate
    )


def open_synthetic(
    data: Path, config: TrainingConfig, device: torch.device
) -> PairGenerator | None:
    """Return the generator of composed scenes on `device`; None if `config` has none.

    Raises ConfigError if files are missing, and DataError if a picture cannot be read.
    """
    synthetic = config.synthetic
    if synthetic is None:
        return None
    settings = GeneratorSettings(
        layers=synthetic.layers,
        reach=synthetic.reach,
        scales=config.scales,
        recorded=synthetic.recorded,
        chroma_subsampled=config.chroma_subsampled,
        fault_rate=config.fault_rate,
        single_rate=synthetic.single_rate,
    )
    files = find_files(data, synthetic.files, synthetic.leave_out)
    return PairGenerator.from_files(files, settings, device)


def open_source(data: Path, config: SourceConfig) -> PairSource:
    """Return the source of training pairs that `config` describes.

    Photographs, clips, views and stereo pairs are read into memory at once; other sources are read
    when they are used. Raises ConfigError if files are missing or their number is wrong, and
    DataError if files cannot be used.
    """
    files = find_files(data, config.files, config.leave_out)
    if config.kind == "photographs":
        return Photographs(files)
    if config.kind == "clips":
        return Clips(files, reach=config.reach)
    if config.kind == "views":
        return Views([files] * max(1, len(config.shrink)), shrink=config.shrink)
    if config.kind == "stereo":
        return _open_stereo(data, files, config)
    if config.kind == "light_fields":
        return LightFields.from_folders(files)
    if config.kind == "lenslets":
        return LightFields.from_lenslets(files)
    if config.kind == "mosaics":
        return LightFields.from_mosaics(files)
    return _open_hdf5(data, files)


def _open_hdf5(data: Path, files: list[Path]) -> LightFields:
    if len(files) > 1:
        raise ConfigError(
            f"found {len(files)} files for hdf5 in {data}, expected one; "
            "list each file as a separate source"
        )
    return LightFields.from_hdf5(files[0])


def _open_stereo(data: Path, files: list[Path], config: SourceConfig) -> Stereo:
    """Return the stereo pairs in `files`.

    `files` lists all left pictures, then all right pictures, then all disparities. Raises
    ConfigError unless the number of files is a multiple of three.
    """
    if len(files) % 3:
        raise ConfigError(
            f"found {len(files)} file{'s' * (len(files) != 1)} for stereo in {data}, expected the "
            "same number of left pictures, right pictures and disparities; list a pattern for each "
            "of these, in this order"
        )
    count = len(files) // 3
    scenes = list(zip(files[:count], files[count : 2 * count], files[2 * count :], strict=True))
    return Stereo(scenes, shrink=config.shrink or (1.0,))


def open_sources(data: Path, configs: tuple[SourceConfig, ...]) -> list[tuple[float, PairSource]]:
    """Return the weight and the source of every configuration; see `open_source`."""
    return [(config.weight, open_source(data, config)) for config in configs]
