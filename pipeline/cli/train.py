"""`pipeline train` and `pipeline adapt`: train a network, or adapt one to a camera."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import FILE, JSON_OPTION, QUIET_OPTION, RECORDING, make_settings
from pipeline.cli.words import print_json, print_text


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
    help="Weights file to write (.safetensors).",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NAME=VALUE",
    help="Override a setting of CONFIG; may be repeated.",
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
    """Train a network as described by CONFIG: a YAML file, or a shipped configuration (fast).

    To resume interrupted training, run the same command again.
    """
    from pipeline.tools.train import train_network

    train_network(config, data, out, overrides, workers=workers, address=address, quiet=quiet)
    print_text(out)


@click.command()
@click.argument("source", metavar="INPUT", type=RECORDING)
@click.option(
    "--ref-stream",
    required=True,
    type=RECORDING,
    metavar="REF",
    help="Key frames of INPUT in high resolution.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.safetensors",
    help="Weights to write, for `pipeline run --adapt`.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds to spend on training.",
)
@click.option("--model", type=FILE, metavar="NAME|FILE", help="Weights to start from.")
@click.option("--scale", type=click.Choice(["auto", "2", "4", "8"]), help="Enlargement factor.")
@click.option("--ref-offset", metavar="SECONDS|auto", help="Seconds to add to the times of REF.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@QUIET_OPTION
@JSON_OPTION
def adapt(
    source: str,
    ref_stream: str,
    output: Path,
    seconds: float,
    model: str | None,
    scale: str | None,
    ref_offset: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train the weights on the key frames of INPUT, for all recordings by the same camera.

    Pass the file to `pipeline run --adapt`. It is written only if the trained weights are better
    than the original ones on key frames that were held out from training.
    """
    from pipeline.progress import make_reporter
    from pipeline.tools.adapt import adapt_to_camera

    given = {"model": model, "scale": scale, "ref_offset": ref_offset}
    settings = make_settings(
        {"input": source, "ref_stream": ref_stream}
        | {name: value for name, value in given.items() if value is not None}
    )
    made = adapt_to_camera(
        settings, output, seconds=seconds, force=force, progress=make_reporter(quiet=quiet)
    )
    if as_json:
        print_json(made.model_dump_json())
    else:
        print_text(
            f"{made.output}: {made.held_out_gain_db:+.2f} dB on held-out key frames, "
            f"after {made.steps} steps on {made.key_frames} key frames"
        )
