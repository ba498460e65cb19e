"""From the configuration's words to the things that samples are drawn from."""

from __future__ import annotations

from pathlib import Path

from crossnetpp.data.photographs import Photographs
from crossnetpp.data.recordings import Clips, Views
from crossnetpp.data.sample import PairSource
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
    raise ConfigError(f"found the source '{config.kind}', which this version cannot read")


def open_sources(data: Path, configs: tuple[SourceConfig, ...]) -> list[tuple[float, PairSource]]:
    """Return the weighted sources of a run."""
    return [(config.weight, open_source(data, config)) for config in configs]
