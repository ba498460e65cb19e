"""Choose between the shipped weights of a network by how faithful a recording is."""

from __future__ import annotations

# Fit in dB of the measured capture, below which LR counts as compressed or noisy. Measured with
# pixel means at x4: without a codec, the fit is 51 dB or more; at crf 6, 47 to 48; at crf 12,
# 43 to 44. There the weights for recordings gain 0.1 and 0.8 dB on frog and coffee; at crf 6 one of
# the clips gains and the other loses.
LEAST_FAITHFUL = 45.0

RECORDED = {"fast": "fast-recorded"}  # weights -> their variant for compressed or noisy recordings


def choose_weights(model: str, fits_db: float | None, *, lossy: bool = False) -> str:
    """Return the shipped weights for a recording: `model`, or its variant for recordings.

    `fits_db` is the fit of the measured capture; None if nothing was measured, in which case
    `lossy` decides, which is whether a lossy codec compressed the recording. Models without a
    variant are returned unchanged.
    """
    if model not in RECORDED:
        return model
    is_faithful = not lossy if fits_db is None else fits_db >= LEAST_FAITHFUL
    return model if is_faithful else RECORDED[model]
