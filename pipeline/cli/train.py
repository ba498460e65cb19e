"""`pipeline train`: train a network on your own recordings."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import FILE, QUIET_OPTION
from pipeline.cli.words import print_text


@click.command()
@click.argument("config", metavar="CONFIG", type=FILE)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Folder of the training data."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Weights file, .safetensors.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override a line of the YAML file; may be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of Ray Train processes.",
)
@click.option("--address", metavar="ADDR", help="Ray cluster to train on.")
@QUIET_OPTION
def train(
    config: str,
    data: Path,
    out: Path,
    overrides: tuple[str, ...],
    workers: int,
    address: str | None,
    quiet: bool,
) -> None:
    """Train a network as CONFIG describes: a YAML file, or a shipped configuration (fast).

    Run the same command again to resume an interrupted run.
    """
    from pipeline.tools.train import train_network

    train_network(config, data, out, overrides, workers=workers, address=address, quiet=quiet)
    print_text(out)
