"""Train a network with a configuration from `crossnetpp/configs`, or with one of your own.

    python -m crossnetpp.train fast --data DATA --out fast.safetensors
    torchrun --nproc-per-node 4 -m crossnetpp.train fast --data DATA --out fast.safetensors

Repeat the command to resume an interrupted run; the interruption does not affect the weights.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import yaml

from crossnetpp.checkpoint import SUFFIX, save_weights
from crossnetpp.data.mixture import Mixture, MixtureSettings
from crossnetpp.data.sample import DataError
from crossnetpp.landmarks import LandmarkCache
from crossnetpp.output_folder import find_obstacle
from crossnetpp.printable import PrintableFormatter, make_printable
from crossnetpp.training.config import ConfigError, TrainingConfig, load_config, load_yaml
from crossnetpp.training.journal import Show
from crossnetpp.training.loop import Trainer, TrainingData
from crossnetpp.training.parallel import ProcessGroup, join_processes
from crossnetpp.training.sources import open_recordings, open_sources, open_synthetic
from crossnetpp.training.validation import Validation


def train(
    config: TrainingConfig,
    data: Path,
    out: Path,
    *,
    stop_after: int | None = None,
    deadline: float | None = None,
    show: Show | None = None,
) -> list[float]:
    """Run or resume a training run in this process, and return the loss of each completed step.

    Weights are written to `out` (safetensors); the state, the log and files for TensorBoard are
    written beside it. `show` receives the progress; without it, progress is shown as a bar on a
    terminal, and as log lines elsewhere. The run stops after step `stop_after`, or at the time
    `deadline` (by time.monotonic); calling `train` again resumes it.

    Raises DataError if data cannot be used, and ConfigError if data are missing, if `freeze` names
    an unknown part of the network, if the weights to start from cannot be used or are `out`, if
    `out` does not name a safetensors file, if the state beside `out` belongs to another
    configuration or is damaged, if the processes cannot share a batch equally, or if the values
    diverge.
    """
    _check_out(config, out)
    with join_processes() as process:
        opened = open_data(config, data, out, process)
        out.parent.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(config, opened, out, process)
        losses = trainer.run(stop_after=stop_after, deadline=deadline, show=show)

        # None were saved if no validation succeeded, or if they were deleted after the last step
        finished = trainer.progress.step == config.steps
        if finished and process.leads and not out.is_file():
            save_weights(trainer.average, config.preset, out)
        return losses


def open_data(config: TrainingConfig, data: Path, out: Path, process: ProcessGroup) -> TrainingData:
    """Open the data that `config` needs, in the folder `data`.

    Landmarks are cached in a folder beside `out`. Only the leading process opens validation data.
    See `train` for the errors.
    """
    samples = Mixture(
        open_sources(data, config.sources),
        MixtureSettings(
            size=config.size,
            steps=config.steps,
            batch=config.batch,
            fault_rate=config.fault_rate,
            seed=config.seed,
            curriculum=config.curriculum,
            curriculum_start=config.curriculum_start,
        ),
        LandmarkCache(out.with_suffix(".landmarks")) if config.loss.landmark else None,
    )

    held_out = config.validation.sources
    validation = None
    if (held_out or config.validation.recordings) and process.leads:
        validation = Validation(
            config.validation,
            open_sources(data, held_out),
            open_recordings(data, config.validation.recordings),
        )
    return TrainingData(
        samples,
        validation,
        open_recordings(data, config.recordings, config.fault_rate),
        open_synthetic(data, config, process.device),
    )


def _check_out(config: TrainingConfig, out: Path) -> None:
    """Raise ConfigError if `out` cannot be written, or is the file of the weights to start from.

    The suffix is checked so that no picture or configuration is replaced by mistake.
    """
    if out.suffix != SUFFIX:
        raise ConfigError(
            f"found the output {out}, expected a name that ends with {SUFFIX}; "
            f"try {out.with_suffix(SUFFIX) if out.name else f'weights{SUFFIX}'}"
        )
    if out.is_dir():
        raise ConfigError(f"found a folder at {out}, expected a file; try another output")
    if obstacle := find_obstacle(out.parent):
        raise ConfigError(f"found a file at {obstacle}, expected a folder; try another output")

    start = Path(config.start or "")
    if config.start and start.is_file() and out.exists() and out.samefile(start):
        raise ConfigError(
            f"found --out {out}, which is the file of the weights to start from; try another --out"
        )


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the name and the value of a setting `name=value`, whose value is YAML.

    Raises ConfigError if `text` does not have this form.
    """
    name, equals, value = text.partition("=")
    try:
        if not name or not equals:
            raise ConfigError(f"found --set {text}, expected NAME=VALUE; try --set steps=200")
        return name, load_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"found --set {text}, expected a YAML value: {first}") from error


def main() -> None:
    """Run the command line; print one line and exit with status 2 if the input cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a YAML file, or the name of a shipped configuration")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder that contains the training data"
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors file for the weights")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a setting of the configuration; can be repeated",
    )
    arguments = parser.parse_args()

    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        settings = dict(parse_setting(text) for text in arguments.set)
        train(load_config(arguments.config, settings), arguments.data, arguments.out)
    except (ConfigError, DataError) as error:
        sys.stderr.write(f"{make_printable(str(error))}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
