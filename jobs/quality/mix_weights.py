"""Mix the trained weights of a run with the weights from which the run started.

    python -m jobs.quality.mix_weights CONFIG TRAINED --share 0.75 [--part stage1] -o OUT

CONFIG is the training configuration, such as `fast_recorded`, and TRAINED are its trained weights.
OUT receives SHARE times TRAINED plus (1 - SHARE) times the weights from which CONFIG starts. Parts
that the training added to the network are copied from TRAINED. With --part, only that part is
mixed, and all others are copied, too. SOURCES.md states the shares used for the shipped weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from crossnetpp.adaptation.judging import blend_weights
from crossnetpp.checkpoint import load_network, save_weights
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.training.config import load_config
from crossnetpp.training.start import build_start
from jobs.bad_input import report_bad_input


def mix_weights(
    config_name: str, trained: Path, share: float, part: str | None = None
) -> CrossNetFast:
    """Return a network with a weighted mean of the weights before training and of `trained`.

    `share` (0..1) is the weight of `trained` in the mean. If `part` is given, only that part of the
    network is mixed, and the rest is copied from `trained`. Raises SystemExit if the configuration
    starts from random weights or trains another network, or if the network has no such part.
    """
    config = load_config(config_name)
    if config.start is None:
        raise SystemExit(
            f"{config_name} has no `start`, which names the weights to mix with; try another CONFIG"
        )

    before, after = build_start(config), load_network(str(trained))
    assert isinstance(before, CrossNetFast)
    assert isinstance(after, CrossNetFast)

    if before.config != after.config:
        raise SystemExit(
            f"{config_name} trains a network with {before.config}, but {trained} has "
            f"{after.config}; try another CONFIG"
        )

    known = load_network(config.start).state_dict()
    added = {k: v for k, v in after.state_dict().items() if k not in known}
    before.load_state_dict(before.state_dict() | added)

    mixed = blend_weights(before, after, share)
    if part is None:
        return mixed

    known_parts = dict(after.named_children())
    if part not in known_parts:
        raise SystemExit(f"the network has no part {part}; try one of {', '.join(known_parts)}")
    weights = {k: v for k, v in mixed.state_dict().items() if k.startswith(f"{part}.")}
    after.load_state_dict(after.state_dict() | weights)
    return after


@report_bad_input()
def main() -> None:
    """Write the mixed weights."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.quality.mix_weights",
        description=(__doc__ or "").partition("\n\n")[0],
    )
    parser.add_argument("config", help="training configuration: a name or a file")
    parser.add_argument("trained", type=Path, help="trained weights")
    parser.add_argument("--share", type=float, required=True, help="share of TRAINED, 0 to 1")
    parser.add_argument("--part", help="the only part to mix, such as stage1; default all")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()

    if not 0 <= arguments.share <= 1:
        parser.error(f"--share is {arguments.share:g}, expected 0 to 1; try 0.75")
    mixed = mix_weights(arguments.config, arguments.trained, arguments.share, arguments.part)
    save_weights(mixed, load_config(arguments.config).preset, arguments.output)


if __name__ == "__main__":
    main()
