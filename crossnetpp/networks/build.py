"""Build the network of a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossnetpp.networks.fast import CrossNetFast, FastOutput
from crossnetpp.networks.paper import CrossNetPlusPlus, PaperOutput
from crossnetpp.networks.presets import FastConfig, make_config

Network = CrossNetPlusPlus | CrossNetFast
Output = PaperOutput | FastOutput


def build_network(preset: str, options: Mapping[str, Any] | None = None) -> Network:
    """Return the network of `preset` (paper, crossnet or fast) with random weights.

    `options` override the preset's options. Raises KeyError if the preset is unknown, and
    ValueError if the options do not fit it.
    """
    config = make_config(preset, options)
    if isinstance(config, FastConfig):
        return CrossNetFast(config)
    return CrossNetPlusPlus(config)
