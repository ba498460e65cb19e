"""From the configuration's words to the things that samples are drawn from."""

from __future__ import annotations

from pathlib import Path

from crossnetpp.data.light_fields import LightFields
from crossnetpp.data.photographs import Photographs
from crossnetpp.data.recordings import Clips, Views
from crossnetpp.data.sample import PairSource
from crossnetpp.data.stereo import Stereo
from crossnetpp.training.config import ConfigError, SourceConfig


def find(data: Path, config: SourceConfig) -> list[Path]:
    """Return the files of a source in the order of its patterns; ConfigError if there is none."""
    left_out = {path for pattern in config.leave_out for path in data.glob(pattern)}
    found = [path for pattern in config.files for path in sorted(data.glob(pattern))]
    kept = [path for path in found if path not in left_out]
    if not kept:
        raise ConfigError(
            f"found no file {' or '.join(config.files)} in {data}; give the data with --data, "
            "laid out as CONTRIBUTING.md says, or change the configuration's sources"
        )
    return kept


def open_source(data: Path, config: SourceConfig) -> PairSource:
    """Return the source that `config` describes, read into memory."""
    files = find(data, config)
    if config.kind == "photographs":
        return Photographs(files)
    if config.kind == "clips":
        return Clips(files, reach=config.reach)
    if config.kind == "views":
        return Views([files] * max(1, len(config.shrink)), shrink=config.shrink)
    if config.kind == "stereo":
        if len(files) % 3:
            raise ConfigError(
                f"found {len(files)} files for stereo in {data}, expected as many left and right "
                "pictures as disparities; give a pattern for each"
            )
        count = len(files) // 3
        scenes = list(zip(files[:count], files[count : 2 * count], files[2 * count :], strict=True))
        return Stereo(scenes, shrink=config.shrink or (1.0,))
    if config.kind == "light_fields":
        return LightFields.folders(files)
    if config.kind == "lenslets":
        return LightFields.lenslets(files)
    if config.kind == "mosaics":
        return LightFields.mosaics(files)
    return LightFields.hdf5(files[0])


def open_sources(data: Path, configs: tuple[SourceConfig, ...]) -> list[tuple[float, PairSource]]:
    """Return the weighted sources of a run."""
    return [(config.weight, open_source(data, config)) for config in configs]
