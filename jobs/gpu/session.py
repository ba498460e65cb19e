"""Use a few minutes on a GPU machine to train, validate and measure, without network access.

    python -m jobs.gpu.session --data DATA --out OUT --minutes 10 [--resume EARLIER_OUT]

Training uses the configuration `fast_joint` with a constant learning rate. It continues the run in
EARLIER_OUT, which may come from another machine, or starts a new run. A second, short run starts
from the average weights and lowers the rate. The remaining time is for `jobs.gpu.check`. These
files of at most 16 MiB are written to OUT:

    run.safetensors, run.state/   the run, for the next session's --resume
    average.safetensors           its average weights
    cooled.safetensors            the weights after the second run, to compare with shipped ones
    session.json                  validation gains, sample counts, speeds and the machine
    gpu_check.json                the speeds of the engines

Without a GPU, the same command trains on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.data.sample import DataError
from crossnetpp.train import open_data, parse_setting
from crossnetpp.training.config import ConfigError, TrainingConfig, load_config
from crossnetpp.training.loop import Trainer
from crossnetpp.training.parallel import join_processes
from crossnetpp.training.validation import Validation
from jobs.gpu import check
from jobs.machine import describe_machine

CONFIG = "fast_joint"
COOLING_SHARE = 0.2  # share of the training time in which the learning rate falls
VALIDATION_SECONDS = 15.0  # reserved for the validation at the end
LEAST_STEPS = 2  # least number of steps in the run that lowers the rate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a session; if its input is unusable, print a line to stderr and return 2."""
    options = _parse_options(arguments)
    started = time.monotonic()
    try:
        config = load_config(options.config, dict(options.set))
        config = config.model_copy(update={"workers": _limit_workers(config.workers)})
        options.out.mkdir(parents=True, exist_ok=True)
        if options.resume is not None:
            copy_run(options.resume, options.out)
        seconds = 60 * options.minutes - options.check_seconds - VALIDATION_SECONDS
        summary = train_and_compare(config, options.data, options.out, started + seconds)
    except (ConfigError, DataError) as error:
        sys.stderr.write(f"{error}\n")
        return 2

    summary["machine"] = describe_machine()
    (options.out / "session.json").write_text(
        json.dumps(summary, indent=1) + "\n", encoding="utf-8"
    )
    sys.stdout.write(json.dumps(summary) + "\n")

    left = 60 * options.minutes - (time.monotonic() - started)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    words = ["--device", device, "--out", str(options.out / "gpu_check.json")]
    words += ["--seconds", f"{max(left, 0):.0f}", *(["--quick"] if device == "cpu" else [])]
    return check.main(words) if options.check_seconds else 0


def copy_run(earlier: Path, out: Path) -> None:
    """Copy the run of an earlier session from `earlier` to `out`, unless they are the same folder.

    Raises ConfigError if `earlier` contains no run.
    """
    state = earlier / "run.state"
    if not (state / "state.json").is_file():
        raise ConfigError(
            f"{earlier} is not the folder of an earlier session, because it has no "
            "run.state/state.json; omit --resume to start a new run"
        )
    if earlier.resolve() == out.resolve():
        return
    shutil.copytree(state, out / "run.state", dirs_exist_ok=True)
    for file in earlier.glob("run.*"):
        if file.is_file():
            shutil.copyfile(file, out / file.name)


def train_and_compare(
    config: TrainingConfig, data: Path, out: Path, deadline: float
) -> dict[str, Any]:
    """Train until `deadline` (on the clock of time.monotonic), and evaluate the weights.

    Return the figures for session.json.
    """
    run = out / "run.safetensors"
    with join_processes() as process:
        opened = open_data(config, data, run, process)
        begun = time.monotonic()
        cooling_seconds = COOLING_SHARE * (deadline - begun)
        trainer = Trainer(config, opened, run, process)
        before = trainer.progress
        trainer.run(deadline=deadline - cooling_seconds)
        progress = trainer.progress
        seconds = progress.seconds - before.seconds
        steps_per_second = (progress.step - before.step) / max(seconds, 1e-3)

        # compare the average weights with the result of a short run that lowers the rate
        average, cooled = out / "average.safetensors", out / "cooled.safetensors"
        save_weights(trainer.average, config.preset, average)
        steps = max(LEAST_STEPS, int(cooling_seconds * steps_per_second))
        falling = make_cooling_config(config, average, steps, seed=config.seed + progress.step)
        shutil.rmtree(cooled.with_suffix(".state"), ignore_errors=True)
        Trainer(falling, opened, cooled, process).run()
        shutil.rmtree(cooled.with_suffix(".state"))

        weights = {"start": config.start, "average": str(average), "cooled": str(cooled)}
        gains = measure_gains(opened.validation, weights, process.device)
    return {
        "config": config.model_dump(mode="json"),
        "steps": progress.step,
        "samples": progress.samples,
        "seconds_of_training": round(progress.seconds, 1),
        "steps_of_this_session": progress.step - before.step,
        "samples_per_second": round(config.batch * steps_per_second, 2),
        "cooling_steps": steps,
        "validation_gain_db": gains,
    }


def make_cooling_config(
    config: TrainingConfig, start: Path, steps: int, seed: int
) -> TrainingConfig:
    """Return the configuration of a run that starts from `start` and lowers the learning rate."""
    return config.model_copy(
        update={
            "start": str(start),
            "network": {},
            "schedule": "cosine",
            "steps": steps,
            "warm_up": 0,
            "seed": seed,
            "average": min(config.average, 1 - 5 / (steps + 5)),
            "save_every": steps,
            "validation": config.validation.model_copy(update={"every": steps}),
        }
    )


def measure_gains(
    validation: Validation | None, weights: dict[str, str | None], device: torch.device
) -> dict[str, float]:
    """Return the mean gain in dB over LR_up on the validation pairs, for each set of weights.

    `weights` maps names to models; names whose model is None are left out. Without validation
    pairs, the result is empty.
    """
    if validation is None:
        return {}
    return {
        name: round(validation.measure(load_network(path).to(device), device).gain, 3)
        for name, path in weights.items()
        if path is not None
    }


def _limit_workers(workers: int) -> int:
    """Return how many processes prepare samples: `workers`, or fewer to leave two cores free."""
    return max(0, min(workers, (os.cpu_count() or 1) - 2))


def _parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.gpu.session",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the training data")
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    parser.add_argument("--minutes", type=float, default=9.5, help="length of the session")
    parser.add_argument("--resume", type=Path, metavar="EARLIER_OUT", help="run to continue")
    parser.add_argument("--config", default=CONFIG, help=f"configuration (default {CONFIG})")
    parser.add_argument(
        "--check-seconds",
        type=float,
        default=90.0,
        help="seconds to keep for jobs.gpu.check at the end; 0 = no check (default 90)",
    )
    parser.add_argument(
        "--set",
        type=parse_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="override a setting of the configuration; may be repeated",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
