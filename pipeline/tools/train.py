"""Train a network in this process, or in several processes with Ray Train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from crossnetpp.checkpoint import WeightsError
from crossnetpp.data.sample import DataError
from crossnetpp.train import parse_setting, train
from crossnetpp.training.config import ConfigError, TrainingConfig, load_config
from crossnetpp.training.journal import Show
from deploy.distribution import describe_install
from pipeline.errors import InputError, PipelineError, last_line
from pipeline.execution.cluster.connection import cluster
from pipeline.interrupt import Interrupts
from pipeline.progress import Count, Reporter, make_reporter


def train_network(
    config: str,
    data: Path,
    out: Path,
    overrides: Iterable[str] = (),
    *,
    workers: int = 1,
    address: str | None = None,
    quiet: bool = False,
) -> None:
    """Train the network that `config` describes, and write its weights to `out`.

    `config` is a YAML file or the name of a shipped configuration; the NAME=VALUE pairs in
    `overrides` replace its settings. More than one worker, or an address, requires Ray. Raises
    InputError if the configuration, the data or the weights are invalid, or if Ray Train is
    missing, and PipelineError if training on Ray fails.
    """
    try:
        settings = load_config(config, dict(parse_setting(text) for text in overrides))
        if workers == 1 and address is None:
            with show_training(make_reporter(quiet=quiet), settings.steps) as show:
                train(settings, data, out, show=show)
        else:
            places = data.absolute(), out.absolute()
            train_on_ray(settings, *places, workers, address, quiet=quiet)
    except (ConfigError, DataError, WeightsError) as error:
        raise InputError(str(error)) from error


@contextmanager
def show_training(progress: Reporter, steps: int) -> Iterator[Show]:
    """Yield a function that shows the progress of training for `steps` steps.

    The function receives the number of finished steps and a line of figures. If the training
    resumes, the number is above 0 from the start.
    """
    with ExitStack() as stack:
        opening = stack.enter_context(ExitStack())
        opening.enter_context(progress.step("opening the training data"))
        count: Count | None = None

        def show(done: int, figures: str) -> None:
            nonlocal count
            if count is None:
                opening.close()
                count = stack.enter_context(progress.step("training", steps, done))
            count(done, figures)

        yield show


def train_on_ray(
    config: TrainingConfig,
    data: Path,
    out: Path,
    workers: int,
    address: str | None,
    *,
    quiet: bool,
) -> None:
    """Train in one process per worker, each on its own GPU if the cluster has enough GPUs.

    Raises InputError if the batch cannot be divided among the workers or Ray Train is missing, and
    PipelineError if training fails.
    """
    if config.batch % workers:
        raise InputError(
            f"a batch of {config.batch} cannot be divided among {workers} workers; try "
            f"--set batch={-(-config.batch // workers) * workers}"
        )

    with Interrupts() as interrupts, cluster(address, interrupts, workers=workers, log=True):
        import ray

        try:
            from ray.train import RunConfig, ScalingConfig
            from ray.train.torch import TorchTrainer
        except ImportError as error:
            raise InputError(
                "--workers and --address need Ray Train, which is not installed; "
                f"try {describe_install('train')}"
            ) from error

        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        use_gpu = resources.get("GPU", 0) >= workers

        trainer = TorchTrainer(
            _train_in_worker,
            train_loop_config={
                "config": config.model_dump(),
                "data": str(data),
                "out": str(out),
                "quiet": quiet,
            },
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
            run_config=RunConfig(name=out.stem, storage_path=str(out.parent)),
        )

        try:
            trainer.fit()
        except ray.exceptions.RayError as error:
            raise PipelineError(f"training failed: {last_line(error)}") from error


def _train_in_worker(loop_config: dict[str, Any]) -> None:
    """Train in a Ray Train process, which has already joined the process group."""
    config = TrainingConfig.model_validate(loop_config["config"])
    # Ray prints the lines of all workers, but only the first worker writes any
    progress = make_reporter(quiet=loop_config["quiet"])
    with show_training(progress, config.steps) as show:
        train(config, Path(loop_config["data"]), Path(loop_config["out"]), show=show)
