"""Adapt a network to each recording by training on the recording's own key frames."""

from __future__ import annotations

import torch

from crossnetpp.adaptation.adapt import AdaptationSettings, adapt
from crossnetpp.adaptation.key_frames import KeyFrame
from crossnetpp.evaluation.methods import TrainedNetwork
from crossnetpp.evaluation.scenes import Material
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.taps import Taps, make_bicubic_taps

STEPS = 80


class AdaptedNetwork(TrainedNetwork):
    """`fast` with weights adapted to each recording, if these are better on held-out key frames.

    Networks other than `fast` are not adapted.
    """

    def __init__(self, name: str, model: str, device: torch.device) -> None:
        """Load `model`, a preset or a file. Raises WeightsError if it cannot be loaded."""
        super().__init__(name, model, device)
        what = f"{self.about.what}, adapted to each recording by {STEPS} steps on its key frames"
        self.about = self.about._replace(what=what)

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Choose the weights, adapt them, and return a description of the result.

        The description contains the chosen weights and, for `fast`, either the steps, the blend and
        the gain on held-out key frames, or the reason why the weights could not be adapted.
        """
        chosen = super().prepare(material, taps)
        network = self._network
        if not isinstance(network, CrossNetFast):
            return chosen
        keys = [KeyFrame(moment.lr, moment.hr, moment.number) for moment in material.moments]
        kernel = make_bicubic_taps(material.scale) if taps is None else taps
        settings = AdaptationSettings(steps=STEPS, threads=torch.get_num_threads())
        try:
            adapted = adapt(network, keys, kernel, settings)
        except ValueError as error:
            return ", ".join(filter(None, (chosen, f"not adapted: {error}")))

        self._network = adapted.network.eval()
        gain = adapted.held_out_gain_db
        words = [chosen, f"{adapted.steps} steps", f"blend {adapted.blend:g}"]
        words += [] if gain is None else [f"{gain:+.2f} dB on held-out key frames"]
        return ", ".join(filter(None, (*words, adapted.note)))
