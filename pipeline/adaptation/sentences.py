"""Describe a run's adaptation to the user in a sentence."""

from __future__ import annotations

from pipeline.schema.adaptation import Adaptation


def describe_adaptation(adaptation: Adaptation | None) -> str:
    """Return a sentence about the result of an adaptation, or "" if there is no result."""
    if adaptation is None or not adaptation.done:
        return ""
    if not adaptation.used:
        return f"the weights are not adapted: {adaptation.note}"

    text = f"the weights are adapted with {adaptation.steps} steps"
    if adaptation.request == "file":
        text += " of earlier training"
    elif adaptation.shared:
        text = "the weights are those that the batch adapted to another input"
    else:
        text += f" on up to {len(adaptation.pairs)} key frames in {adaptation.took_seconds:.0f} s"
    if adaptation.held_out_gain_db is not None:
        text += f": {_describe_gain(adaptation.held_out_db, adaptation.held_out_gain_db)}"
    if not adaptation.shared:
        text += f"; {100 * adaptation.blend:.0f} % of the change is used"
    return f"{text}; {adaptation.note}" if adaptation.note else text


def _describe_gain(before: float | None, gain: float) -> str:
    where = "on held-out key frames"
    if before is None:
        return f"{gain:+.2f} dB {where}"
    return f"PSNR {before:.2f} -> {before + gain:.2f} dB {where}"
