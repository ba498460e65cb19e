"""Key frames of a recording, and the training examples made from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossnetpp.networks.priors import weigh_references

Picture = NDArray[np.uint8]

HOLD_OUT_TWO_FROM = 8  # with this many examples or more, two are held out instead of one


class KeyFrame(NamedTuple):
    """One instant, or one view, at both low and high resolution."""

    lr: Picture
    """uint8 h x w x 3 RGB."""
    hr: Picture
    """uint8 H x W x 3 RGB on the output's grid, where H = s h and W = s w for the scale s."""
    position: float
    """Time in LR frames; for views, the index of the view."""
    scene: int = 0
    """Number of the scene; key frames of different scenes are not paired."""


class Example(NamedTuple):
    """A key frame whose HR picture is the target, and the key frames to borrow from."""

    target: int
    """Index of the key frame."""
    neighbours: tuple[int, ...]
    """Indices of one or two neighbouring key frames, the nearest first; never the target."""
    weights: tuple[float, ...]
    """Prior weight of each neighbour, 1 for the nearest."""


def list_examples(keys: Sequence[KeyFrame]) -> list[Example]:
    """Return an example for each key frame that has a neighbour in its scene.

    `keys` are in ascending order of position.
    """
    examples = []
    for target, key in enumerate(keys):
        beside = (i for i in (target - 1, target + 1) if 0 <= i < len(keys))
        distances = {
            i: abs(keys[i].position - key.position) for i in beside if keys[i].scene == key.scene
        }
        if distances:
            neighbours = sorted(distances, key=lambda i: distances[i])
            weights = weigh_references([distances[i] for i in neighbours]).tolist()
            examples.append(Example(target, tuple(neighbours), tuple(weights)))
    return examples


def hold_out(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return the examples to train on, and the one or two held out to judge the result.

    Held-out examples have two neighbours if any example does. They are spread over the recording,
    away from its ends.
    """
    count = 2 if len(examples) >= HOLD_OUT_TWO_FROM else 1
    most = max(len(example.neighbours) for example in examples)
    eligible = [example for example in examples if len(example.neighbours) == most]

    places = [len(eligible) * (2 * i + 1) // (2 * count) for i in range(count)]
    held_out = [eligible[place] for place in sorted(set(places))]
    return [example for example in examples if example not in held_out], held_out
