"""Parse the methods to compare from the command line: [NAME=]METHOD[:OPTION[+OPTION]].

The option `adapted` adapts a network to each recording, `mirrored` averages its results for four
mirrored versions of every picture, and `mixed` mixes its results with results of optical flow; the
other options withhold something from the method. `adapted` alone is short for
`fast:adapted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from crossnetpp.checkpoint import WeightsError, find_weights
from crossnetpp.evaluation.adapted import AdaptedNetwork
from crossnetpp.evaluation.methods import (
    Bicubic,
    Classical,
    ClassicalPlain,
    Enhanced,
    Method,
    TrainedNetwork,
)
from crossnetpp.evaluation.mirrored import MirroredMethod
from crossnetpp.evaluation.mixed import MixedMethod
from crossnetpp.evaluation.scenes import EvaluationError, Material, Picture, Reference
from crossnetpp.networks.presets import PRESETS, VARIANTS
from crossnetpp.networks.taps import Taps

CLASSICAL_METHODS: dict[str, type[Classical] | type[ClassicalPlain]] = {
    "classical": Classical,
    "classical-plain": ClassicalPlain,
}
NETWORKS = tuple(dict.fromkeys((*PRESETS, *VARIANTS)))
DEFAULT_METHODS = "bicubic,classical,fast,crossnet,paper"

ONE_REFERENCE = "1ref"
BICUBIC_KERNEL = "bicubic-kernel"
ADAPTED = "adapted"
MIRRORED = "mirrored"
MIXED = "mixed"

# Option -> text that is added to the description of a method with this option in results.json
LIMITS = {
    ONE_REFERENCE: "with the nearest reference alone",
    BICUBIC_KERNEL: "with the bicubic kernel instead of the measured one",
}


class LimitedMethod:
    """A method without some of its inputs, which shows how much these inputs are worth."""

    def __init__(self, name: str, method: Method, limits: frozenset[str]) -> None:
        self.name = name
        what = ", ".join(about for limit, about in LIMITS.items() if limit in limits)
        self.about = method.about._replace(what=f"{method.about.what}, {what}")
        self._method = method
        self._limits = limits

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Prepare the method, without the measured kernel if the limits include it."""
        return self._method.prepare(material, self._limit_taps(taps))

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return the method's result without the references or kernel that the limits withhold."""
        if ONE_REFERENCE in self._limits:
            references = references[:1]
        return self._method.enhance(lr, references, self._limit_taps(taps))

    def _limit_taps(self, taps: Taps | None) -> Taps | None:
        return None if BICUBIC_KERNEL in self._limits else taps


def load_methods(words: list[str], device: torch.device) -> tuple[list[Method], dict[str, str]]:
    """Return bicubic and the other methods in `words`, and a map from skipped words to reasons.

    Presets without shipped weights are skipped. Raises EvaluationError if a word is neither a
    method nor a file, if an option is unknown, or if two methods have the same name, and
    WeightsError if a file cannot be used.
    """
    methods: list[Method] = [Bicubic()]
    skipped: dict[str, str] = {}
    for word in dict.fromkeys(words):
        if word == "bicubic":
            continue
        name, source, options = _parse_word(word)
        if source in NETWORKS:
            try:
                find_weights(source)
            except WeightsError as error:
                skipped[word] = str(error)
                continue
        # A method from a file gets the file's stem as its name, unless that name is taken
        taken = {method.name for method in methods} | set(words)
        if not name:
            stem = word.replace(source, Path(source).stem, 1)
            name = stem if source not in NETWORKS and stem not in taken else word
        elif name in {method.name for method in methods}:
            raise EvaluationError(
                f"found two methods with the name '{name}', expected different names; "
                "try another NAME="
            )
        method = _load_method(name, source, device, adapted=ADAPTED in options)
        if MIRRORED in options:
            method = MirroredMethod(name, method)
        if MIXED in options:
            method = MixedMethod(name, method, again=MIRRORED in options)
        limits = options - {ADAPTED, MIRRORED, MIXED}
        methods.append(LimitedMethod(name, method, limits) if limits else method)
    return methods, skipped


def _parse_word(word: str) -> tuple[str, str, frozenset[str]]:
    """Return the name ("" if there is none), the method or file, and the options of a word.

    Raises EvaluationError if there is no such method, file or option.
    """
    name, equals, rest = word.partition("=")
    if not equals or Path(word).is_file():
        name, rest = "", word
    source, colon, text = rest.rpartition(":")
    if not colon or Path(rest).is_file():
        source, text = rest, ""
    if source == ADAPTED:
        name, source, text = name or word, "fast", "+".join(filter(None, (ADAPTED, text)))

    if source not in CLASSICAL_METHODS and source not in NETWORKS and not Path(source).is_file():
        raise EvaluationError(
            f"found no method '{source}', expected bicubic, "
            f"{', '.join(CLASSICAL_METHODS)}, {', '.join(NETWORKS)}, {ADAPTED} or a safetensors "
            f"file; try --methods {DEFAULT_METHODS}"
        )
    options = frozenset(text.split("+")) if text else frozenset()
    known = (*LIMITS, *(() if source in CLASSICAL_METHODS else (ADAPTED, MIRRORED, MIXED)))
    if unknown := sorted(options - set(known)):
        raise EvaluationError(
            f"found the option '{unknown[0]}' in '{word}', expected {' or '.join(known)}; "
            f"try {source}:{'+'.join(LIMITS)}"
        )
    return name, source, options


def _load_method(name: str, source: str, device: torch.device, *, adapted: bool) -> Method:
    if source in CLASSICAL_METHODS:
        method = CLASSICAL_METHODS[source]()
        method.name = name
        return method
    return (AdaptedNetwork if adapted else TrainedNetwork)(name, source, device)
