"""Train a network by a configuration of `crossnetpp/configs`.

    python -m crossnetpp.train fast --data DATA --out fast.safetensors
    torchrun --nproc-per-node 4 -m crossnetpp.train fast --data DATA --out fast.safetensors

The same command again resumes an interrupted run, to the same numbers.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import yaml

from crossnetpp.checkpoint import WeightsError
from crossnetpp.data.mixture import Mixture, MixtureSettings
from crossnetpp.data.sample import DataError
from crossnetpp.landmarks import LandmarkCache
from crossnetpp.training.config import ConfigError, TrainingConfig, load_config
from crossnetpp.training.loop import Trainer
from crossnetpp.training.parallel import processes
from crossnetpp.training.sources import open_sources
from crossnetpp.training.validation import Validation


def train(
    config: TrainingConfig, data: Path, out: Path, *, stop_after: int | None = None
) -> list[float]:
    """Run or resume `config` in this process and return the loss of each step it did.

    Weights go to `out` (safetensors), the state, log and TensorBoard files beside it. Raises
    ConfigError for data that is not there or a state of another run.
    """
    with processes() as process:
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
        if held_out and process.leads:
            validation = Validation(config.validation, open_sources(data, held_out))
        out.parent.mkdir(parents=True, exist_ok=True)
        return Trainer(config, samples, validation, out, process).run(stop_after=stop_after)


def setting(text: str) -> tuple[str, Any]:
    """Return the name and value of `name=value`, the value read as YAML.

    Raises ConfigError for anything else.
    """
    name, equals, value = text.partition("=")
    try:
        if not name or not equals:
            raise ConfigError(f"found --set {text}, expected NAME=VALUE, say steps=200")
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"found --set {text}, expected a value in YAML: {first}") from error


def main() -> None:
    """Read the command line and train; exit status 2 and one line for what cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a YAML file, or the name of a shipped configuration")
    parser.add_argument("--data", type=Path, required=True, help="folder the sources lie in")
    parser.add_argument("--out", type=Path, required=True, help="weights, .safetensors")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], help="name=value, over the YAML"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        config = load_config(arguments.config, dict(arguments.set))
        train(config, arguments.data, arguments.out)
    except (ConfigError, DataError, WeightsError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
