"""`pipeline train`: the training module, in this process or on several GPUs by Ray Train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import InputError, PipelineError
from pipeline.execution.cluster.connection import cluster
from pipeline.interrupt import Interrupts

if TYPE_CHECKING:
    from crossnetpp.training.config import TrainingConfig


@click.command()
@click.argument("config", metavar="CONFIG")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Training data.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Weights, .safetensors."
)
@click.option("--set", "overrides", multiple=True, metavar="NAME=VALUE", help="Over the YAML.")
@click.option("--workers", type=click.IntRange(1), default=1, help="Ray Train processes.")
@click.option("--address", metavar="ADDR", help="Ray cluster to train on.")
def command(
    config: str,
    data: Path,
    out: Path,
    overrides: tuple[str, ...],
    workers: int,
    address: str | None,
) -> None:
    """Train a network by CONFIG, a YAML file or the name of a shipped one (fast).

    The same command again resumes an interrupted run.
    """
    from crossnetpp.checkpoint import WeightsError
    from crossnetpp.data.sample import DataError
    from crossnetpp.train import parse_setting, train
    from crossnetpp.training.config import ConfigError, load_config

    try:
        settings = load_config(config, dict(parse_setting(text) for text in overrides))
        if workers == 1 and address is None:
            train(settings, data, out)
        else:
            _train_on_ray(settings, data.absolute(), out.absolute(), workers, address)
    except (ConfigError, DataError, WeightsError) as error:
        raise InputError(str(error)) from error
    click.echo(out)


def _train_on_ray(
    config: TrainingConfig, data: Path, out: Path, workers: int, address: str | None
) -> None:
    """Run one process per worker, each on a GPU where the cluster has any."""
    if config.batch % workers:
        raise InputError(
            f"found a batch of {config.batch} for {workers} workers, expected a multiple; "
            f"try --set batch={-(-config.batch // workers) * workers}"
        )
    with Interrupts() as interrupts, cluster(address, interrupts, workers=workers, log=True):
        import ray

        try:
            from ray.train import RunConfig, ScalingConfig
            from ray.train.torch import TorchTrainer
        except ImportError as error:
            raise InputError(
                "found no Ray Train, which --workers and --address need; "
                "install the extra: pip install 'crossnetpp-pipeline[train]'"
            ) from error
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        on_gpu = resources.get("GPU", 0) >= workers
        trainer = TorchTrainer(
            _worker,
            train_loop_config={"config": config.model_dump(), "data": str(data), "out": str(out)},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_gpu),
            run_config=RunConfig(name=out.stem, storage_path=str(out.parent)),
        )
        try:
            trainer.fit()
        except ray.exceptions.RayError as error:
            raise PipelineError(f"training failed: {str(error).splitlines()[-1]}") from error


def _worker(given: dict[str, Any]) -> None:
    """Train in a process of Ray Train, which has set the process group up."""
    from crossnetpp.train import train
    from crossnetpp.training.config import TrainingConfig

    config = TrainingConfig.model_validate(given["config"])
    train(config, Path(given["data"]), Path(given["out"]))
