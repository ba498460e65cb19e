"""Build the network with which a training run begins."""

from __future__ import annotations

from dataclasses import asdict

from crossnetpp.checkpoint import WeightsError, load_network
from crossnetpp.networks.build import Network, build_network
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.presets import PRESETS
from crossnetpp.training.config import ConfigError, TrainingConfig


def build_start(config: TrainingConfig) -> Network:
    """Return the network with which a run begins.

    Its weights are random unless `config.start` is set. If the weights to start from have no votes,
    the votes are random; if they have no chroma maps, the luma maps are copied; if they have too
    many blocks in the fusion, the first ones and the last one are kept. Raises ConfigError if the
    weights cannot be used.
    """
    if not config.start:
        return build_network(config.preset, config.network)
    try:
        loaded = load_network(config.start)
    except WeightsError as error:
        raise ConfigError(
            f"found start: {config.start}, whose weights cannot be used: {error}"
        ) from error
    if not isinstance(loaded.config, type(PRESETS[config.preset])):
        raise ConfigError(
            f"found start: {config.start}, expected weights for the network '{config.preset}'; "
            "try another start or preset"
        )
    if not config.network or not isinstance(loaded, CrossNetFast):
        return loaded

    network = build_network(config.preset, asdict(loaded.config) | config.network)
    assert isinstance(network, CrossNetFast)
    try:
        _copy_weights(loaded, network)
    except RuntimeError as error:
        options = ", ".join(f"{name}: {value}" for name, value in config.network.items())
        raise ConfigError(
            f"found start: {config.start}, whose weights do not fit `network` ({options}); "
            "remove options that these weights already set, or try another start"
        ) from error
    return network


def _copy_weights(source: CrossNetFast, target: CrossNetFast) -> None:
    """Copy the weights of `source` to `target`, which may have more or fewer parts.

    Raises RuntimeError if the shapes differ in a part that both have.
    """
    if 0 < len(target.fusion.blocks) < len(source.fusion.blocks):
        # The blocks before the last one change the features least
        del source.fusion.blocks[len(target.fusion.blocks) - 1 : -1]

    expected = target.state_dict()
    same = {
        name: weights
        for name, weights in source.state_dict().items()
        if name in expected and not name.startswith("fusion.")
    }
    target.load_state_dict(expected | same)
    if target.config.chroma and not source.config.chroma:
        target.fusion.copy_without_chroma(source.fusion)
    else:
        target.fusion.load_state_dict(source.fusion.state_dict())


def freeze_parts(network: Network, parts: tuple[str, ...]) -> None:
    """Exclude `parts` of the network from training.

    Raises ConfigError if a name is unknown, or if no weights remain to be trained.
    """
    known = dict(network.named_children())
    for part in parts:
        if part not in known:
            raise ConfigError(
                f"found freeze: {part}, expected parts of the network: {', '.join(known)}"
            )
        known[part].requires_grad_(False)
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ConfigError(
            f"found freeze: {', '.join(parts)}, which leaves nothing to train; leave out a part"
        )


def may_leave_weights_unused(network: Network) -> bool:
    """Return whether some trained weights may be unused in some steps.

    The votes of `fast` are used only in steps with several references, and some options of the
    published network leave flow heads unused.
    """
    if isinstance(network, CrossNetFast):
        return any(weight.requires_grad for weight in network.votes.parameters())
    return True
